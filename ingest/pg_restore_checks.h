// What a database is looked at for, once a dump was loaded into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/pg_questions.h"

namespace cairn::ingest {

// A table as it was when it was dumped.
struct PgTableBefore {
  std::string schema;
  std::string name;
  std::optional<std::uint64_t> rows;         // nothing: no data of it is dumped
  std::optional<std::uint64_t> table_bytes;  // nothing: the server did not say

  bool operator==(const PgTableBefore&) const = default;
};

struct PgIndexes {
  std::uint64_t count = 0;
  std::uint64_t vector_count = 0;    // of those, hnsw and ivfflat
  std::vector<std::string> invalid;  // "public.items_embedding_idx (hnsw)"
};
[[nodiscard]] PgIndexes ask_indexes(const PgQuestions& questions,
                                    std::stop_token stop);

struct PgTableGrowth {
  std::string schema;
  std::string name;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_now = 0;
};

struct PgComparison {
  std::uint64_t tables = 0;  // whose rows were counted
  std::uint64_t rows = 0;
  std::uint64_t bytes_before = 0;  // of those of known size
  std::uint64_t bytes_now = 0;
  // What is not as it was dumped, one line each, at most kMaxDifferences.
  std::vector<std::string> differences;
  std::uint64_t difference_count = 0;
  // Those that take more room than they did, which a fresh table rarely does,
  // or less than half of it.
  std::vector<PgTableGrowth> sizes;

  static constexpr std::size_t kMaxDifferences = 1000;
};

// Reads every table of which rows were dumped to its end. A table of an
// extension is passed over: the extension has rows of its own in it.
[[nodiscard]] PgComparison compare_tables(
    const PgQuestions& questions, const std::vector<PgTableBefore>& before,
    const std::stop_token& stop);

// Has pg_amcheck read all tables and B-tree indexes. Answers what it found, or
// why it was not run; empty: all is well.
struct PgAmcheck {
  bool was_run = false;
  std::string said;
};
[[nodiscard]] PgAmcheck run_pg_amcheck(const PgQuestions& questions,
                                       int server_major,
                                       const std::stop_token& stop);

}  // namespace cairn::ingest
