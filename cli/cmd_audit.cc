#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/finding_text.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/audit.h"
#include "repo/key_slot.h"

namespace cairn::cli {
namespace {

struct ShowOptions {
  std::optional<std::string> series;
  std::optional<std::string> since;
};

// One thing that somebody did.
struct Act {
  repo::Timestamp time;  // that its object tells
  std::string_view what;
  std::string object;                        // its id
  std::string signer;                        // empty: a key, which none signs
  const repo::Snapshot* snapshot = nullptr;  // that it is about, if known
  std::string details;
  Json json;  // with type and time
};

class History {
 public:
  // Borrows both.
  History(const repo::AuditTrail& trail, const repo::Keyring& keyring)
      : trail_(trail), keyring_(keyring) {
    for (const auto& snapshot : trail.snapshots) {
      by_id_.emplace(snapshot.id, &snapshot);
    }
    for (const auto& mark : trail.marks) {
      const auto& said = mark.content.mark;
      if (said.action == repo::MarkAction::hold) {
        held_.emplace(repo::SessionId{mark.id.bytes}, said.target);
      }
    }
  }

  // By time, then in the order of what leads to what.
  [[nodiscard]] std::vector<Act> acts() && {
    for (const auto& key : trail_.keys) add(key);
    for (const auto& generation : trail_.generations) add(generation);
    for (const auto& snapshot : trail_.snapshots) add(snapshot);
    for (const auto& tombstone : trail_.tombstones) add(tombstone);
    for (const auto& mark : trail_.marks) add(mark);
    for (const auto& epoch : trail_.epochs) add(epoch);
    std::ranges::stable_sort(acts_, {}, &Act::time);
    return std::move(acts_);
  }

 private:
  Act& begin(std::string_view what, const repo::Timestamp& time,
             std::string object) {
    Json json = Json::line(what, time);
    json.set("id", object);
    return acts_.emplace_back(Act{.time = time,
                                  .what = what,
                                  .object = std::move(object),
                                  .signer = "",
                                  .details = "",
                                  .json = std::move(json)});
  }

  Act& begin(std::string_view what, const repo::Timestamp& time,
             std::string object, const repo::SignerChain& signer) {
    Act& act = begin(what, time, std::move(object));
    note_signer(act, signer.host_key, signer.role);
    return act;
  }

  static void note_signer(Act& act, const crypto::VerifyKey& key,
                          repo::Role role) {
    constexpr std::size_t kBrief = 8;
    const std::string name = repo::fingerprint(key);
    act.signer =
        name.substr(0, kBrief) + " " + std::string(repo::name_of(role));
    act.json.set("key", name).set("role", repo::name_of(role));
  }

  // `target` may have been settled, and is known by its id alone then.
  void note_target(Act& act, const repo::SessionId& target) {
    act.json.set("snapshot", target.hex());
    if (const auto found = by_id_.find(target); found != by_id_.end()) {
      act.snapshot = found->second;
      set_series(act.json, *found->second);
    }
    act.details = "snapshot " + target.brief();
  }

  void add(const repo::KeySlot& key) {
    Act& act = begin("key", key.created, key.id.hex());
    act.details = std::string(repo::name_of(key.role)) + ", " +
                  std::string(repo::name_of(key.method));
    if (!key.label.empty()) act.details += ", " + key.label;
    act.json.set("role", repo::name_of(key.role))
        .set("method", repo::name_of(key.method))
        .set("label", key.label);
  }

  // By the root key, which every owner holds: no host signs it.
  void add(const repo::GenerationObject& generation) {
    Act& act = begin("generation", generation.created,
                     std::to_string(generation.number));
    note_signer(act, keyring_.root_key(), repo::Role::owner);
    act.details =
        "keys renewed, for " + counted(generation.grants.size(), "key slot");
    Json granted = Json::array();
    for (const auto& grant : generation.grants) {
      const auto slot = std::ranges::find(trail_.keys, grant.slot,
                                          &repo::KeySlot::public_key);
      // One that was removed since has no id any more.
      if (slot != trail_.keys.end()) granted.add(slot->id.hex());
    }
    act.json.set("grants", std::uint64_t{generation.grants.size()})
        .set("granted_to", std::move(granted));
  }

  void add(const repo::Snapshot& snapshot) {
    const auto& header = snapshot.header;
    // When it was made, whatever the time of the data.
    Act& act =
        begin("snapshot", header.arrival, snapshot.id.hex(), snapshot.signer);
    act.snapshot = &snapshot;
    act.details = "number " + std::to_string(header.sequence);
    if (snapshot.record) act.details += ", host " + snapshot.record->host;
    if (!header.is_complete) act.details += ", incomplete";
    set_series(act.json, snapshot);
    if (snapshot.record) act.json.set("host", snapshot.record->host);
    act.json.set("data_time", header.time)
        .set("sequence", header.sequence)
        .set("complete", header.is_complete);
  }

  void add(const repo::Tombstone& tombstone) {
    Act& act = begin("tombstone", tombstone.time, tombstone.id.hex(),
                     tombstone.signer);
    act.details = tombstone.reason;
    act.json.set("reason", tombstone.reason);
  }

  void add(const repo::AuditedMark& stored) {
    const repo::Mark& mark = stored.content.mark;
    const repo::SignerChain& signer = stored.content.signer;
    const auto what = [&]() -> std::string_view {
      switch (mark.action) {
        case repo::MarkAction::forget:
          return "forget";
        case repo::MarkAction::hold:
          return "hold";
        case repo::MarkAction::release:
          break;
      }
      return "release";
    }();
    Act& act = begin(what, mark.time, stored.id.hex(), signer);
    if (mark.action != repo::MarkAction::release) {
      note_target(act, mark.target);
    } else if (const auto hold = held_.find(mark.target); hold != held_.end()) {
      note_target(act, hold->second);
    }
    if (mark.action == repo::MarkAction::release) {
      act.details +=
          (act.details.empty() ? "hold " : ", hold ") + mark.target.brief();
      act.json.set("hold", mark.target.hex());
    }
    if (!mark.reason.empty()) act.details += ": " + mark.reason;
    act.json.set("reason", mark.reason);
    if (mark.until) {
      act.details += ", until " + local_time_text(*mark.until);
      act.json.set("until", *mark.until);
    }
  }

  void add(const repo::SignedEpoch& stored) {
    const auto& epoch = stored.epoch;
    const bool condemns = epoch.is_condemnation();
    // A doom carries on what earlier ones decided and is still there.
    const auto packs = static_cast<std::uint64_t>(
        condemns ? std::ssize(epoch.condemned)
                 : std::ranges::count(epoch.doomed, epoch.time,
                                      &repo::DoomedPack::since));
    Act& act = begin(condemns ? "condemnation" : "doom", epoch.time,
                     std::to_string(epoch.number), stored.signer);
    act.details = counted(packs, "pack") + "; " +
                  counted(epoch.snapshots.size(), "snapshot") +
                  (condemns ? " were there" : " stay");
    act.json.set("packs", packs)
        .set("snapshots", std::uint64_t{epoch.snapshots.size()});
  }

  const repo::AuditTrail& trail_;
  const repo::Keyring& keyring_;
  std::map<repo::SessionId, const repo::Snapshot*> by_id_;
  std::map<repo::SessionId, repo::SessionId> held_;  // by the hold's id
  std::vector<Act> acts_;
};

void print_table(const std::vector<Act>& acts, Context& context) {
  Table table({{"Time"}, {"What"}, {"ID"}, {"Key"}, {"Series"}, {"Details"}});
  constexpr std::size_t kBrief = 8;
  for (const auto& act : acts) {
    table.add({local_time_text(act.time), std::string(act.what),
               act.object.substr(0, kBrief), act.signer,
               act.snapshot != nullptr ? series_text(*act.snapshot) : "",
               act.details});
  }
  table.print(context.output);
}

repo::Timestamp parse_since_or_refuse(const std::string& text,
                                      const repo::Timestamp& now) {
  if (const auto time = parse_since(text, now)) return *time;
  throw UsageError("audit show: --since: '" + text +
                   "' is not a time, a date or a span such as 90d");
}

// What damage there is stands in nobody's way, and is told.
ExitCode warn_of(repo::FindingList& findings, Context& context) {
  repo::CheckReport report;
  findings.move_to(report);
  for (const auto& finding : report.findings) {
    if (finding.severity < repo::Severity::unsupported) continue;
    context.output.warning(finding.object + ": " + finding.message);
  }
  return code_of(report);
}

ExitCode show(const ShowOptions& options, Context& context) {
  std::optional<repo::Timestamp> since;
  if (options.since) {
    since = parse_since_or_refuse(*options.since, context.now());
  }
  auto repository = context.open_to_read();
  const auto& keyring = repository.keyring();
  std::optional<Series> series;
  if (options.series) series.emplace(*options.series, keyring);
  repo::FindingList findings;
  const auto trail =
      repo::read_audit_trail(repository.storage(), keyring, findings);
  auto acts = History(trail, keyring).acts();
  std::erase_if(acts, [&](const Act& act) {
    return (since && act.time < *since) ||
           (series &&
            (act.snapshot == nullptr || !series->holds(*act.snapshot)));
  });
  if (context.output.is_json()) {
    for (const auto& act : acts) context.output.json(act.json);
  } else if (acts.empty()) {
    context.output.note("nothing is told");
  } else {
    print_table(acts, context);
  }
  return warn_of(findings, context);
}

ExitCode verify(Context& context) {
  auto repository = context.open_to_read();
  const auto& storage = repository.storage();
  const auto& keyring = repository.keyring();
  repo::FindingList findings;
  const auto trail = repo::read_audit_trail(storage, keyring, findings);
  const auto others = repo::verify_other_signatures(storage, keyring, findings);
  repo::find_gaps(trail, findings);
  repo::CheckReport report;
  findings.move_to(report);
  for (const auto& finding : report.findings) print(finding, context);

  const auto damage = report.count(repo::Severity::damage);
  const auto notes = report.count(repo::Severity::note);
  if (context.output.is_json()) {
    context.output.json(
        Json::line("summary", context.now())
            .set("snapshots", std::uint64_t{trail.snapshots.size()})
            .set("tombstones", std::uint64_t{trail.tombstones.size()})
            .set("marks", std::uint64_t{trail.marks.size()})
            .set("epochs", std::uint64_t{trail.epochs.size()})
            .set("keys", std::uint64_t{trail.keys.size()})
            .set("generations", std::uint64_t{trail.generations.size()})
            .set("others", others)
            .set("damage", damage)
            .set("unsupported", report.count(repo::Severity::unsupported))
            .set("notes", notes)
            .set("shows_less", context.shows_less()));
  } else if (!context.output.is_quiet()) {
    context.output.line("verified " +
                        counted(trail.snapshots.size(), "snapshot") + ", " +
                        counted(trail.tombstones.size(), "tombstone") + ", " +
                        counted(trail.marks.size(), "mark") + ", " +
                        counted(trail.epochs.size(), "epoch") + ", " +
                        counted(trail.generations.size(), "renewal") +
                        " of keys, " + counted(others, "other object"));
    if (damage > 0) {
      context.output.line("damage or gaps: " + counted(damage, "finding"));
    } else if (notes > 0) {
      context.output.line("no gap that nothing explains; -v lists " +
                          counted(notes, "note"));
    } else {
      context.output.line("no gap");
    }
  }
  return context.shows_less() ? ExitCode::damage : code_of(report);
}

}  // namespace

Command audit_show_command() {
  const auto options = std::make_shared<ShowOptions>();
  return {
      .name = "audit show",
      .group = CommandGroup::administration,
      .summary = "show who did what to the repository",
      .text =
          "Shows what the repository's signed objects tell of its history, by "
          "time: snapshots, and of sessions that were ended from outside "
          "tombstones; what was forgotten, held and released; what prunes "
          "condemned and doomed; when the keys were renewed, and for how many; "
          "and the keys. Each with the key of the host "
          "that signed it, and its role; an owner's root key renews keys. The "
          "times are those that the signers "
          "tell. What prunes settled is gone from here, too.",
      .examples =
          "cairn audit show --since 30d\n"
          "cairn audit show --series db --json",
      .declare =
          [options](Flags& flags) {
            declare_series(flags, options->series);
            flags.value("--since", "TIME", options->since,
                        "a date, a time, or a span before now such as 30d");
          },
      .run = [options](Context& context) { return show(*options, context); },
  };
}

Command audit_verify_command() {
  return {
      .name = "audit verify",
      .group = CommandGroup::administration,
      .summary = "verify that the history has no gap and no forgery",
      .text =
          "Verifies every signature and certificate; that the snapshots of "
          "each key in each series are numbered without a gap that no forget "
          "mark and no prune explains, and none twice; that each names the one "
          "before it; that all that the newest epoch lists is there; and that "
          "epochs follow one another. Ends with 4 when any of that is not so. "
          "-v lists the gaps that are explained. What was taken away from the "
          "end, only a machine that saw it can tell: it warns of that, and "
          "this ends with 4, too.",
      .examples = "cairn audit verify -v",
      .declare = [](Flags&) {},
      .run = verify,
  };
}

}  // namespace cairn::cli
