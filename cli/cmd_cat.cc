#include <unistd.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/progress_display.h"
#include "cli/snapshot_selector.h"
#include "cli/usage_error.h"
#include "ingest/stream_output.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

struct Options {
  std::string snapshot;
  std::optional<std::string> series;
};

ExitCode run(const Options& options, Context& context) {
  if (context.output.is_json()) {
    throw UsageError("cat: what it writes is no JSON");
  }
  auto repository = context.open_to_read();
  if (is_latest(options.snapshot)) context.require_that_latest_is();
  SnapshotSelector selector(context, repository, options.series);
  const auto selected = selector.select(options.snapshot);
  if (selected.path.empty()) {
    throw UsageError("cat: which file of it? SNAP:PATH");
  }
  const auto entry = selector.entry_at(selected);
  if (!repo::has_content(entry.entry.type)) {
    throw repo::NotFound(selected.path_given + ": neither a file nor a stream");
  }
  if (context.options.is_dry_run) return ExitCode::ok;

  repo::Progress progress;
  ingest::StreamEnd end;
  {
    // Without an Interrupt: it only reads, and a request to stop would wait for
    // as long as whoever reads our output lets a write wait.
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"cat", "file"}, progress);
    end = ingest::write_stream(
        repository, entry, STDOUT_FILENO, progress, {},
        std::clamp(std::thread::hardware_concurrency(), 1U, 8U));
  }
  if (end == ingest::StreamEnd::not_wanted) throw OutputClosed();
  return selector.is_in_doubt() ? ExitCode::damage : ExitCode::ok;
}

}  // namespace

Command cat_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "cat",
      .group = CommandGroup::backup,
      .summary = "write a file or stream to standard output",
      .text =
          "Writes the bytes of one file or stream of a snapshot to standard "
          "output. latest:NAME is that of the newest snapshot that holds "
          "NAME completely.",
      .examples =
          "cairn cat latest:shop.sql | psql shop\n"
          "cairn cat '@2026-11-20T14:30:/etc/fstab'",
      .declare =
          [options](Flags& flags) {
            flags.argument("SNAP:PATH", options->snapshot);
            declare_series(flags, options->series);
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
