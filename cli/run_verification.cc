#include "cli/run_verification.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "cli/finding_text.h"
#include "cli/interrupt.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "service/verification.h"

namespace cairn::cli {
namespace {

std::uint64_t bytes_of(const std::vector<repo::StoredPack>& packs) {
  std::uint64_t bytes = 0;
  for (const auto& pack : packs) bytes += pack.size;
  return bytes;
}

void tell(const service::Verification& verified, double seconds,
          Context& context) {
  const auto& [written, again, paced] = verified.plan;
  if (!verified.memory_trouble.empty()) {
    context.output.warning("what was verified is not remembered: " +
                           verified.memory_trouble);
  }
  if (context.output.is_json()) {
    context.output.json(Json::line("verification", context.now())
                            .set("written_packs", written.size())
                            .set("written_bytes", bytes_of(written))
                            .set("other_packs", again.size())
                            .set("other_bytes", bytes_of(again))
                            .set("damaged_packs", verified.damaged.size())
                            .set("seconds", seconds));
    return;
  }
  if (context.output.is_quiet() || (written.empty() && again.empty())) return;
  std::string text = "  verified " + counted(written.size(), "pack") +
                     " of this run (" + size_text(bytes_of(written)) + ")";
  if (!again.empty()) {
    text += " and " + count_text(again.size()) + " of before (" +
            size_text(bytes_of(again)) + ")";
  }
  context.output.line(text);
}

// For a line in a log, and for who is told of it.
std::string message_of(const repo::CheckReport& report) {
  constexpr std::size_t kMost = 10;
  std::set<repo::SessionId> hurt;
  std::string first;
  for (const auto& finding : report.findings) {
    if (finding.severity < repo::Severity::unsupported) continue;
    if (first.empty()) first = finding.object + ": " + finding.message;
    hurt.insert(finding.snapshots.begin(), finding.snapshots.end());
  }
  std::string text = "damage in the repository: " + first;
  std::size_t count = 0;
  for (const auto& id : hurt) {
    if (++count > kMost) break;
    text += (count == 1 ? "; it hurts snapshots " : ", ") + id.brief();
  }
  if (count > kMost) text += " and others";
  return text + "; 'cairn check --level data' finds all there is";
}

}  // namespace

std::set<repo::PackId> packs_there(repo::Repository& repository) {
  std::set<repo::PackId> ids;
  for (const auto& pack : repo::list_packs(repository.storage())) {
    ids.insert(pack.id);
  }
  return ids;
}

RunVerification verify_after_run(repo::Repository& repository,
                                 const std::set<repo::PackId>& there_before,
                                 const config::DataChecks& checks,
                                 Context& context) {
  constexpr unsigned kMostWorkers = 8;
  service::VerifiedPacksFile file(host_folders().state,
                                  repository.keyring().repository().hex(),
                                  repository.storage().place());
  const service::VerificationOptions how{
      .rules = {.cycle = checks.cycle, .budget = checks.budget},
      .there_before = there_before,
      .now = context.now(),
      .threads =
          std::clamp(std::thread::hardware_concurrency(), 1U, kMostWorkers)};
  const auto began = std::chrono::steady_clock::now();
  service::Verification verified;
  {
    const Interrupt interrupt;
    repo::Progress progress;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"verify", "pack"}, progress);
    verified = service::verify_by_plan(repository, how, file, interrupt.token(),
                                       &progress);
  }
  tell(verified,
       std::chrono::duration<double>(std::chrono::steady_clock::now() - began)
           .count(),
       context);
  for (const auto& finding : verified.report.findings) print(finding, context);
  RunVerification result{.code = code_of(verified.report)};
  if (result.code != ExitCode::ok) result.message = message_of(verified.report);
  return result;
}

}  // namespace cairn::cli
