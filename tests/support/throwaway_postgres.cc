#include "tests/support/throwaway_postgres.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace cairn::testing_support {
namespace {

namespace fs = std::filesystem;

const std::string kPrograms = "/usr/lib/postgresql/15/bin/";

// One that nobody listened on a moment ago.
unsigned free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || ::bind(fd, generic, size) != 0 ||
      ::getsockname(fd, generic, &size) != 0) {
    throw std::runtime_error("no free port");
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

}  // namespace

bool ThrowawayPostgres::is_installed() {
  return fs::exists(kPrograms + "initdb");
}

ThrowawayPostgres::ThrowawayPostgres() {
  std::string pattern = "/tmp/cairn-pg-XXXXXX";  // short, for the socket
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("no temporary folder");
  }
  folder_ = pattern;
  if (::geteuid() == 0) {  // as which PostgreSQL refuses to run
    const passwd* user = ::getpwnam("postgres");
    if (user == nullptr) user = ::getpwnam("nobody");
    if (user == nullptr ||
        ::chown(folder_.c_str(), user->pw_uid, user->pw_gid) != 0) {
      throw std::runtime_error("no user to run a server as");
    }
    prefix_ = "setpriv --reuid=" + std::to_string(user->pw_uid) +
              " --regid=" + std::to_string(user->pw_gid) + " --clear-groups ";
  }
  port_ = free_port();
  run(kPrograms +
      "initdb -D data -A trust -U postgres -E UTF8 --locale=C "
      "--no-sync >log 2>&1");
  run("printf 'local all all trust\\nhost all all 127.0.0.1/32 "
      "scram-sha-256\\nlocal replication all trust\\n' >data/pg_hba.conf");
  start("");
}

ThrowawayPostgres::~ThrowawayPostgres() {
  stop();
  std::error_code error;
  fs::remove_all(folder_, error);
}

std::string ThrowawayPostgres::dsn() const {
  return "host=" + folder_.string() + " port=" + std::to_string(port_) +
         " user=postgres dbname=postgres";
}

std::string ThrowawayPostgres::tcp_dsn() const {
  return "host=127.0.0.1 port=" + std::to_string(port_) +
         " user=postgres dbname=postgres";
}

void ThrowawayPostgres::restart(const std::string& options) {
  stop();
  start(options);
}

void ThrowawayPostgres::stop() {
  if (server_ < 0) return;
  ::kill(server_, SIGQUIT);
  int status = 0;
  while (::waitpid(server_, &status, 0) < 0 && errno == EINTR) {
  }
  server_ = -1;
}

std::string ThrowawayPostgres::as_server(const std::string& command) const {
  return "cd " + folder_.string() + " && exec " + prefix_ + command;
}

void ThrowawayPostgres::run(const std::string& command) const {
  const std::string quoted = "sh -c \"" + command + "\"";
  if (std::system(as_server(quoted).c_str()) != 0) {
    throw std::runtime_error("failed: " + command);
  }
}

void ThrowawayPostgres::start(const std::string& options) {
  const std::string command =
      as_server(kPrograms + "postgres -D data -k " + folder_.string() + " -p " +
                std::to_string(port_) +
                " -c listen_addresses=127.0.0.1 -c fsync=off "
                "-c shared_buffers=16MB " +
                options + " >>log 2>&1 </dev/null");
  server_ = ::fork();
  if (server_ == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  if (server_ < 0) throw std::runtime_error("cannot fork");
  const std::string is_up = kPrograms + "pg_isready -q -h " + folder_.string() +
                            " -p " + std::to_string(port_);
  constexpr int kTries = 600;
  for (int i = 0; i < kTries; ++i) {
    if (std::system(is_up.c_str()) == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  throw std::runtime_error("the server does not come up");
}

}  // namespace cairn::testing_support
