// The plain bytes of a beat.
#include "repo/cbor.h"
#include "repo/record.h"
#include "repo/session.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    repo::CborWriter again;
    repo::write_time(again, repo::decode_beat(bytes, "fuzzed"));
    fuzzing::require_same(again.view(), bytes);
  });
  return 0;
}
