#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/pg_series.h"
#include "cli/pg_wal.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/time_text.h"
#include "cli/wal_loss.h"
#include "ingest/recovery_wal.h"

namespace cairn::cli {
namespace {

using ingest::Lsn;
using ingest::RecoveryBase;
using ingest::RecoveryCluster;
using ingest::WalTime;

struct Options {
  std::optional<std::string> series;
};

struct Moment {
  Lsn lsn;
  std::optional<WalTime> time;  // nothing: it cannot be told
};

struct Window {
  Moment from;
  Moment to;
  bool has_commit = false;  // behind its first base
  const ingest::RecoveryWindow* window = nullptr;
};

struct Gap {
  Moment from;
  std::optional<Moment> to;            // nothing: it lasts until a new base
  const RecoveryBase* base = nullptr;  // that heals it
};

struct Timeline {
  std::uint32_t number = 0;
  bool is_known = true;  // how it branched off
  std::optional<ingest::PathStep> branched_off;
  ingest::RecoveryRange range;
  std::vector<Window> windows;
  std::vector<Gap> gaps;
};

Timeline look_at(ingest::RecoveryWal& wal, std::uint32_t number,
                 const std::stop_token& stop) {
  Timeline timeline;
  timeline.number = number;
  const auto way = wal.path_to(number);
  timeline.is_known = way.is_known;
  if (way.path.size() > 1) timeline.branched_off = way.path.back();
  timeline.range = range_of(wal.cluster(), way.path);
  for (const auto& window : timeline.range.windows) {
    Window shown;
    shown.window = &window;
    shown.from = {window.begin,
                  wal.first_moment(way.path, *window.bases.front(), stop)};
    shown.to = {window.end, shown.from.time};
    if (const auto last =
            wal.last_records(way.path, window.begin, window.end, stop)) {
      shown.to.lsn = last->next;
      shown.has_commit = last->last_commit.has_value();
      if (last->last_commit) shown.to.time = last->last_commit;
    }
    if (!timeline.windows.empty()) {
      timeline.gaps.push_back(
          {timeline.windows.back().to, shown.from, window.bases.front()});
    }
    timeline.windows.push_back(shown);
  }
  if (timeline.range.stranded && !timeline.windows.empty()) {
    timeline.gaps.push_back(
        {timeline.windows.back().to, std::nullopt, nullptr});
  }
  return timeline;
}

// ---- for people

std::string text_of(const Moment& moment) {
  const auto lsn = to_string(moment.lsn);
  return moment.time ? to_string(*moment.time) + " (" + lsn + ")" : lsn;
}

std::string brief(const RecoveryBase& base) {
  return base.snapshot->snapshot.id.brief();
}

void print_gaps(const Timeline& timeline, Context& context) {
  const std::string where =
      "timeline " + std::to_string(timeline.number) + ": ";
  for (const auto& gap : timeline.gaps) {
    context.output.warning(
        where + "no moment after " + text_of(gap.from) + " and before " +
        (gap.to ? text_of(*gap.to) : std::string("a new base backup")) +
        " can be recovered, for want of WAL in between; " +
        (gap.base != nullptr
             ? "base " + brief(*gap.base) + " has healed it"
             : std::string("take one now with 'cairn pg base'")));
  }
  if (timeline.windows.empty() && timeline.range.stranded) {
    context.output.warning(
        where + "no base backup leads to its WAL, from " +
        to_string(timeline.range.stranded->begin) + " to " +
        to_string(timeline.range.stranded->end) +
        ", so that none of it can be recovered; take one with 'cairn pg base'");
  }
  if (!timeline.is_known) {
    context.output.warning(where +
                           "its history file is not in the repository, so "
                           "that nothing before it leads there");
  }
  for (const auto& shown : timeline.windows) {
    const auto& last = *shown.window->bases.back();
    if (shown.window->end != last.end) continue;
    const bool is_alone =
        &shown == &timeline.windows.back() && !timeline.range.stranded;
    context.output.warning(
        where + "base " + brief(last) +
        " has no WAL behind it and can be recovered to its own end alone, " +
        text_of({last.end, shown.from.time}) +
        (is_alone ? "; 'cairn pg wal-receive' stores WAL from now on"
                  : "; it is older than the WAL behind it"));
  }
}

void print_text(const RecoveryCluster& cluster,
                const std::vector<Timeline>& timelines, const WalLoss& loss,
                Context& context) {
  const auto now = context.now();
  std::string head = "cluster " + std::to_string(cluster.system);
  if (!cluster.bases.empty()) {
    head += ", PostgreSQL " + printable(cluster.bases.back().version);
  }
  context.output.line(Colour::bold, head);
  using enum Table::Align;
  Table table({{"Timeline", right},
               {"From"},
               {"To, the last commit"},
               {"WAL", right},
               {"Bases", right},
               {"From LSN"},
               {"To LSN"}});
  for (const auto& timeline : timelines) {
    for (const auto& shown : timeline.windows) {
      const auto time = [](const Moment& moment) {
        return moment.time ? to_string(*moment.time) : std::string("?");
      };
      table.add({std::to_string(timeline.number), time(shown.from),
                 shown.has_commit ? time(shown.to) : "the same",
                 size_text(shown.to.lsn.value - shown.from.lsn.value),
                 count_text(shown.window->bases.size()),
                 to_string(shown.from.lsn), to_string(shown.to.lsn)});
    }
  }
  table.print(context.output);
  for (const auto& timeline : timelines) {
    if (const auto& step = timeline.branched_off) {
      context.output.line("timeline " + std::to_string(timeline.number) +
                          " branched off at " + to_string(step->begin));
    }
  }
  for (const auto& timeline : timelines) print_gaps(timeline, context);
  if (cluster.unknown_bases > 0) {
    context.output.warning(
        counted(cluster.unknown_bases, "base backup") +
        " of it cannot be recovered from, for want of files that were lost or "
        "of what it should tell of itself");
  }
  std::string lost = "would be lost now: all since the last base backup";
  if (loss.stored_at) {
    lost = "would be lost now: what was committed since WAL was last stored, " +
           relative_time_text(*loss.stored_at, now) + " (" +
           local_time_text(*loss.stored_at) + ")";
  }
  if (loss.spooled_bytes > 0) {
    lost += "; of that, " + size_text(loss.spooled_bytes) +
            " wait in the spool of this host";
  }
  context.output.line(lost);
}

// ---- for programs

void set_moment(Json& json, const std::string& name, const Moment& moment) {
  if (moment.time) {
    json.set(name, to_timestamp(*moment.time));
  } else {
    json.set(name, nullptr);
  }
  json.set(name + "_lsn", to_string(moment.lsn));
}

Json json_of(const RecoveryBase& base) {
  Json json = Json::object();
  json.set("snapshot_id", base.snapshot->snapshot.id.hex())
      .set("timeline", base.timeline)
      .set("start_lsn", to_string(base.start))
      .set("end_lsn", to_string(base.end))
      .set("server_version", base.version);
  if (base.end_time) json.set("end_time", *base.end_time);
  return json;
}

Json json_of(const Timeline& timeline) {
  Json windows = Json::array();
  for (const auto& shown : timeline.windows) {
    Json json = Json::object();
    set_moment(json, "from", shown.from);
    set_moment(json, "to", shown.to);
    json.set("has_commit", shown.has_commit);
    Json bases = Json::array();
    for (const auto* const base : shown.window->bases) {
      bases.add(base->snapshot->snapshot.id.hex());
    }
    json.set("bases", std::move(bases));
    windows.add(std::move(json));
  }
  Json gaps = Json::array();
  for (const auto& gap : timeline.gaps) {
    Json json = Json::object();
    set_moment(json, "from", gap.from);
    if (gap.to) {
      set_moment(json, "to", *gap.to);
      json.set("healed_by", gap.base->snapshot->snapshot.id.hex());
    } else {
      json.set("to", nullptr).set("to_lsn", nullptr).set("healed_by", nullptr);
    }
    gaps.add(std::move(json));
  }
  Json json = Json::object();
  json.set("timeline", timeline.number)
      .set("history_known", timeline.is_known)
      .set("windows", std::move(windows))
      .set("gaps", std::move(gaps));
  if (timeline.branched_off) {
    json.set("branched_off_lsn", to_string(timeline.branched_off->begin));
  }
  if (const auto& range = timeline.range.stranded) {
    Json stranded = Json::object();
    stranded.set("from_lsn", to_string(range->begin))
        .set("to_lsn", to_string(range->end));
    json.set("wal_without_base", std::move(stranded));
  }
  return json;
}

Json json_of(const RecoveryCluster& cluster,
             const std::vector<Timeline>& timelines, const WalLoss& loss,
             const repo::Timestamp& now) {
  Json shown = Json::array();
  for (const auto& timeline : timelines) shown.add(json_of(timeline));
  Json bases = Json::array();
  for (const auto& base : cluster.bases) bases.add(json_of(base));
  Json json = Json::object();
  json.set("system_identifier", std::to_string(cluster.system))
      .set("timelines", std::move(shown))
      .set("bases", std::move(bases))
      .set("unknown_bases", cluster.unknown_bases);
  if (loss.stored_at) {
    json.set("wal_stored_at", *loss.stored_at)
        .set("wal_age_seconds", now.seconds - loss.stored_at->seconds);
  } else {
    json.set("wal_stored_at", nullptr).set("wal_age_seconds", nullptr);
  }
  json.set("spooled_bytes", loss.spooled_bytes);
  return json;
}

ExitCode run(const Options& options, Context& context) {
  const std::string bases = pg_series(options.series);
  auto repository = context.open_to_read();
  const auto spools =
      wal_spools(wal_series(options.series), repository.keyring().repository());
  const auto list = repository.snapshots(context.now());
  const auto clusters =
      clusters_in(list, bases, repository.keyring(), context.output);
  const Interrupt interrupt;
  Json all = Json::array();
  for (const auto& cluster : clusters) {
    ingest::RecoveryWal wal(repository, cluster);
    std::vector<Timeline> timelines;
    for (const auto number : cluster.timelines()) {
      timelines.push_back(look_at(wal, number, interrupt.token()));
    }
    const auto loss = wal_loss_of(cluster, spools);
    if (context.output.is_json()) {
      all.add(json_of(cluster, timelines, loss, context.now()));
    } else {
      print_text(cluster, timelines, loss, context);
    }
  }
  if (context.output.is_json()) {
    Json json = Json::line("pg_range", context.now());
    json.set("series", bases).set("clusters", std::move(all));
    context.output.document(json);
  }
  return list.damage.empty() ? ExitCode::ok : ExitCode::damage;
}

}  // namespace

Command pg_range_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg range",
      .group = CommandGroup::look,
      .summary = "which moments of a PostgreSQL cluster can be recovered",
      .text =
          "Shows, for each timeline, from which moment to which a cluster can "
          "be recovered with 'cairn restore --at': from the end of a base "
          "backup to the last commit in WAL that follows without a gap. The "
          "times are the server's own, read from WAL, in UTC. Tells of gaps, "
          "in which nothing can be recovered, and what heals them, and what "
          "would be lost if the server were lost now. Reads the ends of WAL, "
          "not all of it.",
      .examples = "cairn pg range\ncairn pg range --series shop --json",
      .declare =
          [options](Flags& flags) {
            flags.text("--series", "S", options->series,
                       "whose base backups, with the WAL in S/wal (default: "
                       "HOST/pg)");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
