#include "cli/backup_run.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "repo/error.h"

namespace cairn::cli {
namespace {

// What a full disk was helped with comes back before anything else fills it. A
// user who may save need not be one who may do that.
void take_reserve_back(repo::Storage& storage, Output& output) {
  try {
    if (!storage.size(repo::kReserveName)) repo::take_reserve(storage);
  } catch (const repo::OutOfSpace&) {
    output.warning(
        "the disk has no room for the megabyte that forgetting and pruning "
        "need when it is full: free some elsewhere on it, or forget and prune "
        "while they still can");
  } catch (const repo::Error& e) {
    output.warning(
        "the megabyte that forgetting and pruning need when the "
        "disk is full is not there, and cannot be taken back: " +
        std::string(e.what()));
  }
}

}  // namespace

BackupOutcome run_backup(repo::Repository& repository,
                         std::vector<ingest::Source> sources,
                         const BackupRequest& request,
                         const ProgressWords& words, Context& context,
                         const std::stop_token& stop) {
  constexpr unsigned kMostWorkers = 8;
  ingest::BackupOptions how{
      .series = request.series,
      .host = request.host ? *request.host : host_name(),
      .user = user_name(),
      .program = std::string(kProgram),
      .tags = request.tags,
      .now = context.now(),
      .time = request.time,
      .levels = request.levels,
      .workers =
          std::clamp(std::thread::hardware_concurrency(), 1U, kMostWorkers)};
  take_reserve_back(repository.storage(), context.output);
  const auto began = std::chrono::steady_clock::now();
  repo::Progress progress;
  BackupOutcome outcome;
  {
    const ProgressDisplay display(context.output, context.options.progress,
                                  words, progress);
    if (display.is_shown()) how.first_total = ingest::FirstTotal::counted;
    outcome.report =
        ingest::back_up(repository, std::move(sources), how, progress, stop);
  }
  context.output.allow_loss();
  outcome.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began)
          .count();
  return outcome;
}

}  // namespace cairn::cli
