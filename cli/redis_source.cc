#include "cli/redis_source.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "cli/config_file.h"
#include "cli/quantity.h"
#include "cli/redis_keys_document.h"
#include "cli/time_text.h"
#include "ingest/late_text.h"
#include "ingest/redis_aof.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

// Text of this size moves without leaving a copy behind.
constexpr std::size_t kOnTheHeap = 64;

ingest::Source stream_of(std::string name,
                         std::unique_ptr<ingest::ByteStream> stream,
                         unsigned lane) {
  return ingest::StreamToBackUp{.name = std::move(name),
                                .kind = repo::SourceKind::command,
                                .stream = std::move(stream),
                                .lane = lane};
}

std::unique_ptr<ingest::ByteStream> failed(std::string why) {
  return ingest::late_text(
      [why = std::move(why)](const std::stop_token&) -> std::string {
        throw ingest::ProducerFailed(why);
      });
}

}  // namespace

RedisSource::RedisSource(std::string name, const config::Redis& wanted,
                         Context& context)
    : name_(std::move(name)), wanted_(wanted), context_(context) {}

ingest::RedisAddress RedisSource::address() const {
  ingest::RedisAddress address{.socket = wanted_.socket,
                               .host = wanted_.host,
                               .port = wanted_.port,
                               .tls = {}};
  if (wanted_.has_tls) {
    address.tls = {.ca = wanted_.tls_ca,
                   .cert = wanted_.tls_cert,
                   .key = wanted_.tls_key,
                   .name = wanted_.tls_name.value_or(wanted_.host)};
  }
  return address;
}

ingest::RedisServer RedisSource::server() const {
  ingest::RedisServer server{
      .address = address(), .user = wanted_.user, .password = {}};
  if (!wanted_.password) return server;
  try {
    const auto password = read_secret(*wanted_.password, context_.output);
    std::string text;
    text.reserve(std::max(password.view().size(), kOnTheHeap));
    text = password.view();
    server.password =
        std::make_unique<const crypto::WipedText>(std::move(text));
  } catch (const repo::WrongKey& e) {  // no key of ours
    throw ingest::ProducerFailed(e.what());
  }
  return server;
}

void RedisSource::open(unsigned lane, std::vector<ingest::Source>& opened) {
  open_dump(lane, opened);
  if (wanted_.aof_dir) open_aof(lane, opened);
}

void RedisSource::open_dump(unsigned lane,
                            std::vector<ingest::Source>& opened) {
  const std::string dump_name = name_ + "/" + std::string(kRedisDumpName);
  try {
    dump_ = std::make_unique<ingest::RedisDump>(
        server(), [this] { return context_.now(); },
        wanted_.aof_dir ? ingest::RedisDump::Asks::whether_aof_is_on
                        : ingest::RedisDump::Asks::nothing_else);
  } catch (const ingest::ProducerFailed& e) {
    opened.push_back(stream_of(dump_name, failed(e.what()), lane));
    return;
  }
  opened.push_back(stream_of(dump_name, ingest::borrowed(*dump_), lane));
  opened.push_back(stream_of(
      name_ + "/" + std::string(kRedisKeysName),
      ingest::late_text([this, dump_name](const std::stop_token&) {
        if (!dump_->ended()) {
          throw ingest::ProducerFailed("not written, since there is no " +
                                       dump_name);
        }
        return redis_keys_document(dump_name, *dump_, names());
      }),
      lane));
}

void RedisSource::open_aof(unsigned lane, std::vector<ingest::Source>& opened) {
  const std::string folder_name = name_ + "/" + std::string(kRedisAofName);
  try {
    auto folder = ingest::open_aof_folder(*wanted_.aof_dir);
    const auto path = (fs::path(*wanted_.aof_dir) / "").parent_path();
    found_.aof_folder = ingest::checked_redis_name(path.filename().string());
    found_.aof_prefix = ingest::checked_redis_name(
        ingest::aof_prefix_of(folder.manifest_name).value_or(""));
    for (auto& file : folder.files) {
      aof_written_ =
          std::max(aof_written_.value_or(file.modified), file.modified);
      const std::string name = folder_name + "/" + file.name;
      opened.push_back(
          stream_of(name, ingest::read_aof_file(std::move(file)), lane));
    }
    opened.push_back(stream_of(
        folder_name + "/" + folder.manifest_name,
        ingest::late_text([text = std::move(folder.manifest)](
                              const std::stop_token&) { return text; }),
        lane));
  } catch (const ingest::ProducerFailed& e) {
    opened.push_back(stream_of(folder_name, failed(e.what()), lane));
  }
}

// What the server says of itself, before what its files say.
ingest::KnownRedisNames RedisSource::names() const {
  auto names = dump_->names();
  if (!names.aof_folder) names.aof_folder = found_.aof_folder;
  if (!names.aof_prefix) names.aof_prefix = found_.aof_prefix;
  return names;
}

std::vector<std::string> RedisSource::notes() const {
  std::vector<std::string> notes;
  if (!dump_) return notes;
  for (const auto& note : dump_->notes()) notes.push_back(name_ + ": " + note);
  if (const auto note = note_of_stale_aof()) {
    notes.push_back(name_ + "/" + std::string(kRedisAofName) + ": " + *note);
  }
  return notes;
}

// Those of a server that has them switched off stay as they were then, and look
// like any others.
std::optional<std::string> RedisSource::note_of_stale_aof() const {
  constexpr std::int64_t kDay = 86'400;
  if (!aof_written_ || !dump_->began()) return std::nullopt;
  const auto& is_on = dump_->is_aof_on();
  if (is_on && *is_on) return std::nullopt;
  const std::string written =
      "they were last written at " + rfc3339(*aof_written_);
  if (is_on) {
    return "the server does not write append-only files (appendonly no): " +
           written + ", and what it has now is in the dump alone";
  }
  if (dump_->began()->seconds - aof_written_->seconds < kDay) {
    return std::nullopt;
  }
  return written +
         "; whether the server still writes them it does not tell (let its "
         "user ask by +info)";
}

RedisSource::Outlook RedisSource::outlook(const std::stop_token& stop) const {
  const auto seen = ingest::look_at_redis(server(), stop);
  Outlook outlook{.what = "redis " + seen.version + ", " +
                          counted(seen.keys, "key") + ", " +
                          size_text(seen.used_bytes) + " of memory",
                  .problem = {}};
  if (!wanted_.aof_dir) return outlook;
  try {
    const auto folder = ingest::open_aof_folder(*wanted_.aof_dir);
    std::uint64_t bytes = 0;
    for (const auto& file : folder.files) bytes += file.bytes;
    outlook.what += ", and append-only files of " + size_text(bytes);
  } catch (const ingest::ProducerFailed& e) {
    outlook.problem = e.what();
  }
  return outlook;
}

std::optional<std::string> RedisSource::place_if_it_answers(
    const std::stop_token& stop) const {
  auto plain = address();
  plain.tls.reset();  // who listens there is not asked who he is
  try {
    return ingest::RedisConnection::connect(plain, stop).place();
  } catch (const ingest::ProducerFailed&) {
    return std::nullopt;
  }
}

}  // namespace cairn::cli
