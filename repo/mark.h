// Signed statements about snapshots: forgotten, held, released (FORMAT.md,
// 6.10).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/signer.h"
#include "repo/storage.h"

namespace cairn::repo {

enum class MarkAction : std::uint8_t { forget = 0, hold = 1, release = 2 };

struct Mark {
  MarkAction action = MarkAction::forget;
  // Of a snapshot, or for a release the id of the hold.
  SessionId target;
  Timestamp time;
  std::string reason;              // UTF-8
  std::optional<Timestamp> until;  // of a hold; nothing: until released

  bool operator==(const Mark&) const = default;
};

struct StoredMark {
  MarkId id;
  Mark mark;
};

// What becomes of it where one cannot be read.
inline constexpr std::string_view kDamagedMarkAdvice =
    "if it cannot be brought back, remove that object: what it forgot comes "
    "back, and what it held is held no longer";

[[nodiscard]] std::string mark_name(const MarkId& id);

MarkId publish_mark(Storage& storage, const Keyring& keyring,
                    const Signer& signer, const Mark& mark);

// Throws CorruptionError (also for a signature that does not count), NotFound,
// UnsupportedFormat.
[[nodiscard]] Mark read_mark(const Storage& storage, const Keyring& keyring,
                             const MarkId& id);

// The same with who says so.
struct SignedMark {
  Mark mark;
  SignerChain signer;
};
[[nodiscard]] SignedMark read_signed_mark(const Storage& storage,
                                          const Keyring& keyring,
                                          const MarkId& id);

[[nodiscard]] std::vector<MarkId> list_marks(const Storage& storage);

// Every mark. Throws CorruptionError for one that is damaged or forged: whoever
// asks decides over deletion, and must not decide without it.
[[nodiscard]] std::vector<StoredMark> read_marks(const Storage& storage,
                                                 const Keyring& keyring);

// Of those marks, the holds that still hold at `now`.
[[nodiscard]] std::vector<StoredMark> active_holds(
    const std::vector<StoredMark>& marks, const Timestamp& now);

// For fuzzing.
[[nodiscard]] std::vector<std::byte> encode(const Mark& mark);
[[nodiscard]] Mark decode_mark(std::span<const std::byte> bytes,
                               std::string_view name);

}  // namespace cairn::repo
