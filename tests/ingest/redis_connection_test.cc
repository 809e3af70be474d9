// Against a stand-in that says what no server that is installed here says; the
// real ones are in tests/e2e/redis_test.py.
#include "ingest/redis_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "ingest/redis_dump.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "tests/support/rdb.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

// Takes one connection, whatever it says, and answers its commands, one after
// another, with these pieces; then it hangs up.
class StandIn {
 public:
  explicit StandIn(std::vector<std::string> pieces)
      : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(path(), address.sun_path);
    EXPECT_EQ(
        ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address),
               sizeof address),
        0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::jthread([this, pieces = std::move(pieces)] {
      const UniqueFd one(::accept(listener_.get(), nullptr, nullptr));
      std::string heard(4096, '\0');
      for (const auto& piece : pieces) {
        if (::recv(one.get(), heard.data(), heard.size(), 0) <= 0) return;
        if (::send(one.get(), piece.data(), piece.size(), MSG_NOSIGNAL) < 0) {
          return;
        }
      }
    });
  }

  [[nodiscard]] std::string path() const {
    return (folder_.path() / "s").string();
  }
  [[nodiscard]] RedisAddress address() const {
    return {.socket = path(), .tls = {}};
  }

 private:
  testing_support::TempFolder folder_;
  UniqueFd listener_;
  std::jthread thread_;  // uses both
};

std::string refusal_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const ProducerFailed& e) {
    return e.what();
  }
  return "none";
}

std::string refusal_to(std::vector<std::string> pieces) {
  const StandIn server(std::move(pieces));
  return refusal_of([&] {
    auto connection = RedisConnection::connect(server.address(), {});
    connection.log_in("", "open sesame", {});
  });
}

TEST(RedisConnection, ReadsEveryKindOfAnswer) {
  const StandIn server(
      {"*5\r\n+ok\r\n-ERR no\r\n:-7\r\n$2\r\n\r\n\r\n$-1\r\n"});
  auto connection = RedisConnection::connect(server.address(), {});

  const auto reply = connection.ask({"ANYTHING"}, {});

  using Kind = RedisReply::Kind;
  ASSERT_EQ(reply.kind, Kind::list);
  ASSERT_EQ(reply.items.size(), 5U);
  EXPECT_EQ(reply.items[0].text, "ok");
  EXPECT_TRUE(reply.items[1].is_error());
  EXPECT_EQ(reply.items[2].number, -7);
  EXPECT_EQ(reply.items[3].text, "\r\n");
  EXPECT_EQ(reply.items[4].kind, Kind::nothing);
}

TEST(RedisConnection, BoundsWhatAHostileServerAnswers) {
  EXPECT_THAT(refusal_to({"$99999999999\r\n"}), HasSubstr("more than it was"));
  EXPECT_THAT(refusal_to({"*99999999999\r\n" + std::string(1U << 16U, '\n')}),
              HasSubstr("does not answer as Redis"));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "*1\r\n";
  EXPECT_THAT(refusal_to({deep}), HasSubstr("does not answer as Redis"));
  EXPECT_THAT(refusal_to({std::string(200'000, '+')}),
              HasSubstr("does not answer as Redis"));
  EXPECT_THAT(refusal_to({"$x\r\n"}), HasSubstr("does not answer as Redis"));
}

TEST(RedisConnection, SaysWhatToDoWhereItIsRefused) {
  EXPECT_THAT(refusal_to({"HTTP/1.1 400 Bad Request\r\n\r\n"}),
              HasSubstr("another server"));
  EXPECT_THAT(refusal_to({}), HasSubstr("TLS"));
  EXPECT_THAT(refusal_to({"-WRONGPASS no\r\n"}),
              HasSubstr("refuses the password of the default user"));
  EXPECT_THAT(refusal_to({"+OK\r\n", "-LOADING still\r\n"}),
              HasSubstr("still loading"));
  EXPECT_THAT(refusal_to({"+OK\r\n", "-MASTERDOWN no\r\n"}),
              HasSubstr("replica without a link"));
  EXPECT_THAT(refusal_to({"+OK\r\n", "-NOAUTH no\r\n"}),
              HasSubstr("wants a password"));
  EXPECT_THAT(refusal_to({"-DENIED protected mode\r\n"}),
              HasSubstr("protected mode"));
  EXPECT_THAT(refusal_to({"+OK\r\n", "-ERR odd \x1b[2J\r\n"}),
              Not(HasSubstr("\x1b")));
}

TEST(RedisConnection, NeverTellsThePassword) {
  EXPECT_THAT(refusal_to({"-WRONGPASS no\r\n"}), Not(HasSubstr("sesame")));
  EXPECT_THAT(refusal_to({}), Not(HasSubstr("sesame")));
  for (const std::string said :
       {"-ERR unknown command 'AUTH', with args beginning with: 'open sesame'",
        "-ERR unknown command `AUTH`, with args beginning with: `open ses",
        "-ERR wrong number of arguments: open sesame, open sesame",
        "-WRONGPASS open sesame", "-NOPERM open sesame"}) {
    for (const auto& pieces :
         {std::vector{said + "\r\n"},
          std::vector<std::string>{"+OK\r\n", said + "\r\n"}}) {
      EXPECT_THAT(refusal_to(pieces),
                  Not(AnyOf(HasSubstr("open ses"), HasSubstr("sesame"))))
          << said;
    }
  }
  EXPECT_THAT(refusal_to({"-ERR unknown command 'AUTH', with args\r\n"}),
              HasSubstr("unknown command 'AUTH'"));
}

TEST(RedisConnection, AdmitsAUserWhoMayNotEvenPing) {
  EXPECT_EQ(refusal_to({"+OK\r\n", "-NOPERM ping\r\n"}), "none");
  EXPECT_EQ(refusal_to({"-ERR AUTH <password> called without any password "
                        "configured for the default user\r\n",
                        "+PONG\r\n"}),
            "none");
}

TEST(RedisConnection, HeedsARequestToStopWhileItWaits) {
  std::stop_source stop;
  const StandIn server({"+no end of a line"});
  auto connection = RedisConnection::connect(server.address(), {});
  connection.send({"PING"}, {});
  stop.request_stop();

  EXPECT_THROW((void)connection.line(stop.get_token()), repo::Cancelled);
}

// What a dump is given as, in pieces that are each sent once a command came.
std::string dump_of(std::vector<std::string> pieces, std::string& refusal) {
  const StandIn server(std::move(pieces));
  RedisDump dump({.address = server.address(), .user = {}, .password = {}}, [] {
    return repo::Timestamp{1, 0};
  });
  std::string all;
  refusal = refusal_of([&] {
    std::vector<std::byte> some(1000);
    while (const auto size = dump.read(some, {})) {
      all.append(reinterpret_cast<const char*>(some.data()), size);
    }
    dump.finish({});
  });
  return all;
}

const std::string kPong = "+PONG\r\n";
const std::string kUnknown = "-ERR unknown\r\n";
const std::string kMark = "0123456789abcdef0123456789abcdef01234567";

TEST(RedisDump, TakesBothFormsOfATransfer) {
  const std::string rdb = testing_support::real_rdb("redis-7.0");
  std::string refusal;

  EXPECT_EQ(dump_of({kPong, kUnknown, kUnknown, kUnknown,
                     "\n\n\n$EOF:" + kMark + "\r\n" + rdb + kMark},
                    refusal),
            rdb);
  EXPECT_EQ(refusal, "none");
  EXPECT_EQ(dump_of({kPong, kUnknown, kUnknown, kUnknown,
                     "\n$" + std::to_string(rdb.size()) + "\r\n" + rdb +
                         "*1\r\n$4\r\nPING\r\n"},
                    refusal),
            rdb);
  EXPECT_EQ(refusal, "none");
}

TEST(RedisDump, FailsWhenItIsCutOrChanged) {
  const std::string rdb = testing_support::real_rdb("redis-7.0");
  std::string refusal;
  const auto transfer = [&](const std::string& bytes) {
    (void)dump_of({kPong, kUnknown, kUnknown, kUnknown, bytes}, refusal);
    return refusal;
  };

  EXPECT_THAT(transfer("$EOF:" + kMark + "\r\n" + rdb),
              HasSubstr("before its dump was whole"));
  EXPECT_THAT(transfer("$" + std::to_string(rdb.size() + 1) + "\r\n" + rdb),
              HasSubstr("before its dump was whole"));
  EXPECT_THAT(transfer("$EOF:" + kMark + "\r\n" +
                       rdb.substr(0, rdb.size() - 20) + kMark),
              HasSubstr("not as the server wrote it"));
  std::string changed = rdb;
  changed[changed.size() / 2] ^= 1;
  EXPECT_THAT(transfer("$EOF:" + kMark + "\r\n" + changed + kMark),
              HasSubstr("not that of its bytes"));
  EXPECT_THAT(transfer("$12\r\nno RDB at all"),
              AllOf(HasSubstr("redis at socket /"),
                    HasSubstr("does not begin as an RDB does")));
  EXPECT_THAT(transfer("$0\r\n"), HasSubstr("before its dump was whole"));
  EXPECT_THAT(transfer("$-1\r\n"), HasSubstr("does not answer SYNC"));
  EXPECT_THAT(transfer("$EOF:short\r\n"), HasSubstr("does not answer SYNC"));
  EXPECT_THAT(transfer("-NOPERM no 'sync'\r\n"), HasSubstr("+sync +psync"));
  EXPECT_THAT(transfer("-ERR unknown command\r\n"), HasSubstr("Sentinel"));
}

}  // namespace
}  // namespace cairn::ingest
