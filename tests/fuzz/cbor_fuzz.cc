// Any CBOR: passed over, and read again as what it begins with.
#include "repo/cbor.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  fuzzing::allow_refusal([&] {
    repo::CborReader in(bytes, "fuzzed");
    fuzzing::require(in.skip().size() == size - in.left());
    in.end();
  });
  fuzzing::allow_refusal([&] {
    repo::CborReader in(bytes, "fuzzed");
    repo::CborWriter out;
    while (in.left() > 0) {
      const auto at = size - in.left();
      switch (data[at] >> 5) {
        case 0:
          out.uint(in.uint());
          break;
        case 1:
          out.sint(in.sint());
          break;
        case 2:
          out.bytes(in.bytes(size));
          break;
        case 3:
          out.text(in.text(size));
          break;
        case 4:
          out.array(in.array(size));
          break;
        default:
          if (in.skip_null()) {
            out.null();
          } else {
            out.boolean(in.boolean());
          }
      }
      fuzzing::require_same(out.view(), bytes.first(size - in.left()));
    }
  });
  return 0;
}
