// A names node.
#include "repo/node.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    const auto value = repo::decode_names(bytes, "fuzzed");
    // Ignorable fields are passed over, and not written again.
    if (repo::encode_names(value).size() == bytes.size()) {
      fuzzing::require_same(repo::encode_names(value), bytes);
    }
  });
  return 0;
}
