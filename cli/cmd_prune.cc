#include <chrono>
#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/prune_run.h"
#include "cli/quantity.h"
#include "cli/time_text.h"

namespace cairn::cli {

Command prune_command() {
  constexpr std::chrono::minutes kDefaultWait{10};
  const auto options = std::make_shared<repo::PruneOptions>();
  options->wait = kDefaultWait;
  return {
      .name = "prune",
      .group = CommandGroup::space,
      .summary = "free the space that no snapshot needs",
      .text =
          "Removes what no snapshot needs any more, and writes half-used packs "
          "anew. Backups, restores and other prunes go on meanwhile: what "
          "might go is condemned first, so that no backup that begins from "
          "then on "
          "uses it, and removed once every backup from before has ended. It "
          "waits for these for as long as --wait says, then ends with 0, and "
          "the next prune goes on from there. When anything cannot be read, "
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
                  options->max_unused = parse_percent(text);
                },
                "how much may stay unused, as a share of what is used");
            flags.value(
                "--budget", "10GiB",
                [options](std::string_view text) {
                  options->budget = parse_size(text);
                },
                "write at most this much anew");
            flags.value(
                "--wait", "10m",
                [options](std::string_view text) {
                  options->wait = parse_duration(text);
                },
                "how long to wait for backups that began before (default: "
                "10m)");
            flags.value(
                "--revoke-after", "24h",
                [options](std::string_view text) {
                  options->revoke_after = parse_duration(text);
                },
                "end backups that began so long ago and may be dead (default: "
                "none)");
            flags.value(
                "--trash", "7d",
                [options](std::string_view text) {
                  options->trash = parse_duration(text);
                },
                "how long what goes stays on disk, unused (default: 0)");
          },
      .run =
          [options](Context& context) {
            auto repository = context.open_as_owner();
            return run_prune(repository, *options, PruneReport::json_lines,
                             context);
          },
  };
}

}  // namespace cairn::cli
