#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/prune_run.h"
#include "cli/quantity.h"

namespace cairn::cli {

Command prune_command() {
  const auto options = std::make_shared<repo::PruneOptions>();
  return {
      .name = "prune",
      .group = CommandGroup::space,
      .summary = "free the space that no snapshot needs",
      .text =
          "Removes what no snapshot needs any more, and writes half-used packs "
          "anew. Backups have to wait meanwhile, and it ends with 11 while one "
          "is at work; reading goes on. When anything cannot be read, nothing "
          "is removed.",
      .examples =
          "cairn prune --dry-run\n"
          "cairn prune --max-unused 5%",
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
