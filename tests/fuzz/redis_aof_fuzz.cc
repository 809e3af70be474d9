// Any text at all is a manifest of append-only files or refused; what it names
// lies in its folder, and it is written again as it was read.
#include <cstdint>
#include <string>
#include <string_view>

#include "ingest/byte_stream.h"
#include "ingest/redis_aof.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto entries = ingest::read_aof_manifest(text);
    for (const auto& entry : entries) {
      fuzzing::require(!entry.name.empty() && entry.name != ".." &&
                       entry.name.find('/') == std::string::npos);
    }
    const auto again = ingest::aof_manifest_text(entries);
    fuzzing::require(
        ingest::aof_manifest_text(ingest::read_aof_manifest(again)) == again);
  } catch (const ingest::ProducerFailed&) {
  }
  return 0;
}
