// The body of an index object.
#include "repo/index_object.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    const auto value = repo::decode_index(bytes, "fuzzed");
    // Ignorable fields are passed over, and not written again.
    if (repo::encode(value).size() == bytes.size()) {
      fuzzing::require_same(repo::encode(value), bytes);
    }
  });
  return 0;
}
