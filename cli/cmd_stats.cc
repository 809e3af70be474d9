#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "repo/pack_reader.h"

namespace cairn::cli {
namespace {

struct Options {
  std::optional<std::string> series;
};

struct Stats {
  std::uint64_t snapshots = 0;
  std::uint64_t logical_bytes = 0;
  std::uint64_t stored_bytes = 0;  // everything that lies in the repository
  std::uint64_t packs = 0;
  std::uint64_t pack_bytes = 0;
  std::uint64_t chunks = 0;
};

Stats gather(repo::Repository& repository, const repo::SnapshotList& list,
             const std::optional<Series>& series) {
  Stats stats;
  for (const auto& valid : list.snapshots) {
    if (series && !series->holds(valid.snapshot)) continue;
    ++stats.snapshots;
    stats.logical_bytes += valid.snapshot.header.logical_bytes;
  }
  constexpr std::string_view kEverything;
  repository.storage().list(kEverything, [&](const repo::ListedObject& object) {
    stats.stored_bytes += object.size;
    if (!object.name.starts_with("packs/")) return;
    ++stats.packs;
    stats.pack_bytes += object.size;
  });
  if (!list.snapshots.empty()) {
    const auto& newest = list.snapshots.back().snapshot;
    (void)repository.index_for(newest.header.root);
  }
  stats.chunks = repository.index().count(repo::BlobKind::content);
  return stats;
}

void print(const Stats& stats, Context& context) {
  const auto line = [&](std::string_view name, const std::string& value) {
    std::string text(name);
    text.resize(12, ' ');
    context.output.line(text + value);
  };
  line("snapshots", count_text(stats.snapshots));
  line("logical",
       size_text(stats.logical_bytes) + " in all snapshots together");
  line("stored", size_text(stats.stored_bytes) + ", " +
                     size_text(stats.pack_bytes) + " of it in " +
                     counted(stats.packs, "pack"));
  line("ratio", ratio_text(stats.logical_bytes, stats.stored_bytes));
  line("chunks", count_text(stats.chunks));
}

ExitCode run(const Options& options, Context& context) {
  auto repository = context.open_to_read();
  const auto list = repository.snapshots(context.now());
  for (const auto& damage : list.damage) context.output.warning(damage);
  const Stats stats = gather(
      repository, list,
      series_of(options.series, repository.keyring(), list, context.output));
  if (context.output.is_json()) {
    Json json = Json::line("stats", context.now());
    json.set("snapshots", stats.snapshots)
        .set("logical_bytes", stats.logical_bytes)
        .set("stored_bytes", stats.stored_bytes)
        .set("chunks", stats.chunks)
        .set("packs", stats.packs)
        .set("pack_bytes", stats.pack_bytes);
    if (stats.stored_bytes > 0) {
      json.set("ratio", static_cast<double>(stats.logical_bytes) /
                            static_cast<double>(stats.stored_bytes));
    }
    context.output.json(json);
  } else {
    print(stats, context);
  }
  return list.damage.empty() ? ExitCode::ok : ExitCode::damage;
}

}  // namespace

Command stats_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "stats",
      .group = CommandGroup::look,
      .summary = "how much is stored, and for how much data",
      .text =
          "Says how many snapshots there are, how much data they hold "
          "logically, and how much the repository takes for all of it. With "
          "--series, the snapshots are those of one series; what is stored is "
          "still everything, because series share it.",
      .examples = "cairn stats --json",
      .declare =
          [options](Flags& flags) { declare_series(flags, options->series); },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
