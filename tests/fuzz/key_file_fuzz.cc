// The text of a key file.
#include "repo/key_file.h"
#include "repo/keyring.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              bytes.size());
  if (const auto key = repo::parse_key_file(text)) {
    const auto again = repo::parse_key_file(repo::key_file_text(*key));
    fuzzing::require(again.has_value());
    fuzzing::require_same(again->bytes(), key->bytes());
  }
  return 0;
}
