#include "cli/job_sources.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>
#include <variant>

#include "cli/config_file.h"
#include "cli/file_sources.h"
#include "cli/pg_places.h"
#include "cli/pg_tables_document.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/redis_source.h"
#include "cli/temporary_folder.h"
#include "crypto/secret.h"
#include "ingest/pg_dump.h"
#include "ingest/postgres_base.h"
#include "ingest/postgres_connection.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

// What is read side by side: files, of the first lane, two dumps, and one of
// commands and Redis servers.
constexpr unsigned kDumpLane = 1;
constexpr unsigned kDumpLanes = 2;
constexpr unsigned kCommandLane = kDumpLane + kDumpLanes;
static_assert(kCommandLane < ingest::kMaxLanes);

PgPlaces places_of(const config::PostgresDumps& wanted) {
  PgPlaces places{.bin_dir = wanted.bin_dir,
                  .container = wanted.container,
                  .container_program = {}};
  if (wanted.container) places.container_program = wanted.container_program;
  return places;
}

// A command that is started when its turn comes: what it prints is of that
// moment, and it waits for nobody meanwhile.
class LateCommand : public ingest::ByteStream {
 public:
  explicit LateCommand(std::vector<std::string> arguments)
      : arguments_(std::move(arguments)) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    if (!stream_) stream_ = ingest::run_command(arguments_);
    return stream_->read(out, std::move(stop));
  }
  void finish(std::stop_token stop) override {
    stream_->finish(std::move(stop));
  }

 private:
  std::vector<std::string> arguments_;
  std::unique_ptr<ingest::ByteStream> stream_;
};

// Measures how long another one takes.
class TimedStream : public ingest::ByteStream {
 public:
  // `seconds` outlives it, and is set at its end.
  TimedStream(std::unique_ptr<ingest::ByteStream> stream,
              std::optional<double>& seconds)
      : stream_(std::move(stream)), seconds_(seconds) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    if (!began_) began_ = Clock::now();
    return stream_->read(out, std::move(stop));
  }
  void finish(std::stop_token stop) override {
    stream_->finish(std::move(stop));
    if (!began_) return;
    seconds_ = std::chrono::duration<double>(Clock::now() - *began_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::unique_ptr<ingest::ByteStream> stream_;
  std::optional<double>& seconds_;
  std::optional<Clock::time_point> began_;
};

// A source that was found to fail before it was read.
class FailedStream : public ingest::ByteStream {
 public:
  explicit FailedStream(std::string why) : why_(std::move(why)) {}

  std::size_t read(std::span<std::byte>, std::stop_token) override {
    throw ingest::ProducerFailed(why_);
  }
  void finish(std::stop_token) override {}

 private:
  std::string why_;
};

bool has_password_variable() {
  const char* const value = std::getenv("PGPASSWORD");
  return value && *value != '\0';
}

// The password that the configuration points to. Nothing: it does not, or
// PGPASSWORD goes before it.
std::optional<SecretText> pg_password(
    const std::optional<config::SecretPlace>& place, Output& output) {
  if (!place || has_password_variable()) return std::nullopt;
  try {
    return read_secret(*place, output);
  } catch (const repo::WrongKey& e) {  // no key of ours
    throw ingest::ProducerFailed(e.what());
  }
}

// A password file that only PostgreSQL's programs are told of: neither their
// arguments nor their environment show what is in it.
void write_password_file(const fs::path& file, const SecretText& password) {
  std::string line = "*:*:*:*:";
  for (const char c : password.view()) {
    if (c == ':' || c == '\\') line += '\\';
    line += c;
  }
  line += '\n';
  const SecretText wiped(line);
  crypto::wipe(std::as_writable_bytes(std::span(line)));
  const ingest::UniqueFd fd(
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  const auto text = wiped.view();
  if (!fd || ::write(fd.get(), text.data(), text.size()) !=
                 static_cast<ssize_t>(text.size())) {
    repo::throw_system_error(file.string(), errno);
  }
}

std::string with_password_file(const std::string& dsn, const fs::path& file) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const std::string path = file.string();
  std::string value;
  if (dsn.find("://") != std::string::npos) {
    for (const char c : path) {
      const auto byte = static_cast<unsigned char>(c);
      if (std::isalnum(byte) != 0 || c == '/' || c == '-' || c == '_') {
        value += c;
      } else {
        value += {'%', kDigits[byte >> 4U], kDigits[byte & 0xfU]};
      }
    }
    return dsn + (dsn.find('?') == std::string::npos ? "?" : "&") +
           "passfile=" + value;
  }
  const auto quoted = [](std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
      if (c == '\'' || c == '\\') out += '\\';
      out += c;
    }
    return out + "'";
  };
  const bool is_name = !dsn.empty() && dsn.find('=') == std::string::npos;
  return (is_name ? "dbname=" + quoted(dsn) : dsn) +
         " passfile=" + quoted(path);
}

ingest::PostgresConnection connect(const config::PostgresBase& base,
                                   Output& output,
                                   const std::stop_token& stop) {
  const auto password = pg_password(base.password, output);
  return ingest::PostgresConnection::connect(
      {.dsn = base.dsn,
       .mode = ingest::PostgresConnection::Mode::replication,
       .password = password ? password->view() : std::string_view()},
      stop);
}

ingest::BaseBackupCommand command_of(const config::PostgresBase& base) {
  constexpr std::uint64_t kKib = 1024;
  ingest::BaseBackupCommand command;
  command.checkpoint = base.checkpoint;
  if (base.max_rate) {
    command.max_rate_kib = static_cast<unsigned>(*base.max_rate / kKib);
  }
  return command;
}

FileRules rules_of(const config::Files& files) {
  return {.exclude = files.exclude,
          .exclude_if_present = files.exclude_if_present,
          .one_file_system = files.one_file_system,
          .changes = files.is_live ? ingest::Changes::are_expected
                                   : ingest::Changes::are_problems};
}

}  // namespace

struct JobSources::State {
  State(std::span<const config::Source* const> all, Context& here)
      : sources(all.begin(), all.end()), context(here) {}

  std::vector<const config::Source*> sources;
  Context& context;
  std::optional<TemporaryFolder> secrets;
  std::vector<std::pair<std::string, std::unique_ptr<ingest::PgDump>>> dumps;
  std::vector<std::unique_ptr<RedisSource>> redis;
  std::map<std::string, std::optional<double>> seconds;  // by stream

  // Of the servers of one source. Throws ingest::ProducerFailed.
  ingest::PgDump& ask(const config::Source& source, std::string restrict_key,
                      const std::stop_token& stop) {
    const auto& wanted = std::get<config::PostgresDumps>(source.what);
    std::string dsn = wanted.dsn;
    if (const auto password = pg_password(wanted.password, context.output)) {
      if (!secrets) secrets.emplace();
      const fs::path file = secrets->path() / source.name;
      write_password_file(file, *password);
      dsn = with_password_file(dsn, file);
    }
    dumps.emplace_back(
        source.name, std::make_unique<ingest::PgDump>(
                         ingest::PgDumpOptions{
                             .dsn = ingest::PgDumpDsn(dsn),
                             .places = program_places(places_of(wanted), "run"),
                             .databases = wanted.databases,
                             .format = wanted.format,
                             .restrict_key = std::move(restrict_key),
                             .now = [this] { return context.now(); }},
                         stop));
    return *dumps.back().second;
  }

  void open_dumps(const config::Source& source, const repo::Keyring& keyring,
                  const std::stop_token& stop,
                  std::vector<ingest::Source>& opened) {
    ingest::PgDump* dump = nullptr;
    try {
      dump = &ask(source, ingest::pg_restrict_key(keyring), stop);
    } catch (const ingest::ProducerFailed& e) {
      opened.emplace_back(ingest::StreamToBackUp{
          .name = source.name,
          .kind = repo::SourceKind::command,
          .stream = std::make_unique<FailedStream>(e.what())});
      return;
    }
    auto streams = dump->sources([dump](const ingest::PgDatabaseDump& one) {
      return pg_tables_document(one, *dump);
    });
    for (auto& one : streams) {
      auto& stream = std::get<ingest::StreamToBackUp>(one);
      stream.name = source.name + "/" + stream.name;
      stream.lane += kDumpLane;
      opened.push_back(std::move(one));
    }
  }

  void open(const config::Source& source, const repo::Keyring& keyring,
            const IfEmpty& if_empty, const std::stop_token& stop,
            std::vector<ingest::Source>& opened) {
    if (const auto* const files = std::get_if<config::Files>(&source.what)) {
      auto some =
          file_sources(source.name, files->paths, rules_of(*files), context);
      for (auto& one : some) {
        std::get<ingest::FilesToBackUp>(one).if_empty = if_empty(source);
        opened.push_back(std::move(one));
      }
    } else if (const auto* const command =
                   std::get_if<config::CommandOutput>(&source.what)) {
      opened.emplace_back(ingest::StreamToBackUp{
          .name = command->as,
          .kind = repo::SourceKind::command,
          .stream = std::make_unique<LateCommand>(command->arguments),
          .lane = kCommandLane,
          .if_empty = if_empty(source)});
    } else if (const auto* const base =
                   std::get_if<config::PostgresBase>(&source.what)) {
      opened.emplace_back(ingest::TreeToBackUp{
          .name = source.name,
          .tree = std::make_unique<ingest::PostgresBase>(
              connect(*base, context.output, stop), command_of(*base), stop)});
    } else if (const auto* const server =
                   std::get_if<config::Redis>(&source.what)) {
      redis.push_back(
          std::make_unique<RedisSource>(source.name, *server, context));
      redis.back()->open(kCommandLane, opened);
    } else {
      open_dumps(source, keyring, stop, opened);
    }
  }

  SourceOutlook look_at(const config::Source& source,
                        const std::stop_token& stop) {
    SourceOutlook outlook{.name = source.name};
    if (const auto* const files = std::get_if<config::Files>(&source.what)) {
      look_at_files(*files, stop, outlook);
    } else if (const auto* const command =
                   std::get_if<config::CommandOutput>(&source.what)) {
      outlook.what =
          "what " + command->arguments.front() + " writes, as " + command->as;
    } else if (const auto* const base =
                   std::get_if<config::PostgresBase>(&source.what)) {
      const ingest::PostgresBase cluster(connect(*base, context.output, stop),
                                         command_of(*base), stop);
      outlook.what = "cluster " + cluster.cluster().system_identifier +
                     " of PostgreSQL " + cluster.cluster().version;
    } else if (const auto* const server =
                   std::get_if<config::Redis>(&source.what)) {
      const auto seen =
          RedisSource(source.name, *server, context).outlook(stop);
      outlook.what = seen.what;
      outlook.problem = seen.problem;
    } else {
      outlook.bytes = 0;
      for (const auto& database : ask(source, "", stop).databases()) {
        outlook.what += (outlook.what.empty() ? "" : ", ") + database.name;
        *outlook.bytes += database.bytes;
      }
    }
    return outlook;
  }

  void look_at_files(const config::Files& files, const std::stop_token& stop,
                     SourceOutlook& outlook) {
    const auto count = count_files(files.paths, rules_of(files), context, stop);
    if (!count.missing.empty()) outlook.problem = count.missing.back();
    outlook.would_fail = count.missing.size() == files.paths.size();
    if (outlook.would_fail) return;
    outlook.what = counted(count.files, "file");
    outlook.bytes = count.bytes;
    if (count.unreadable > 0) {
      outlook.problem = counted(count.unreadable, "path") + " cannot be read";
    }
  }
};

JobSources::JobSources(std::span<const config::Source* const> sources,
                       Context& context)
    : state_(std::make_unique<State>(sources, context)) {}

JobSources::~JobSources() = default;

std::vector<ingest::Source> JobSources::open(const repo::Keyring& keyring,
                                             const IfEmpty& if_empty,
                                             const std::stop_token& stop) {
  std::vector<ingest::Source> opened;
  for (const auto* const source : state_->sources) {
    state_->open(*source, keyring, if_empty, stop, opened);
  }
  for (auto& source : opened) {
    auto* const stream = std::get_if<ingest::StreamToBackUp>(&source);
    if (stream == nullptr) continue;
    stream->stream = std::make_unique<TimedStream>(
        std::move(stream->stream), state_->seconds[stream->name]);
  }
  return opened;
}

std::optional<double> JobSources::seconds_of(const std::string& name) const {
  const auto found = state_->seconds.find(name);
  return found == state_->seconds.end() ? std::nullopt : found->second;
}

std::vector<std::string> JobSources::notes() const {
  std::vector<std::string> all;
  for (const auto& [name, dump] : state_->dumps) {
    for (const auto& note : dump->notes()) all.push_back(name + ": " + note);
  }
  for (const auto& server : state_->redis) {
    std::ranges::move(server->notes(), std::back_inserter(all));
  }
  return all;
}

std::vector<SourceOutlook> JobSources::outlook(const std::stop_token& stop) {
  std::vector<SourceOutlook> all;
  for (const auto* const source : state_->sources) {
    try {
      all.push_back(state_->look_at(*source, stop));
    } catch (const ingest::ProducerFailed& e) {
      all.push_back({.name = source->name,
                     .what = "",
                     .bytes = {},
                     .problem = e.what(),
                     .would_fail = true});
    }
  }
  return all;
}

}  // namespace cairn::cli
