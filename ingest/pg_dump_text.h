// Reads the text of a PostgreSQL dump as it goes by, to tell whether it is
// whole, and counts what each table's part of it holds.
//
//   --                                   the first comment names the kind
//   -- PostgreSQL database dump
//   --
//   ...
//   -- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o
//   --
//
//   COPY public.t (a, b) FROM stdin;     a block: one line for each row
//   1	one
//   \.
//   ...
//   -- PostgreSQL database dump complete  the closing marker; after it nothing
//   --                                    but comments, empty lines and
//   \unrestrict KEY                       psql's \unrestrict
//
// SQL itself is not parsed. A block is begun only by COPY after the comment
// that pg_dump writes before data, so that text in a function's body is none.
//
// What that proves: the text begins as a dump does, ends with its own closing
// marker outside of any block, and every block that was begun was ended. Text
// that is cut anywhere before that marker is found. A change in the middle that
// leaves the lines' borders alone is not, nor is a second dump behind the
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::ingest {

enum class DumpTextKind {
  database,  // of pg_dump, or of pg_restore out of an archive
  cluster,   // of pg_dumpall
};

struct TableInDump {
  std::string schema;
  std::string name;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;  // of those rows' lines

  bool operator==(const TableInDump&) const = default;
};

// Memory: the beginning of one line, and the tables' names and numbers.
//
// Threads        one thread at a time.
class DumpTextScanner {
 public:
  // Beyond so many, tables are counted but not named.
  static constexpr std::size_t kMaxTables = 100'000;

  explicit DumpTextScanner(DumpTextKind kind);

  void add(std::span<const std::byte> bytes);

  // At the end of the text. Throws ProducerFailed when it is not whole, and
  // says why.
  void finish();

  [[nodiscard]] const std::vector<TableInDump>& tables() const noexcept {
    return tables_;
  }
  // How many have a block, named or not.
  [[nodiscard]] std::uint64_t table_count() const noexcept { return blocks_; }
  [[nodiscard]] std::uint64_t row_count() const noexcept { return rows_; }
  // Whether psql would be led to another database by what was read so far.
  [[nodiscard]] bool connects() const noexcept { return connects_; }

 private:
  enum class State {
    at_start,     // before the opening marker
    outside,      // of blocks
    announced,    // the comment before a table's data was read
    in_copy,      // in the statement that begins a block
    in_block,     // in its rows
    is_complete,  // the closing marker was read, and nothing that matters after
  };

  // A line, of whose middle nothing is known.
  struct Line {
    std::string_view begin;  // at most kBeginBytes
    std::string_view end;    // at most kEndBytes
    std::uint64_t bytes = 0;
  };
  static constexpr std::size_t kBeginBytes = 1024;
  static constexpr std::size_t kEndBytes = 16;

  void keep(std::string_view part);
  void take(const Line& line);
  void take_outside(std::string_view text);
  void take_copy(const Line& line);
  void end_block();

  const std::string opening_;
  const std::string closing_;
  State state_ = State::at_start;
  bool connects_ = false;
  std::uint64_t lines_ = 0;
  // Of a line whose end is still to come.
  std::string begin_;
  std::string end_;
  std::uint64_t bytes_ = 0;

  std::string copy_;  // the beginning of the statement
  TableInDump block_;
  std::uint64_t blocks_ = 0;
  std::uint64_t rows_ = 0;  // of those that have ended
  std::vector<TableInDump> tables_;
};

// Takes one name off the front of SQL, quoted or not; an unquoted one ends at a
// dot, a space, a bracket or a semicolon. Empty for one that is not closed.
[[nodiscard]] std::string take_sql_name(std::string_view& text);

// "public"."t", each with or without quotes, as the statement's beginning
// names its table. An empty name when it does not.
[[nodiscard]] TableInDump table_of_copy(std::string_view statement);

}  // namespace cairn::ingest
