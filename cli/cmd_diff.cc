#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/snapshot_selector.h"
#include "cli/snapshot_text.h"
#include "ingest/diff.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

struct Options {
  std::string before;
  std::string after;
  std::optional<std::string> series;
};

struct ChangeName {
  std::string_view name;
  char letter;
};

ChangeName words_of(ingest::Change change) {
  switch (change) {
    case ingest::Change::added:
      return {"added", '+'};
    case ingest::Change::removed:
      return {"removed", '-'};
    case ingest::Change::content:
      return {"content", 'M'};
    case ingest::Change::metadata:
      return {"metadata", 'U'};
    case ingest::Change::type:
      return {"type", 'T'};
  }
  return {"unknown", '?'};
}

Colour colour_of(ingest::Change change) {
  switch (change) {
    case ingest::Change::added:
      return Colour::green;
    case ingest::Change::removed:
      return Colour::red;
    case ingest::Change::metadata:
      return Colour::faint;
    case ingest::Change::content:
    case ingest::Change::type:
      break;
  }
  return Colour::yellow;
}

void add_side(Json& json, const std::string& side,
              const repo::TreeEntry* entry) {
  if (!entry) return;
  json.set(side + "_kind", name_of(entry->entry.type))
      .set(side + "_size", entry->entry.size)
      .set(side + "_modified", entry->entry.modified);
}

class Report {
 public:
  Report(std::string base, Context& context)
      : base_(std::move(base)), context_(context) {}

  void add(const ingest::Difference& difference) {
    ++counts_[static_cast<std::size_t>(difference.change)];
    const auto [name, letter] = words_of(difference.change);
    std::string path = base_;
    if (!difference.path.empty()) path += "/" + difference.path;
    if (context_.output.is_json()) {
      Json json = Json::line("change", context_.now());
      json.set_bytes("path", path).set("change", name);
      add_side(json, "before", difference.before);
      add_side(json, "after", difference.after);
      context_.output.json(json);
    } else {
      context_.output.line(colour_of(difference.change),
                           std::string(1, letter) + "  " + printable(path));
    }
  }

  void end() {
    const auto count = [&](ingest::Change change) {
      return counts_[static_cast<std::size_t>(change)];
    };
    using enum ingest::Change;
    if (context_.output.is_json()) {
      context_.output.json(Json::line("summary", context_.now())
                               .set("added", count(added))
                               .set("removed", count(removed))
                               .set("content", count(content))
                               .set("metadata", count(metadata))
                               .set("type_changed", count(type)));
    } else {
      context_.output.note(
          count_text(count(added)) + " added, " + count_text(count(removed)) +
          " removed, " + count_text(count(content)) + " changed, " +
          count_text(count(type)) + " of another type, " +
          count_text(count(metadata)) + " changed in metadata only");
    }
  }

 private:
  const std::string base_;
  Context& context_;
  std::uint64_t counts_[5] = {};
};

ExitCode run(const Options& options, Context& context) {
  auto repository = context.open_to_read();
  SnapshotSelector selector(context, repository, options.series);
  const auto before = selector.select(options.before);
  const auto after = selector.select(options.after);
  const auto before_entry = selector.entry_at(before);
  const auto after_entry = selector.entry_at(after);
  Report report(after.path.empty() ? "" : "/" + after.path, context);
  ingest::diff(repository,
               {before_entry, repo::TreeBound(before.snapshot.snapshot.header)},
               {after_entry, repo::TreeBound(after.snapshot.snapshot.header)},
               [&](const ingest::Difference& difference) {
                 report.add(difference);
                 return repo::Visit::go_on;
               },
               {});
  report.end();
  return selector.is_in_doubt() ? ExitCode::damage : ExitCode::ok;
}

}  // namespace

Command diff_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "diff",
      .group = CommandGroup::look,
      .summary = "what differs between two snapshots",
      .text =
          "Lists what differs from one snapshot to another, or between paths "
          "in "
          "them: + added, - removed, M content, U metadata only, T another "
          "type.",
      .examples =
          "cairn diff latest~1 latest\n"
          "cairn diff 1f2e3d4c:/etc latest:/etc",
      .declare =
          [options](Flags& flags) {
            flags.argument("SNAP[:PATH]", options->before);
            flags.argument("SNAP[:PATH]", options->after);
            declare_series(flags, options->series);
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
