// An object with its prologue and its hash.
#include "repo/envelope.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    const auto prologue =
        repo::decode_prologue(bytes, repo::ObjectType::pack, "fuzzed");
    fuzzing::require_same(repo::encode(prologue),
                          bytes.first(repo::kPrologueBytes));
  });
  fuzzing::allow_refusal([&] {
    const auto body = repo::disclose(bytes, repo::ObjectType::mark, "fuzzed");
    fuzzing::require_same(repo::enclose(repo::ObjectType::mark, body), bytes);
  });
  return 0;
}
