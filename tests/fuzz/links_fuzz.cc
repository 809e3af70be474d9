// A links node: no map, so nothing is passed over.
#include "repo/node.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    const auto links = repo::decode_links(bytes, "fuzzed");
    fuzzing::require_same(repo::encode_links(links), bytes);
  });
  return 0;
}
