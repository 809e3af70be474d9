// Remembers what this host saw of a repository, and notices when it is shown
// less (DESIGN 7, docs/decisions/0023).
//
//   file of the host ---> compare() <--- storage     at the beginning
//        ^                   |
//        `--- remember() <---+--- saw()              at the end
//
// A false alarm stops a nightly backup, so whatever can have an honest cause
// raises none: a snapshot that is gone was not lost if a forget mark, a
// tombstone or a later doom says why, and what cannot be read is damage. A copy
// of the repository at another place has a memory of its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "repo/host_state.h"
#include "repo/last_seen.h"
#include "repo/storage.h"

namespace cairn::repo {

struct Comparison {
  // The newest epoch there is, and the one that was seen if that is gone, or
  // another one has its number now.
  SeenEpoch newest;
  std::optional<SeenEpoch> lost_epoch;

  // The keys that were seen, if they are gone: what is written now could be
  // read by who was shut out by them.
  std::optional<std::uint32_t> lost_generation;

  std::vector<SeenSnapshot> lost;  // gone, and nothing says why
  std::vector<SessionId> settled;  // gone, and something does

  [[nodiscard]] bool shows_less() const noexcept {
    return lost_epoch || lost_generation || !lost.empty();
  }
};

// As it is to be remembered. Throws UnsupportedFormat.
[[nodiscard]] SeenEpoch newest_epoch(const Storage& storage,
                                     const Keyring& keyring);

// What the storage shows of what was seen. Throws what its reading throws, but
// not for objects that are damaged.
[[nodiscard]] Comparison compare(const Storage& storage, const Keyring& keyring,
                                 const LastSeen& seen);

// Threads        one thread at a time.
class Witness {
 public:
  // `place` is the storage's.
  Witness(HostState host, std::string place);

  // With what was seen there before; nothing was, at first.
  [[nodiscard]] Comparison compare(const Storage& storage,
                                   const Keyring& keyring);

  // With what was seen of it at other places, when it was never looked at in
  // this one: then it may be an older copy. Nothing: it was, or shows no less.
  [[nodiscard]] std::optional<Comparison> compare_with_other_places(
      const Storage& storage, const Keyring& keyring) const;

  // Takes the state as it was compared for the right one.
  void accept(const Comparison& comparison);

  // Only what was verified.
  void saw_generation(std::uint32_t number) {
    learned_.note_generation(number);
  }
  void saw(const SeenEpoch& epoch) { learned_.note(epoch); }
  void saw(const SeenSnapshot& snapshot) { learned_.note(snapshot); }

  // Stores what was learned. Throws IoError.
  void remember();

 private:
  HostState host_;
  std::string place_;
  LastSeen learned_;
  std::vector<SessionId> gone_;
  std::optional<SeenEpoch> accepted_epoch_;
  std::optional<std::uint32_t> accepted_generation_;
};

}  // namespace cairn::repo
