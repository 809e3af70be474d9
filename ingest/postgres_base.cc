#include "ingest/postgres_base.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "ingest/postgres_config.h"
#include "ingest/postgres_manifest.h"
#include "ingest/tar_reader.h"
#include "repo/cbor.h"

namespace cairn::ingest {
namespace {

constexpr int kOldestMajor = 13;
constexpr int kNewestMajor = 18;
constexpr std::uint32_t kPrivate = 0600;
constexpr std::string_view kManifestName = "backup_manifest";
constexpr std::string_view kLabelName = "backup_label";
constexpr std::string_view kWalFolder = "pg_wal/";
constexpr std::string_view kTablespaceFolder = "pg_tblspc/";
constexpr std::size_t kMaxNotes = 20;
constexpr std::size_t kLabelBytes = 4096;

// "16MB" as SHOW says it.
std::uint64_t bytes_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [unit, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<std::size_t>(unit - text.data()));
  if (error == std::errc{}) {
    if (text.empty() || text == "B") return value;
    if (text == "kB") return value << 10;
    if (text == "MB") return value << 20;
    if (text == "GB") return value << 30;
  }
  throw ProducerFailed("PostgreSQL: wal_segment_size is no size");
}

// The number of the segment that a file of pg_wal is; nothing: it is none.
std::optional<std::uint64_t> segment_of(std::string_view path,
                                        std::uint64_t segment_bytes) {
  constexpr std::size_t kDigits = 24;
  if (!path.starts_with(kWalFolder)) return std::nullopt;
  path.remove_prefix(kWalFolder.size());
  if (path.size() != kDigits) return std::nullopt;
  const auto part = [&](std::size_t at) -> std::optional<std::uint64_t> {
    std::uint32_t value = 0;
    const auto* const end = path.data() + at + 8;
    const auto read = std::from_chars(path.data() + at, end, value, 16);
    if (read.ec != std::errc{} || read.ptr != end) return std::nullopt;
    return value;
  };
  const auto high = part(8);
  const auto low = part(16);
  if (!high || !low) return std::nullopt;
  return *high * ((std::uint64_t{1} << 32) / segment_bytes) + *low;
}

std::string slot_name() {
  std::array<std::byte, 8> bytes;
  crypto::fill_random(bytes);
  return "cairn_base_" + crypto::to_hex(bytes);
}

struct SentFile {
  std::uint64_t size = 0;
  crypto::Digest sha256{};
};

}  // namespace

struct PostgresBase::State {
  State(PostgresConnection connection_, BaseBackupCommand command_)
      : connection(std::move(connection_)), command(std::move(command_)) {}

  enum class Reading { nothing, member, manifest, config };

  PostgresConnection connection;
  BaseBackupCommand command;
  PostgresCluster cluster;
  std::uint64_t segment_bytes = 0;
  std::string page_checksums;
  std::stop_token stop;  // of the call that is at work

  std::optional<PostgresArchives> archives;
  OutsideConfig config;
  std::size_t next_config = 0;
  std::optional<PostgresArchives::End> end;
  std::vector<std::string> notes;

  // ---- what is being read
  Reading reading = Reading::nothing;
  std::string archive_prefix;  // of paths: "pg_tblspc/16384/"
  std::optional<TarReader> tar;
  std::string path;
  std::uint64_t size = 0;  // so far
  std::optional<crypto::Sha256> hash;
  std::span<const std::byte> manifest_ready;
  std::span<const std::byte> config_left;
  repo::Entry owner;  // as the last member has it

  // ---- what was read, until the manifest has been compared with it
  std::unordered_map<std::string, SentFile> sent;
  std::set<std::uint64_t> segments;
  std::string label;  // the beginning of backup_label
  std::optional<PostgresManifest> manifest;

  void begin();
  void reserve_wal();
  std::optional<Member> next();
  std::optional<Member> next_in_archive();
  Member begin_manifest();
  std::optional<Member> next_in_config();
  std::size_t read(std::span<std::byte> out);
  void finish_file();
  void compare(const ManifestFile& file);
  void require_all_compared() const;
  void require_wal(const std::vector<WalRange>& ranges) const;
  std::vector<repo::Fact> facts();
};

PostgresBase::PostgresBase(PostgresConnection connection,
                           BaseBackupCommand command,
                           const std::stop_token& stop)
    : state_(
          std::make_unique<State>(std::move(connection), std::move(command))) {
  auto& state = *state_;
  auto& server = state.connection;
  const int major = server.major_version();
  if (major < kOldestMajor) {
    throw ProducerFailed(
        "PostgreSQL " + std::to_string(major) + " at " + server.place() +
        " is too old: base backups are taken from version 13 on");
  }
  if (major > kNewestMajor) {
    state.notes.push_back("PostgreSQL " + std::to_string(major) +
                          " is newer than this program, which knows up to 18");
  }
  const auto system = server.query("IDENTIFY_SYSTEM", stop);
  if (system.size() != 1 || system[0].size() < 2 || !system[0][0] ||
      !system[0][1]) {
    throw ProducerFailed("PostgreSQL: the server does not say who it is");
  }
  state.cluster.place = server.place();
  state.cluster.system_identifier = *system[0][0];
  const auto& timeline = *system[0][1];
  std::from_chars(timeline.data(), timeline.data() + timeline.size(),
                  state.cluster.timeline);
  state.cluster.version = server.value("SHOW server_version", stop);
  state.segment_bytes = bytes_of(server.value("SHOW wal_segment_size", stop));
  constexpr std::uint64_t kMaxSegment = std::uint64_t{1} << 30;
  if (state.segment_bytes == 0 || state.segment_bytes > kMaxSegment) {
    throw ProducerFailed("PostgreSQL: wal_segment_size is no such size");
  }
  state.page_checksums = server.value("SHOW data_checksums", stop);
}

PostgresBase::~PostgresBase() = default;

const PostgresCluster& PostgresBase::cluster() const noexcept {
  return state_->cluster;
}

std::optional<TreeStream::Member> PostgresBase::next(
    const std::stop_token& stop) {
  state_->stop = stop;
  return state_->next();
}

std::size_t PostgresBase::read(std::span<std::byte> out,
                               const std::stop_token& stop) {
  state_->stop = stop;
  return state_->read(out);
}

std::uint64_t PostgresBase::expected_bytes() const {
  std::uint64_t bytes = 0;
  if (!state_->archives) return 0;
  for (const auto& tablespace : state_->archives->tablespaces()) {
    bytes += tablespace.bytes.value_or(0);
  }
  return bytes;
}

// SQL first: a walsender does nothing else while it sends a backup.
void PostgresBase::State::begin() {
  if (connection.has_sql()) {
    config = read_outside_config(connection, stop);
  } else {
    config.notes.emplace_back(
        "configuration outside the data directory, if there is any, was not "
        "saved: the role may not connect to a database");
  }
  reserve_wal();
  (void)connection.take_notices();
  archives.emplace(connection, command, stop);
}

// Until the connection ends no WAL is removed that the backup needs at its end.
void PostgresBase::State::reserve_wal() {
  try {
    connection.query("CREATE_REPLICATION_SLOT " +
                         connection.identifier(slot_name()) +
                         " TEMPORARY PHYSICAL RESERVE_WAL",
                     stop);
  } catch (const PostgresError& e) {
    if (e.has_lost_connection()) throw;
    notes.push_back(
        "no replication slot could be had for the time of the backup, which "
        "fails if the server removes WAL meanwhile: " +
        std::string(e.what()));
  }
}

std::optional<TreeStream::Member> PostgresBase::State::next() {
  if (!archives) begin();
  if (reading != Reading::nothing) {
    constexpr std::size_t kSkipBytes = std::size_t{64} << 10;
    std::vector<std::byte> passed_over(kSkipBytes);
    while (read(passed_over) > 0) {
    }
    finish_file();
  }
  while (!end) {
    if (tar) {
      if (auto member = next_in_archive()) return member;
      tar.reset();
    }
    const auto part = archives->next(stop);
    if (!part) {
      end = archives->finish(stop);
      require_all_compared();
      break;
    }
    if (part->kind == PostgresArchives::Part::Kind::manifest) {
      return begin_manifest();
    }
    const auto& oid = part->tablespace->oid;
    archive_prefix =
        oid.empty() ? "" : std::string(kTablespaceFolder) + oid + "/";
    tar.emplace(oid.empty() ? "base" : oid,
                [this] { return archives->bytes(stop); });
  }
  return next_in_config();
}

std::optional<TreeStream::Member> PostgresBase::State::next_in_archive() {
  while (auto found = tar->next()) {
    Member member{archive_prefix + found->path, std::move(found->entry)};
    owner = member.entry;
    const bool is_ours =
        member.path == kOutsideConfigFolder ||
        member.path.starts_with(std::string(kOutsideConfigFolder) + "/");
    if (is_ours) {
      throw ProducerFailed("the data directory holds " + member.path +
                           ", where this program puts configuration from "
                           "outside; remove it");
    }
    if (member.entry.type == repo::EntryType::symlink) {
      const auto is_it = [&](const Tablespace& tablespace) {
        return std::string(kTablespaceFolder) + tablespace.oid == member.path;
      };
      // Its content comes in an archive of its own, and becomes a folder here.
      if (std::ranges::any_of(archives->tablespaces(), is_it)) continue;
      throw ProducerFailed("the server sent a symlink, " + member.path);
    }
    if (member.entry.type == repo::EntryType::file) {
      path = member.path;
      size = 0;
      hash.emplace();
      reading = Reading::member;
    }
    return member;
  }
  return std::nullopt;
}

TreeStream::Member PostgresBase::State::begin_manifest() {
  if (manifest) throw ProducerFailed("the server sent two backup manifests");
  manifest.emplace([this](const ManifestFile& file) { compare(file); });
  reading = Reading::manifest;
  Member member{std::string(kManifestName), owner};
  member.entry.name = kManifestName;
  member.entry.type = repo::EntryType::file;
  member.entry.mode = kPrivate;
  member.entry.size = 0;
  return member;
}

std::optional<TreeStream::Member> PostgresBase::State::next_in_config() {
  if (next_config == config.files.size()) return std::nullopt;
  const auto& file = config.files[next_config++];
  Member member{std::string(kOutsideConfigFolder) + file.path, owner};
  member.entry.name = file.path.substr(file.path.rfind('/') + 1);
  member.entry.type = repo::EntryType::file;
  member.entry.mode = kPrivate;
  member.entry.size = file.content.size();
  member.entry.modified = file.modified;
  config_left = std::as_bytes(std::span(file.content));
  reading = Reading::config;
  return member;
}

std::size_t PostgresBase::State::read(std::span<std::byte> out) {
  std::size_t count = 0;
  switch (reading) {
    case Reading::nothing:
      return 0;
    case Reading::member:
      count = tar->read(out);
      hash->add(out.first(count));
      if (path == kLabelName && label.size() < kLabelBytes) {
        label.append(reinterpret_cast<const char*>(out.data()), count);
      }
      size += count;
      return count;
    case Reading::manifest:
      if (manifest_ready.empty()) manifest_ready = archives->bytes(stop);
      count = std::min(out.size(), manifest_ready.size());
      std::copy_n(manifest_ready.begin(), count, out.begin());
      manifest->add(manifest_ready.first(count));
      manifest_ready = manifest_ready.subspan(count);
      return count;
    case Reading::config:
      count = std::min(out.size(), config_left.size());
      std::copy_n(config_left.begin(), count, out.begin());
      config_left = config_left.subspan(count);
      return count;
  }
  return 0;
}

void PostgresBase::State::finish_file() {
  if (reading == Reading::member) {
    const auto sha256 = std::move(*hash).finish();
    hash.reset();
    if (const auto segment = segment_of(path, segment_bytes)) {
      segments.insert(*segment);
    }
    if (!sent.emplace(path, SentFile{size, sha256}).second) {
      throw ProducerFailed("the server sent " + path + " twice");
    }
  } else if (reading == Reading::manifest) {
    require_wal(std::move(*manifest).finish());
  }
  reading = Reading::nothing;
}

void PostgresBase::State::compare(const ManifestFile& file) {
  const auto found = sent.find(file.path);
  if (found == sent.end()) {
    throw ProducerFailed("the server's backup manifest lists " +
                         repo::as_utf8(file.path) + ", which was not sent");
  }
  if (found->second.size != file.size || found->second.sha256 != file.sha256) {
    throw ProducerFailed(repo::as_utf8(file.path) +
                         " is not what the server's backup manifest says: it "
                         "was changed on its way");
  }
  sent.erase(found);
}

void PostgresBase::State::require_all_compared() const {
  if (!manifest) throw ProducerFailed("the server sent no backup manifest");
  for (const auto& [file, what] : sent) {
    if (!file.starts_with(kWalFolder)) {
      throw ProducerFailed("the server sent " + repo::as_utf8(file) +
                           ", which its backup manifest does not list");
    }
  }
}

void PostgresBase::State::require_wal(
    const std::vector<WalRange>& ranges) const {
  for (const auto& range : ranges) {
    if (range.end <= range.start) continue;
    const auto last = (range.end.value - 1) / segment_bytes;
    for (auto number = range.start.value / segment_bytes; number <= last;
         ++number) {
      if (segments.contains(number)) continue;
      throw ProducerFailed("the server did not send all WAL from " +
                           to_string(range.start) + " to " +
                           to_string(range.end));
    }
  }
}

std::vector<repo::Fact> PostgresBase::State::facts() {
  namespace name = postgres_fact;
  std::vector<repo::Fact> facts;
  const auto add = [&](std::string_view what, std::string_view value) {
    facts.push_back({std::string(what), repo::as_utf8(value)});
  };
  const bool is_standby =
      label.find("BACKUP FROM: standby") != std::string::npos;
  add(name::kStartLsn, to_string(archives->start().lsn));
  add(name::kEndLsn, to_string(end->position.lsn));
  add(name::kTimeline, std::to_string(end->position.timeline));
  add(name::kSystemIdentifier, cluster.system_identifier);
  add(name::kServerVersion, cluster.version);
  add(name::kSource, is_standby ? "standby" : "primary");
  add(name::kPageChecksums, page_checksums);
  add(name::kWal, "included");
  add(name::kWalSegmentBytes, std::to_string(segment_bytes));
  for (const auto& tablespace : archives->tablespaces()) {
    if (tablespace.oid.empty()) continue;
    add(std::string(name::kTablespace) + tablespace.oid, tablespace.location);
  }
  if (connection.has_sql()) {
    add(name::kEndTime,
        connection.value("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', "
                         "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                         stop));
  }
  std::ranges::sort(facts, {}, &repo::Fact::name);
  return facts;
}

TreeStream::Outcome PostgresBase::finish(const std::stop_token& stop) {
  auto& state = *state_;
  state.stop = stop;
  Outcome outcome;
  outcome.notes = std::move(state.notes);
  outcome.notes.insert(outcome.notes.end(), state.config.notes.begin(),
                       state.config.notes.end());
  for (auto& notice : state.connection.take_notices()) {
    if (notice.severity != "WARNING") continue;
    auto& to = state.end->damage ? outcome.problems : outcome.notes;
    if (to.size() < kMaxNotes) {
      to.push_back("PostgreSQL: " + repo::as_utf8(notice.text));
    }
  }
  if (state.end->damage) {
    outcome.problems.push_back(
        *state.end->damage +
        "; the cluster holds damaged pages, which are saved as they are");
  }
  outcome.facts = state.facts();
  return outcome;
}

}  // namespace cairn::ingest
