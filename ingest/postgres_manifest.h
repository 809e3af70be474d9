// The manifest that PostgreSQL sends behind a base backup: which files it meant
// to send, and what they hold (PostgreSQL manual, "Backup Manifest Format").
// Read as it streams by, so that a million files cost no more than one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "crypto/digest.h"
#include "ingest/lsn.h"

namespace cairn::ingest {

struct ManifestFile {
  std::string path;  // any bytes, relative to the data directory
  std::uint64_t size = 0;
  crypto::Digest sha256{};
};

// WAL that a restore needs, of one timeline.
struct WalRange {
  std::uint32_t timeline = 0;
  Lsn start;
  Lsn end;
};

// Throws ProducerFailed for what is none.
[[nodiscard]] Lsn lsn_in(std::string_view text);

// Threads        one thread at a time.
// Failure        ProducerFailed, saying what is wrong with the manifest.
class PostgresManifest {
 public:
  using TakeFile = std::function<void(ManifestFile)>;

  // Calls `take` for each file as it comes.
  explicit PostgresManifest(TakeFile take);
  ~PostgresManifest();

  void add(std::span<const std::byte> bytes);

  // After its last byte: that it is whole and has the checksum that it names.
  // Answers the WAL ranges.
  [[nodiscard]] std::vector<WalRange> finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
