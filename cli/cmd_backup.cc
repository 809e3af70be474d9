#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "cli/backup_report.h"
#include "cli/backup_run.h"
#include "cli/commands.h"
#include "cli/compression_flag.h"
#include "cli/context.h"
#include "cli/file_sources.h"
#include "cli/interrupt.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/backup.h"
#include "ingest/byte_stream.h"
#include "ingest/file_source.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> arguments;  // paths, or a command and its arguments
  bool from_stdin = false;
  bool from_command = false;
  std::optional<std::string> as;
  std::vector<std::string> tags;
  std::optional<std::string> series;
  std::optional<repo::Timestamp> time;
  repo::CompressionLevels compression;
  std::vector<std::string> excludes;
  std::vector<std::string> exclude_files;
  std::vector<std::string> exclude_if_present;
  bool one_file_system = false;
};

// What was asked for must be one thing.
void require_sense(const Options& options) {
  const bool is_stream = options.from_stdin || options.from_command;
  if (options.from_stdin && options.from_command) {
    throw UsageError("backup: --stdin and --from-command exclude each other");
  }
  if (is_stream && !options.as) {
    throw UsageError("backup: a stream needs a name: --as NAME");
  }
  if (!is_stream && options.as) {
    throw UsageError("backup: --as needs --stdin or --from-command -- CMD");
  }
  if (options.from_stdin && !options.arguments.empty()) {
    throw UsageError("backup: --stdin takes no paths");
  }
  if (options.from_command && options.arguments.empty()) {
    throw UsageError("backup: --from-command needs a command: -- CMD ARG...");
  }
  if (!is_stream && std::ranges::count(options.arguments, "") > 0) {
    throw UsageError("backup: an empty path");
  }
  if (!is_stream && options.arguments.empty()) {
    throw UsageError(
        "backup: what? Name paths, or use --stdin or --from-command");
  }
  const bool has_rules =
      !options.excludes.empty() || !options.exclude_files.empty() ||
      !options.exclude_if_present.empty() || options.one_file_system;
  for (const auto& name : options.exclude_if_present) {
    if (name.empty() || name.find('/') != std::string::npos) {
      throw UsageError("backup: --exclude-if-present: '" + name +
                       "' is not the name of an entry of a folder");
    }
  }
  if (is_stream && has_rules) {
    throw UsageError("backup: nothing can be excluded from a stream");
  }
}

void append_rules(const std::string& path, std::vector<std::string>& rules) {
  std::error_code error;
  std::ifstream in(path);
  if (!in || fs::is_directory(path, error)) {
    throw UsageError("backup: --exclude-file: cannot read " + path +
                     (in ? ": it is a folder" : ""));
  }
  std::string line;
  for (bool is_first = true; std::getline(in, line); is_first = false) {
    // Some editors begin a file so; git passes it over, too.
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (is_first && line.starts_with(kByteOrderMark)) {
      line.erase(0, kByteOrderMark.size());
    }
    rules.push_back(line);
  }
  if (in.bad()) throw UsageError("backup: --exclude-file: cannot read " + path);
}

FileRules rules_of(const Options& options) {
  FileRules rules{.exclude = {},
                  .exclude_if_present = options.exclude_if_present,
                  .one_file_system = options.one_file_system};
  for (const auto& path : options.exclude_files) {
    append_rules(path, rules.exclude);
  }
  // The last one that matches decides: what was typed, as git has it.
  rules.exclude.insert(rules.exclude.end(), options.excludes.begin(),
                       options.excludes.end());
  return rules;
}

std::vector<ingest::Source> sources_of(const Options& options,
                                       Context& context) {
  std::vector<ingest::Source> sources;
  if (options.from_stdin) {
    sources.emplace_back(
        ingest::StreamToBackUp{*options.as, repo::SourceKind::standard_input,
                               ingest::read_descriptor(STDIN_FILENO)});
  } else if (options.from_command) {
    sources.emplace_back(
        ingest::StreamToBackUp{*options.as, repo::SourceKind::command,
                               ingest::run_command(options.arguments)});
  } else {
    sources =
        file_sources("files", options.arguments, rules_of(options), context);
  }
  return sources;
}

ExitCode dry_run(const Options& options, const std::string& series,
                 Context& context) {
  if (options.from_stdin || options.from_command) {
    if (context.output.is_json()) {
      Json json = Json::line("dry_run", context.now());
      json.set("action", "backup")
          .set("series", series)
          .set_bytes("name", *options.as);
      context.output.json(json);
    } else {
      context.output.note("would back up a stream as " + *options.as +
                          " to series " + series);
    }
    return ExitCode::ok;
  }
  const Interrupt interrupt;
  const auto count = count_files(options.arguments, rules_of(options), context,
                                 interrupt.token());
  for (const auto& problem : count.missing) context.output.warning(problem);
  if (context.output.is_json()) {
    context.output.json(Json::line("dry_run", context.now())
                            .set("action", "backup")
                            .set("series", series)
                            .set("files", count.files)
                            .set("folders", count.folders)
                            .set("others", count.others)
                            .set("excluded", count.excluded)
                            .set("bytes", count.bytes));
  } else {
    context.output.note("would back up " + counted(count.files, "file") +
                        " and " + counted(count.folders, "folder") + ", " +
                        size_text(count.bytes) + ", to series " + series);
  }
  if (count.missing.size() == options.arguments.size()) {
    return ExitCode::source_failed;
  }
  const bool is_whole = count.missing.empty() && count.unreadable == 0;
  return is_whole ? ExitCode::ok : ExitCode::partial;
}

ExitCode run(const Options& options, Context& context) {
  require_sense(options);
  const std::string series = series_to_save(
      options.series ? *options.series
                     : host_name() + "/" + options.as.value_or("files"));
  if (context.options.is_dry_run) return dry_run(options, series, context);

  if (options.time && context.now() < *options.time) {
    context.output.warning("--time " + rfc3339(*options.time) +
                           " lies in the future; listings will flag it");
  }
  auto repository = context.open_to_write();
  (void)repository.index_store();  // its folder is there to be left out
  const Interrupt interrupt;
  const auto [report, seconds] =
      run_backup(repository, sources_of(options, context),
                 {.series = series,
                  .tags = options.tags,
                  .time = options.time,
                  .levels = options.compression},
                 {"backup", "file"}, context, interrupt.token());
  if (context.output.is_json()) {
    context.output.json(summary_of(report, series, seconds, context.now()));
  } else {
    print_summary(report, series, seconds, context.output);
  }
  return exit_code_of(report);
}

}  // namespace

Command backup_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "backup",
      .group = CommandGroup::backup,
      .summary = "save files, standard input or a command's output",
      .text =
          "Saves files and folders, or one stream, as a snapshot. Only what is "
          "not stored yet is added. A stream is found again under the name "
          "given with --as. Prefer --from-command to a pipe: when the command "
          "fails, so does the backup, and nothing of it is kept. Rules of what "
          "to "
          "exclude are .gitignore's: one that begins with a slash, or has one "
          "in its middle, is anchored to each PATH that is backed up, not to "
          "the root folder (of /etc, '/ssl' is /etc/ssl); others match at any "
          "depth. The last rule that matches decides, and those of --exclude "
          "come after those of files. Ends with 3 "
          "when something could not be read, and with 15 when nothing could.",
      .examples =
          "cairn backup /etc /home --exclude '*.tmp' --tag nightly\n"
          "cairn backup --as shop.sql --from-command -- pg_dump shop\n"
          "tar -c /srv | cairn backup --stdin --as srv.tar",
      .declare =
          [options](Flags& flags) {
            flags.arguments("PATH", options->arguments, Flags::Count::any);
            flags.flag("--stdin", options->from_stdin,
                       "save standard input; needs --as");
            flags.flag("--from-command", options->from_command,
                       "save the output of the command after --; needs --as");
            flags.value("--as", "NAME", options->as,
                        "the name under which a stream is found again");
            flags.texts("--tag", "T", options->tags,
                        "a word to find it by; may be repeated");
            flags.text("--series", "S", options->series,
                       "the succession it belongs to (default: HOST/NAME of a "
                       "stream, HOST/files)");
            flags.value(
                "--time", "RFC3339",
                [options](std::string_view text) {
                  options->time = parse_time(text, Zone::required);
                  if (!options->time) {
                    throw UsageError("'" + std::string(text) +
                                     "' is not a time such as "
                                     "2026-11-20T14:30:00Z");
                  }
                },
                "the time that the data is of (default: now)");
            declare_compression(flags, options->compression);
            flags.values("--exclude", "G", options->excludes,
                         "leave out what matches, as in .gitignore; '/x' is x "
                         "in a PATH itself");
            flags.values("--exclude-file", "FILE", options->exclude_files,
                         "such rules, one per line");
            flags.values("--exclude-if-present", "NAME",
                         options->exclude_if_present,
                         "leave out what lies in a folder that holds NAME");
            flags.flag("--one-file-system", options->one_file_system,
                       "stay on the file system of each path");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
