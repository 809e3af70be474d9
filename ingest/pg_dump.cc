#include "ingest/pg_dump.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "crypto/secret.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kGlobalsName = "globals.sql";
constexpr unsigned kHighDigit = 4;
constexpr unsigned kDigitMask = 0xf;

// For how long pg_dump waits for a table that somebody has locked. It has locks
// of its own meanwhile, which others wait behind.
constexpr std::string_view kLockWait = "--lock-wait-timeout=600000";  // ms

std::string hexadecimal(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const auto byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    text += kDigits[value >> kHighDigit];
    text += kDigits[value & kDigitMask];
  }
  return text;
}

std::string escaped(char c) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const auto byte = static_cast<std::uint8_t>(c);
  return {'%', kDigits[byte >> kHighDigit], kDigits[byte & kDigitMask]};
}

std::string name_in_snapshot(std::string_view database) {
  constexpr char kLastControl = 0x1f;
  constexpr char kDelete = 0x7f;
  std::string name;
  for (const char c : database) {
    const bool is_control = (c >= 0 && c <= kLastControl) || c == kDelete;
    const bool is_hidden = c == '.' && name.empty();
    name += is_control || is_hidden || c == '/' || c == '%' ? escaped(c)
                                                            : std::string(1, c);
  }
  return name;
}

// Those that were named, in the order of all there are, and what is not among
// them behind; all there are when none was.
std::vector<std::string> in_order(std::vector<std::string> named,
                                  std::vector<std::string> all) {
  if (named.empty()) return all;
  std::ranges::stable_sort(named, {}, [&](const std::string& name) {
    return std::ranges::find(all, name) - all.begin();
  });
  return named;
}

// Text that is made when it is read.
class LateText : public ByteStream {
 public:
  using Make = std::function<std::string(std::stop_token)>;
  explicit LateText(Make make) : make_(std::move(make)) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    if (make_) text_ = std::exchange(make_, nullptr)(std::move(stop));
    const std::size_t size = std::min(out.size(), text_.size() - at_);
    std::ranges::copy(std::as_bytes(std::span(text_)).subspan(at_, size),
                      out.begin());
    at_ += size;
    return size;
  }
  void finish(std::stop_token) override {}

 private:
  Make make_;
  std::string text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string pg_dump_name(std::string_view database, PgDumpFormat format) {
  std::string name = name_in_snapshot(database) +
                     (format == PgDumpFormat::custom ? ".dump" : ".sql");
  if (name == kGlobalsName) {
    name = escaped(name.front()) + name.substr(1);
  }
  return name;
}

std::string pg_tables_name(std::string_view database) {
  return name_in_snapshot(database) + ".tables.json";
}

std::string pg_restrict_key(const repo::Keyring& keyring) {
  constexpr std::size_t kBytes = 16;
  const auto key =
      crypto::derive(keyring.cutter_key(), "cairn pg_dump restrict key");
  return hexadecimal(key.bytes().first(kBytes));
}

// Starts the dump after it when it is read first, so that two run side by side
// as far as the second one's pipe and check take what it writes. The locks that
// it holds while it waits are the price: it waits for a smaller database than
// its own.
class PgDump::InTurn : public ByteStream {
 public:
  InTurn(std::shared_ptr<PgDumpStream> dump, std::shared_ptr<PgDumpStream> next)
      : dump_(std::move(dump)), next_(std::move(next)) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    if (next_) {
      dump_->start();
      try {
        std::exchange(next_, nullptr)->start();
      } catch (const ProducerFailed&) {
        // It says so when it is read itself.
      }
    }
    return dump_->read(out, std::move(stop));
  }
  void finish(std::stop_token stop) override { dump_->finish(std::move(stop)); }

 private:
  std::shared_ptr<PgDumpStream> dump_;
  std::shared_ptr<PgDumpStream> next_;
};

PgDump::PgDump(PgDumpOptions options, std::stop_token stop)
    : options_(std::move(options)) {
  const PgQuestions questions{
      find_psql(options_.places),
      options_.dsn.with_database_unless_named("postgres")};
  server_ = ask_server(questions, stop);
  options_.databases =
      in_order(std::move(options_.databases), ask_databases(questions, stop));
  programs_ = find_dump_programs(options_.places, server_.major, stop);

  add_dump("", std::string(kGlobalsName), command_for_globals());
  for (const auto& database : options_.databases) {
    add_dump(database, pg_dump_name(database, options_.format),
             command_for(database));
  }

  if (programs_.version.major > server_.major) {
    notes_.push_back("pg_dump is of version " + programs_.version.text +
                     ", newer than the server's " + server_.version +
                     ": the dumps may not load into a server of version " +
                     std::to_string(server_.major));
  }
  if (!server_.may_read_passwords) {
    notes_.push_back(std::string(kGlobalsName) +
                     ": without the passwords of the roles, which only a "
                     "superuser may read; after a restore they have to be set "
                     "anew");
  }
}

PgDumpCommand PgDump::command_for_globals() const {
  std::vector<std::string> words = {"--globals-only", "--no-password",
                                    std::string(kLockWait)};
  if (!server_.may_read_passwords) words.push_back("--no-role-passwords");
  if (programs_.has_restrict_key) {
    words.push_back("--restrict-key=" + options_.restrict_key);
  }
  // Of this, pg_dumpall takes all but the database.
  words.push_back("--dbname=" + options_.dsn.with_database(server_.database));
  words.push_back("--database=" + server_.database);
  return {.dump = programs_.programs.call("pg_dumpall", std::move(words)),
          .to_sql = {},
          .kind = DumpTextKind::cluster};
}

PgDumpCommand PgDump::command_for(const std::string& database) const {
  constexpr int kFirstToNeedFile = 12;
  PgDumpCommand command;
  std::vector<std::string> words = {"--no-password", std::string(kLockWait)};
  if (options_.format == PgDumpFormat::plain) {
    words.push_back("--format=plain");
    if (programs_.has_restrict_key) {
      words.push_back("--restrict-key=" + options_.restrict_key);
    }
  } else {
    // What is compressed here would hide from us what has not changed.
    words.insert(words.end(), {"--format=custom", "--compress=0"});
    std::vector<std::string> to_output;
    if (programs_.version.major >= kFirstToNeedFile) {
      to_output = {"--file=-"};
    }
    command.to_sql =
        programs_.programs.call("pg_restore", std::move(to_output));
  }
  words.push_back("--dbname=" + options_.dsn.with_database(database));
  command.dump = programs_.programs.call("pg_dump", std::move(words));
  return command;
}

void PgDump::add_dump(std::string database, std::string source,
                      PgDumpCommand command) {
  dumps_.push_back({.database = std::move(database),
                    .source = std::move(source),
                    .stream = std::make_shared<PgDumpStream>(std::move(command),
                                                             options_.now),
                    .sizes = {}});
}

std::vector<Source> PgDump::sources(const Describe& describe) {
  std::vector<Source> sources;
  const auto add = [&](std::string name, std::unique_ptr<ByteStream> stream) {
    sources.emplace_back(StreamToBackUp{
        std::move(name), repo::SourceKind::command, std::move(stream)});
  };
  for (std::size_t i = 0; i < dumps_.size(); ++i) {
    PgDatabaseDump& dump = dumps_[i];
    add(dump.source,
        std::make_unique<InTurn>(dump.stream, i + 1 < dumps_.size()
                                                  ? dumps_[i + 1].stream
                                                  : nullptr));
    if (dump.database.empty()) continue;
    add(pg_tables_name(dump.database),
        std::make_unique<LateText>(
            [this, &dump, describe](std::stop_token stop) {
              return tables_of(dump, describe, std::move(stop));
            }));
  }
  return sources;
}

// The numbers of rows were counted; the sizes are worth a question, and their
// lack no failure.
std::string PgDump::tables_of(PgDatabaseDump& dump, const Describe& describe,
                              std::stop_token stop) {
  if (!dump.stream->ended()) {
    throw ProducerFailed("not written, since there is no " + dump.source);
  }
  try {
    dump.sizes = ask_table_sizes(
        {programs_.programs, options_.dsn.with_database(dump.database)},
        std::move(stop));
  } catch (const ProducerFailed& e) {
    notes_.push_back(pg_tables_name(dump.database) +
                     ": without the tables' sizes: " + e.what());
  }
  return describe(dump);
}

std::vector<std::string> PgDump::notes() const {
  std::vector<std::string> notes = notes_;
  for (const auto& dump : dumps_) {
    if (!dump.stream->warnings().empty()) {
      notes.push_back(dump.source + ": " + dump.stream->warnings());
    }
  }
  const auto whole = std::ranges::count_if(dumps_, [](const auto& dump) {
    return !dump.database.empty() && dump.stream->ended();
  });
  if (whole > 1) {
    notes.push_back(
        "each database is as it was when its dump began; they are not of one "
        "moment, which only a base backup gives");
  }
  return notes;
}

}  // namespace cairn::ingest
