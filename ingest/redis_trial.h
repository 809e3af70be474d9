// Proves that restored data are what a server makes of them: starts one on a
// copy, for itself alone, waits until it has loaded it, counts, and stops it.
//
// The server listens on a socket in a folder that is its user's alone, and
// saves nothing. Its user is the one of the data, who is not trusted with ours:
// what he does in that folder harms nobody else. It is a replica of nobody,
// which is how a server keeps keys whose time has passed: they are counted,
// too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stop_token>
#include <string>

#include "ingest/redis_data_folder.h"
#include "ingest/verification_failed.h"

namespace cairn::ingest {

struct RedisPrograms {
  std::filesystem::path server;
  std::filesystem::path check_rdb;
};

// Throws ProducerFailed when they are not there, with what to install. `path`:
// of the environment, folders with colons between them.
[[nodiscard]] RedisPrograms find_redis_programs(const std::string& path);

// What a server has in one of its databases.
struct RedisKeyspace {
  std::uint64_t keys = 0;
  std::uint64_t expiring = 0;

  bool operator==(const RedisKeyspace&) const = default;
};

struct RedisTrial {
  std::map<std::uint64_t, RedisKeyspace> databases;  // those with any keys
  std::string digest;  // of all keys and values; empty: it would not tell
  double seconds = 0;  // from its start until it had loaded
};

enum class RedisReads { dump, append_only_files };

struct RedisTrialOptions {
  RedisPrograms programs;
  // Empty, ours, with a short path; for one trial, whose server gets it.
  std::filesystem::path scratch;
  std::uint64_t databases = 16;  // that it has room for
};

// Whatever happens, no server is left behind. Throws VerificationFailed when it
// does not load what is there, ProducerFailed where none can be run,
// repo::Cancelled.
[[nodiscard]] RedisTrial try_redis(RedisDataFolder& folder, RedisReads what,
                                   const RedisTrialOptions& options,
                                   const std::stop_token& stop);

// Has Redis' own program read the RDB. Throws likewise.
void check_rdb(RedisDataFolder& folder, const RedisPrograms& programs,
               const std::stop_token& stop);

}  // namespace cairn::ingest
