#include "ingest/pg_dump.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <span>
#include <utility>

#include "crypto/secret.h"
#include "ingest/late_text.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kArchiveEnd = ".dump";
constexpr std::string_view kSqlEnd = ".sql";
constexpr unsigned kHighDigit = 4;
constexpr unsigned kDigitMask = 0xf;

// How many dumps run at a time. Each is one process of the server's at full
// speed, and one of ours.
constexpr unsigned kSideBySide = 2;
static_assert(kSideBySide <= kMaxLanes);

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

// Of %XX; another percent sign, which is not of our making, stays.
std::string unescaped(std::string_view name) {
  constexpr std::size_t kLength = 3;
  constexpr int kHexadecimal = 16;
  std::string text;
  while (!name.empty()) {
    unsigned byte = 0;
    if (name.front() == '%' && name.size() >= kLength) {
      const char* const end = name.data() + kLength;
      const auto read =
          std::from_chars(name.data() + 1, end, byte, kHexadecimal);
      if (read.ec == std::errc() && read.ptr == end) {
        text += static_cast<char>(byte);
        name.remove_prefix(kLength);
        continue;
      }
    }
    text += name.front();
    name.remove_prefix(1);
  }
  return text;
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

// All there are, or those that were named, which need not be there.
std::vector<PgDatabase> chosen(const std::vector<std::string>& names,
                               std::vector<PgDatabase> all) {
  if (names.empty()) return all;
  std::vector<PgDatabase> databases;
  for (const auto& name : names) {
    const auto found = std::ranges::find(all, name, &PgDatabase::name);
    databases.push_back(found != all.end() ? *found : PgDatabase{.name = name});
  }
  return databases;
}

// The lane of each. The largest is given out first, each to the lane that has
// the least to do.
std::vector<unsigned> lanes_of(const std::vector<PgDatabase>& databases) {
  std::vector<std::size_t> largest_first(databases.size());
  std::iota(largest_first.begin(), largest_first.end(), std::size_t{0});
  std::ranges::stable_sort(
      largest_first, std::ranges::greater(),
      [&](std::size_t place) { return databases[place].bytes; });
  std::array<std::uint64_t, kSideBySide> bytes{};
  std::vector<unsigned> lanes(databases.size());
  for (const std::size_t place : largest_first) {
    const auto least = std::ranges::min_element(bytes);
    lanes[place] = static_cast<unsigned>(least - bytes.begin());
    *least += databases[place].bytes + 1;
  }
  return lanes;
}

}  // namespace

std::string pg_dump_name(std::string_view database, PgDumpFormat format) {
  std::string name =
      name_in_snapshot(database) +
      std::string(format == PgDumpFormat::custom ? kArchiveEnd : kSqlEnd);
  if (name == kPgGlobalsName) {
    name = escaped(name.front()) + name.substr(1);
  }
  return name;
}

std::string pg_tables_name(std::string_view database) {
  return name_in_snapshot(database) + ".tables.json";
}

std::optional<std::string> pg_database_of(std::string_view name) {
  if (name == kPgGlobalsName) return std::nullopt;
  if (name.ends_with(kArchiveEnd)) {
    name.remove_suffix(kArchiveEnd.size());
  } else if (name.ends_with(kSqlEnd)) {
    name.remove_suffix(kSqlEnd.size());
  } else {
    return std::nullopt;
  }
  if (name.empty()) return std::nullopt;
  return unescaped(name);
}

std::string pg_restrict_key(const repo::Keyring& keyring) {
  constexpr std::size_t kBytes = 16;
  const auto key =
      crypto::derive(keyring.cutter_key(), "cairn pg_dump restrict key");
  return hexadecimal(key.bytes().first(kBytes));
}

PgDump::PgDump(PgDumpOptions options, const std::stop_token& stop)
    : options_(std::move(options)) {
  const PgQuestions questions{find_psql(options_.places),
                              options_.dsn.with_any_database()};
  server_ = ask_server(questions, stop);
  databases_ = chosen(options_.databases, ask_databases(questions, stop));
  if (options_.databases.empty()) pass_over_unfinished();
  programs_ = find_dump_programs(options_.places, server_.major, stop);

  add_dump("", std::string(kPgGlobalsName), command_for_globals());
  for (const auto& [database, bytes] : databases_) {
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
    notes_.push_back(std::string(kPgGlobalsName) +
                     ": without the passwords of the roles, which only a "
                     "superuser may read; after a restore they have to be set "
                     "anew");
  }
}

// They are renamed or dropped meanwhile.
void PgDump::pass_over_unfinished() {
  std::erase_if(databases_, [this](const PgDatabase& database) {
    if (!is_pg_unfinished_name(database.name)) return false;
    notes_.push_back("database " + database.name +
                     " is not dumped: a restore makes it now, or left it");
    return true;
  });
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
                    .stream = std::make_unique<PgDumpStream>(std::move(command),
                                                             options_.now),
                    .sizes = {},
                    .traits = {},
                    .notes = {}});
}

std::vector<Source> PgDump::sources(const Describe& describe) {
  std::vector<Source> sources;
  const auto lanes = lanes_of(databases_);
  const auto add = [&](std::string name, std::unique_ptr<ByteStream> stream,
                       unsigned lane) {
    sources.emplace_back(StreamToBackUp{.name = std::move(name),
                                        .kind = repo::SourceKind::command,
                                        .stream = std::move(stream),
                                        .lane = lane});
  };
  for (std::size_t i = 0; i < dumps_.size(); ++i) {
    PgDatabaseDump& dump = dumps_[i];
    const unsigned lane = dump.database.empty() ? 0 : lanes[i - 1];
    add(dump.source, borrowed(*dump.stream), lane);
    if (dump.database.empty()) continue;
    add(pg_tables_name(dump.database),
        late_text([this, &dump, describe](const std::stop_token& stop) {
          return tables_of(dump, describe, stop);
        }),
        lane);
  }
  return sources;
}

// The numbers of rows were counted; the rest is worth a question, and its lack
// no failure.
std::string PgDump::tables_of(PgDatabaseDump& dump, const Describe& describe,
                              std::stop_token stop) {
  if (!dump.stream->ended()) {
    throw ProducerFailed("not written, since there is no " + dump.source);
  }
  const PgQuestions questions{programs_.programs,
                              options_.dsn.with_database(dump.database)};
  const auto without = [&](std::string_view what, const ProducerFailed& why) {
    dump.notes.push_back(pg_tables_name(dump.database) + ": without " +
                         std::string(what) + ": " + why.what());
  };
  try {
    dump.sizes = ask_table_sizes(questions, stop);
  } catch (const ProducerFailed& e) {
    without("the tables' sizes", e);
  }
  try {
    dump.traits = ask_database_traits(questions, server_.major, stop);
  } catch (const ProducerFailed& e) {
    without("the database's encoding, owner and settings", e);
  }
  return describe(dump);
}

std::vector<std::string> PgDump::notes() const {
  std::vector<std::string> notes = notes_;
  for (const auto& dump : dumps_) {
    std::ranges::copy(dump.notes, std::back_inserter(notes));
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
