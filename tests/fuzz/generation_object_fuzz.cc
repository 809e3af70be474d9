// What an owner signs of a new generation of keys, and what a slot is granted.
#include "repo/generation_object.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    const auto object = repo::decode_generation(bytes, "fuzzed");
    fuzzing::require_same(repo::encode(object), bytes);
  });
  fuzzing::allow_refusal([&] {
    repo::CborReader in(bytes, "fuzzed");
    const auto generations = repo::read_generations(in);
    in.end();
    fuzzing::require(!generations.empty());
  });
  return 0;
}
