// Any bytes at all are a name of pg_wal, the head of a segment and a timeline
// history, or are refused; and what is taken says what it was taken for.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "ingest/byte_stream.h"
#include "ingest/wal_file.h"
#include "ingest/wal_protocol.h"

namespace {

void require(bool is_so) {
  if (!is_so) std::abort();
}

void read_name(std::string_view text) {
  using namespace cairn::ingest;
  const auto name = parse_wal_file_name(text);
  if (!name) return;
  require(name->text == text && name->timeline > 0);
  if (name->kind == WalFileName::Kind::history) {
    require(history_name(name->timeline) == text);
    return;
  }
  for (unsigned shift = 20; shift <= 30; ++shift) {
    const std::uint64_t segment_bytes = std::uint64_t{1} << shift;
    const auto begin = name->begin(segment_bytes);
    require(!begin || segment_name(name->timeline, *begin, segment_bytes) ==
                          text.substr(0, 24));
  }
}

void read_head(std::span<const std::byte> bytes) {
  using namespace cairn::ingest;
  if (bytes.size() < kWalSegmentHeadBytes) return;
  const auto head = parse_segment_head(bytes);
  if (!head) return;
  require(is_segment_size(head->segment_bytes) && head->timeline > 0 &&
          head->begin == segment_begin(head->begin, head->segment_bytes));
  require(
      is_segment_head(bytes, head->begin, head->system, head->segment_bytes));
}

void read_history(std::string_view text) {
  using namespace cairn::ingest;
  try {
    const auto ends = parse_timeline_history(text);
    require(std::ranges::is_sorted(ends, {}, &TimelineEnd::timeline));
  } catch (const ProducerFailed&) {
    return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_name(text);
  read_head(bytes);
  read_history(text);
  return 0;
}
