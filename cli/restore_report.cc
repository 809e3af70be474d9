#include "cli/restore_report.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "cli/quantity.h"
#include "cli/time_text.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxShown = 20;

std::string_view name_of(ingest::FailureCause cause) {
  switch (cause) {
    case ingest::FailureCause::damaged:
      return "damaged";
    case ingest::FailureCause::unsupported:
      return "unsupported";
    case ingest::FailureCause::differs:
      return "differs";
    case ingest::FailureCause::refused:
      return "refused";
    case ingest::FailureCause::io_error:
      return "io_error";
  }
  return "unknown";
}

std::string text_of(const ingest::Shortfall& shortfall) {
  std::string text = shortfall.what + " could not be set: " + shortfall.why +
                     ": " + shortfall.first;
  if (shortfall.count > 1) {
    text += " and " + count_text(shortfall.count - 1) + " more";
  }
  return text;
}

}  // namespace

Json summary_of(const ingest::RestoreReport& report,
                const repo::Snapshot& snapshot, const std::string& target,
                double seconds, const repo::Timestamp& now) {
  Json failures = Json::array();
  for (const auto& failure : report.failures) {
    Json json = Json::object();
    json.set_bytes("path", failure.path)
        .set("cause", name_of(failure.cause))
        .set("message", failure.what);
    failures.add(std::move(json));
  }
  Json shortfalls = Json::array();
  for (const auto& shortfall : report.shortfalls) {
    Json json = Json::object();
    json.set("what", shortfall.what)
        .set("why", shortfall.why)
        .set_bytes("first_path", shortfall.first)
        .set("count", shortfall.count);
    shortfalls.add(std::move(json));
  }
  Json json = Json::line("summary", now);
  json.set("snapshot_id", snapshot.id.hex())
      .set_bytes("target", target)
      .set("files", report.files)
      .set("hard_links", report.hard_links)
      .set("folders", report.folders)
      .set("symlinks", report.symlinks)
      .set("others", report.others)
      .set("kept", report.kept)
      .set("files_verified", report.files_read_back)
      .set("bytes_written", report.bytes_written)
      .set("bytes_unchanged", report.bytes_unchanged)
      .set("failure_count", report.failure_count)
      .set("damage_count", report.damage_count)
      .set("failures", std::move(failures))
      .set("shortfalls", std::move(shortfalls))
      .set("seconds", seconds);
  return json;
}

void print_summary(const ingest::RestoreReport& report,
                   const repo::Snapshot& snapshot, const std::string& target,
                   double seconds, Output& output) {
  for (std::size_t i = 0; i < std::min(report.failures.size(), kMaxShown);
       ++i) {
    const auto& failure = report.failures[i];
    output.warning(failure.path + ": " + failure.what);
  }
  if (report.failure_count > kMaxShown) {
    output.warning(count_text(report.failure_count - kMaxShown) +
                   " more entries were not restored");
  }
  for (const auto& shortfall : report.shortfalls) {
    output.warning(text_of(shortfall));
  }
  if (output.is_quiet()) return;
  std::string line = "restored snapshot " + snapshot.id.brief() + " to " +
                     target + ": " + counted(report.files, "file") + ", " +
                     counted(report.folders, "folder") + ", " +
                     size_text(report.bytes_written) + " written";
  if (report.bytes_unchanged > 0) {
    line += ", " + size_text(report.bytes_unchanged) + " were there already";
  }
  if (report.kept > 0) line += ", " + count_text(report.kept) + " left alone";
  if (report.files_read_back > 0) {
    line += ", " + count_text(report.files_read_back) + " read back";
  }
  output.note(line + ", in " + duration_text(seconds));
}

ExitCode exit_code_of(const ingest::RestoreReport& report) {
  ExitCode code = ExitCode::ok;
  if (report.failure_count > 0) code = worse(code, ExitCode::partial);
  if (report.damage_count > 0) code = worse(code, ExitCode::damage);
  return code;
}

}  // namespace cairn::cli
