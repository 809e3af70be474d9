// A PostgreSQL server for one test: its cluster in a folder of its own, on a
// unix socket in it and on a port of the loopback interface, gone with the
// test. No server that already runs is touched.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

namespace cairn::testing_support {

class ThrowawayPostgres {
 public:
  // Where Debian's PostgreSQL 15 is not installed, a test has to be skipped.
  [[nodiscard]] static bool is_installed();

  // Starts it and waits until it answers. Anyone may come through the socket;
  // over TCP the password is asked for. Throws std::runtime_error.
  ThrowawayPostgres();
  ThrowawayPostgres(const ThrowawayPostgres&) = delete;
  ThrowawayPostgres& operator=(const ThrowawayPostgres&) = delete;
  ~ThrowawayPostgres();

  // Through the socket, as the superuser "postgres".
  [[nodiscard]] std::string dsn() const;
  // Over TCP, as that user, without its password.
  [[nodiscard]] std::string tcp_dsn() const;
  // As `options` are given to the server, after a restart: "-c x=y".
  void restart(const std::string& options);
  void stop();  // at once, as a crash would

 private:
  [[nodiscard]] std::string as_server(const std::string& command) const;
  void run(const std::string& command) const;
  void start(const std::string& options);

  std::filesystem::path folder_;
  std::string prefix_;
  unsigned port_ = 0;
  pid_t server_ = -1;
};

}  // namespace cairn::testing_support
