#include "repo/check_objects.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "repo/config.h"
#include "repo/epoch.h"
#include "repo/key_slot.h"
#include "repo/look_at.h"
#include "repo/mark.h"
#include "repo/repository.h"
#include "repo/session.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kConfigLimit = 64U << 10;
constexpr std::uint64_t kEnclosedLimit = kMaxEpochBytes;  // of the largest
constexpr std::uint64_t kReserveBytes = std::uint64_t{1} << 20;
constexpr std::string_view kReservedFolders[] = {"settings"};

// The 16 bytes that name such an object.
template <typename Id>
std::optional<Id> id_in(std::string_view name) {
  return Id::from_hex(name.substr(name.find('/') + 1));
}

// Nothing: cairn gives no such name.
std::optional<ObjectType> type_by_name(std::string_view name) {
  if (epoch_number(name) != 0) return ObjectType::epoch;
  if (generation_number(name) != 0) return ObjectType::generation;
  const auto folder = name.substr(0, name.find('/'));
  const auto id = id_in<SessionId>(name);
  if (folder == "sessions") {
    const auto pinned = id_in<SessionId>(name.substr(0, name.find('.')));
    if (pinned && name == pin_name(*pinned)) return ObjectType::pin;
    if (beat_of(name)) return ObjectType::beat;
    if (id) return ObjectType::session;
  } else if (id && folder == "keys") {
    return ObjectType::key_slot;
  } else if (id && folder == "snapshots") {
    return ObjectType::snapshot;
  } else if (id && folder == "marks") {
    return ObjectType::mark;
  }
  return std::nullopt;
}

std::optional<Config> check_config(const Storage& storage,
                                   std::string_view name, FindingList& findings,
                                   CheckReport& counts,
                                   std::vector<std::byte>& object) {
  std::optional<Config> config;
  const std::string text(name);
  if (!storage.size(name)) {
    const std::string_view other =
        name == kConfigName ? kSecondConfigName : kConfigName;
    findings.add(Severity::damage, "config-differs", text,
                 storage.size(other)
                     ? "is missing; the other copy serves"
                     : "is missing, and so is the other one; bring one of them "
                       "back from a copy of the repository");
    return config;
  }
  look_at(findings, "config-differs", text, [&] {
    object = get_whole(storage, name, kConfigLimit);
    counts.bytes_read += object.size();
    require_own_digest(object, text);
    config = decode_config(object, name);
  });
  return config;
}

void check_reserve(const Storage& storage, FindingList& findings,
                   CheckReport& counts) {
  const std::string name(kReserveName);
  if (!storage.size(name)) {
    findings.add(Severity::note, "no-reserve", name,
                 "was given back on a full disk; prune takes it again");
    return;
  }
  look_at(findings, "damaged-reserve", name, [&] {
    const auto bytes = get_whole(storage, name, kReserveBytes);
    counts.bytes_read += bytes.size();
    if (bytes.size() != kReserveBytes) {
      throw CorruptionError(name + ": has the wrong length");
    }
    require_own_digest(bytes, name);
  });
}

void check_generation_copies(const Storage& storage, FindingList& findings) {
  for (const auto number : list_generations(storage)) {
    const auto names = generation_names(number);
    for (const auto& name : names) {
      if (storage.size(name)) continue;
      findings.add(Severity::damage, "damaged-generation", name,
                   "is missing; if the other copy is whole it serves, and "
                   "prune writes this one anew");
    }
  }
}

// A damaged slot is told apart, and may have been the owner's.
void check_for_an_owner(const Storage& storage, FindingList& findings) {
  KeySlotList list;
  const auto trouble = trouble_of("damaged-key", "keys", IfGone::it_vanished,
                                  [&] { list = list_key_slots(storage); });
  if (trouble || !list.damaged.empty() ||
      std::ranges::count(list.slots, Role::owner, &KeySlot::role) > 0) {
    return;
  }
  findings.add(Severity::damage, "no-owner-key", "keys",
               "no key slot of an owner is there: without a copy of the folder "
               "keys, nobody opens this repository again");
}

void check_times(const Snapshot& snapshot, const Timestamp& now,
                 FindingList& findings) {
  const std::string name = snapshot_name(snapshot.id);
  const SnapshotHeader& header = snapshot.header;
  if (header.time > header.arrival) {
    findings.add(Severity::note, "future-time", name,
                 "its time is later than its arrival");
  } else if (header.arrival > now) {
    findings.add(Severity::note, "future-time", name,
                 "arrived later than now; a clock is or was wrong");
  }
}

}  // namespace

void check_fixed_objects(const Storage& storage, FindingList& findings,
                         CheckReport& counts) {
  std::vector<std::byte> first;
  std::vector<std::byte> second;
  const auto config =
      check_config(storage, kConfigName, findings, counts, first);
  const auto copy =
      check_config(storage, kSecondConfigName, findings, counts, second);
  if (config && copy && first != second) {
    findings.add(Severity::damage, "config-differs",
                 std::string(kSecondConfigName),
                 "differs from config, though each is whole");
  }
  check_reserve(storage, findings, counts);
  check_generation_copies(storage, findings);
  check_for_an_owner(storage, findings);
  for (const auto folder : kReservedFolders) {
    storage.list(folder, [&](const ListedObject& object) {
      findings.add(Severity::unsupported, "unsupported", object.name,
                   "was written by a newer cairn");
    });
  }
}

std::vector<EnclosedObject> list_enclosed(const Storage& storage,
                                          const EnclosedFolder& folder,
                                          FindingList& findings,
                                          CheckReport& counts) {
  std::vector<EnclosedObject> objects;
  storage.list(folder.name, [&](const ListedObject& object) {
    if (const auto type = type_by_name(object.name)) {
      objects.push_back({object.name, *type});
      counts.bytes_read += object.size;
    } else {
      findings.add(Severity::note, "stranger", object.name,
                   "has no name that cairn gives; it is left alone");
    }
  });
  std::ranges::sort(objects, {}, &EnclosedObject::name);
  return objects;
}

void check_enclosed(const Storage& storage, const EnclosedObject& object) {
  const auto bytes = get_whole(storage, object.name, kEnclosedLimit);
  require_own_digest(bytes, object.name);
  (void)disclose(bytes, object.type, object.name);
}

std::vector<Snapshot> check_small_objects(const Storage& storage,
                                          const Keyring& keyring,
                                          const Timestamp& now,
                                          FindingList& findings,
                                          CheckReport& counts) {
  std::vector<Snapshot> committed;
  std::set<SessionId> forgotten;
  LastDoom doom;
  for (const auto& folder : kEnclosedFolders) {
    for (const auto& object :
         list_enclosed(storage, folder, findings, counts)) {
      const std::string& name = object.name;
      look_at(findings, folder.code, name, [&] {
        check_enclosed(storage, object);
        switch (object.type) {
          case ObjectType::snapshot: {
            auto slot = read_slot(storage, keyring, *id_in<SessionId>(name));
            if (auto* const snapshot = std::get_if<Snapshot>(&slot)) {
              committed.push_back(std::move(*snapshot));
            }
            break;
          }
          case ObjectType::mark: {
            const auto mark = read_mark(storage, keyring, *id_in<MarkId>(name));
            if (mark.action == MarkAction::forget) {
              forgotten.insert(mark.target);
            }
            break;
          }
          case ObjectType::epoch: {
            // The newest doom is the last that is seen: they are sorted.
            const auto epoch = read_epoch(storage, keyring, epoch_number(name));
            if (!epoch.is_condemnation()) doom = LastDoom(epoch);
            break;
          }
          case ObjectType::generation:
            (void)open_generation(get_whole(storage, name, kMaxGenerationBytes),
                                  generation_number(name), keyring.repository(),
                                  keyring.root_key(), name);
            break;
          case ObjectType::pin:
            (void)read_pin(storage, keyring,
                           *id_in<SessionId>(name.substr(0, name.find('.'))));
            break;
          case ObjectType::beat: {
            const auto [id, number] = *beat_of(name);
            (void)read_beat(storage, keyring, id, number);
            break;
          }
          case ObjectType::session: {
            const auto session =
                read_session(storage, keyring, *id_in<SessionId>(name));
            if (may_be_passed_over(session)) {
              findings.add(Severity::garbage, "dead-session", name,
                           "its process on " + session.process.host +
                               " is gone; prune fences it");
            }
            break;
          }
          default:
            break;
        }
      });
    }
  }
  if (!findings.has("damaged-key")) {
    look_at(findings, "damaged-key", "keys", [&] {
      for (const auto& slot : list_key_slots(storage).damaged) {
        const std::string name = key_slot_name(slot.id);
        findings.add(Severity::damage, "damaged-key", name,
                     reason_of(CorruptionError(slot.what), name));
      }
    });
  }
  std::vector<Snapshot> valid;
  for (auto& snapshot : committed) {
    if (forgotten.contains(snapshot.id) ||
        doom.is_void(snapshot.id, snapshot.header.epoch)) {
      continue;
    }
    check_times(snapshot, now, findings);
    valid.push_back(std::move(snapshot));
  }
  counts.snapshots = valid.size();
  return valid;
}

}  // namespace cairn::repo
