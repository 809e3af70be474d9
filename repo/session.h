// A writer's registration: what a prune waits for before it takes away what the
// writer may rest on (FORMAT.md, 6.9 and 11).
//
//   register --> pin the newest epoch --> write --> commit --> end
//
// In this order: a prune that does not see the registration published its
// condemnation before, so the pin shows it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crypto/digest.h"
#include "repo/entry.h"
#include "repo/epoch.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/signer.h"
#include "repo/snapshot.h"
#include "repo/storage.h"

namespace cairn::repo {

// Names one process for ever: a process id alone comes back.
struct ProcessIdentity {
  std::string host;          // for people
  crypto::Digest machine{};  // SHA-256 of the machine id
  crypto::Digest boot{};     // SHA-256 of the boot id
  std::uint64_t pid_namespace = 0;
  std::uint64_t pid = 0;
  std::uint64_t start = 0;           // clock ticks since boot
  std::uint64_t time_namespace = 0;  // whose clock `start` was read on

  bool operator==(const ProcessIdentity&) const = default;
};

[[nodiscard]] ProcessIdentity this_process();

// True only when this very kernel shows it: the same boot and pid namespace and
// no such process, or a namespace in which no process is left. A doubt means
// alive.
[[nodiscard]] bool is_certainly_gone(const ProcessIdentity& process);

// Another boot of this machine, as far as its id tells: a clone has the same
// one. Enough where a wrong guess costs a backup its work, and no data.
[[nodiscard]] bool is_of_another_boot(const ProcessIdentity& process);

// Whether a process of the pid namespace is left, by the links
// PROC/<pid>/ns/pid. Nothing: PROC does not show every process of the kernel,
// to us.
[[nodiscard]] std::optional<bool> is_namespace_populated(
    std::uint64_t pid_namespace, const std::filesystem::path& proc);

struct SessionRecord {
  Timestamp started;
  ProcessIdentity process;

  bool operator==(const SessionRecord&) const = default;
};

// Certainly gone, or of another boot: whoever takes it for dead takes its slot
// first, so a wrong guess costs it its work, and no data.
[[nodiscard]] bool may_be_passed_over(const SessionRecord& session);

struct StoredSession {
  SessionId id;
  std::optional<SessionRecord> record;  // nothing: damaged
  // Of the epoch that it pinned. Nothing: none yet, or none that can be read.
  std::optional<std::uint64_t> pin;
  std::vector<std::uint32_t> beats;  // their numbers, ascending

  // True if it may rest on what that condemnation condemns.
  [[nodiscard]] bool is_older_than(std::uint64_t condemnation) const noexcept {
    return !pin || *pin < condemnation;
  }
};

// Registered while it lives.
//
// Ownership      borrows storage, keyring and signer.
// Threads        beat() from one thread beside those that use the others, but
//                not beside end(); else one thread at a time.
// Abandonment    destroyed before end(), it leaves its objects behind, like a
//                crash; the next prune of this host fences it.
class Session {
 public:
  // Registers, then pins. Throws, having taken the registration back,
  // CorruptionError when the newest epochs cannot be read, since they may
  // condemn anything, and LockedError when this session was fenced off
  // meanwhile.
  Session(Storage& storage, const Keyring& keyring, const Signer& signer,
          const Timestamp& now);

  [[nodiscard]] const SessionId& id() const noexcept { return id_; }

  // The pinned one. What it condemns or dooms this session must not rest on.
  [[nodiscard]] const Epoch& epoch() const noexcept { return epoch_; }

  // Takes the slot, with this session's pin in the header. `exists`: it was
  // fenced off, and must say that nothing is stored.
  [[nodiscard]] Committed commit(SnapshotHeader header,
                                 const SnapshotRecord& record);

  // A sign of life, for a prune on another machine, which would take the
  // session for dead once it has worked for `--revoke-after` (Heartbeat).
  void beat(const Timestamp& now);

  // Takes the registration back. Idempotent.
  void end();

 private:
  Storage& storage_;
  const Keyring& keyring_;
  const Signer& signer_;
  SessionId id_;
  Epoch epoch_;
  std::uint32_t beats_ = 0;
};

[[nodiscard]] std::string session_name(const SessionId& id);
[[nodiscard]] std::string pin_name(const SessionId& id);
[[nodiscard]] std::string beat_name(const SessionId& id, std::uint32_t number);
// Nothing: cairn gives no such name to a beat.
[[nodiscard]] std::optional<std::pair<SessionId, std::uint32_t>> beat_of(
    std::string_view name);

// Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] SessionRecord read_session(const Storage& storage,
                                         const Keyring& keyring,
                                         const SessionId& id);

// What pins and beats hold, once they are open. Throws CorruptionError.
[[nodiscard]] std::uint64_t decode_pin(std::span<const std::byte> plain,
                                       std::string_view name);
[[nodiscard]] Timestamp decode_beat(std::span<const std::byte> plain,
                                    std::string_view name);

// The number of the epoch. Throws likewise.
[[nodiscard]] std::uint64_t read_pin(const Storage& storage,
                                     const Keyring& keyring,
                                     const SessionId& id);

// Every registration, by id.
[[nodiscard]] std::vector<StoredSession> read_sessions(const Storage& storage,
                                                       const Keyring& keyring);

// Throws likewise.
[[nodiscard]] Timestamp read_beat(const Storage& storage,
                                  const Keyring& keyring, const SessionId& id,
                                  std::uint32_t number);

// The names of pins and beats whose registration is gone. It goes last, so they
// serve nobody.
[[nodiscard]] std::vector<std::string> list_strays(const Storage& storage);

// Takes the registration away with the pin, whoever's it is. Beats stay, for
// the next prune, since they have to be looked for.
void remove_registration(Storage& storage, const SessionId& id);

// Takes the slot with a tombstone where it is empty, so that the session can
// never commit, then its registration away.
void fence(Storage& storage, const Keyring& keyring, const Signer& signer,
           const SessionId& id, const Timestamp& now,
           const std::string& reason);

// A session that may be fenced off, and why.
struct DeadSession {
  SessionId id;
  std::string reason;
};

// Those that may be passed over, and those that gave no sign of life since
// `revoke_after` before `now` unless they are certainly alive. Clocks differ: a
// sign from the future counts as long as that is no further away. Given
// `revoke_after`, damaged ones too: how old they are nobody can tell.
[[nodiscard]] std::vector<DeadSession> find_dead_sessions(
    const Storage& storage, const Keyring& keyring, const Timestamp& now,
    std::optional<std::chrono::seconds> revoke_after = std::nullopt);

// Fences them. Answers how many.
std::size_t fence_dead_sessions(
    Storage& storage, const Keyring& keyring, const Signer& signer,
    const Timestamp& now,
    std::optional<std::chrono::seconds> revoke_after = std::nullopt);

// For a message: whose it is, and what ends it if nothing else does.
[[nodiscard]] std::string description(const StoredSession& session);

// For fuzzing.
[[nodiscard]] std::vector<std::byte> encode(const SessionRecord& record);
[[nodiscard]] SessionRecord decode_session(std::span<const std::byte> bytes,
                                           std::string_view name);

}  // namespace cairn::repo
