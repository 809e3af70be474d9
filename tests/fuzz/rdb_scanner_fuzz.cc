// Any bytes at all are walked or refused, and alike however they come.
#include <algorithm>
#include <cstdint>
#include <optional>

#include "ingest/byte_stream.h"
#include "ingest/rdb_scanner.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace cairn;

struct Walked {
  std::optional<ingest::RdbContent> content;  // nothing: refused
};

Walked walk(std::span<const std::byte> bytes, std::size_t piece) {
  ingest::RdbScanner scanner({});
  try {
    while (!bytes.empty()) {
      const auto size = std::min(piece, bytes.size());
      scanner.add(bytes.first(size));
      bytes = bytes.subspan(size);
    }
    scanner.finish();
    return {scanner.content()};
  } catch (const ingest::ProducerFailed&) {
    return {};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto bytes = fuzzing::bytes_of(data, size);
  const auto once = walk(bytes, size + 1);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{13}}) {
    const auto pieces = walk(bytes, piece);
    fuzzing::require(once.content.has_value() == pieces.content.has_value());
    if (!once.content) continue;
    fuzzing::require(once.content->databases == pieces.content->databases);
    fuzzing::require(once.content->fields == pieces.content->fields);
    fuzzing::require(once.content->modules == pieces.content->modules);
    fuzzing::require(once.content->not_walked == pieces.content->not_walked);
  }
  return 0;
}
