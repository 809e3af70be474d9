#include "ingest/redis_dump.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kMarkBytes = 40;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;

std::uint64_t number_in(std::string_view text, std::string_view after) {
  const auto at = text.find(after);
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + after.size());
  std::uint64_t number = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::string word_in(std::string_view text, std::string_view after) {
  const auto at = text.find(after);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + after.size());
  return std::string(text.substr(0, text.find_first_of("\r\n")));
}

// The keys of all databases, of what INFO says of them.
std::uint64_t keys_in(std::string_view text) {
  constexpr std::string_view kKeys = "keys=";
  std::uint64_t keys = 0;
  for (auto at = text.find(kKeys); at != std::string_view::npos;
       at = text.find(kKeys)) {
    keys += number_in(text.substr(at), kKeys);
    text.remove_prefix(at + kKeys.size());
  }
  return keys;
}

}  // namespace

RedisConnection RedisServer::connect(const std::stop_token& stop) const {
  auto connection = RedisConnection::connect(address, stop);
  connection.log_in(user, password_text(), stop);
  return connection;
}

std::string RedisServer::refusal(std::string_view error) const {
  return redis_refusal(error, user, password_text());
}

std::optional<std::string_view> RedisServer::password_text() const {
  if (!password) return std::nullopt;
  return password->text;
}

RedisOutlook look_at_redis(const RedisServer& server,
                           const std::stop_token& stop) {
  auto connection = server.connect(stop);
  const auto info = [&](std::string_view section) {
    const auto reply = connection.ask({"INFO", section}, stop);
    if (reply.is_error()) {
      connection.fail(server.refusal(reply.text));
    }
    return reply.text;
  };
  return {.version = word_in(info("server"), "redis_version:"),
          .keys = keys_in(info("keyspace")),
          .used_bytes = number_in(info("memory"), "used_memory:")};
}

struct RedisDump::State {
  State(RedisServer of, Clock clock, Asks what)
      : server(std::move(of)), now(std::move(clock)), asks(what), scanner({}) {}

  const RedisServer server;
  const Clock now;
  const Asks asks;
  std::optional<bool> is_aof_on;
  KnownRedisNames names;
  RdbScanner scanner;
  std::optional<RedisConnection> connection;
  std::string place;
  std::optional<repo::Timestamp> began;
  std::optional<repo::Timestamp> ended;

  // How its end is known: by the mark, or by how much is left.
  std::string mark;
  std::uint64_t left = std::numeric_limits<std::uint64_t>::max();
  std::vector<std::byte> came;  // and is not given on yet
  std::size_t came_size = 0;
  std::size_t to_give = 0;  // of it; what follows may be the mark's beginning
  std::size_t given = 0;
  std::uint64_t all_given = 0;
  bool is_all = false;

  void begin(const std::stop_token& stop) {
    connection.emplace(server.connect(stop));
    place = connection->place();
    if (asks == Asks::whether_aof_is_on) ask_whether_aof_is_on(stop);
    ask_names(stop);
    // Servers before 7.0 do not know the first, and a user may lack the right
    // to say it: then the server thinks of us as a replica that goes away.
    (void)connection->ask({"REPLCONF", "rdb-only", "1"}, stop);
    (void)connection->ask({"REPLCONF", "capa", "eof"}, stop);
    began = now();
    scanner = RdbScanner(*began);
    connection->send({"SYNC"}, stop);
    std::string head;
    do {
      head = connection->line(stop);
    } while (head.empty());  // it is still there, is all that this says
    read_head(head);
    came.resize(kReadBytes + kMarkBytes);
  }

  // A user for backups need not have the right to it.
  void ask_whether_aof_is_on(const std::stop_token& stop) {
    const auto reply = connection->ask({"INFO", "persistence"}, stop);
    const auto told = word_in(reply.text, "\naof_enabled:");
    if (told == "0" || told == "1") is_aof_on = told == "1";
  }

  // Likewise: one that may not ask this is refused it once.
  void ask_names(const std::stop_token& stop) {
    const auto ask = [&](std::string_view setting,
                         std::optional<std::string>& name) {
      const auto reply = connection->ask({"CONFIG", "GET", setting}, stop);
      const bool is_told =
          reply.items.size() == 2 && reply.items.front().text == setting;
      if (is_told) name = checked_redis_name(reply.items.back().text);
      return !reply.is_error();
    };
    (void)(ask("dbfilename", names.dump) &&
           ask("appenddirname", names.aof_folder) &&
           ask("appendfilename", names.aof_prefix));
  }

  void read_head(std::string_view head) {
    constexpr std::string_view kMark = "$EOF:";
    if (head.starts_with('-')) {
      connection->fail(server.refusal(head.substr(1)));
    }
    if (head.starts_with(kMark) && head.size() == kMark.size() + kMarkBytes) {
      mark = head.substr(kMark.size());
      return;
    }
    if (head.starts_with('$')) {
      head.remove_prefix(1);
      const auto read =
          std::from_chars(head.data(), head.data() + head.size(), left);
      if (read.ec == std::errc() && read.ptr == head.data() + head.size()) {
        return;
      }
    }
    connection->fail("does not answer SYNC as Redis does");
  }

  // Some bytes that are surely the dump's, or all is known to be there.
  void fill(const std::stop_token& stop) {
    std::move(came.begin() + static_cast<std::ptrdiff_t>(given),
              came.begin() + static_cast<std::ptrdiff_t>(came_size),
              came.begin());
    came_size -= std::exchange(given, 0);
    const auto room = std::span(came).subspan(came_size).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, left)));
    const std::size_t size = connection->read(room, stop);
    if (size == 0) {
      connection->fail("ended the connection after " +
                       std::to_string(all_given + came_size) +
                       " bytes, before its dump was whole");
    }
    came_size += size;
    if (mark.empty()) {
      left -= size;
      to_give = came_size;
      is_all = left == 0;
    } else {
      look_for_mark();
    }
  }

  void look_for_mark() {
    const std::string_view text(reinterpret_cast<const char*>(came.data()),
                                came_size);
    const auto at = text.find(mark);
    is_all = at != std::string_view::npos;
    to_give = is_all ? at : came_size - std::min(came_size, kMarkBytes - 1);
  }

  std::size_t give(std::span<std::byte> out) {
    const std::size_t size = std::min(out.size(), to_give - given);
    std::copy_n(came.begin() + static_cast<std::ptrdiff_t>(given), size,
                out.begin());
    given += size;
    all_given += size;
    with_place([&] { scanner.add(out.first(size)); });
    return size;
  }

  // What the walk finds wrong.
  template <typename Act>
  void with_place(const Act& act) const {
    try {
      act();
    } catch (const ProducerFailed& e) {
      throw ProducerFailed("redis at " + place + ": " + e.what());
    }
  }
};

RedisDump::RedisDump(RedisServer server, Clock now, Asks asks)
    : state_(std::make_unique<State>(std::move(server), std::move(now), asks)) {
}

RedisDump::~RedisDump() = default;

std::size_t RedisDump::read(std::span<std::byte> out, std::stop_token stop) {
  State& state = *state_;
  if (!state.began) state.begin(stop);
  while (state.given == state.to_give) {
    if (state.is_all) return 0;
    state.fill(stop);
  }
  return state.give(out);
}

void RedisDump::finish(std::stop_token) {
  State& state = *state_;
  state.connection.reset();  // or the server would go on talking to us
  state.with_place([&] { state.scanner.finish(); });
  state.ended = state.now();
}

const std::optional<repo::Timestamp>& RedisDump::began() const noexcept {
  return state_->began;
}
const std::optional<bool>& RedisDump::is_aof_on() const noexcept {
  return state_->is_aof_on;
}
const KnownRedisNames& RedisDump::names() const noexcept {
  return state_->names;
}
const std::optional<repo::Timestamp>& RedisDump::ended() const noexcept {
  return state_->ended;
}
const RdbContent& RedisDump::content() const noexcept {
  return state_->scanner.content();
}

std::vector<std::string> RedisDump::notes() const {
  std::vector<std::string> notes;
  if (!state_->ended) return notes;
  const auto& content = state_->scanner.content();
  if (content.not_walked) {
    notes.push_back(
        "the dump is stored as it is, and its keys were not "
        "counted: " +
        *content.not_walked);
  }
  if (!content.has_checksum) {
    notes.emplace_back(
        "the dump has no checksum that could be compared (rdbchecksum no, or "
        "a format that is not known)");
  }
  if (state_->mark.empty()) {
    notes.emplace_back(
        "the server wrote the dump to its own disk first, over its dump.rdb; "
        "`repl-diskless-sync yes` there spares that");
  }
  return notes;
}

}  // namespace cairn::ingest
