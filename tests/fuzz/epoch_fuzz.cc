// The plain bytes of an epoch: of a condemnation, and of a doom.
#include "repo/epoch.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  for (const std::uint64_t number : {1U, 2U}) {
    fuzzing::allow_refusal([&] {
      const auto value = repo::decode_epoch(bytes, number, "fuzzed");
      // Ignorable fields are passed over, and not written again.
      if (repo::encode(value).size() == bytes.size()) {
        fuzzing::require_same(repo::encode(value), bytes);
      }
    });
  }
  return 0;
}
