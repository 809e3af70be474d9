// The front door: finds a repository, opens it with a key, and hands out the
// small things that do the work.
//
//   Repository::open --> storage, keyring, signer
//     |-- snapshots()            the valid ones, with marks and holds
//     |-- history()              the same from the newest on, as far as wanted
//     |-- index(), blobs()       what is stored where, and its plain bytes
//     `-- everything else takes these as arguments
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "repo/blob_index.h"
#include "repo/blob_reader.h"
#include "repo/config.h"
#include "repo/host_state.h"
#include "repo/index_store.h"
#include "repo/keyring.h"
#include "repo/last_seen.h"
#include "repo/mark.h"
#include "repo/session_keys.h"
#include "repo/signer.h"
#include "repo/snapshot.h"
#include "repo/snapshot_history.h"
#include "repo/storage.h"

namespace cairn::repo {

// Where this machine keeps what can be made again, and what it is.
struct HostFolders {
  std::filesystem::path cache;
  std::filesystem::path state;
};

struct SnapshotList {
  std::vector<ValidSnapshot> snapshots;  // by time, then id, ascending
  std::vector<StoredMark> marks;         // all of them
  // Slots and marks that could not be read, each with what is wrong. Whoever
  // deletes must not go on while there are any.
  std::vector<std::string> damage;
};

inline constexpr std::string_view kReserveName = "reserve";

// Writes a new, empty repository: keys first, `config` last. `add_keys` adds
// the key slots. Throws RefusedForSafety when one exists.
void initialise(Storage& storage, const Keyring& keyring, const Timestamp& now,
                const std::function<void(Storage&)>& add_keys);

// Gives its room back to whoever must write on a full disk, and takes it again,
// also where it is damaged. Both do nothing when there is nothing to do;
// take_reserve may throw OutOfSpace.
void give_reserve(Storage& storage);
void take_reserve(Storage& storage);

// Threads        storage(), keyring(), index() as their classes say; the rest
//                one thread at a time.
class Repository {
 public:
  // `open_keys` finds the keyring for the config that was read (it may ask a
  // person for a passphrase).
  using OpenKeys = std::function<Keyring(const Storage&, const Config&)>;
  static Repository open(std::unique_ptr<Storage> storage,
                         const OpenKeys& open_keys, HostFolders folders);

  Repository(Repository&&) noexcept;
  Repository& operator=(Repository&&) noexcept;
  ~Repository();

  [[nodiscard]] Storage& storage() noexcept;
  [[nodiscard]] const Config& config() const noexcept;
  [[nodiscard]] const Keyring& keyring() const noexcept;
  [[nodiscard]] HostState& host_state() noexcept;

  // Made when it is first needed: a signing key of this host.
  [[nodiscard]] const Signer& signer();

  // Where this repository's derived data lies on this machine. Not created yet
  // perhaps.
  [[nodiscard]] std::filesystem::path cache_folder() const;

  // Opened, and brought up to date, when it is first needed.
  [[nodiscard]] IndexStore& index_store();
  [[nodiscard]] BlobIndex& index();

  // The same for who will need this blob, of a snapshot: where index() lacks
  // it, the index may have changed, or lack packs, whose directories are then
  // read. For the beginning: a damaged cache is made anew, and what was got
  // from index() before is valid no more.
  BlobIndex& index_for(const BlobId& needed);

  // Gets whatever a person should know though nothing failed: that the index is
  // damaged or incomplete. From any thread, each thing once.
  using Warn = std::function<void(std::string_view text)>;
  void set_warn(Warn warn);

  // Gets every valid snapshot that snapshots() and history() verify, and the
  // one that a backup commits.
  using Saw = std::function<void(const SeenSnapshot& snapshot)>;
  void set_saw(Saw saw);
  void note_seen(const SeenSnapshot& snapshot) const;

  // A reader with its own context. What it misses it searches further for.
  [[nodiscard]] BlobReader blobs();
  [[nodiscard]] SessionKeyCache& session_keys() noexcept;

  // Every one is verified. Throws LockedError when one is sealed with keys that
  // were renewed since these were opened; so does what blobs() misses then.
  [[nodiscard]] SnapshotList snapshots(const Timestamp& now) const;

  // The same ones, and each verified only once it is reached. Damaged slots are
  // noted now, forged ones when they are reached. The Repository must outlive
  // it.
  [[nodiscard]] SnapshotHistory history(const Timestamp& now,
                                        const NoteDamage& note_damage) const;

 private:
  void load_index();
  void load_index_anew();

  struct State;
  explicit Repository(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
