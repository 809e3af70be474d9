// Any bytes at all are a backup manifest or are refused, alike however they are
// dealt out.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>

#include "ingest/byte_stream.h"
#include "ingest/postgres_manifest.h"

namespace {

// What was read, as text; nothing: refused.
std::optional<std::string> read(std::span<const std::byte> bytes,
                                std::size_t step) {
  using namespace cairn;
  std::string all;
  try {
    ingest::PostgresManifest manifest([&](const ingest::ManifestFile& file) {
      all += file.path + "\n" + std::to_string(file.size) + "\n";
    });
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(step, bytes.size()));
      manifest.add(piece);
      bytes = bytes.subspan(piece.size());
    }
    for (const auto& range : std::move(manifest).finish()) {
      all += ingest::to_string(range.start) + ingest::to_string(range.end);
    }
  } catch (const ingest::ProducerFailed&) {
    return std::nullopt;
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (read(bytes, 1) != read(bytes, 1000)) std::abort();
  return 0;
}
