// The name of an object that may be a pack.
#include "repo/pack_format.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  const std::string_view name(reinterpret_cast<const char*>(bytes.data()),
                              bytes.size());
  if (const auto id = repo::parse_pack_name(name)) {
    fuzzing::require(repo::pack_name(*id) == name);
  }
  return 0;
}
