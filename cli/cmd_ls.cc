#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/entry_text.h"
#include "cli/printable.h"
#include "cli/snapshot_selector.h"
#include "repo/error.h"
#include "repo/tree_bound.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

struct Options {
  std::string snapshot;
  std::optional<std::string> series;
  bool is_long = false;
  bool is_recursive = false;
};

class Listing {
 public:
  Listing(const Options& options, Context& context, repo::BlobReader& blobs,
          const repo::SnapshotHeader& header)
      : options_(options), context_(context), tree_(blobs), bound_(header) {}

  // What lies in a folder, or the one other entry that it is.
  void show(const repo::TreeEntry& entry, const std::string& path) {
    if (entry.entry.type == repo::EntryType::folder) {
      show_children(entry, path);
    } else {
      print(entry.entry, path);
    }
  }

 private:
  void show_children(const repo::TreeEntry& folder, const std::string& path) {
    if (folder.rows.empty()) return;
    tree_.for_each_entry(
        folder.rows.front(), [&](const repo::TreeEntry& child) {
          const std::string child_path = path_below(path, child.entry.name);
          bound_.count(child, child_path);
          print(child.entry, child_path);
          if (options_.is_recursive &&
              child.entry.type == repo::EntryType::folder) {
            show_children(child, child_path);
          }
          return repo::Visit::go_on;
        });
  }

  void print(const repo::Entry& entry, const std::string& path) {
    if (context_.output.is_json()) {
      context_.output.json(json_of(entry, path, "entry", context_.now()));
    } else if (options_.is_long) {
      context_.output.line(long_prefix(entry) + printable(path) +
                           long_suffix(entry));
    } else {
      context_.output.line(printable(path));
    }
  }

  const Options& options_;
  Context& context_;
  repo::TreeReader tree_;
  repo::TreeBound bound_;
};

ExitCode run(const Options& options, Context& context) {
  auto repository = context.open_to_read();
  SnapshotSelector selector(context, repository, options.series);
  const auto selected = selector.select(options.snapshot);
  const auto entry = selector.entry_at(selected);
  auto blobs = repository.blobs();
  Listing(options, context, blobs, selected.snapshot.snapshot.header)
      .show(entry, selected.path.empty() ? "" : "/" + selected.path);
  return selector.is_in_doubt() ? ExitCode::damage : ExitCode::ok;
}

}  // namespace

Command ls_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "ls",
      .group = CommandGroup::look,
      .summary = "list what a snapshot holds",
      .text =
          "Lists the entries of a folder of a snapshot, by their whole "
          "paths in it.",
      .examples =
          "cairn ls latest\n"
          "cairn ls -l latest:/etc\n"
          "cairn ls --recursive '@2026-11-20T14:30:/srv'",
      .declare =
          [options](Flags& flags) {
            flags.argument("SNAP[:PATH]", options->snapshot);
            declare_series(flags, options->series);
            flags.flag("-l, --long", options->is_long,
                       "mode, owner, size and time as well");
            flags.flag("-R, --recursive", options->is_recursive,
                       "and what lies in the folders below");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
