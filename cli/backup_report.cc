#include "cli/backup_report.h"

#include <algorithm>
#include <utility>

#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxShown = 20;

}  // namespace

Json summary_of(const ingest::BackupReport& report, const std::string& series,
                double seconds, const repo::Timestamp& now) {
  Json sources = Json::array();
  for (const auto& source : report.sources) sources.add(json_of(source));
  Json problems = Json::array();
  for (const auto& problem : report.problems) {
    Json json = Json::object();
    json.set_bytes("path", problem.path).set("message", problem.why);
    problems.add(std::move(json));
  }
  Json warnings = Json::array();
  for (const auto& warning : report.warnings) warnings.add(warning);
  Json notes = Json::array();
  for (const auto& note : report.notes) notes.add(note);
  Json json = Json::line("summary", now);
  if (report.snapshot) {
    json.set("snapshot_id", report.snapshot->hex());
  } else {
    json.set("snapshot_id", nullptr);
  }
  json.set("series", series)
      .set("complete", report.is_complete)
      .set("sources", std::move(sources))
      .set("files_new", report.files_new)
      .set("files_changed", report.files_changed)
      .set("files_unmodified", report.files_unmodified)
      .set("files_read_again", report.files_read_again)
      .set("folders", report.folders)
      .set("others", report.others)
      .set("sockets_skipped", report.sockets_skipped)
      .set("excluded", report.excluded)
      .set("logical_bytes", report.bytes_read)
      .set("new_bytes", report.bytes_new)
      .set("stored_bytes", report.bytes_stored)
      .set("chunks", report.chunks)
      .set("chunks_new", report.chunks_new)
      .set("differences", report.differences)
      .set("problem_count", report.problem_count)
      .set("problems", std::move(problems))
      .set("warnings", std::move(warnings))
      .set("notes", std::move(notes))
      .set("seconds", seconds);
  return json;
}

void print_summary(const ingest::BackupReport& report,
                   const std::string& series, double seconds, Output& output) {
  for (std::size_t i = 0; i < std::min(report.problems.size(), kMaxShown);
       ++i) {
    const auto& problem = report.problems[i];
    output.warning(problem.path + ": " + problem.why);
  }
  if (report.problem_count > kMaxShown) {
    output.warning(count_text(report.problem_count - kMaxShown) +
                   " more entries could not be read as they are");
  }
  for (const auto& warning : report.warnings) output.warning(warning);
  if (report.future) {
    output.warning(
        "snapshot " + report.future->brief() +
        " of this series claims to have arrived in the future; a clock is "
        "wrong, and forgetting by rules refuses until it is forgotten by name");
  }
  for (const auto& note : report.notes) output.note(note);
  if (output.is_quiet() || !report.snapshot) return;

  const std::uint64_t files =
      report.files_new + report.files_changed + report.files_unmodified;
  std::string read = "  read    " + size_text(report.bytes_read);
  if (files > 0) {
    read += " in " + counted(files, "file") + ": " +
            count_text(report.files_new) + " new, " +
            count_text(report.files_changed) + " changed, " +
            count_text(report.files_unmodified) + " unmodified";
  }
  if (report.sockets_skipped > 0) {
    read += "; " + counted(report.sockets_skipped, "socket") + " passed over";
  }
  output.line("snapshot " + report.snapshot->brief() + " of " +
              printable(series) + (report.is_complete ? "" : ", incomplete"));
  output.line(read);
  output.line("  new     " + size_text(report.bytes_new) + " in " +
              count_text(report.chunks_new) + " of " +
              counted(report.chunks, "chunk"));
  output.line("  stored  " + size_text(report.bytes_stored) + ", ratio " +
              ratio_text(report.bytes_read, report.bytes_stored));
  output.line("  time    " + duration_text(seconds));
}

ExitCode exit_code_of(const ingest::BackupReport& report) {
  if (!report.snapshot) {
    std::string why;
    for (const auto& source : report.sources) {
      why += (why.empty() ? "" : "; ") + source.name + ": " + source.message;
    }
    throw ingest::ProducerFailed("nothing was backed up: " + why);
  }
  return report.is_complete ? ExitCode::ok : ExitCode::partial;
}

}  // namespace cairn::cli
