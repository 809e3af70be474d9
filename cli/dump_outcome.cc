#include "cli/dump_outcome.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "cli/printable.h"
#include "cli/quantity.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxShown = 20;

void warn_of(const DumpOutcome& outcome, Output& output) {
  const std::string name = "database " + outcome.dump->into + ": ";
  if (!outcome.loaded) {
    output.error(name + outcome.failure);
    return;
  }
  const auto& loaded = *outcome.loaded;
  const auto& differences = loaded.comparison.differences;
  for (std::size_t i = 0; i < std::min(differences.size(), kMaxShown); ++i) {
    output.warning(name + differences[i]);
  }
  if (loaded.comparison.difference_count > kMaxShown) {
    output.warning(name +
                   count_text(loaded.comparison.difference_count - kMaxShown) +
                   " more tables differ");
  }
  for (const auto& index : loaded.indexes.invalid) {
    output.warning(name + "index " + index + " is not valid; REINDEX it");
  }
  if (loaded.amcheck && !loaded.amcheck->said.empty()) {
    output.warning(name +
                   (loaded.amcheck->was_run ? "pg_amcheck found damage: "
                                            : "not checked by pg_amcheck: ") +
                   loaded.amcheck->said);
  }
  for (const auto& note : loaded.notes) output.warning(name + note);
  for (const auto& growth : loaded.comparison.sizes) {
    output.detail(name + "table " + growth.schema + "." + growth.name +
                  " takes " + size_text(growth.bytes_now) + ", and took " +
                  size_text(growth.bytes_before));
  }
}

void print_success(const DumpOutcome& outcome, Output& output) {
  if (output.is_quiet() || !outcome.loaded) return;
  const auto& loaded = *outcome.loaded;
  std::string line = "restored " + printable(outcome.dump->path) +
                     " into database " + printable(outcome.dump->into);
  if (loaded.comparison.tables > 0) {
    line += ": " + counted(loaded.comparison.rows, "row") + " in " +
            counted(loaded.comparison.tables, "table") +
            (loaded.comparison.difference_count == 0 ? ", as dumped" : "");
  }
  if (loaded.indexes.count > 0) {
    line += ", " + count_text(loaded.indexes.count) +
            (loaded.indexes.invalid.empty() ? " valid" : "") + " indexes";
  }
  if (loaded.comparison.bytes_before > 0) {
    line += ", " + size_text(loaded.comparison.bytes_now) + " of tables (" +
            size_text(loaded.comparison.bytes_before) + " when dumped)";
  }
  output.note(line);
}

}  // namespace

bool is_alike(const DumpOutcome& outcome) {
  if (!outcome.loaded) return false;
  const auto& [comparison, indexes, amcheck, notes] = *outcome.loaded;
  return comparison.difference_count == 0 && indexes.invalid.empty() &&
         notes.empty() &&
         !(amcheck && amcheck->was_run && !amcheck->said.empty());
}

void print_outcome(const DumpOutcome& outcome, Output& output) {
  warn_of(outcome, output);
  print_success(outcome, output);
}

Json json_of(const DumpOutcome& outcome) {
  Json json = Json::object();
  json.set_bytes("source", outcome.dump->path)
      .set_bytes("database", outcome.dump->database)
      .set_bytes("into", outcome.dump->into)
      .set("restored", outcome.loaded.has_value());
  if (!outcome.loaded) return std::move(json.set("message", outcome.failure));
  const auto& [comparison, indexes, amcheck, notes] = *outcome.loaded;
  Json sizes = Json::array();
  for (const auto& growth : comparison.sizes) {
    Json one = Json::object();
    one.set_bytes("schema", growth.schema)
        .set_bytes("table", growth.name)
        .set("table_bytes_dumped", growth.bytes_before)
        .set("table_bytes", growth.bytes_now);
    sizes.add(std::move(one));
  }
  json.set("alike", is_alike(outcome))
      .set("tables_compared", comparison.tables)
      .set("rows", comparison.rows)
      .set("table_bytes_dumped", comparison.bytes_before)
      .set("table_bytes", comparison.bytes_now)
      .set("difference_count", comparison.difference_count)
      .set_bytes("differences", comparison.differences)
      .set("sizes_that_differ", std::move(sizes))
      .set("indexes", indexes.count)
      .set("vector_indexes", indexes.vector_count)
      .set_bytes("invalid_indexes", indexes.invalid)
      .set_bytes("notes", notes);
  if (amcheck) {
    json.set("amcheck", amcheck->was_run).set("amcheck_said", amcheck->said);
  }
  return json;
}

}  // namespace cairn::cli
