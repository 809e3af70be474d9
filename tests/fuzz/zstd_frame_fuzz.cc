// A frame that claims a size, with and without a base.
#include <vector>

#include "repo/compression.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  if (size < 2) return 0;
  const std::size_t claimed = std::size_t{data[0]} * 256 + data[1];
  const std::vector<std::byte> base(4096, std::byte{7});
  std::vector<std::byte> plain(claimed);
  repo::Decompressor decompressor;
  (void)decompressor.decompress(bytes.subspan(2), {}, plain);
  (void)decompressor.decompress(bytes.subspan(2), base, plain);
  return 0;
}
