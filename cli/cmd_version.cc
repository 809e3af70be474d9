#include "cli/commands.h"
#include "cli/context.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kFormat = "draft 3";

ExitCode run(Context& context) {
  if (context.output.is_json()) {
    context.output.json(Json::line("version", context.now())
                            .set("version", CAIRN_VERSION)
                            .set("format", kFormat));
  } else {
    context.output.line(std::string(kProgram) + " (repository format " +
                        std::string(kFormat) + ")");
  }
  return ExitCode::ok;
}

}  // namespace

Command version_command() {
  return {
      .name = "version",
      .group = CommandGroup::program,
      .summary = "the program's version and the format it writes",
      .text =
          "Prints the program's version, and the version of the "
          "repository format that it reads and writes.",
      .examples = "cairn version --json",
      .declare = [](Flags&) {},
      .run = run,
  };
}

}  // namespace cairn::cli
