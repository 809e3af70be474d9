// The part of check that reads the small objects: config, keys, reserve,
// snapshots, marks, sessions.
#pragma once

#include <string_view>
#include <vector>

#include "repo/envelope.h"
#include "repo/finding.h"
#include "repo/generation_object.h"
#include "repo/keyring.h"
#include "repo/snapshot.h"
#include "repo/storage.h"

namespace cairn::repo {

// Without a key: both copies of the config, the reserve, an owner's key,
// folders that this draft does not write.
void check_fixed_objects(const Storage& storage, FindingList& findings,
                         CheckReport& counts);

// A folder of objects that end with their own SHA-256.
struct EnclosedFolder {
  std::string_view name;
  std::string_view code;  // of a damaged one
};
inline constexpr EnclosedFolder kEnclosedFolders[] = {
    {"keys", "damaged-key"},
    {kGenerationsFolder, "damaged-generation"},
    {"epochs", "damaged-epoch"},
    {"marks", "damaged-mark"},
    {"snapshots", "damaged-snapshot"},
    {"sessions", "damaged-session"},
};

struct EnclosedObject {
  std::string name;
  ObjectType type;
};

// Those in it; what has no name that cairn gives becomes a note.
[[nodiscard]] std::vector<EnclosedObject> list_enclosed(
    const Storage& storage, const EnclosedFolder& folder, FindingList& findings,
    CheckReport& counts);

// Length and SHA-256 of one. Throws as disclose() does.
void check_enclosed(const Storage& storage, const EnclosedObject& object);

// With a key: also seals and signatures. Answers the valid snapshots, as far as
// they can be read.
[[nodiscard]] std::vector<Snapshot> check_small_objects(const Storage& storage,
                                                        const Keyring& keyring,
                                                        const Timestamp& now,
                                                        FindingList& findings,
                                                        CheckReport& counts);

}  // namespace cairn::repo
