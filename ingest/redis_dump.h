// The RDB of a Redis or Valkey server, taken as a replica takes it: by SYNC.
//
//   AUTH, REPLCONF, SYNC
//   <- "\n" now and then, while the server makes up its mind
//   <- "$EOF:" and a mark of 40 bytes; the RDB; the mark       or
//   <- "$" and a length; the RDB
//
// One connection, no file of the server's, no race with a BGSAVE; the dump is
// of the moment at which the server forked for it. It is walked while it
// streams by, and one that is cut, or is not what the server wrote, fails.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"
#include "ingest/byte_stream.h"
#include "ingest/rdb_scanner.h"
#include "ingest/redis_connection.h"
#include "ingest/redis_names.h"
#include "repo/entry.h"

namespace cairn::ingest {

struct RedisServer {
  RedisAddress address;
  std::string user;                                   // empty: the default one
  std::unique_ptr<const crypto::WipedText> password;  // null: none

  // Throws as RedisConnection does, which admits us then.
  [[nodiscard]] RedisConnection connect(const std::stop_token& stop) const;

  // redis_refusal() of what it says to us.
  [[nodiscard]] std::string refusal(std::string_view error) const;

 private:
  [[nodiscard]] std::optional<std::string_view> password_text() const;
};

// What a server says of itself, for a look before anything is done.
struct RedisOutlook {
  std::string version;
  std::uint64_t keys = 0;
  std::uint64_t used_bytes = 0;  // of memory; an RDB is smaller
};
[[nodiscard]] RedisOutlook look_at_redis(const RedisServer& server,
                                         const std::stop_token& stop);

// Threads        one thread at a time.
class RedisDump : public ByteStream {
 public:
  using Clock = std::function<repo::Timestamp()>;

  // What the server is asked before; it need not tell.
  enum class Asks { nothing_else, whether_aof_is_on };

  RedisDump(RedisServer server, Clock now, Asks asks = Asks::nothing_else);
  ~RedisDump() override;

  // The first one connects.
  [[nodiscard]] std::size_t read(std::span<std::byte> out,
                                 std::stop_token stop) override;
  void finish(std::stop_token stop) override;

  // When the server was asked; nothing: it was not.
  [[nodiscard]] const std::optional<repo::Timestamp>& began() const noexcept;
  // Whether it writes append-only files; nothing: it has not told.
  [[nodiscard]] const std::optional<bool>& is_aof_on() const noexcept;
  // What it calls its data, as far as it has told.
  [[nodiscard]] const KnownRedisNames& names() const noexcept;
  // When it was found to be whole; nothing: it was not. What follows is of
  // such.
  [[nodiscard]] const std::optional<repo::Timestamp>& ended() const noexcept;
  [[nodiscard]] const RdbContent& content() const noexcept;
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
