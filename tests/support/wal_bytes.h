// WAL as a server writes it, made record by record: for what no real server
// does on request, such as setting its clock back.
#pragma once

#include <cstdint>
#include <string_view>

#include "ingest/wal_records.h"
#include "tests/support/bytes.h"

namespace cairn::testing_support {

class WalBytes {
 public:
  static constexpr std::uint64_t kPage = 8192;

  // `start` is where a segment begins.
  WalBytes(ingest::Lsn start, std::uint64_t segment_bytes,
           std::uint32_t timeline = 1);

  struct Placed {
    ingest::Lsn begin;
    ingest::Lsn next;
  };
  Placed add(std::uint8_t manager, std::uint8_t info, std::uint32_t transaction,
             const Bytes& data);
  // Of a manager that nobody looks into.
  Placed filler(std::size_t size);
  Placed commit(std::uint32_t transaction, ingest::WalTime time);
  Placed abort(std::uint32_t transaction, ingest::WalTime time);
  Placed checkpoint(std::int64_t unix_seconds);
  Placed restore_point(std::string_view name, ingest::WalTime time);
  Placed create_tablespace(std::string_view place);
  Placed switch_segment();
  // The first `size` bytes of a record, which a crash left so, and the page
  // behind it as the server that came back writes it.
  void torn(std::size_t size);

  // From now on pages are of that timeline, which begins here.
  void go_to(std::uint32_t timeline) { timeline_ = timeline; }

  [[nodiscard]] ingest::Lsn start() const noexcept { return start_; }
  [[nodiscard]] ingest::Lsn end() const noexcept {
    return {start_.value + bytes_.size()};
  }
  [[nodiscard]] Bytes& bytes() noexcept { return bytes_; }
  [[nodiscard]] ingest::WalRecords::Read reader() const;

 private:
  [[nodiscard]] Bytes record(std::uint8_t manager, std::uint8_t info,
                             std::uint32_t transaction,
                             const Bytes& data) const;
  void begin_page(std::uint16_t info, std::uint32_t rest);
  void put(const Bytes& record, std::size_t size);
  void align();

  const ingest::Lsn start_;
  const std::uint64_t segment_bytes_;
  std::uint32_t timeline_;
  Bytes bytes_;
  std::uint64_t previous_ = 0;
};

}  // namespace cairn::testing_support
