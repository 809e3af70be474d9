#include "repo/mark_set.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kBits = 64;

constexpr std::uint64_t bit_of(std::uint64_t number) {
  return std::uint64_t{1} << (number % kBits);
}

}  // namespace

MarkSet::MarkSet(const std::filesystem::path& folder, std::uint64_t size)
    : words_(folder) {
  words_.grow_to((size + kBits - 1) / kBits);
}

bool MarkSet::mark(std::uint64_t number) {
  std::uint64_t& word = words_[number / kBits];
  const bool is_new = (word & bit_of(number)) == 0;
  word |= bit_of(number);
  return is_new;
}

bool MarkSet::is_marked(std::uint64_t number) const {
  return (words_[number / kBits] & bit_of(number)) != 0;
}

}  // namespace cairn::repo
