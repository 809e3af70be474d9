// The CBOR of a directory.
#include "repo/pack_format.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    repo::CborReader in(bytes, "fuzzed");
    const repo::Directory directory = repo::read_directory(in);
    in.end();
    repo::CborWriter out;
    repo::write(out, directory);
    fuzzing::require_same(out.view(), bytes);
  });
  return 0;
}
