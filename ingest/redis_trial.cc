#include "ingest/redis_trial.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <span>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "ingest/child_process.h"
#include "ingest/patient_io.h"
#include "ingest/program_output.h"
#include "ingest/redis_connection.h"
#include "ingest/unique_fd.h"
#include "repo/cbor.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kReadBytes = std::size_t{64} << 10;

std::optional<fs::path> find_program(const std::string& path,
                                     const char* name) {
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const fs::path program = fs::path(path.substr(at, end - at)) / name;
    if (end > at && ::access(program.c_str(), X_OK) == 0) return program;
    at = end + 1;
  }
  return std::nullopt;
}

fs::path required_program(const std::string& path, const char* redis,
                          const char* valkey) {
  if (const auto found = find_program(path, redis)) return *found;
  if (const auto found = find_program(path, valkey)) return *found;
  throw ProducerFailed("no " + std::string(redis) +
                       " to verify with; install it (Debian: redis-server, "
                       "redis-tools), or restore without --verify");
}

// "db0:keys=20,expires=2,.."
std::map<std::uint64_t, RedisKeyspace> keyspaces_in(std::string_view text) {
  std::map<std::uint64_t, RedisKeyspace> all;
  const auto number_after = [](std::string_view line, std::string_view word) {
    std::uint64_t number = 0;
    const auto at = line.find(word);
    if (at == std::string_view::npos) return number;
    line.remove_prefix(at + word.size());
    (void)std::from_chars(line.data(), line.data() + line.size(), number);
    return number;
  };
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with("db")) continue;
    all[number_after(line, "db")] = {number_after(line, "keys="),
                                     number_after(line, "expires=")};
  }
  return all;
}

// "Redis server v=6.0.16 sha=..": one that says nothing of the kind is taken
// for a new one, and says itself what it does not know.
AofLayout layout_of(const fs::path& server, const std::stop_token& stop) {
  constexpr std::string_view kVersion = " v=";
  constexpr unsigned kFirstWithFolder = 7;
  constexpr std::size_t kMaxOutput = std::size_t{64} << 10;
  const std::string said =
      output_of({server.string(), "--version"}, kMaxOutput, stop);
  unsigned major = kFirstWithFolder;
  if (const auto at = said.find(kVersion); at != std::string::npos) {
    (void)std::from_chars(said.data() + at + kVersion.size(),
                          said.data() + said.size(), major);
  }
  return major < kFirstWithFolder ? AofLayout::one_file : AofLayout::folder;
}

// Whom programs run as that read what was restored: root, as whom servers do
// not run, would give them more than the data.
std::optional<ChildProcess::Identity> identity_of(
    const RedisDataFolder& folder) {
  const auto owner = folder.owner();
  if (::geteuid() != 0 || owner.user == 0) return std::nullopt;
  return ChildProcess::Identity{owner.user, owner.group};
}

class Server {
 public:
  Server(const RedisDataFolder& folder, const fs::path& data, RedisReads what,
         AofLayout layout, const RedisTrialOptions& options)
      : scratch_(options.scratch) {
    prepare_scratch(folder);
    process_.emplace(words(folder, data, what, layout, options),
                     ChildProcess::Input::empty, ChildProcess::Errors::kept,
                     identity_of(folder));
  }

  // Throws VerificationFailed when it ends instead.
  RedisConnection connect_once_loaded(const std::stop_token& stop) const {
    for (;;) {
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
      if (!process_->is_running()) {
        throw VerificationFailed(
            "the server ended before it had loaded what was restored: " +
            last_words());
      }
      if (auto connection = try_to_connect(stop)) {
        return std::move(*connection);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

 private:
  [[nodiscard]] fs::path socket() const { return scratch_ / "socket"; }

  void prepare_scratch(const RedisDataFolder& folder) const {
    constexpr std::size_t kLongest = 90;  // of a socket's name
    if (socket().string().size() > kLongest) {
      throw ProducerFailed(scratch_.string() +
                           ": too long a path for a socket; set TMPDIR to a "
                           "shorter one");
    }
    const auto user = identity_of(folder);
    if (!user) return;
    const UniqueFd fd(::open(scratch_.c_str(),
                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat here {};
    if (!fd || ::fstat(fd.get(), &here) != 0) {
      repo::throw_system_error(scratch_.string(), errno);
    }
    if (here.st_uid != ::geteuid()) {
      throw repo::RefusedForSafety(scratch_.string() + ": is somebody else's");
    }
    if (::fchown(fd.get(), user->user, user->group) != 0) {
      repo::throw_system_error(scratch_.string(), errno);
    }
  }

  [[nodiscard]] std::vector<std::string> words(
      const RedisDataFolder& folder, const fs::path& data, RedisReads what,
      AofLayout layout, const RedisTrialOptions& options) const {
    std::vector<std::string> all{
        // The log is the server's whole output: ours, in memory.
        "/bin/sh", "-c", "exec \"$@\" >&2", "sh",
        options.programs.server.string(),  //
        "--port", "0", "--unixsocket", socket().string(), "--unixsocketperm",
        "700", "--daemonize", "no",  //
        "--dir", fs::absolute(data).string(), "--dbfilename",
        folder.names().dump, "--save", "", "--appendonly",
        what == RedisReads::append_only_files ? "yes" : "no",
        "--auto-aof-rewrite-percentage", "0", "--databases",
        std::to_string(options.databases), "--appendfilename",
        folder.names().aof_prefix,
        // Nobody listens at port 0.
        "--replicaof", "127.0.0.1 0", "--maxmemory", "0"};
    if (layout == AofLayout::folder) {
      all.insert(all.end(), {"--appenddirname", folder.names().aof_folder,
                             "--enable-debug-command", "local"});
    }
    return all;
  }

  // Nothing: not yet.
  std::optional<RedisConnection> try_to_connect(
      const std::stop_token& stop) const {
    try {
      auto connection = RedisConnection::connect(
          {.socket = socket().string(), .tls = {}}, stop);
      if (connection.ask({"PING"}, stop).is_error()) return std::nullopt;
      return connection;
    } catch (const ProducerFailed&) {
      return std::nullopt;  // whether it has ended is seen next
    }
  }

  [[nodiscard]] std::string last_words() const {
    constexpr std::size_t kMostLines = 4;
    std::istringstream in(process_->errors());
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      lines.push_back(line);
      if (lines.size() > kMostLines) lines.erase(lines.begin());
    }
    std::string text;
    for (const auto& line : lines) text += (text.empty() ? "" : " / ") + line;
    return repo::as_utf8(text);
  }

  const fs::path scratch_;
  std::optional<ChildProcess> process_;
};

}  // namespace

RedisPrograms find_redis_programs(const std::string& path) {
  return {.server = required_program(path, "redis-server", "valkey-server"),
          .check_rdb =
              required_program(path, "redis-check-rdb", "valkey-check-rdb")};
}

RedisTrial try_redis(RedisDataFolder& folder, RedisReads what,
                     const RedisTrialOptions& options,
                     const std::stop_token& stop) {
  const auto began = Clock::now();
  const AofLayout layout = layout_of(options.programs.server, stop);
  const fs::path data = folder.copy_to_try(layout);
  const Server server(folder, data, what, layout, options);
  auto connection = server.connect_once_loaded(stop);
  // A digest takes as long as there are data. One that ends is noticed at once.
  connection.bear_silence(std::chrono::hours(24));
  RedisTrial trial;
  trial.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  trial.databases =
      keyspaces_in(connection.ask({"INFO", "keyspace"}, stop).text);
  const auto digest = connection.ask({"DEBUG", "DIGEST"}, stop);
  if (!digest.is_error()) trial.digest = digest.text;
  return trial;
}

void check_rdb(RedisDataFolder& folder, const RedisPrograms& programs,
               const std::stop_token& stop) {
  const fs::path rdb =
      fs::absolute(folder.copy_to_try(AofLayout::folder)) / folder.names().dump;
  ChildProcess child({programs.check_rdb.string(), rdb.string()},
                     ChildProcess::Input::empty, ChildProcess::Errors::kept,
                     identity_of(folder));
  std::vector<std::byte> said(kReadBytes);  // of which nothing is needed
  while (read_patiently(child.output(), said, stop) > 0) {
  }
  try {
    wait_and_quote_errors(child, stop);
  } catch (const ProducerFailed& e) {
    throw VerificationFailed(
        std::string(e.what()) +
        "; it does not know this RDB, or finds it damaged");
  }
}

}  // namespace cairn::ingest
