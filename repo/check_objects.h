// The part of check that reads the small objects: config, keys, reserve,
// snapshots, marks, sessions.
#pragma once

#include <string_view>
#include <vector>

#include "repo/envelope.h"
#include "repo/finding.h"
#include "repo/keyring.h"
#include "repo/snapshot.h"
#include "repo/storage.h"

namespace cairn::repo {

// Without a key: both copies of the config, the reserve, an owner's key,
// folders that no draft 1 writes.
void check_fixed_objects(const Storage& storage, FindingList& findings,
                         CheckReport& counts);

// A folder of objects that end with their own SHA-256.
struct EnclosedKind {
  std::string_view folder;
  ObjectType type;
  std::string_view code;  // of a damaged one
};
inline constexpr EnclosedKind kEnclosedKinds[] = {
    {"keys", ObjectType::key_slot, "damaged-key"},
    {"snapshots", ObjectType::snapshot, "damaged-snapshot"},
    {"marks", ObjectType::mark, "damaged-mark"},
    {"sessions", ObjectType::session, "damaged-session"},
};

// Their names; what is none becomes a note.
[[nodiscard]] std::vector<std::string> list_enclosed(const Storage& storage,
                                                     const EnclosedKind& kind,
                                                     FindingList& findings,
                                                     CheckReport& counts);

// Length and SHA-256 of one. Throws as disclose() does.
void check_enclosed(const Storage& storage, const EnclosedKind& kind,
                    const std::string& name);

// With a key: also seals and signatures. Answers the valid snapshots, as far as
// they can be read.
[[nodiscard]] std::vector<Snapshot> check_small_objects(const Storage& storage,
                                                        const Keyring& keyring,
                                                        const Timestamp& now,
                                                        FindingList& findings,
                                                        CheckReport& counts);

}  // namespace cairn::repo
