// What a host last saw of a repository: its newest keys and epoch, and the last
// snapshot of each chain. A storage that shows less later was rolled back, or
// hides something (repo/witness.h compares). It stays on the host, as lines of
// text:
//
//   cairn last seen 1
//   generation NUMBER
//   epoch NUMBER DIGEST SECONDS
//   snapshot SERIES-TAG SIGNER SESSION SEQUENCE DIGEST PINNED-EPOCH SECONDS
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "crypto/digest.h"
#include "crypto/signature.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/snapshot.h"

namespace cairn::repo {

struct SeenEpoch {
  std::uint64_t number = 0;  // 0: there was none
  crypto::Digest object{};   // SHA-256 of its bytes
  Timestamp time;            // that it tells, whole seconds

  bool operator==(const SeenEpoch&) const = default;
};

struct SeenSnapshot {
  SeriesTag series{};
  crypto::VerifyKey signer{};  // the host's key
  SessionId id;
  std::uint64_t sequence = 0;
  crypto::Digest object{};  // SHA-256 of its bytes
  std::uint64_t epoch = 0;  // its session's pin
  Timestamp arrival;        // whole seconds

  bool operator==(const SeenSnapshot&) const = default;
};

[[nodiscard]] SeenSnapshot seen(const Snapshot& snapshot);

struct LastSeen {
  // One signing key in one series.
  using Chain = std::pair<SeriesTag, crypto::VerifyKey>;

  std::uint32_t generation = 1;  // of the keys
  SeenEpoch epoch;
  std::map<Chain, SeenSnapshot> snapshots;  // the last of each

  // Nothing happens where a later one is known already.
  void note_generation(std::uint32_t newer);
  void note(const SeenEpoch& newer);
  void note(const SeenSnapshot& newer);
  void note(const LastSeen& newer);

  void forget(const SessionId& snapshot);

  bool operator==(const LastSeen&) const = default;
};

[[nodiscard]] std::string to_text(const LastSeen& seen);

// Nothing: damaged, or of a newer program. Lines of unknown kinds are skipped.
[[nodiscard]] std::optional<LastSeen> parse_last_seen(std::string_view text);

}  // namespace cairn::repo
