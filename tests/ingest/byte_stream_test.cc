#include "ingest/byte_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::Bytes;
using testing_support::read_file;
using testing_support::TempFolder;
using testing_support::text_of;
using testing_support::write_file;

// What a stream waits with, told of before it waits. Answers an error number
// to fail the call with, 0 to let it through.
struct Waits {
  std::function<int()> on_poll;
  std::function<void()> on_wait_for_child;
  bool is_pausing_short = false;  // a pause takes no time
};

Waits& waits() {
  static Waits all;
  return all;
}

}  // namespace
}  // namespace cairn::ingest

// NOLINTBEGIN(bugprone-reserved-identifier): the linker demands these names.
extern "C" {
int __real_poll(pollfd* fds, nfds_t count, int timeout);
int __wrap_poll(pollfd* fds, nfds_t count, int timeout);
pid_t __real_waitpid(pid_t child, int* status, int options);
pid_t __wrap_waitpid(pid_t child, int* status, int options);
int __real_nanosleep(const timespec* pause, timespec* left);
int __wrap_nanosleep(const timespec* pause, timespec* left);

int __wrap_poll(pollfd* fds, nfds_t count, int timeout) {
  const auto& told = cairn::ingest::waits().on_poll;
  errno = told ? told() : 0;
  return errno != 0 ? -1 : __real_poll(fds, count, timeout);
}

pid_t __wrap_waitpid(pid_t child, int* status, int options) {
  const auto& told = cairn::ingest::waits().on_wait_for_child;
  if (told) told();
  return __real_waitpid(child, status, options);
}

int __wrap_nanosleep(const timespec* pause, timespec* left) {
  if (cairn::ingest::waits().is_pausing_short) return 0;
  return __real_nanosleep(pause, left);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace cairn::ingest {
namespace {

class Streams : public ::testing::Test {
 protected:
  ~Streams() override { waits() = {}; }

  TempFolder folder;
};
class DescriptorStream : public Streams {};
class CommandStream : public Streams {};

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    out = UniqueFd(ends[0]);
    in = UniqueFd(ends[1]);
  }
  void write(std::string_view text) const {
    EXPECT_EQ(::write(in.get(), text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }
  UniqueFd out;
  UniqueFd in;
};

std::string read_some(ByteStream& stream, std::stop_token stop = {}) {
  Bytes bytes(1000);
  bytes.resize(stream.read(bytes, std::move(stop)));
  return text_of(bytes);
}

std::string read_to_the_end(ByteStream& stream) {
  std::string all;
  for (;;) {
    const std::string some = read_some(stream);
    if (some.empty()) return all;
    all += some;
  }
}

// What finish() says.
std::string failure_of(ByteStream& stream) {
  try {
    stream.finish({});
  } catch (const ProducerFailed& e) {
    return e.what();
  }
  return "";
}

std::unique_ptr<ByteStream> run_shell(const std::string& script) {
  return run_command({"/bin/sh", "-c", script});
}

// Of a program that writes its number in the first line.
pid_t read_number(ByteStream& stream) {
  std::string line;
  while (!line.ends_with('\n')) {
    Bytes byte(1);
    if (stream.read(byte, {}) == 0) break;
    line += text_of(byte);
  }
  return static_cast<pid_t>(std::stol(line));
}

bool is_there(pid_t process) { return ::kill(process, 0) == 0; }

std::size_t open_descriptors() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

// Long enough to be noticed, short enough to fail and not hang.
constexpr const char* kLiveOn = "sleep 20";

std::string live_on_while(const std::string& condition) {
  return "n=0; while " + condition +
         " && [ $n -lt 1000 ]; do n=$((n + 1)); sleep 0.02; done";
}

TEST_F(DescriptorStream, GivesWhatComesAndThenTheEnd) {
  Pipe pipe;
  const auto stream = read_descriptor(pipe.out.get());

  pipe.write("one");
  EXPECT_EQ(read_some(*stream), "one");
  pipe.write("two");
  pipe.in = {};
  EXPECT_EQ(read_some(*stream), "two");
  EXPECT_EQ(read_some(*stream), "");
  EXPECT_EQ(failure_of(*stream), "");
}

TEST_F(DescriptorStream, StaysTheCallers) {
  Pipe pipe;
  { const auto stream = read_descriptor(pipe.out.get()); }

  EXPECT_NE(fcntl(pipe.out.get(), F_GETFD), -1);
}

TEST_F(DescriptorStream, WaitsForBytesThroughEverythingThatIsNone) {
  Pipe pipe;
  ASSERT_EQ(fcntl(pipe.out.get(), F_SETFL, O_NONBLOCK), 0);
  const auto stream = read_descriptor(pipe.out.get());
  int polls = 0;
  waits().on_poll = [&] {
    if (++polls < 3) return EINTR;
    if (polls == 5) pipe.write("late");  // after one that ran out of time
    return 0;
  };

  EXPECT_EQ(read_some(*stream), "late");
  EXPECT_EQ(polls, 5);
}

TEST_F(DescriptorStream, StopsWaitingWhenItIsCancelled) {
  Pipe pipe;
  const auto stream = read_descriptor(pipe.out.get());
  std::stop_source stop;
  waits().on_poll = [&] {
    if (!stop.request_stop()) pipe.in = {};  // asked before: it goes on
    return 0;
  };

  EXPECT_THROW((void)read_some(*stream, stop.get_token()), repo::Cancelled);
}

TEST_F(DescriptorStream, SaysSoWhenItCannotBeRead) {
  const UniqueFd no_stream(
      open(folder.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto stream = read_descriptor(no_stream.get());

  EXPECT_THROW((void)read_some(*stream), repo::IoError);
}

TEST_F(CommandStream, GivesWhatTheProgramWrites) {
  const auto stream = run_command({"printf", "%s-%s", "a b", "$c"});

  EXPECT_EQ(read_to_the_end(*stream), "a b-$c");  // by no shell
  EXPECT_EQ(failure_of(*stream), "");
}

TEST_F(CommandStream, GivesMoreThanAPipeHolds) {
  const auto stream = run_shell("head -c 5000000 /dev/zero; printf end");

  const std::string all = read_to_the_end(*stream);

  EXPECT_EQ(all.size(), 5'000'003u);
  EXPECT_TRUE(all.ends_with("end"));
  EXPECT_EQ(failure_of(*stream), "");
}

TEST_F(CommandStream, FailsWithTheCodeOfItsProgram) {
  const auto stream = run_shell("printf part; exit 3");

  EXPECT_EQ(read_to_the_end(*stream), "part");
  EXPECT_EQ(failure_of(*stream), "/bin/sh: exited with 3");
}

TEST_F(CommandStream, FailsWhenItsProgramDiesByASignal) {
  const auto stream = run_shell("printf part; kill -KILL $$");

  EXPECT_EQ(read_to_the_end(*stream), "part");
  EXPECT_EQ(failure_of(*stream), "/bin/sh: died by signal 9");
}

TEST_F(CommandStream, OfAProgramThatIsNotThereDoesNotStart) {
  const std::string name = folder / "no-such-program";
  const std::size_t before = open_descriptors();

  try {
    (void)run_command({name});
    FAIL() << "started";
  } catch (const ProducerFailed& e) {
    EXPECT_EQ(std::string(e.what()),
              name + ": cannot start: No such file or directory");
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(CommandStream, GivesItsProgramNothingToRead) {
  Pipe ours;
  ours.write("ours");
  ours.in = {};
  const UniqueFd before(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  ASSERT_EQ(dup2(ours.out.get(), STDIN_FILENO), STDIN_FILENO);

  const auto stream = run_command({"cat"});

  EXPECT_EQ(read_to_the_end(*stream), "");
  EXPECT_EQ(failure_of(*stream), "");
  if (before) dup2(before.get(), STDIN_FILENO);
}

// Whatever this process ignores or blocks, its programs can be ended.
TEST_F(CommandStream, StartsItsProgramWithSignalsAtTheirDefaults) {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &term, &before);
  auto* const pipe_before = ::signal(SIGPIPE, SIG_IGN);

  const auto blocked = run_shell("kill -TERM $$; echo survived");
  const auto ignored = run_shell("kill -PIPE $$; echo survived");

  EXPECT_EQ(read_to_the_end(*blocked), "");
  EXPECT_EQ(failure_of(*blocked), "/bin/sh: died by signal 15");
  EXPECT_EQ(read_to_the_end(*ignored), "");
  EXPECT_EQ(failure_of(*ignored), "/bin/sh: died by signal 13");
  ::signal(SIGPIPE, pipe_before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(CommandStream, StopsWaitingForBytesWhenItIsCancelled) {
  auto stream = run_shell(std::string("echo $$; exec ") + kLiveOn);
  const pid_t program = read_number(*stream);
  std::stop_source stop;
  waits().on_poll = [&] {
    stop.request_stop();
    return 0;
  };

  EXPECT_THROW((void)read_some(*stream, stop.get_token()), repo::Cancelled);
  stream.reset();

  EXPECT_FALSE(is_there(program));
}

TEST_F(CommandStream, WaitsForAProgramThatLivesOnAfterItsOutput) {
  const fs::path gate = folder / "gate";
  const auto stream =
      run_shell("exec >&-; " +
                live_on_while("[ ! -e '" + gate.native() + "' ]") + "; exit 5");
  EXPECT_EQ(read_to_the_end(*stream), "");
  int looks = 0;
  waits().on_wait_for_child = [&] {
    if (++looks == 3) write_file(gate, "");
  };

  EXPECT_EQ(failure_of(*stream), "/bin/sh: exited with 5");
  EXPECT_GE(looks, 3);
}

TEST_F(CommandStream, StopsWaitingForTheEndOfItsProgramWhenItIsCancelled) {
  auto stream = run_shell(std::string("echo $$; exec ") + kLiveOn + " >&-");
  const pid_t program = read_number(*stream);
  EXPECT_EQ(read_to_the_end(*stream), "");
  std::stop_source stop;
  waits().on_wait_for_child = [&] { stop.request_stop(); };

  EXPECT_THROW(stream->finish(stop.get_token()), repo::Cancelled);
  stream.reset();

  EXPECT_FALSE(is_there(program));
}

TEST_F(CommandStream, DestroyedBeforeItsEndTerminatesItsProgram) {
  const fs::path note = folder / "note";
  auto stream = run_shell("trap 'printf terminated > \"" + note.native() +
                          "\"; exit' TERM; echo $$; " + live_on_while(":"));
  const pid_t program = read_number(*stream);

  stream.reset();

  EXPECT_EQ(read_file(note), "terminated");
  EXPECT_FALSE(is_there(program));
}

// Not so for one that ended and that nobody has waited for yet.
bool is_running(pid_t process) {
  std::ifstream in("/proc/" + std::to_string(process) + "/stat");
  const std::string stat{std::istreambuf_iterator<char>(in), {}};
  const auto state = stat.rfind(") ");
  return state != std::string::npos && stat[state + 2] != 'Z';
}

TEST_F(CommandStream, DestroyedTerminatesWhatItsProgramStarted) {
  for (const std::string own : {"wait", "exec sleep 1000", "trap '' TERM"}) {
    SCOPED_TRACE(own);
    auto stream = run_shell("sleep 1000 & echo $!; " + own);
    const pid_t started = read_number(*stream);
    ASSERT_TRUE(is_running(started));

    stream.reset();

    // It was sent the signal; that it is gone may take a moment.
    for (int i = 0; i < 1000 && is_running(started); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_FALSE(is_running(started));
  }
}

TEST_F(CommandStream, EndsWithTheThreadThatStartedIt) {
  std::unique_ptr<ByteStream> stream;
  std::thread([&] { stream = run_shell("exec sleep 1000"); }).join();

  EXPECT_EQ(read_to_the_end(*stream), "");
  EXPECT_EQ(failure_of(*stream), "/bin/sh: died by signal 15");
}

TEST_F(CommandStream, DestroyedKillsAProgramThatDoesNotHeedIt) {
  auto stream =
      run_shell(std::string("trap '' TERM; echo $$; exec ") + kLiveOn);
  const pid_t program = read_number(*stream);
  waits().is_pausing_short = true;

  const auto began = std::chrono::steady_clock::now();
  stream.reset();

  EXPECT_FALSE(is_there(program));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(15));
}

}  // namespace
}  // namespace cairn::ingest
