// Any bytes at all are an archive or are refused; a name that they give never
// leads elsewhere, and a file is as long as its header says.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "ingest/byte_stream.h"
#include "ingest/tar_reader.h"
#include "repo/node.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  auto left = std::as_bytes(std::span(data, size));
  const std::size_t step = size == 0 ? 1 : 1 + data[0] % 97;
  ingest::TarReader reader("fuzzed", [&] {
    const auto piece = left.first(std::min(step, left.size()));
    left = left.subspan(piece.size());
    return piece;
  });
  try {
    while (const auto member = reader.next()) {
      const auto& path = member->path;
      const bool is_sound = repo::is_valid_name(member->entry.name) &&
                            !path.starts_with('/') &&
                            ("/" + path + "/").find("/../") == path.npos;
      if (!is_sound) std::abort();
      std::array<std::byte, 64> piece{};
      std::uint64_t read = 0;
      while (const auto count = reader.read(piece)) read += count;
      if (read != member->entry.size) std::abort();
    }
  } catch (const ingest::ProducerFailed&) {
  }
  return 0;
}
