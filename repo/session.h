// A writer's registration, and how a writer and a prune keep out of each
// other's way without a lock that could be left behind (FORMAT.md, 6.9 and 11).
#pragma once

#include <cstdint>
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
  std::uint64_t start = 0;  // clock ticks since boot

  bool operator==(const ProcessIdentity&) const = default;
};

[[nodiscard]] ProcessIdentity this_process();

// True only when it is certain: another boot of the same machine, or the same
// boot and pid namespace and no such process. A doubt means alive.
[[nodiscard]] bool is_certainly_gone(const ProcessIdentity& process);

enum class SessionPurpose : std::uint8_t { write = 0, prune = 1 };

struct SessionRecord {
  Timestamp started;
  ProcessIdentity process;
  SessionPurpose purpose = SessionPurpose::write;

  bool operator==(const SessionRecord&) const = default;
};

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
  // may be anybody's.
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

// Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] SessionRecord read_session(const Storage& storage,
                                         const Keyring& keyring,
                                         const SessionId& id);

// Every registration. Throws CorruptionError for one that is damaged.
[[nodiscard]] std::vector<StoredSession> read_sessions(const Storage& storage,
                                                       const Keyring& keyring);

// Fences the sessions whose process is certainly gone: takes their slots with
// tombstones where they are empty, then removes their registrations. Answers
// how many.
std::size_t fence_dead_sessions(Storage& storage, const Keyring& keyring,
                                const Signer& signer, const Timestamp& now);

// For fuzzing.
[[nodiscard]] std::vector<std::byte> encode(const SessionRecord& record);
[[nodiscard]] SessionRecord decode_session(std::span<const std::byte> bytes,
                                           std::string_view name);

}  // namespace cairn::repo
