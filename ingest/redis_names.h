// What a Redis server calls its data. These settings alone say which of the
// files in its folder it reads when it starts: where the others lie beside
// them, or have other names, it starts without what they hold and says nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cairn::ingest {

// By default, as Redis has them.
struct RedisNames {
  std::string dump = "dump.rdb";              // dbfilename
  std::string aof_folder = "appendonlydir";   // appenddirname, since Redis 7
  std::string aof_prefix = "appendonly.aof";  // appendfilename
};

// As far as they are known.
struct KnownRedisNames {
  std::optional<std::string> dump = std::nullopt;
  std::optional<std::string> aof_folder = std::nullopt;
  std::optional<std::string> aof_prefix = std::nullopt;

  bool operator==(const KnownRedisNames&) const = default;
};

// What a server, a snapshot or a path says, if it can be the name of a file in
// the folder.
[[nodiscard]] std::optional<std::string> checked_redis_name(
    std::string_view name);

}  // namespace cairn::ingest
