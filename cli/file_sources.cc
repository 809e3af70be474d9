#include "cli/file_sources.h"

#include <sys/stat.h>

#include <array>
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

// As the record shows it: as the walk finds it, so that SNAP:PATH does.
std::string recorded_path(const std::string& path) {
  try {
    return ingest::stored_path(path);
  } catch (const repo::Error&) {  // its source fails with it
    const fs::path whole = fs::absolute(path);
    std::error_code error;
    const fs::path above = fs::weakly_canonical(whole.parent_path(), error);
    return error ? whole.string() : (above / whole.filename()).string();
  }
}

std::string typed_path(const std::string& path) {
  std::string typed = fs::absolute(path).lexically_normal().string();
  if (typed.ends_with('/')) typed.pop_back();
  return typed;
}

// "/etc/ssl" of /etc is looked for below it: /etc/etc/ssl.
void warn_of_whole_paths(const std::vector<std::string>& paths,
                         const std::vector<std::string>& rules,
                         Output& output) {
  const auto is_below = [](std::string_view rule, std::string_view folder) {
    return folder.size() > 1 && rule.starts_with(folder) &&
           rule.size() > folder.size() && rule[folder.size()] == '/';
  };
  for (const auto& path : paths) {
    const std::array spellings{recorded_path(path), typed_path(path)};
    for (std::string_view rule : rules) {
      if (rule.starts_with('!')) rule.remove_prefix(1);
      for (const auto& folder : spellings) {
        if (!is_below(rule, folder)) continue;
        output.warning("the rule " + std::string(rule) +
                       " begins at the folder that is backed up, " + folder +
                       ", and is looked for below it; write " +
                       std::string(rule.substr(folder.size())));
        break;
      }
    }
  }
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
  for (const auto& path : paths) files.paths.push_back(recorded_path(path));
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

struct LookedFor {
  std::vector<std::string> there;
  std::vector<std::string> missing;
};

LookedFor look_for(const std::vector<std::string>& paths) {
  LookedFor found;
  for (const auto& path : paths) {
    std::error_code error;
    const bool is_there = fs::exists(fs::symlink_status(path, error));
    (is_there ? found.there : found.missing).push_back(path);
  }
  return found;
}

// What its source would fail with.
std::string why_missing(const std::string& path) {
  try {
    (void)ingest::stored_path(recorded_path(path));
  } catch (const repo::Error& e) {
    return e.what();
  }
  return path + ": was not there";  // and is by now
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
  const auto add = [&](const std::vector<std::string>& some) {
    auto files = files_of(some, rules, context);
    files.name = name;
    sources.emplace_back(std::move(files));
  };
  const auto [there, missing] = look_for(paths);
  for (const auto& path : missing) add({path});
  if (!there.empty()) {
    add(there);
    warn_of_whole_paths(there, rules.exclude, context.output);
  }
  return sources;
}

FileCount count_files(const std::vector<std::string>& paths,
                      const FileRules& rules, Context& context,
                      const std::stop_token& stop) {
  const auto [there, missing] = look_for(paths);
  Counting counting(context.output);
  if (!there.empty()) {
    warn_of_whole_paths(there, rules.exclude, context.output);
    const auto files = files_of(there, rules, context);
    ingest::FileSource(files.paths, files.options).walk(counting, stop);
  }
  if (stop.stop_requested()) throw repo::Cancelled("interrupted");
  FileCount count = counting.count();
  for (const auto& path : missing) count.missing.push_back(why_missing(path));
  return count;
}

}  // namespace cairn::cli
