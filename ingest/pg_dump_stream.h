// The output of pg_dump or pg_dumpall, whose content is checked as it goes by:
//
//   pg_dump --format=custom ----+----> the backup
//                               |
//                               +----> pg_restore ----> SQL ----> the scanner
//
//   pg_dump --format=plain -----+----> the backup
//                               +-------------------------------> the scanner
//
// pg_restore reads an archive to its end, and refuses one that is cut (its
// --list reads the table of contents alone). It turns it into SQL, of which the
// scanner counts the rows: what the dump holds of each table, exactly, at no
// cost for the server.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ingest/byte_stream.h"
#include "ingest/child_process.h"
#include "ingest/pg_dump_text.h"
#include "repo/entry.h"

namespace cairn::ingest {

struct PgDumpCommand {
  std::vector<std::string> dump;
  // Reads an archive from its standard input and writes it as SQL. Empty: what
  // `dump` writes is SQL.
  std::vector<std::string> to_sql;
  DumpTextKind kind = DumpTextKind::database;
};

// Threads        one thread at a time; the one that reads first must live until
//                the end. It has a thread of its own meanwhile.
class PgDumpStream : public ByteStream {
 public:
  using Clock = std::function<repo::Timestamp()>;

  PgDumpStream(PgDumpCommand command, Clock now);
  ~PgDumpStream() override;

  // The first one starts the programs. Both throw ProducerFailed as soon as it
  // shows that the dump is not whole, and have ended the programs then.
  [[nodiscard]] std::size_t read(std::span<std::byte> out,
                                 std::stop_token stop) override;
  void finish(std::stop_token stop) override;

  // When pg_dump was started, which takes its snapshot of the database at once;
  // nothing: it was not.
  [[nodiscard]] const std::optional<repo::Timestamp>& began() const noexcept {
    return began_;
  }
  // When finish() found it whole; nothing: it did not. What follows is of such.
  [[nodiscard]] const std::optional<repo::Timestamp>& ended() const noexcept {
    return ended_;
  }
  [[nodiscard]] const std::vector<TableInDump>& tables() const noexcept {
    return scanner_.tables();
  }
  [[nodiscard]] std::uint64_t table_count() const noexcept {
    return scanner_.table_count();
  }
  [[nodiscard]] std::uint64_t row_count() const noexcept {
    return scanner_.row_count();
  }
  // What pg_dump said and did not fail for, in one line.
  [[nodiscard]] const std::string& warnings() const noexcept {
    return warnings_;
  }

 private:
  void start();
  void scan_sql(const std::stop_token& stop);
  void feed_check(std::span<const std::byte> bytes,
                  const std::stop_token& stop);
  void finish_check(const std::stop_token& stop);
  void end_programs();

  const PgDumpCommand command_;
  const Clock now_;
  DumpTextScanner scanner_;
  std::optional<ChildProcess> dump_;
  std::optional<ChildProcess> to_sql_;
  std::exception_ptr scan_failure_;  // read once the thread has ended
  std::jthread scan_;                // of what to_sql_ writes
  std::optional<repo::Timestamp> began_;
  std::optional<repo::Timestamp> ended_;
  std::string warnings_;
};

}  // namespace cairn::ingest
