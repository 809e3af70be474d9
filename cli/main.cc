// The program: which commands there are, and what its end says.
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/context.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/quantity.h"
#include "cli/standard_streams.h"
#include "cli/usage_error.h"
#include "crypto/secret.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

std::vector<Command> all_commands() {
  return {run_command(),
          daemon_command(),
          backup_command(),
          pg_base_command(),
          pg_dump_command(),
          pg_wal_receive_command(),
          pg_wal_push_command(),
          pg_wal_fetch_command(),
          pg_setup_command(),
          pg_check_command(),
          pg_range_command(),
          restore_command(),
          cat_command(),
          check_command(),
          copy_command(),
          snapshots_command(),
          ls_command(),
          find_command(),
          diff_command(),
          stats_command(),
          status_command(),
          forget_command(),
          prune_command(),
          policy_explain_command(),
          policy_simulate_command(),
          hold_add_command(),
          hold_list_command(),
          hold_remove_command(),
          init_command(),
          config_init_command(),
          config_validate_command(),
          config_show_command(),
          schedule_install_command(),
          schedule_remove_command(),
          schedule_show_command(),
          schedule_status_command(),
          key_add_command(),
          key_list_command(),
          key_remove_command(),
          key_rotate_command(),
          audit_show_command(),
          audit_verify_command(),
          repair_index_command(),
          repair_keys_command(),
          repair_packs_command(),
          repair_snapshots_command(),
          version_command()};
}

// Of the command that the words name, also where they cannot be read.
std::optional<ExitCode> any_failure(std::span<const std::string> words) {
  const std::vector<Command> commands = all_commands();
  GlobalOptions unused;
  const auto* const command =
      CommandLine(commands, global_flags(unused)).named_by(words);
  return command ? command->any_failure : std::nullopt;
}

// Commands that are about the file itself: it may be wrong, or not there yet.
bool names_configuration(const Command& command) {
  return command.name.starts_with("config ");
}

bool has_json_flag(std::span<const std::string> words) {
  return std::ranges::find(words, "--json") != words.end();
}

ExitCode run(std::span<const std::string> words, Context& context) {
  std::vector<Command> commands = all_commands();
  std::vector<std::string> topic;
  std::string help;
  commands.push_back({
      .name = "help",
      .group = CommandGroup::program,
      .summary = "explain a command",
      .text = "Explains a command, or lists all of them.",
      .examples = "cairn help restore\ncairn help key add",
      .declare =
          [&](Flags& flags) {
            flags.arguments("COMMAND", topic, Flags::Count::any);
          },
      .run =
          [&](Context& here) {
            here.output.bytes(std::as_bytes(std::span(help)));
            return ExitCode::ok;
          },
  });
  const CommandLine line(commands, global_flags(context.options));
  const auto request = line.parse(words);
  // What stops the reading of the words does not stop their meaning.
  const bool is_json =
      request.wants_version ? has_json_flag(words) : context.options.is_json;
  context.output.configure({.is_json = is_json,
                            .is_quiet = context.options.is_quiet,
                            .verbosity = context.options.verbosity});
  if (request.wants_version) return version_command().run(context);
  if (request.wants_help) {
    help = line.help(request.help_for);
    return commands.back().run(context);
  }
  if (!request.command) {
    throw UsageError("no command given; 'cairn help' lists them");
  }
  if (request.command->starts_runs) context.keep_secret_variables();
  // One that was named is not passed over in silence, whatever the command.
  if (context.options.config && !names_configuration(*request.command)) {
    (void)context.configuration();
  }
  for (const auto& word : topic) help += (help.empty() ? "" : " ") + word;
  if (request.command == &commands.back()) help = line.help(help);
  return request.command->run(context);
}

// A line for each mistake, so that one look mends them all.
ExitCode report(Context& context, ExitCode code, const ConfigurationError& e) {
  Json mistakes = Json::array();
  for (const auto& mistake : e.mistakes) {
    context.output.error(config::text_of(mistake, e.file));
    Json json = Json::object();
    json.set("line", mistake.place.line)
        .set("column", mistake.place.column)
        .set("path", mistake.path)
        .set("message", mistake.text);
    mistakes.add(std::move(json));
  }
  if (context.output.is_json()) {
    context.output.failure(
        Json::line("exit_error", context.now())
            .set("code", static_cast<int>(code))
            .set("message",
                 e.file + ": " + counted(e.mistakes.size(), "mistake"))
            .set("file", e.file)
            .set("mistakes", std::move(mistakes)));
  }
  return code;
}

ExitCode report(Context& context, ExitCode code, const std::string& message) {
  context.output.error(message);
  if (context.output.is_json()) {
    context.output.failure(Json::line("exit_error", context.now())
                               .set("code", static_cast<int>(code))
                               .set("message", message));
  }
  return code;
}

ExitCode run_and_report(std::span<const std::string> words, Context& context) {
  // Until the words are understood, errors have to know how to be written.
  context.output.configure({.is_json = has_json_flag(words)});
  try {
    return run(words, context);
  } catch (const ConfigurationError& e) {
    return cli::report(context, any_failure(words).value_or(ExitCode::usage),
                       e);
  } catch (const std::exception& e) {
    const auto failure = failure_of(e, context.repo_in_use());
    return report(context, any_failure(words).value_or(failure.code),
                  failure.message);
  }
}

}  // namespace

// Of its own accord glibc gives each thread an arena, and what one has freed no
// other can use: a first backup of 4 GB took 131 MiB so, and with two arenas,
// which is as fast, 92.
void share_arenas() {
  constexpr int kArenas = 2;
  (void)::mallopt(M_ARENA_MAX, kArenas);
}

}  // namespace cairn::cli

int main(int argc, char** argv) {
  using namespace cairn;
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  cli::fill_missing_streams();
  crypto::protect_process();
  ::umask(077);
  cli::ignore_broken_pipes();
  // Ignored by who started us, it would hide how the programs we run end.
  ::signal(SIGCHLD, SIG_DFL);
  cli::share_arenas();
  try {
    cli::Context context;
    const auto code = cli::run_and_report(words, context);
    context.remember();
    context.output.flush();
    return static_cast<int>(code);
  } catch (const cli::OutputClosed&) {
    ::signal(SIGPIPE, SIG_DFL);
    ::raise(SIGPIPE);
  } catch (const repo::OutOfSpace& e) {
    std::fprintf(stderr, "cairn: error: %s\n", e.what());
    return static_cast<int>(
        cli::any_failure(words).value_or(cli::ExitCode::out_of_space));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cairn: error: %s\n", e.what());
  }
  return static_cast<int>(
      cli::any_failure(words).value_or(cli::ExitCode::failed));
}
