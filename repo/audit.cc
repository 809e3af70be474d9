#include "repo/audit.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "repo/error.h"
#include "repo/index_object.h"
#include "repo/key_slot.h"
#include "repo/look_at.h"
#include "repo/session.h"

namespace cairn::repo {
namespace {

void read_marks_of(AuditTrail& trail, const Storage& storage,
                   const Keyring& keyring, FindingList& findings) {
  for (const auto& id : list_marks(storage)) {
    look_at(findings, "damaged-mark", mark_name(id), [&] {
      trail.marks.push_back({id, read_signed_mark(storage, keyring, id)});
    });
  }
}

void read_slots_of(AuditTrail& trail, const Storage& storage,
                   const Keyring& keyring, FindingList& findings) {
  trail.slots = list_slots(storage);
  for (const auto& id : trail.slots) {
    look_at(findings, "damaged-snapshot", snapshot_name(id), [&] {
      auto slot = read_slot(storage, keyring, id);
      if (auto* const snapshot = std::get_if<Snapshot>(&slot)) {
        trail.snapshots.push_back(std::move(*snapshot));
      } else {
        trail.tombstones.push_back(std::get<Tombstone>(std::move(slot)));
      }
    });
  }
}

void read_epochs_of(AuditTrail& trail, const Storage& storage,
                    const Keyring& keyring, FindingList& findings) {
  trail.epoch_numbers = list_epochs(storage);
  for (const auto number : trail.epoch_numbers) {
    look_at(findings, "damaged-epoch", epoch_name(number), [&] {
      trail.epochs.push_back(read_signed_epoch(storage, keyring, number));
    });
  }
}

// Both copies of each.
void read_generations_of(AuditTrail& trail, const Storage& storage,
                         const Keyring& keyring, FindingList& findings) {
  for (const auto number : list_generations(storage)) {
    std::optional<GenerationObject> sound;
    for (const auto& name : generation_names(number)) {
      look_at(findings, "damaged-generation", name, [&] {
        auto object = open_generation(
            get_whole(storage, name, kMaxGenerationBytes), number,
            keyring.repository(), keyring.root_key(), name);
        if (!sound) sound = std::move(object);
      });
    }
    if (sound) trail.generations.push_back(std::move(*sound));
  }
}

}  // namespace

AuditTrail read_audit_trail(const Storage& storage, const Keyring& keyring,
                            FindingList& findings) {
  // What an epoch lists is there as long as that is the newest.
  constexpr int kTries = 10;
  for (int i = 0; i < kTries; ++i) {
    const auto before = list_epochs(storage);
    FindingList found;
    AuditTrail trail;
    read_marks_of(trail, storage, keyring, found);
    read_slots_of(trail, storage, keyring, found);
    read_epochs_of(trail, storage, keyring, found);
    read_generations_of(trail, storage, keyring, found);
    if (trail.epoch_numbers != before) continue;
    look_at(found, "damaged-key", "keys", [&] {
      auto keys = list_key_slots(storage);
      trail.keys = std::move(keys.slots);
      for (const auto& slot : keys.damaged) {
        const std::string name = key_slot_name(slot.id);
        found.add(Severity::damage, "damaged-key", name,
                  reason_of(CorruptionError(slot.what), name));
      }
    });
    findings.append(std::move(found));
    return trail;
  }
  throw LockedError("prunes are at work; try again when they are done");
}

std::uint64_t verify_other_signatures(const Storage& storage,
                                      const Keyring& keyring,
                                      FindingList& findings) {
  std::uint64_t count = 0;
  for (const auto& session : read_sessions(storage, keyring)) {
    ++count;
    look_at(findings, "damaged-session", session_name(session.id),
            [&] { (void)read_session(storage, keyring, session.id); });
    for (const auto number : session.beats) {
      ++count;
      look_at(findings, "damaged-session", beat_name(session.id, number),
              [&] { (void)read_beat(storage, keyring, session.id, number); });
    }
    if (!storage.size(pin_name(session.id))) continue;
    ++count;
    look_at(findings, "damaged-session", pin_name(session.id),
            [&] { (void)read_pin(storage, keyring, session.id); });
  }
  for (const auto& id : list_indexes(storage)) {
    ++count;
    look_at(findings, "damaged-index", index_name(id),
            [&] { (void)read_index(storage, keyring, id); });
  }
  return count;
}

namespace {

using Chain = std::pair<SeriesTag, crypto::VerifyKey>;
// By sequence; more than one with the same is a fork.
using Links = std::multimap<std::uint64_t, const Snapshot*>;

std::string text_of(const Snapshot& snapshot) {
  const std::string series =
      snapshot.record
          ? snapshot.record->series
          : "series " + crypto::to_hex(snapshot.header.series_tag).substr(0, 8);
  return series + ", key " + fingerprint(snapshot.signer.host_key);
}

std::string numbers_text(std::uint64_t first, std::uint64_t last) {
  if (first == last) return "number " + std::to_string(first) + " is missing";
  return "numbers " + std::to_string(first) + " to " + std::to_string(last) +
         " are missing";
}

class GapFinder {
 public:
  GapFinder(const AuditTrail& trail, FindingList& findings)
      : trail_(trail), findings_(findings) {
    for (const auto& mark : trail.marks) {
      if (mark.content.mark.action != MarkAction::forget) continue;
      const SessionId& target = mark.content.mark.target;
      forgotten_.insert(target);
      unattributed_ += has_slot(target) ? 0 : 1;
    }
    unattributed_ +=
        trail.slots.size() - trail.snapshots.size() - trail.tombstones.size();
    if (!trail.epoch_numbers.empty()) {
      // Also one that cannot be read.
      const std::uint64_t last = trail.epoch_numbers.back();
      doom_ = last - last % 2;
    }
  }

  void look_at_chains() {
    LastDoom doom;
    for (const auto& [epoch, signer, object] : trail_.epochs) {
      if (!epoch.is_condemnation()) doom = LastDoom(epoch);
    }
    std::map<Chain, Links> chains;
    for (const auto& snapshot : trail_.snapshots) {
      // Its session took it for failed, and gave its number again.
      if (doom.is_void(snapshot.id, snapshot.header.epoch)) continue;
      chains[{snapshot.header.series_tag, snapshot.signer.host_key}].emplace(
          snapshot.header.sequence, &snapshot);
    }
    for (const auto& [chain, links] : chains) look_at_chain(links);
  }

  void look_at_epochs() {
    for (const auto& [epoch, signer, object] : trail_.epochs) {
      compare_with_predecessor(epoch);
    }
    if (trail_.epochs.empty()) return;
    const Epoch& newest = trail_.epochs.back().epoch;
    for (std::uint64_t number = newest.number;
         number > 1 && number + kKept > newest.number;) {
      --number;
      if (std::ranges::binary_search(trail_.epoch_numbers, number)) continue;
      findings_.add(
          Severity::damage, "lost-epoch", epoch_name(number),
          "is missing, though nothing removes it before the newest, " +
              std::to_string(newest.number) + ", is old");
    }
    // A later doom, which cannot be read, may have settled what it lists.
    if (newest.number == trail_.epoch_numbers.back()) look_for_listed(newest);
  }

 private:
  // Beside the newest, as prune has it.
  static constexpr std::uint64_t kKept = 3;

  [[nodiscard]] bool has_slot(const SessionId& id) const {
    return std::ranges::binary_search(trail_.slots, id);
  }

  void look_at_chain(const Links& links) {
    auto group = links.begin();
    std::optional<Links::const_iterator> before;
    while (group != links.end()) {
      const auto end = links.upper_bound(group->first);
      if (std::next(group) != end) note_fork(group, end);
      if (!before) {
        look_at_beginning(*group->second);
      } else {
        look_between(links, *before, group, end);
      }
      before = group;
      group = end;
    }
  }

  void note_fork(Links::const_iterator begin, Links::const_iterator end) {
    std::string others;
    for (auto link = std::next(begin); link != end; ++link) {
      others += (others.empty() ? "" : ", ") + link->second->id.brief();
    }
    findings_.add(Severity::damage, "fork", snapshot_name(begin->second->id),
                  text_of(*begin->second) + ": " + others + " has number " +
                      std::to_string(begin->first) +
                      ", too: the key was copied, or states of its host or of "
                      "the repository were put back");
  }

  void look_at_beginning(const Snapshot& first) {
    const std::uint64_t number = first.header.sequence;
    if (number > 0) {
      // Of the first that is left nobody knows what had been pinned before.
      note_gap(0, number - 1, first,
               doom_ >= 2 ? Settled::perhaps : Settled::no);
    } else if (first.header.previous != crypto::Digest{}) {
      findings_.add(Severity::damage, "broken-chain", snapshot_name(first.id),
                    text_of(first) + ": is the first, and names a predecessor");
    }
  }

  void look_between(const Links& links, Links::const_iterator before,
                    Links::const_iterator group, Links::const_iterator end) {
    if (before->first + 1 < group->first) {
      // What was settled had been forgotten before the doom's condemnation, so
      // whoever pinned that came later.
      const std::uint64_t pinned = before->second->header.epoch;
      note_gap(
          before->first + 1, group->first - 1, *group->second,
          doom_ >= 2 && pinned < doom_ - 1 ? Settled::perhaps : Settled::no);
      return;
    }
    const auto [first, last] = links.equal_range(before->first);
    for (auto link = group; link != end; ++link) {
      const Snapshot& snapshot = *link->second;
      const bool fits = std::any_of(first, last, [&](const auto& one) {
        return one.second->object == snapshot.header.previous;
      });
      if (fits) continue;
      findings_.add(Severity::damage, "broken-chain",
                    snapshot_name(snapshot.id),
                    text_of(snapshot) + ": names another predecessor than " +
                        before->second->id.brief());
    }
  }

  enum class Settled { perhaps, no };

  void note_gap(std::uint64_t first, std::uint64_t last, const Snapshot& next,
                Settled settled) {
    const std::uint64_t count = last - first + 1;
    std::string why;
    if (settled == Settled::perhaps) {
      why = "; prunes up to doom " + std::to_string(doom_) +
            " may have settled what was forgotten";
    } else if (count <= unattributed_) {
      unattributed_ -= count;
      why =
          "; forget marks without a snapshot, or slots that cannot be read, "
          "may be of it";
    }
    findings_.add(why.empty() ? Severity::damage : Severity::note,
                  why.empty() ? "gap" : "explained-gap", snapshot_name(next.id),
                  text_of(next) + ": before it " + numbers_text(first, last) +
                      (why.empty() ? ", and nothing says that they were "
                                     "forgotten"
                                   : why));
  }

  void compare_with_predecessor(const Epoch& epoch) {
    const auto before =
        std::ranges::find_if(trail_.epochs, [&](const SignedEpoch& other) {
          return other.epoch.number + 1 == epoch.number;
        });
    const crypto::Digest none{};
    if (epoch.number == 1 && epoch.previous != none) {
      findings_.add(Severity::damage, "broken-epochs", epoch_name(1),
                    "is the first, and names a predecessor");
    }
    if (before == trail_.epochs.end() || before->object == epoch.previous) {
      return;
    }
    if (epoch.previous == none) {
      findings_.add(Severity::note, "unlinked-epoch", epoch_name(epoch.number),
                    "the one before could not be read when it was published");
    } else {
      findings_.add(Severity::damage, "broken-epochs", epoch_name(epoch.number),
                    "names another predecessor than there is");
    }
  }

  void look_for_listed(const Epoch& newest) {
    std::set<SessionId> tombstones;
    for (const auto& tombstone : trail_.tombstones) {
      tombstones.insert(tombstone.id);
    }
    for (const auto& id : newest.snapshots) {
      if (has_slot(id) && !tombstones.contains(id)) continue;
      const bool is_forgotten = forgotten_.contains(id);
      findings_.add(is_forgotten ? Severity::note : Severity::damage,
                    is_forgotten ? "explained-gap" : "lost-snapshot",
                    snapshot_name(id),
                    "was there at epoch " + std::to_string(newest.number) +
                        (has_slot(id) ? ", and a tombstone is in its place"
                                      : ", and is gone") +
                        (is_forgotten ? "; it was forgotten since" : ""));
    }
  }

  const AuditTrail& trail_;
  FindingList& findings_;
  std::set<SessionId> forgotten_;
  // Forget marks without a slot, and slots that cannot be read: each may be of
  // a number that is missing.
  std::uint64_t unattributed_ = 0;
  std::uint64_t doom_ = 0;  // the number of the newest there was; 0: none
};

}  // namespace

void find_gaps(const AuditTrail& trail, FindingList& findings) {
  GapFinder finder(trail, findings);
  finder.look_at_chains();
  finder.look_at_epochs();
}

}  // namespace cairn::repo
