#include <memory>
#include <unordered_set>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/entry_text.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/snapshot_selector.h"
#include "cli/time_text.h"
#include "cli/tree_path.h"
#include "cli/usage_error.h"
#include "ingest/glob.h"
#include "repo/tree_bound.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

struct Options {
  std::string pattern;
  std::vector<std::string> snapshots;
  std::optional<std::string> series;
};

// Looks through snapshots that share most of their folders: one in which
// nothing was found is not read again.
class Search {
 public:
  Search(std::string_view pattern, Context& context, repo::BlobReader& blobs)
      : context_(context),
        tree_(blobs),
        by_path_(pattern.find('/') != std::string_view::npos) {
    const bool is_anchored = pattern.starts_with('/');
    auto glob =
        ingest::Glob::compile(is_anchored ? std::string(pattern.substr(1))
                              : by_path_  ? "**/" + std::string(pattern)
                                          : std::string(pattern));
    if (!glob) {
      throw UsageError("find: '" + std::string(pattern) +
                       "' can match nothing: an unclosed bracket?");
    }
    glob_ = std::move(*glob);
  }

  void look_in(const repo::Snapshot& snapshot) {
    begin(snapshot);
    (void)look_in({repo::BlobKind::links, snapshot.header.root, 0}, "");
  }

  // Only in the folder at `path`, or at the one other entry that is there.
  void look_in(const repo::Snapshot& snapshot, const repo::TreeEntry& entry,
               const std::string& path) {
    begin(snapshot);
    if (entry.entry.type != repo::EntryType::folder) {
      (void)offer(entry.entry, path);
    } else if (!entry.rows.empty()) {
      (void)look_in(entry.rows.front(), path);
    }
  }

  [[nodiscard]] bool has_found() const noexcept { return has_found_; }

 private:
  void begin(const repo::Snapshot& snapshot) {
    snapshot_ = &snapshot;
    bound_ = repo::TreeBound(snapshot.header);
  }

  // Whether something was found.
  bool look_in(const repo::Link& folder, const std::string& path) {
    // Below another folder the same entries have other paths.
    const std::string key = folder.id.hex() + (by_path_ ? path : "");
    if (without_match_.contains(key)) return false;
    bool found = false;
    tree_.for_each_entry(folder, [&](const repo::TreeEntry& child) {
      const std::string child_path = path_below(path, child.entry.name);
      bound_.count(child, child_path);
      if (offer(child.entry, child_path)) found = true;
      if (child.entry.type == repo::EntryType::folder && !child.rows.empty() &&
          look_in(child.rows.front(), child_path)) {
        found = true;
      }
      return repo::Visit::go_on;
    });
    if (!found) without_match_.insert(key);
    return found;
  }

  // Prints it if it matches, and answers whether it does.
  bool offer(const repo::Entry& entry, const std::string& path) {
    const bool matches =
        glob_.matches(by_path_ ? std::string_view(path).substr(1) : entry.name);
    if (matches) print(entry, path);
    return matches;
  }

  void print(const repo::Entry& entry, const std::string& path) {
    has_found_ = true;
    if (context_.output.is_json()) {
      Json json = json_of(entry, path, "match", context_.now());
      json.set("snapshot", snapshot_->id.hex())
          .set("snapshot_time", snapshot_->header.time);
      context_.output.json(json);
      return;
    }
    std::string size = size_text(entry.size);
    size.insert(0, size.size() < 10 ? 10 - size.size() : 0, ' ');
    context_.output.line(snapshot_->id.brief() + "  " +
                         local_time_text(snapshot_->header.time) + "  " + size +
                         "  " + local_time_text(entry.modified) + "  " +
                         printable(path));
  }

  Context& context_;
  repo::TreeReader tree_;
  const bool by_path_;
  ingest::Glob glob_;
  const repo::Snapshot* snapshot_ = nullptr;
  repo::TreeBound bound_;  // of what is left of it
  std::unordered_set<std::string> without_match_;
  bool has_found_ = false;
};

using Selected = SnapshotSelector::Selected;

// Whether all of it lies in what another one names, or is named before.
bool is_named_twice(std::size_t i, const std::vector<Selected>& all) {
  for (std::size_t k = 0; k < all.size(); ++k) {
    const bool is_of_same =
        all[k].snapshot.snapshot.id == all[i].snapshot.snapshot.id;
    if (k == i || !is_of_same || !is_within(all[i].path, all[k].path)) continue;
    if (all[k].path != all[i].path || k < i) return true;
  }
  return false;
}

ExitCode run(const Options& options, Context& context) {
  auto repository = context.open_to_read();
  SnapshotSelector selector(context, repository, options.series);
  std::vector<Selected> places;
  for (const auto& text : options.snapshots) {
    places.push_back(selector.select(text));
  }
  auto blobs = repository.blobs();
  Search search(options.pattern, context, blobs);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto& [valid, path, given] = places[i];
    if (is_named_twice(i, places)) continue;
    search.look_in(valid.snapshot, selector.entry_at(places[i]),
                   path.empty() ? "" : "/" + path);
  }
  if (options.snapshots.empty()) {
    for (const auto* const valid : selector.of_series()) {
      search.look_in(valid->snapshot);
    }
  }
  if (!search.has_found()) context.output.note("nothing matches");
  const bool is_whole = selector.damage().empty() ||
                        (!options.snapshots.empty() && !selector.is_in_doubt());
  return is_whole ? ExitCode::ok : ExitCode::damage;
}

}  // namespace

Command find_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "find",
      .group = CommandGroup::look,
      .summary = "find files by name, in all snapshots",
      .text =
          "Finds the entries whose name matches a pattern. One with a slash is "
          "compared with the end of the path, or with all of it if it begins "
          "with the slash. * and ? stop at slashes, ** does not. Each match "
          "comes with its snapshot, the snapshot's time, its "
          "size and when it was last modified.",
      .examples =
          "cairn find 'nginx*.conf'\n"
          "cairn find --snapshot latest '/srv/**/*.sqlite'",
      .declare =
          [options](Flags& flags) {
            flags.argument("PATTERN", options->pattern);
            flags.values("--snapshot", "SNAP[:PATH]", options->snapshots,
                         "only there; may be repeated");
            declare_series(flags, options->series);
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
