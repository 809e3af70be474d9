#include "ingest/redis_connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "crypto/secret.h"
#include "ingest/unique_fd.h"
#include "repo/cbor.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

using Clock = std::chrono::steady_clock;
using Wants = RedisTls::Wants;
using Moved = RedisTls::Moved;

// How long anything waits before it looks whether it should stop.
constexpr std::chrono::milliseconds kPatience{100};
constexpr std::chrono::seconds kConnectTimeout{15};
constexpr std::size_t kMaxLine = std::size_t{64} << 10;
constexpr std::size_t kMaxDepth = 8;
constexpr std::size_t kReadBytes = std::size_t{16} << 10;

// One line of a length that can be read.
std::string quoted(std::string_view text) {
  constexpr std::size_t kMost = 200;
  std::string line = repo::as_utf8(text.substr(0, kMost));
  std::ranges::replace_if(
      line, [](char c) { return c >= 0 && c < ' '; }, ' ');
  return line;
}

bool begins_with_any(std::string_view text,
                     std::initializer_list<std::string_view> beginnings) {
  return std::ranges::any_of(
      beginnings, [&](std::string_view one) { return text.starts_with(one); });
}

// Arguments that a server repeats may be cut, or spelled otherwise, so all of
// them go; the password goes wherever it stands.
std::string without_password(std::string_view error,
                             std::string_view password) {
  constexpr std::string_view kArguments = ", with args";
  constexpr std::string_view kInstead = "(password)";
  std::string text(error.substr(0, error.find(kArguments)));
  if (password.empty()) return text;
  for (auto at = text.find(password); at != std::string::npos;
       at = text.find(password, at + kInstead.size())) {
    text.replace(at, password.size(), kInstead);
  }
  return text;
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

}  // namespace

std::string redis_refusal(std::string_view error, std::string_view user,
                          const std::optional<std::string_view>& password) {
  const std::string said =
      quoted(password ? without_password(error, *password) : error);
  const std::string who =
      user.empty() ? "the default user" : "user " + quoted(user);
  const std::string name = user.empty() ? "default" : quoted(user);
  if (begins_with_any(error, {"NOAUTH"})) {
    return "wants a password; `password`, and `user` where there are several, "
           "say which";
  }
  if (begins_with_any(error, {"WRONGPASS", "ERR invalid password"})) {
    return "refuses the password of " + who + " (" + said + ")";
  }
  if (begins_with_any(error, {"NOPERM"})) {
    return "does not let " + who + " do what a replica does (" + said +
           "); allow it by ACL SETUSER " + name +
           " +sync +psync +replconf +ping +info";
  }
  if (begins_with_any(error, {"LOADING"})) {
    return "is still loading its data; run again once it has";
  }
  if (begins_with_any(error, {"MASTERDOWN", "NOMASTERLINK"})) {
    return "is a replica without a link to its master, and has nothing to give "
           "(" +
           said + "); save the master, or run again once it is linked";
  }
  if (begins_with_any(error, {"DENIED"})) {
    return "is in protected mode, and admits the machine that it runs on "
           "alone; set a password for it (" +
           said + ")";
  }
  if (begins_with_any(error, {"ERR unknown command"})) {
    return "does not know what a replica asks (" + said +
           "): it is a Sentinel or a proxy, or its provider forbids it";
  }
  return "says: " + said;
}

struct RedisConnection::State {
  std::string place;
  UniqueFd socket;
  std::optional<RedisTls> tls;  // on the socket, and gone before it
  std::string in;               // came, and is not read yet
  std::size_t in_at = 0;
  bool has_answered = false;  // in the words of Redis
  std::chrono::seconds silence = kSilence;

  [[noreturn]] void fail(const std::string& why) const {
    throw ProducerFailed("redis at " + place + " " + why);
  }

  [[noreturn]] void fail_ended() const {
    fail(tls || has_answered
             ? "has ended the connection"
             : "has ended the connection; does it want TLS (`tls: true`)?");
  }
  [[noreturn]] void fail_no_redis() const {
    fail(
        "does not answer as Redis does; is it another server, or one that "
        "wants TLS (`tls: true`)?");
  }

  // Calls `move` until it has moved something, or the other side has ended.
  template <typename Move>
  Moved wait_for(const Move& move, std::chrono::seconds limit,
                 const std::stop_token& stop) {
    const auto deadline = Clock::now() + limit;
    for (;;) {
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
      const Moved moved = move();
      if (moved.wants == Wants::nothing) return moved;
      pollfd ready{
          socket.get(),
          static_cast<short>(moved.wants == Wants::to_read ? POLLIN : POLLOUT),
          0};
      (void)::poll(&ready, 1, static_cast<int>(kPatience.count()));
      if (ready.revents == 0 && Clock::now() >= deadline) {
        fail("has said nothing for " + std::to_string(limit.count()) +
             " seconds");
      }
    }
  }

  template <typename Act>
  auto with_place(const Act& act) -> decltype(act()) {
    try {
      return act();
    } catch (const ProducerFailed& e) {
      throw ProducerFailed("redis at " + place + ": " + e.what());
    }
  }

  Moved read_now(std::span<std::byte> out) {
    if (tls) return with_place([&] { return tls->read(out); });
    const ssize_t size = ::recv(socket.get(), out.data(), out.size(), 0);
    if (size > 0) return {.size = static_cast<std::size_t>(size)};
    if (size == 0 || errno == ECONNRESET) return {.has_ended = true};
    if (errno == EAGAIN || errno == EINTR) return {.wants = Wants::to_read};
    fail("cannot be read: " + std::string(std::strerror(errno)));
  }

  Moved write_now(std::span<const std::byte> bytes) {
    if (tls) return with_place([&] { return tls->write(bytes); });
    const ssize_t size =
        ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0) return {.size = static_cast<std::size_t>(size)};
    if (errno == EPIPE || errno == ECONNRESET) return {.has_ended = true};
    if (errno == EAGAIN || errno == EINTR) return {.wants = Wants::to_write};
    fail("cannot be written to: " + std::string(std::strerror(errno)));
  }

  void write(std::span<const std::byte> bytes, const std::stop_token& stop) {
    while (!bytes.empty()) {
      const auto moved =
          wait_for([&] { return write_now(bytes); }, silence, stop);
      if (moved.has_ended) fail_ended();
      bytes = bytes.subspan(moved.size);
    }
  }

  // False: the server has ended the connection.
  bool read_more(const std::stop_token& stop) {
    in.erase(0, std::exchange(in_at, 0));
    const std::size_t before = in.size();
    in.resize(before + kReadBytes);
    const auto room =
        std::as_writable_bytes(std::span(in)).subspan(before, kReadBytes);
    std::size_t came = 0;
    try {
      came = wait_for([&] { return read_now(room); }, silence, stop).size;
    } catch (...) {
      in.resize(before);
      throw;
    }
    in.resize(before + came);
    return came > 0;
  }

  std::string line(const std::stop_token& stop) {
    for (std::size_t seen = 0;;) {
      const std::size_t end = in.find('\n', in_at + seen);
      if (end != std::string::npos) {
        std::string text = in.substr(in_at, end - in_at);
        in_at = end + 1;
        if (text.ends_with('\r')) text.pop_back();
        return text;
      }
      seen = in.size() - in_at;
      if (seen > kMaxLine) fail_no_redis();
      if (!read_more(stop)) fail_ended();
    }
  }

  // `size` bytes and the end of their line.
  std::string text_of(std::size_t size, const std::stop_token& stop) {
    constexpr std::size_t kLineEnd = 2;
    while (in.size() - in_at < size + kLineEnd) {
      if (!read_more(stop)) fail_ended();
    }
    std::string text = in.substr(in_at, size);
    in_at += size + kLineEnd;
    return text;
  }

  std::int64_t number_in(std::string_view text) const {
    std::int64_t number = 0;
    const auto read =
        std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) {
      fail_no_redis();
    }
    return number;
  }

  // `left` bounds all of an answer.
  RedisReply reply(std::size_t& left, std::size_t depth,
                   const std::stop_token& stop) {
    using Kind = RedisReply::Kind;
    std::string head = line(stop);
    if (head.empty() || depth > kMaxDepth) fail_no_redis();
    const auto take = [&](std::size_t size) {
      if (size > left) fail("answers more than it was asked for");
      left -= size;
    };
    take(head.size() + sizeof(RedisReply));
    const char kind = head.front();
    head.erase(0, 1);
    switch (kind) {
      case '+':
        return {.kind = Kind::status, .text = std::move(head), .items = {}};
      case '-':
        return {.kind = Kind::error, .text = std::move(head), .items = {}};
      case ':':
        return {.kind = Kind::number,
                .text = {},
                .number = number_in(head),
                .items = {}};
      case '$': {
        const std::int64_t size = number_in(head);
        if (size < 0) return {};
        take(static_cast<std::size_t>(size));
        return {.kind = Kind::text,
                .text = text_of(static_cast<std::size_t>(size), stop),
                .items = {}};
      }
      case '*': {
        const std::int64_t count = number_in(head);
        RedisReply list{.kind = Kind::list, .text = {}, .items = {}};
        for (std::int64_t i = 0; i < count; ++i) {
          list.items.push_back(reply(left, depth + 1, stop));
        }
        return list;
      }
      default:
        fail_no_redis();
    }
  }

  // ---- connecting

  // Of a socket that does not block.
  void connect_to(const sockaddr* address, socklen_t size,
                  const std::stop_token& stop) {
    if (::connect(socket.get(), address, size) == 0) return;
    if (errno != EINPROGRESS && errno != EINTR) throw_errno(errno);
    const auto deadline = Clock::now() + kConnectTimeout;
    for (;;) {
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
      pollfd ready{socket.get(), POLLOUT, 0};
      if (::poll(&ready, 1, static_cast<int>(kPatience.count())) > 0) break;
      if (Clock::now() >= deadline) throw_errno(ETIMEDOUT);
    }
    int error = 0;
    socklen_t error_size = sizeof error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &error_size);
    if (error != 0) throw_errno(error);
  }

  [[noreturn]] void throw_errno(int error) const {
    fail("cannot be reached: " + std::string(std::strerror(error)) +
         "; does it run, and listen there?");
  }

  void open_socket(int family) {
    socket = UniqueFd(
        ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) throw_errno(errno);
  }

  void connect_to_path(const std::string& path, const std::stop_token& stop) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
      fail("cannot be reached: the socket's path is too long");
    }
    std::ranges::copy(path, address.sun_path);
    open_socket(AF_UNIX);
    connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address,
               stop);
  }

  // The first of a name's addresses that somebody listens at.
  void connect_to_host(const RedisAddress& to, const std::stop_token& stop) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(
        to.host.c_str(), std::to_string(to.port).c_str(), &hints, &found);
    const std::unique_ptr<addrinfo, FreeAddresses> all(found);
    if (error != 0) {
      fail("cannot be reached: " + std::string(::gai_strerror(error)));
    }
    for (const addrinfo* one = all.get(); one != nullptr; one = one->ai_next) {
      try {
        open_socket(one->ai_family);
        connect_to(one->ai_addr, one->ai_addrlen, stop);
        return;
      } catch (const ProducerFailed&) {
        if (one->ai_next == nullptr) throw;
      }
    }
  }

  void begin_tls(const RedisTlsOptions& options, const std::stop_token& stop) {
    with_place([&] { tls.emplace(socket.get(), options); });
    (void)wait_for(
        [&] {
          return Moved{.wants = with_place([&] { return tls->shake_hands(); })};
        },
        kConnectTimeout, stop);
  }
};

RedisConnection::RedisConnection(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
RedisConnection::RedisConnection(RedisConnection&&) noexcept = default;
RedisConnection& RedisConnection::operator=(RedisConnection&&) noexcept =
    default;
RedisConnection::~RedisConnection() = default;

const std::string& RedisConnection::place() const noexcept {
  return state_->place;
}

void RedisConnection::fail(const std::string& why) const { state_->fail(why); }

void RedisConnection::bear_silence(std::chrono::seconds limit) noexcept {
  state_->silence = limit;
}

RedisConnection RedisConnection::connect(const RedisAddress& address,
                                         const std::stop_token& stop) {
  auto state = std::make_unique<State>();
  state->place = address.socket
                     ? "socket " + *address.socket
                     : address.host + ":" + std::to_string(address.port);
  if (address.socket) {
    state->connect_to_path(*address.socket, stop);
  } else {
    state->connect_to_host(address, stop);
  }
  if (address.tls) state->begin_tls(*address.tls, stop);
  return RedisConnection(std::move(state));
}

void RedisConnection::send(const std::vector<std::string_view>& words,
                           const std::stop_token& stop) {
  // May hold a password: made in one piece, and wiped.
  std::size_t size = 0;
  constexpr std::size_t kHead = 32;
  for (const auto word : words) size += word.size() + kHead;
  std::string room;
  room.reserve(size + kHead);
  crypto::WipedText all(std::move(room));
  all.text += '*' + std::to_string(words.size()) + "\r\n";
  for (const auto word : words) {
    all.text += '$' + std::to_string(word.size()) + "\r\n";
    all.text += word;
    all.text += "\r\n";
  }
  state_->write(std::as_bytes(std::span(all.text)), stop);
}

RedisReply RedisConnection::ask(const std::vector<std::string_view>& words,
                                const std::stop_token& stop) {
  send(words, stop);
  std::size_t left = kMaxReplyBytes;
  auto reply = state_->reply(left, 0, stop);
  state_->has_answered = true;
  return reply;
}

std::string RedisConnection::line(const std::stop_token& stop) {
  return state_->line(stop);
}

std::size_t RedisConnection::read(std::span<std::byte> out,
                                  const std::stop_token& stop) {
  State& state = *state_;
  if (state.in_at < state.in.size()) {
    const auto waiting =
        std::as_bytes(std::span(state.in)).subspan(state.in_at);
    const std::size_t size = std::min(out.size(), waiting.size());
    std::ranges::copy(waiting.first(size), out.begin());
    state.in_at += size;
    return size;
  }
  return state
      .wait_for([&] { return state.read_now(out); }, state.silence, stop)
      .size;
}

void RedisConnection::log_in(const std::string& user,
                             const std::optional<std::string_view>& password,
                             const std::stop_token& stop) {
  if (password) {
    const auto reply = user.empty() ? ask({"AUTH", *password}, stop)
                                    : ask({"AUTH", user, *password}, stop);
    // A server that wants none from the default user admits him anyhow.
    const bool is_needless =
        reply.text.find("without any password configured") !=
            std::string::npos ||
        reply.text.find("no password is set") != std::string::npos;
    if (reply.is_error() && !is_needless) {
      fail(redis_refusal(reply.text, user, password));
    }
  }
  const auto reply = ask({"PING"}, stop);
  if (!reply.is_error()) return;
  // It is there, and says so.
  if (reply.text.starts_with("NOPERM")) return;
  fail(redis_refusal(reply.text, user, password));
}

}  // namespace cairn::ingest
