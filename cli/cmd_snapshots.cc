#include <algorithm>
#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kSourcesWidth = 48;

struct Options {
  std::optional<std::string> series;
  std::vector<std::string> tags;
  std::optional<std::string> host;
  std::optional<std::uint64_t> last;
};

std::string holds_text(const repo::ValidSnapshot& valid) {
  return valid.holds.empty() ? "" : "held";
}

void print_table(const std::vector<const repo::ValidSnapshot*>& shown,
                 Context& context) {
  using enum Table::Align;
  Table table({{"ID"},
               {"Time"},
               {"Series"},
               {"Sources", left, kSourcesWidth},
               {"Size", right},
               {"Stored", right},
               {"Ratio", right},
               {"Tags"},
               {"Hold"},
               {"State"}});
  const auto now = context.now();
  for (const auto* const valid : shown) {
    const auto& [snapshot, holds] = *valid;
    const auto& header = snapshot.header;
    table.add({snapshot.id.brief(), time_and_age(header.time, now),
               series_text(snapshot), sources_text(snapshot),
               size_text(header.logical_bytes), size_text(header.stored_bytes),
               ratio_text(header.logical_bytes, header.stored_bytes),
               snapshot.record ? joined(snapshot.record->tags) : "",
               holds_text(*valid), state_text(snapshot)});
  }
  table.print(context.output);
}

ExitCode run(const Options& options, Context& context) {
  const auto repository = context.open_to_read();
  const auto list = repository.snapshots(context.now());
  for (const auto& damage : list.damage) context.output.warning(damage);
  const SnapshotFilter filter{
      series_of(options.series, repository.keyring(), list, context.output),
      options.tags, options.host};

  std::vector<const repo::ValidSnapshot*> shown;
  for (const auto& valid : list.snapshots) {
    if (filter.lets_through(valid.snapshot)) shown.push_back(&valid);
  }
  if (options.last && *options.last < shown.size()) {
    shown.erase(shown.begin(),
                shown.end() - static_cast<std::ptrdiff_t>(*options.last));
  }
  if (context.output.is_json()) {
    Json all = Json::array();
    for (const auto* const valid : shown) all.add(json_of(*valid));
    context.output.document(all);
  } else if (shown.empty()) {
    context.output.note("no snapshots");
  } else {
    print_table(shown, context);
  }
  return list.damage.empty() ? ExitCode::ok : ExitCode::damage;
}

}  // namespace

Command snapshots_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "snapshots",
      .group = CommandGroup::look,
      .summary = "list the snapshots",
      .text =
          "Lists the snapshots, the newest last: when, of which series, what "
          "was read, how much it is, and how much of that was new and had to "
          "be stored. The state is 'future' for a time later than the "
          "snapshot's "
          "arrival: a clock was wrong, or --time.",
      .examples =
          "cairn snapshots --last 10\n"
          "cairn snapshots --series db --json",
      .declare =
          [options](Flags& flags) {
            declare_series(flags, options->series);
            flags.texts("--tag", "T", options->tags,
                        "only those with this tag (or another one given)");
            flags.value("--host", "H", options->host,
                        "only those of this host");
            flags.value(
                "--last", "N",
                [options](std::string_view text) {
                  options->last = parse_count(text, 1'000'000'000);
                },
                "only the newest N");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
