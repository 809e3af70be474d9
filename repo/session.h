// A writer's registration, and how a writer and a prune keep out of each
// other's way without a lock that could be left behind (FORMAT.md, 6.9 and 11).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
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

enum class SessionPurpose : std::uint8_t { write = 0, prune = 1 };

struct SessionRecord {
  Timestamp started;
  ProcessIdentity process;
  SessionPurpose purpose = SessionPurpose::write;

  bool operator==(const SessionRecord&) const = default;
};

// Certainly gone; or a writer of another boot, since whoever takes it for dead
// takes its slot first. A prune needs no slot to destroy.
[[nodiscard]] bool may_be_passed_over(const SessionRecord& session);

struct StoredSession {
  SessionId id;
  SessionRecord record;
};

// Registered while it lives.
//
// Ownership      borrows storage and keyring.
// Abandonment    destroyed before end(), it leaves its object behind, like a
//                crash; the next prune of this host fences it.
class Session {
 public:
  // Registers, then looks at the others: throws LockedError, having taken the
  // registration back, when a prune is at work (for a writer), or any live
  // session (for a prune). Of two that begin at once at least one sees the
  // other. CorruptionError, likewise, for a session that cannot be read: it
  // may be a prune's. Both name the object and the way out.
  Session(Storage& storage, const Keyring& keyring, const Signer& signer,
          SessionPurpose purpose, const Timestamp& now);

  [[nodiscard]] const SessionId& id() const noexcept { return id_; }

  // Takes the registration back. Idempotent.
  void end();

 private:
  Storage& storage_;
  SessionId id_;
};

[[nodiscard]] std::string session_name(const SessionId& id);

// Throws LockedError when the registration is gone: somebody fenced it off.
void must_be_registered(const Storage& storage, const SessionId& id);

// Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] SessionRecord read_session(const Storage& storage,
                                         const Keyring& keyring,
                                         const SessionId& id);

// Every registration. Throws CorruptionError for one that is damaged, unless
// `damaged` takes its id.
[[nodiscard]] std::vector<StoredSession> read_sessions(
    const Storage& storage, const Keyring& keyring,
    std::vector<SessionId>* damaged = nullptr);

// Fences the sessions that may be passed over, and those that began
// `revoke_after` before `now` or earlier unless they are certainly alive: takes
// their slots with tombstones where they are empty, then removes their
// registrations. Given `revoke_after`, damaged ones are fenced too: how old
// they are nobody can tell. Answers how many.
std::size_t fence_dead_sessions(
    Storage& storage, const Keyring& keyring, const Signer& signer,
    const Timestamp& now,
    std::optional<std::chrono::seconds> revoke_after = std::nullopt);

// For fuzzing.
[[nodiscard]] std::vector<std::byte> encode(const SessionRecord& record);
[[nodiscard]] SessionRecord decode_session(std::span<const std::byte> bytes,
                                           std::string_view name);

}  // namespace cairn::repo
