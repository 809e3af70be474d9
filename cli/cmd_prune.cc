#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/prune_run.h"
#include "cli/quantity.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kBetweenTries{1};

struct Options {
  repo::PruneOptions prune;
  std::chrono::seconds wait{0};
};

ExitCode run(const Options& options, Context& context) {
  auto repository = context.open_as_owner();
  const auto began = Clock::now();
  const auto deadline = began + options.wait;
  const auto waited_seconds = [&] {
    return std::chrono::duration<double>(Clock::now() - began).count();
  };
  bool has_told = false;
  while (true) {
    try {
      return run_prune(repository, options.prune, PruneReport::json_lines,
                       context);
    } catch (const repo::LockedError& e) {
      if (options.wait.count() == 0) throw;
      if (Clock::now() >= deadline) {
        throw repo::LockedError(std::string(e.what()) + "; waited " +
                                duration_text(waited_seconds()) +
                                ", and nothing was done");
      }
      if (!std::exchange(has_told, true)) {
        context.output.note(std::string(e.what()) + "; waiting for its end");
      }
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
}

}  // namespace

Command prune_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "prune",
      .group = CommandGroup::space,
      .summary = "free the space that no snapshot needs",
      .text =
          "Removes what no snapshot needs any more, and writes half-used packs "
          "anew. It cannot work beside a backup: it ends with 11 while one is "
          "at work, or waits for its end with --wait, and ends with 11 if that "
          "was not long enough. Reading goes on. When anything cannot be read, "
          "nothing is removed. Of a process that died on another machine or in "
          "a container nobody here can tell: --revoke-after ends it; a backup "
          "so ended has no snapshot.",
      .examples =
          "cairn prune --dry-run\n"
          "cairn prune --max-unused 5% --wait 10m",
      .declare =
          [options](Flags& flags) {
            flags.value(
                "--max-unused", "10%",
                [options](std::string_view text) {
                  options->prune.max_unused = parse_percent(text);
                },
                "how much may stay unused, as a share of what is used");
            flags.value(
                "--budget", "10GiB",
                [options](std::string_view text) {
                  options->prune.budget = parse_size(text);
                },
                "write at most this much anew");
            flags.value(
                "--wait", "10m",
                [options](std::string_view text) {
                  options->wait = parse_duration(text);
                },
                "how long to wait for backups that are at work (default: 0)");
            flags.value(
                "--revoke-after", "24h",
                [options](std::string_view text) {
                  options->prune.revoke_after = parse_duration(text);
                },
                "end backups and prunes that began so long ago and may be dead "
                "(default: none)");
            flags.value(
                "--trash", "0d",
                [](std::string_view text) {
                  if (parse_duration(text).count() > 0) {
                    throw UsageError("keeping trash is not available yet");
                  }
                },
                "how long removed data stays; only 0d yet");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
