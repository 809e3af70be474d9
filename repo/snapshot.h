// A snapshot: the dated, signed record that names one root, and the only commit
// point there is (FORMAT.md, 6.8).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "crypto/digest.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/signer.h"
#include "repo/storage.h"

namespace cairn::repo {

using SeriesTag = std::array<std::byte, 16>;

[[nodiscard]] SeriesTag series_tag(const Keyring& keyring,
                                   std::string_view series);

// What collection and retention need; readable without the names key.
struct SnapshotHeader {
  Timestamp time;     // of the data
  Timestamp arrival;  // the clock at commit
  std::uint64_t epoch = 0;
  SeriesTag series_tag{};
  BlobId root;  // a links blob
  std::uint64_t logical_bytes = 0;
  std::uint64_t stored_bytes = 0;  // what its session added to packs
  bool is_complete = true;
  std::uint64_t sequence = 0;  // per signing key and series
  crypto::Digest previous{};   // SHA-256 of the predecessor object
  std::uint64_t entries = 0;

  bool operator==(const SnapshotHeader&) const = default;
};

enum class SourceKind : std::uint8_t {
  files = 0,
  standard_input = 1,
  command = 2,
  postgres_base = 3,  // a whole cluster, as its data directory
  postgres_wal = 4    // a stretch of the WAL of one timeline
};
enum class SourceStatus : std::uint8_t {
  complete = 0,
  partial = 1,
  failed = 2
};

// What a source said of itself, for who comes later: the system identifier of a
// cluster, say.
struct Fact {
  std::string name;   // UTF-8
  std::string value;  // UTF-8

  bool operator==(const Fact&) const = default;
};

struct SourceReport {
  std::string name;  // any bytes
  SourceKind kind = SourceKind::files;
  SourceStatus status = SourceStatus::complete;
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
  std::string message;           // UTF-8
  std::vector<Fact> facts = {};  // names ascend

  // The value of a fact; nothing: it is none of them.
  [[nodiscard]] std::optional<std::string> fact(
      std::string_view fact_name) const;

  bool operator==(const SourceReport&) const = default;
};

// Of a copy: the snapshot that it was made from first, and where that was.
struct SnapshotOrigin {
  RepositoryId repository;
  SessionId snapshot;

  auto operator<=>(const SnapshotOrigin&) const = default;
};

// What only the list role reads.
struct SnapshotRecord {
  std::string series;
  std::string host;
  std::string user;
  std::vector<std::string> tags;
  std::vector<std::string> paths;  // any bytes
  std::vector<SourceReport> sources;
  std::string program;
  std::optional<SnapshotOrigin> origin = std::nullopt;  // of a copy
  // Of one that was made without what another had lost, and of its copies: that
  // other one, where this one was made first.
  std::optional<SessionId> repaired_from = std::nullopt;

  bool operator==(const SnapshotRecord&) const = default;
};

struct Snapshot {
  SessionId id;
  SnapshotHeader header;
  std::optional<SnapshotRecord> record;  // nothing: this role may not read it
  SignerChain signer;
  crypto::Digest object{};  // SHA-256 of the bytes in the slot
};

struct Tombstone {
  SessionId id;
  Timestamp time;
  std::string reason;
  SignerChain signer = {};  // of one that was read
};

[[nodiscard]] std::string snapshot_name(const SessionId& id);

// Takes the slot. `exists`: something is in it. Writers do this through
// Session::commit(), which knows when a slot that it took does not count.
// On `created`, `object_digest` is what a successor names as its previous.
struct Committed {
  Created outcome;
  crypto::Digest object_digest;
};
[[nodiscard]] Committed publish_snapshot(Storage& storage,
                                         const Keyring& keyring,
                                         const Signer& signer,
                                         const SessionId& id,
                                         const SnapshotHeader& header,
                                         const SnapshotRecord& record);

// The same, once it has been opened as a reader will, as far as `keyring` can:
// from memory that fails nobody shall believe that it is stored. Throws
// CorruptionError.
[[nodiscard]] Committed publish_snapshot_that_opens(
    Storage& storage, const Keyring& keyring, const Signer& signer,
    const SessionId& id, const SnapshotHeader& header,
    const SnapshotRecord& record);

// Fills the slot of a session that is gone, so that it can never commit.
Created publish_tombstone(Storage& storage, const Keyring& keyring,
                          const Signer& signer, const Tombstone& tombstone);

// What a slot holds. Throws CorruptionError (also for a signature that does not
// count), NotFound.
[[nodiscard]] std::variant<Snapshot, Tombstone> read_slot(
    const Storage& storage, const Keyring& keyring, const SessionId& id);

// What a slot says of itself, whether or not its signature counts. Only who
// holds the index key can make it say so: a seal binds it to the slot.
struct SnapshotClaim {
  SessionId id;
  SnapshotHeader header;
};

// Nothing: it claims to be no snapshot. Throws as read_slot(), but not for what
// the signature and the record would tell. Bytes that came to harm are always
// noticed.
[[nodiscard]] std::optional<SnapshotClaim> read_claim(const Storage& storage,
                                                      const Keyring& keyring,
                                                      const SessionId& id);

// What a successor names as its previous.
[[nodiscard]] crypto::Digest object_digest(const Storage& storage,
                                           const SessionId& id);

[[nodiscard]] std::vector<SessionId> list_slots(const Storage& storage);

// For fuzzing: the plain parts.
[[nodiscard]] SnapshotHeader decode_header(std::span<const std::byte> bytes,
                                           std::string_view name);
[[nodiscard]] SnapshotRecord decode_record(std::span<const std::byte> bytes,
                                           std::string_view name);
[[nodiscard]] std::vector<std::byte> encode(const SnapshotHeader& header);
[[nodiscard]] std::vector<std::byte> encode(const SnapshotRecord& record);

}  // namespace cairn::repo
