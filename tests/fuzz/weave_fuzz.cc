// The recipe of a weave of two parts: a byte each for the size of a part, one
// for where the recipe is cut into chunks, and the recipe.
#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "repo/weave.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/support/test_repository.h"

namespace {

using namespace cairn;

// Every input begins with an empty repository.
class Site {
 public:
  Site() : empty_(test_.disk()) {}

  [[nodiscard]] repo::Repository open() {
    test_.disk() = empty_;
    return test_.open();
  }

 private:
  testing_support::TestRepository test_;
  const testing_support::MemoryStorage empty_;
};

void follow(repo::PieceCursor cursor, const repo::Weave& weave) {
  std::vector<std::uint64_t> left = weave.parts;
  while (const auto piece = cursor.next()) {
    fuzzing::require(piece->part > 0 && piece->part < left.size());
    fuzzing::require(piece->size > 0 && piece->size <= left[piece->part]);
    left[piece->part] -= piece->size;
  }
  // One that ends well has left nothing out.
  fuzzing::require(std::all_of(left.begin() + 1, left.end(),
                               [](std::uint64_t size) { return size == 0; }));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  constexpr std::size_t kHead = 3;
  if (size < kHead) return 0;
  static Site site;
  auto repository = site.open();
  testing_support::StateWriter writer(
      repository, {.reuse = testing_support::Reuse::nothing});
  repo::Weave weave;
  std::vector<repo::Link> rows;
  const auto store = [&](std::span<const std::byte> plain) {
    if (!plain.empty()) rows.push_back(writer.chunk(plain));
  };
  const auto recipe = fuzzing::bytes_of(data, size).subspan(kHead);
  const std::size_t cut = std::min<std::size_t>(data[2], recipe.size());
  store(recipe.first(cut));
  store(recipe.subspan(cut));
  weave.parts.push_back(recipe.size());
  for (const std::size_t i : {0U, 1U}) {
    store(std::vector<std::byte>(data[i], std::byte{data[i]}));
    weave.parts.push_back(data[i]);
  }
  writer.publish_index();
  auto blobs = repository.blobs();
  fuzzing::allow_refusal(
      [&] { follow(repo::PieceCursor(blobs, weave, rows), weave); });
  return 0;
}
