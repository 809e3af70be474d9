// Walks an RDB, the dump of a Redis or Valkey server, while it streams by: how
// many keys of which type are in which database, and whether it is whole.
//
//   "REDIS0010"  aux fields  functions
//   selectdb 0   [expiry] type key value   [expiry] type key value   ..
//   selectdb 5   ..
//   end  CRC-64
//
// Values are passed over by their lengths, whatever their size; nothing of them
// is kept. A dump whose version or whose types nobody here knows is no less a
// dump: it is said that it was not walked, and why.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "ingest/rdb_values.h"
#include "repo/entry.h"

namespace cairn::ingest {

struct RdbDatabase {
  std::uint64_t keys = 0;
  std::uint64_t expiring = 0;  // of them, those with a time to live
  std::uint64_t expired = 0;   // of those, whose time has passed
  std::array<std::uint64_t, kRdbKinds> kinds{};

  bool operator==(const RdbDatabase&) const = default;
};

struct RdbContent {
  std::uint64_t bytes = 0;
  std::string magic;  // "REDIS0010"
  // What it says of the server, as far as it is told: "redis-ver", "ctime".
  std::map<std::string, std::string> fields;
  std::map<std::uint64_t, RdbDatabase> databases;  // those with any keys
  std::uint64_t functions = 0;                     // libraries of them
  std::set<std::string> modules;  // whose data are in it, the first ones
  bool has_checksum = false;      // else the server's is switched off
  // Why what is above may be less than there is; nothing: it is all.
  std::optional<std::string> not_walked;

  [[nodiscard]] RdbDatabase sum() const;
};

// Threads        one thread at a time.
class RdbScanner {
 public:
  // Keys whose time was before `now` count as expired.
  explicit RdbScanner(const repo::Timestamp& now);
  ~RdbScanner();
  RdbScanner(RdbScanner&&) noexcept;
  RdbScanner& operator=(RdbScanner&&) noexcept;

  // Throws ProducerFailed for what does not begin as an RDB.
  void add(std::span<const std::byte> bytes);

  // After the last byte. Throws ProducerFailed when these were not all, or not
  // those that the server wrote.
  void finish();

  // Of all that was added; whole after finish().
  [[nodiscard]] const RdbContent& content() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
