#include "repo/copy_finder.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace cairn::repo {
namespace {

// Fewer bytes are equal by chance, and cost as much to write down as they save.
constexpr std::size_t kMinCopy = sizeof(std::uint64_t);

// Only a copy as long as this moves the place where the next one is expected:
// shorter ones are often of another row.
constexpr std::size_t kLongCopy = 128;

// How much of the base is indexed where the two part, before that place and
// behind it, at every kStep-th byte: some rows.
constexpr std::ptrdiff_t kBehind = 64;
constexpr std::ptrdiff_t kAhead = 768;
constexpr std::ptrdiff_t kStep = 2;

std::uint64_t first_bytes(const std::byte* at) {
  std::uint64_t value = 0;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

std::size_t equal_ahead(const std::byte* a, const std::byte* b,
                        std::size_t most) {
  constexpr std::size_t kBlock = 256;
  std::size_t size = 0;
  while (size + kBlock <= most &&
         std::memcmp(a + size, b + size, kBlock) == 0) {
    size += kBlock;
  }
  while (size + kMinCopy <= most &&
         first_bytes(a + size) == first_bytes(b + size)) {
    size += kMinCopy;
  }
  while (size < most && a[size] == b[size]) ++size;
  return size;
}

std::size_t equal_behind(const std::byte* a, const std::byte* b,
                         std::size_t most) {
  std::size_t size = 0;
  while (size < most && *--a == *--b) ++size;
  return size;
}

}  // namespace

// Places are signed: what is expected may lie before the base or behind it.
class CopyFinder::Walk {
 public:
  Walk(Places& places, std::vector<Copy>& copies,
       std::span<const std::byte> plain, std::span<const std::byte> base)
      : places_(places),
        copies_(copies),
        plain_(plain),
        base_(base),
        last_at_(last_of(plain)),
        last_from_(last_of(base)) {}

  // False: gave up.
  bool go() {
    while (meet_again()) {
      add_copy();
    }
    return !has_too_many(std::ssize(plain_) - done_);
  }

 private:
  // Where kMinCopy bytes can begin at the latest.
  static std::ptrdiff_t last_of(std::span<const std::byte> bytes) {
    return std::ssize(bytes) - static_cast<std::ptrdiff_t>(kMinCopy);
  }

  // With `more` literals: a chunk of which more than that is new is nearly
  // never worth finishing, and this time is lost.
  [[nodiscard]] bool has_too_many(std::ptrdiff_t more) const {
    constexpr std::ptrdiff_t kAllowed = 256;
    constexpr std::ptrdiff_t kAllowedShare = 32;
    return literals_ + more > kAllowed + at_ / kAllowedShare;
  }

  [[nodiscard]] bool is_at(std::ptrdiff_t from, std::uint64_t bytes) const {
    return from >= 0 && from <= last_from_ &&
           first_bytes(base_.data() + from) == bytes;
  }

  // Sets at_ and from_ to where kMinCopy bytes are equal. False: nowhere, or
  // there are too many literals before that.
  bool meet_again() {
    begin_index(at_ + drift_ - kBehind);
    for (; at_ <= last_at_; ++at_) {
      const std::uint64_t bytes = first_bytes(plain_.data() + at_);
      from_ = at_ + drift_;
      if (is_at(from_, bytes)) return true;
      if (has_too_many(at_ - done_)) return false;
      // The further it had to go, the further it looks.
      index_to(from_ + kAhead + (at_ - done_));
      const std::uint32_t place = places_[hash_of(bytes)];
      from_ = static_cast<std::ptrdiff_t>(place) - 1;
      if (is_at(from_, bytes)) return true;
    }
    return false;
  }

  // What is indexed already stays so; it is compared before it is believed.
  void begin_index(std::ptrdiff_t from) {
    from = std::max<std::ptrdiff_t>(from, 0);
    if (from < index_begin_ || from > index_end_) {
      index_begin_ = index_end_ = from;
    }
  }

  void index_to(std::ptrdiff_t end) {
    for (end = std::min(end, last_from_ + 1); index_end_ < end;
         index_end_ += kStep) {
      places_[hash_of(first_bytes(base_.data() + index_end_))] =
          static_cast<std::uint32_t>(index_end_ + 1);
    }
  }

  static std::size_t hash_of(std::uint64_t bytes) {
    constexpr std::uint64_t kGoldenRatio = 0x9e37'79b1'85eb'ca87;
    return static_cast<std::size_t>((bytes * kGoldenRatio) >> (64 - kHashBits));
  }

  void add_copy() {
    const std::size_t behind =
        equal_behind(plain_.data() + at_, base_.data() + from_,
                     static_cast<std::size_t>(std::min(at_ - done_, from_)));
    at_ -= static_cast<std::ptrdiff_t>(behind);
    from_ -= static_cast<std::ptrdiff_t>(behind);
    const std::size_t size =
        equal_ahead(plain_.data() + at_, base_.data() + from_,
                    static_cast<std::size_t>(std::min(
                        std::ssize(plain_) - at_, std::ssize(base_) - from_)));
    copies_.push_back(
        {static_cast<std::size_t>(at_), static_cast<std::size_t>(from_), size});
    literals_ += at_ - done_;
    if (size >= kLongCopy) drift_ = from_ - at_;
    at_ += static_cast<std::ptrdiff_t>(size);
    done_ = at_;
  }

  Places& places_;
  std::vector<Copy>& copies_;
  std::span<const std::byte> plain_;
  std::span<const std::byte> base_;
  const std::ptrdiff_t last_at_;
  const std::ptrdiff_t last_from_;
  std::ptrdiff_t at_ = 0;        // in plain_
  std::ptrdiff_t from_ = 0;      // in base_
  std::ptrdiff_t done_ = 0;      // where in plain_ the last copy ends
  std::ptrdiff_t drift_ = 0;     // from at to from, in the last long copy
  std::ptrdiff_t literals_ = 0;  // before done_
  std::ptrdiff_t index_begin_ = 0;
  std::ptrdiff_t index_end_ = 0;
};

std::optional<std::span<const Copy>> CopyFinder::find(
    std::span<const std::byte> plain, std::span<const std::byte> base) {
  copies_.clear();
  places_.fill(0);
  if (!Walk(places_, copies_, plain, base).go()) return std::nullopt;
  return copies_;
}

}  // namespace cairn::repo
