// NAME/keys.json, which lies beside the dump of a Redis server: how many keys
// of which type are in which of its databases, what it was that wrote it, and
// what that calls its data. What is found there is compared with a restore.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ingest/redis_dump.h"

namespace cairn::cli {

// The names in the folder that is called as the source.
inline constexpr std::string_view kRedisDumpName = "dump.rdb";
inline constexpr std::string_view kRedisKeysName = "keys.json";
inline constexpr std::string_view kRedisAofName = "appendonlydir";

// Requires: dump.ended().
[[nodiscard]] std::string redis_keys_document(
    const std::string& source, const ingest::RedisDump& dump,
    const ingest::KnownRedisNames& names);

struct RedisKeysDocument {
  struct Database {
    std::uint64_t keys = 0;
    std::uint64_t expiring = 0;

    bool operator==(const Database&) const = default;
  };

  std::string server_version;  // empty: the dump does not say
  bool is_walked = false;      // else nothing was counted
  std::map<std::uint64_t, Database> databases;
  ingest::KnownRedisNames names;
};

// A document that is longer is not read.
inline constexpr std::size_t kMaxKeysDocument = std::size_t{32} << 20;

// Nothing: it is no such document.
[[nodiscard]] std::optional<RedisKeysDocument> read_redis_keys_document(
    std::string_view text);

}  // namespace cairn::cli
