#include "cli/finding_text.h"

#include <string>
#include <string_view>

#include "cli/printable.h"
#include "cli/quantity.h"

namespace cairn::cli {

bool limits_the_answer(const repo::Finding& finding) {
  return finding.code == "unread-contents";
}

namespace {

std::string_view name_of(repo::Severity severity) {
  switch (severity) {
    case repo::Severity::note:
      return "note";
    case repo::Severity::garbage:
      return "garbage";
    case repo::Severity::unsupported:
      return "unsupported";
    case repo::Severity::damage:
      return "damage";
  }
  return "unknown";
}

Colour colour_of(repo::Severity severity) {
  switch (severity) {
    case repo::Severity::note:
    case repo::Severity::garbage:
      return Colour::faint;
    case repo::Severity::unsupported:
      return Colour::yellow;
    case repo::Severity::damage:
      break;
  }
  return Colour::red;
}

void print_text(const repo::Finding& finding, Context& context) {
  // Garbage is no news to who asks about damage.
  const bool is_minor = (finding.severity == repo::Severity::note ||
                         finding.severity == repo::Severity::garbage) &&
                        !limits_the_answer(finding);
  if (is_minor &&
      (context.output.is_quiet() || context.options.verbosity == 0)) {
    return;
  }
  const std::string_view severity = name_of(finding.severity);
  const std::string code =
      finding.code == severity ? "" : std::string(finding.code) + "  ";
  context.output.line(colour_of(finding.severity), severity,
                      "  " + code + printable(finding.object) + ": " +
                          printable(finding.message));
  if (!finding.snapshots.empty()) {
    std::string text;
    for (const auto& id : finding.snapshots) {
      text += (text.empty() ? "" : ", ") + id.brief();
    }
    context.output.line("        hurts snapshots " + text);
  }
  for (const auto& path : finding.paths) {
    context.output.line("        hurts " + printable(path));
  }
  if (finding.paths_total > finding.paths.size()) {
    context.output.line("        hurts " +
                        count_text(finding.paths_total - finding.paths.size()) +
                        " more that are not listed");
  }
}

void print_json(const repo::Finding& finding, Context& context) {
  Json snapshots = Json::array();
  for (const auto& id : finding.snapshots) snapshots.add(id.hex());
  context.output.json(Json::line("finding", context.now())
                          .set("severity", name_of(finding.severity))
                          .set("code", finding.code)
                          .set_bytes("object", finding.object)
                          .set("message", finding.message)
                          .set("snapshots", std::move(snapshots))
                          .set_bytes("paths", finding.paths)
                          .set("paths_total", finding.paths_total)
                          .set("blobs", finding.blobs));
}

}  // namespace

void print(const repo::Finding& finding, Context& context) {
  if (context.output.is_json()) {
    print_json(finding, context);
  } else {
    print_text(finding, context);
  }
}

ExitCode code_of(const repo::CheckReport& report) {
  if (report.count(repo::Severity::damage) > 0) return ExitCode::damage;
  if (report.count(repo::Severity::unsupported) > 0) return ExitCode::refused;
  return ExitCode::ok;
}

}  // namespace cairn::cli
