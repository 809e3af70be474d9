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
  for (std::string line; std::getline(in, line);) rules.push_back(line);
  if (in.bad()) throw UsageError("backup: --exclude-file: cannot read " + path);
}

// "/etc/ssl" of /etc is looked for below it: /etc/etc/ssl.
void warn_of_whole_paths(const ingest::FilesToBackUp& files, Output& output) {
  for (std::string_view rule : files.options.exclude_rules) {
    if (rule.starts_with('!')) rule.remove_prefix(1);
    for (const auto& path : files.paths) {
      const bool is_below = path != "/" && rule.starts_with(path) &&
                            rule.size() > path.size() &&
                            rule[path.size()] == '/';
      if (!is_below) continue;
      output.warning("the rule " + std::string(rule) +
                     " begins at the folder that is backed up, " + path +
                     ", and is looked for below it; write " +
                     std::string(rule.substr(path.size())));
    }
  }
}

// As the record shows it. ".." is resolved as the system would; a symlink at
// the end stays one, unless a slash follows it.
std::string absolute(const std::string& path) {
  const fs::path given(path);
  const bool has_parent = std::ranges::find(given, "..") != given.end();
  fs::path whole = fs::absolute(given);
  if (has_parent) {
    std::error_code error;
    const fs::path resolved = fs::canonical(
        whole.filename() == ".." ? whole : whole.parent_path(), error);
    if (!error) {
      whole = whole.filename() == ".." ? resolved : resolved / whole.filename();
    }
    return whole.string();
  }
  return whole.lexically_normal().string();
}

// Longer than the kernel keeps a page that was changed through a mapping, and
// some more for a busy disk.
std::chrono::seconds settling() {
  constexpr std::chrono::seconds kUsual{60};
  const char* const given = std::getenv("CAIRN_SETTLING");
  return given && *given != '\0' ? parse_duration(given) : kUsual;
}

ingest::FilesToBackUp files_of(const std::vector<std::string>& paths,
                               const Options& options, const Context& context) {
  ingest::FilesToBackUp files;
  for (const auto& path : paths) files.paths.push_back(absolute(path));
  files.options.exclude_rules = options.excludes;
  for (const auto& path : options.exclude_files) {
    append_rules(path, files.options.exclude_rules);
  }
  files.options.exclude_if_present = options.exclude_if_present;
  if (options.one_file_system) {
    files.options.file_systems = ingest::FileSystems::one;
  }
  files.options.settling = settling();
  // What a backup writes to is no part of what it reads.
  for (const fs::path& own :
       {fs::path(context.repo_name()), host_folders().cache}) {
    struct stat status {};
    if (::stat(own.c_str(), &status) == 0) {
      files.options.left_out.push_back({status.st_dev, status.st_ino});
    }
  }
  return files;
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
    std::vector<std::string> there;
    for (const auto& path : options.arguments) {
      std::error_code error;
      if (fs::exists(fs::symlink_status(path, error))) {
        there.push_back(path);
      } else {
        // A source of its own, which fails alone.
        sources.emplace_back(files_of({path}, options, context));
      }
    }
    if (!there.empty()) {
      auto files = files_of(there, options, context);
      warn_of_whole_paths(files, context.output);
      sources.emplace_back(std::move(files));
    }
  }
  return sources;
}

// For a dry run: what a walk meets, without reading any of it.
class Count : public ingest::FileVisitor {
 public:
  std::uint64_t files = 0, folders = 0, others = 0, bytes = 0, excluded_ = 0;
  std::uint64_t unreadable_ = 0;

  explicit Count(Output& output) : output_(output) {}

  void folder_begins(const repo::Entry&) override { ++folders; }
  void folder_ends() override {}
  void file(const repo::Entry& entry, const ingest::FileState&,
            std::string_view path, Opener&) override {
    ++files;
    bytes += entry.size;
    output_.detail("would read " + std::string(path));
  }
  void other(const repo::Entry&) override { ++others; }
  void socket_skipped(std::string_view) override {}
  void excluded(std::string_view path) override {
    ++excluded_;
    output_.detail("would leave out " + std::string(path));
  }
  void unreadable(std::string_view path, std::string_view why) override {
    ++unreadable_;
    output_.warning(std::string(path) + ": " + std::string(why));
  }

 private:
  Output& output_;
};

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
  const auto files = files_of(options.arguments, options, context);
  warn_of_whole_paths(files, context.output);
  Count count(context.output);
  const Interrupt interrupt;
  ingest::FileSource(files.paths, files.options).walk(count, interrupt.token());
  if (interrupt.received()) throw repo::Cancelled("interrupted");
  if (context.output.is_json()) {
    context.output.json(Json::line("dry_run", context.now())
                            .set("action", "backup")
                            .set("series", series)
                            .set("files", count.files)
                            .set("folders", count.folders)
                            .set("others", count.others)
                            .set("excluded", count.excluded_)
                            .set("bytes", count.bytes));
  } else {
    context.output.note("would back up " + counted(count.files, "file") +
                        " and " + counted(count.folders, "folder") + ", " +
                        size_text(count.bytes) + ", to series " + series);
  }
  return count.unreadable_ > 0 ? ExitCode::partial : ExitCode::ok;
}

ExitCode run(const Options& options, Context& context) {
  require_sense(options);
  const std::string series =
      options.series ? whole_series(*options.series)
                     : host_name() + "/" + options.as.value_or("files");
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
          "depth. Ends with 3 "
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
