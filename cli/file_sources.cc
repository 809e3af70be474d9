#include "cli/file_sources.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>

#include "cli/quantity.h"
#include "ingest/file_source.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

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
                               const FileRules& rules, Context& context) {
  ingest::FilesToBackUp files;
  for (const auto& path : paths) files.paths.push_back(absolute(path));
  files.options.exclude_rules = rules.exclude;
  files.options.exclude_if_present = rules.exclude_if_present;
  if (rules.one_file_system) {
    files.options.file_systems = ingest::FileSystems::one;
  }
  files.options.settling = settling();
  files.changes = rules.changes;
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

class Counting : public ingest::FileVisitor {
 public:
  explicit Counting(Output& output) : output_(output) {}

  [[nodiscard]] const FileCount& count() const noexcept { return count_; }

  void folder_begins(const repo::Entry&) override { ++count_.folders; }
  void folder_ends() override {}
  void file(const repo::Entry& entry, const ingest::FileState&,
            std::string_view path, Opener&) override {
    ++count_.files;
    count_.bytes += entry.size;
    output_.detail("would read " + std::string(path));
  }
  void other(const repo::Entry&) override { ++count_.others; }
  void socket_skipped(std::string_view) override {}
  void excluded(std::string_view path) override {
    ++count_.excluded;
    output_.detail("would leave out " + std::string(path));
  }
  void unreadable(std::string_view path, std::string_view why) override {
    ++count_.unreadable;
    output_.warning(std::string(path) + ": " + std::string(why));
  }

 private:
  Output& output_;
  FileCount count_;
};

}  // namespace

std::vector<ingest::Source> file_sources(const std::string& name,
                                         const std::vector<std::string>& paths,
                                         const FileRules& rules,
                                         Context& context) {
  std::vector<ingest::Source> sources;
  std::vector<std::string> there;
  const auto add = [&](const std::vector<std::string>& some) {
    auto files = files_of(some, rules, context);
    files.name = name;
    sources.emplace_back(std::move(files));
  };
  for (const auto& path : paths) {
    std::error_code error;
    if (fs::exists(fs::symlink_status(path, error))) {
      there.push_back(path);
    } else {
      add({path});  // a source of its own, which fails alone
    }
  }
  if (!there.empty()) {
    add(there);
    warn_of_whole_paths(std::get<ingest::FilesToBackUp>(sources.back()),
                        context.output);
  }
  return sources;
}

FileCount count_files(const std::vector<std::string>& paths,
                      const FileRules& rules, Context& context,
                      const std::stop_token& stop) {
  const auto files = files_of(paths, rules, context);
  warn_of_whole_paths(files, context.output);
  Counting counting(context.output);
  ingest::FileSource(files.paths, files.options).walk(counting, stop);
  if (stop.stop_requested()) throw repo::Cancelled("interrupted");
  return counting.count();
}

}  // namespace cairn::cli
