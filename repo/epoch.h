// Epochs: how collectors and writers agree on what goes, without a lock and
// without a clock (FORMAT.md, 6.15 and 11).
//
//   1 condemnation   these packs may go; whoever begins from now on uses
//                    nothing in them
//   2 doom           of them these go, for nothing needs them; and these are
//                    all snapshots there are of sessions from before
//   3 condemnation   ..
//
// Numbers are contiguous and each is created once, so of two collectors one is
// first. Between a condemnation and its doom every session that had begun
// before either takes its slot or finds it taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/digest.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/signer.h"
#include "repo/storage.h"

namespace cairn::repo {

inline constexpr std::size_t kMaxEpochBytes = std::size_t{64} << 20;

// A pack that goes, and since when that is decided.
struct DoomedPack {
  PackId id;
  Timestamp since;

  bool operator==(const DoomedPack&) const = default;
};

struct Epoch {
  std::uint64_t number = 0;   // 0: there was none yet
  crypto::Digest previous{};  // SHA-256 of the object before; else zeros
  Timestamp time;             // for people
  // Only of a condemnation. Whatever leans on a pack stands before it, here and
  // in `doomed`.
  std::vector<PackId> condemned;
  // All that are doomed and may still be there.
  std::vector<DoomedPack> doomed;
  // Valid ones, ascending: at the first mark, of a condemnation; at the second,
  // of a doom.
  std::vector<SessionId> snapshots;

  [[nodiscard]] bool is_condemnation() const noexcept {
    return number % 2 == 1;
  }

  bool operator==(const Epoch&) const = default;
};

// What a collector removes whatever comes. It may still be there, whole, and
// readers may find it: no copy for who says that nothing is missing.
[[nodiscard]] std::set<PackId> doomed_packs(const Epoch& epoch);

// The same with what may go: no copy for who pinned this epoch.
[[nodiscard]] std::set<PackId> going_packs(const Epoch& epoch);

[[nodiscard]] std::string epoch_name(std::uint64_t number);

// Higher numbers are names of strangers, so that sums do not overflow.
inline constexpr std::uint64_t kMaxEpochNumber = std::uint64_t{1} << 48;

// 0: it is the name of none.
[[nodiscard]] std::uint64_t epoch_number(std::string_view name);

// The numbers of all that are there, ascending.
[[nodiscard]] std::vector<std::uint64_t> list_epochs(const Storage& storage);

// Throws CorruptionError (also for a signature that does not count), NotFound,
// UnsupportedFormat.
[[nodiscard]] Epoch read_epoch(const Storage& storage, const Keyring& keyring,
                               std::uint64_t number);

// The same with who published it.
struct SignedEpoch {
  Epoch epoch;
  SignerChain signer;
  crypto::Digest object{};  // SHA-256 of its bytes
};
[[nodiscard]] SignedEpoch read_signed_epoch(const Storage& storage,
                                            const Keyring& keyring,
                                            std::uint64_t number);

// How far the collectors came. What cannot be read was damaged, or is no epoch
// at all: whoever may write to the storage can put anything there.
struct EpochLog {
  Epoch newest;  // of those that can be read; number 0: there is none
  crypto::Digest object{};  // SHA-256 of its bytes
  std::uint64_t last = 0;   // its number, or that of unreadable ones behind it

  // True if whoever pins the newest is safe. It is also behind one that cannot
  // be read: for a condemnation it is an older session, and what a doom dooms
  // was condemned by the one before.
  [[nodiscard]] bool can_be_pinned() const noexcept {
    return last <= newest.number + 1;
  }
};
[[nodiscard]] EpochLog read_epochs(const Storage& storage,
                                   const Keyring& keyring);

// `exists`: another collector was first, or this one slept while others went
// on. Its `previous` is filled in here.
Created publish_epoch(Storage& storage, const Keyring& keyring,
                      const Signer& signer, Epoch epoch);

// True if no epoch with a higher number can be read.
[[nodiscard]] bool is_newest(const Storage& storage, const Keyring& keyring,
                             std::uint64_t number);

// Which snapshots count, of those that sessions from before the last doom
// committed: the ones that it lists. Its first half waited for all of these
// sessions, so a slot that turns up later is void, however late a request for
// it arrives.
class LastDoom {
 public:
  // None yet: every snapshot counts.
  LastDoom() = default;
  explicit LastDoom(const Epoch& doom);

  [[nodiscard]] bool is_void(const SessionId& id,
                             std::uint64_t pinned_epoch) const;

 private:
  std::uint64_t condemnation_ = 0;  // the number of its first half
  std::vector<SessionId> snapshots_;
};

// The newest that can be read: what is void is so for ever, so an older one
// makes nothing void that counts.
[[nodiscard]] LastDoom read_last_doom(const Storage& storage,
                                      const Keyring& keyring);

// For fuzzing.
[[nodiscard]] std::vector<std::byte> encode(const Epoch& epoch);
[[nodiscard]] Epoch decode_epoch(std::span<const std::byte> bytes,
                                 std::uint64_t number, std::string_view name);

}  // namespace cairn::repo
