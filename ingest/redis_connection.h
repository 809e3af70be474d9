// A connection to a Redis or Valkey server, by its own protocol (RESP2): over
// TCP, TLS or a socket in the file system.
//
//   connect --> log_in --> ask, ask, ..        commands and their answers
//                          send --> line, read a stream: what a replica gets
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/byte_stream.h"
#include "ingest/redis_tls.h"

namespace cairn::ingest {

struct RedisAddress {
  std::optional<std::string> socket;  // its path; host and port do not count
  std::string host = "127.0.0.1";
  unsigned port = 6379;
  std::optional<RedisTlsOptions> tls;
};

struct RedisReply {
  enum class Kind { status, error, number, text, nothing, list };
  Kind kind = Kind::nothing;
  std::string text;  // of a status, an error, a text
  std::int64_t number = 0;
  std::vector<RedisReply> items;

  [[nodiscard]] bool is_error() const noexcept { return kind == Kind::error; }
};

// What a server says that does not do as it is asked, as one line that says
// what its user can do about it. `user`: empty for the default one. Servers
// that do not know a command repeat what came with it: the password is taken
// out of what they say.
[[nodiscard]] std::string redis_refusal(
    std::string_view error, std::string_view user,
    const std::optional<std::string_view>& password = std::nullopt);

// Threads        one thread at a time.
// Failure        ProducerFailed, in which the server's place stands first;
//                repo::Cancelled when `stop` is requested. No message holds
//                what was sent.
class RedisConnection {
 public:
  [[nodiscard]] static RedisConnection connect(const RedisAddress& address,
                                               const std::stop_token& stop);

  RedisConnection(RedisConnection&&) noexcept;
  RedisConnection& operator=(RedisConnection&&) noexcept;
  ~RedisConnection();

  // "127.0.0.1:6379", "socket /run/redis/redis.sock": for messages.
  [[nodiscard]] const std::string& place() const noexcept;

  // Makes sure that a Redis server is there which has loaded its data, and
  // admits us. `user`: empty means the default one; without a password the
  // server has to want none.
  void log_in(const std::string& user,
              const std::optional<std::string_view>& password,
              const std::stop_token& stop);

  // Sends a command and answers what came of it, at most kMaxReplyBytes.
  [[nodiscard]] RedisReply ask(const std::vector<std::string_view>& words,
                               const std::stop_token& stop);
  static constexpr std::size_t kMaxReplyBytes = std::size_t{1} << 20;

  void send(const std::vector<std::string_view>& words,
            const std::stop_token& stop);

  // One line, without its end.
  [[nodiscard]] std::string line(const std::stop_token& stop);

  // At least one byte, waiting for it; 0: the server ended the connection. A
  // server that says nothing at all for kSilence has gone.
  [[nodiscard]] std::size_t read(std::span<std::byte> out,
                                 const std::stop_token& stop);
  static constexpr std::chrono::seconds kSilence{60};

  // For a server that is asked for what takes long.
  void bear_silence(std::chrono::seconds limit) noexcept;

  [[noreturn]] void fail(const std::string& why) const;

 private:
  struct State;
  explicit RedisConnection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
