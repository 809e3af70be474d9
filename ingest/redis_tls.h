// TLS on a socket that does not block, for a connection to a Redis server. All
// that is known here of OpenSSL's side of TLS stands in redis_tls.cc.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace cairn::ingest {

struct RedisTlsOptions {
  std::optional<std::string> ca;  // a PEM file; nothing: whom the system trusts
  std::optional<std::string> cert;  // ours, a PEM file
  std::optional<std::string> key;   // of that
  std::string name;  // or address, that the server's certificate must have
};

// Ownership      borrows the socket, which must outlive it.
// Threads        one thread at a time.
// Failure        ProducerFailed.
class RedisTls {
 public:
  RedisTls(int fd, const RedisTlsOptions& options);
  ~RedisTls();
  RedisTls(RedisTls&&) noexcept;
  RedisTls& operator=(RedisTls&&) noexcept;

  // What the socket must be ready for before the same call gets any further.
  enum class Wants { nothing, to_read, to_write };
  struct Moved {
    std::size_t size = 0;
    Wants wants = Wants::nothing;
    bool has_ended = false;
  };

  // Until nothing is wanted any more.
  [[nodiscard]] Wants shake_hands();

  [[nodiscard]] Moved read(std::span<std::byte> out);
  [[nodiscard]] Moved write(std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
