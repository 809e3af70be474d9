// A patch of a blob that has a claimed size; and the first half of the input as
// an earlier state of the second.
#include <string_view>
#include <vector>

#include "repo/patch.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace cairn;

void decode(std::span<const std::byte> patch, std::size_t claimed) {
  constexpr std::string_view kBase = "one two three four five";
  const auto base = std::as_bytes(std::span(kBase));
  std::vector<std::byte> plain(claimed);
  repo::Decompressor decompressor;
  repo::PatchDecoder decoder;
  (void)decoder.decode(patch, {}, plain, decompressor);
  (void)decoder.decode(patch, base, plain, decompressor);
}

void encode(std::span<const std::byte> base, std::span<const std::byte> plain) {
  std::vector<std::byte> patch(plain.size());
  repo::PatchEncoder encoder;
  patch.resize(encoder.encode(plain, base, patch));
  if (patch.empty()) return;
  std::vector<std::byte> back(plain.size());
  repo::Decompressor decompressor;
  repo::PatchDecoder decoder;
  fuzzing::require(decoder.decode(patch, base, back, decompressor));
  fuzzing::require_same(back, plain);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto bytes = fuzzing::bytes_of(data, size);
  if (size < 3) return 0;
  decode(bytes.subspan(2), std::size_t{data[0]} * 256 + data[1]);
  encode(bytes.first(size / 2), bytes.subspan(size / 2));
  return 0;
}
