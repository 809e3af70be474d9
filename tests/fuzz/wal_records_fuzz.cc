// Any bytes at all are read as WAL to an end, from any page on, and no record
// reaches behind them; and whatever a record holds, it says something or
// nothing.
#include <algorithm>
#include <cstdint>
#include <span>

#include "ingest/wal_records.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace cairn;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr ingest::Lsn kStart{kSegment};

std::uint64_t read_all(std::span<const std::byte> bytes, ingest::Lsn from) {
  ingest::WalRecords records(
      [&](ingest::Lsn at, std::span<std::byte> out) -> std::size_t {
        if (at < kStart || at.value - kStart.value >= bytes.size()) return 0;
        const auto rest = bytes.subspan(at.value - kStart.value);
        const auto count = std::min(out.size(), rest.size());
        std::copy_n(rest.begin(), count, out.begin());
        return count;
      },
      from, kSegment);
  std::uint64_t count = 0;
  ingest::Lsn end = from;
  while (const auto record = records.next()) {
    fuzzing::require(record->begin >= end && record->next > record->begin);
    fuzzing::require(record->body.size() <= ingest::WalRecords::kMaxBody);
    end = record->next;
    (void)ingest::event_of(*record);
    ++count;
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto bytes = fuzzing::bytes_of(data, size);
  const auto all = read_all(bytes, kStart);
  fuzzing::require(read_all(bytes, {kStart.value + 8192}) <= all + size);
  if (size < 2) return 0;
  ingest::WalRecord record;
  record.manager = data[0];
  record.info = data[1];
  record.body = bytes.subspan(2);
  if (const auto event = ingest::event_of(record)) {
    fuzzing::require(event->text.size() <= size);
  }
  return 0;
}
