// The body of a config, in an envelope that is right.
#include "repo/config.h"
#include "repo/envelope.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    const auto object = repo::enclose(repo::ObjectType::config, bytes);
    const repo::Config config = repo::decode_config(object, "fuzzed");
    if (repo::encode(config).size() == object.size()) {
      fuzzing::require_same(repo::encode(config), object);
    }
  });
  return 0;
}
