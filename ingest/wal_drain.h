// The thread that empties the spool into the repository, beside the one that
// fills it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "ingest/wal_spool.h"
#include "ingest/wal_store.h"
#include "repo/repository.h"

namespace cairn::ingest {

// WAL that nobody can get any more.
struct WalGap {
  std::uint32_t timeline = 0;
  Lsn from;
  Lsn to;
  std::string why;
};

struct WalStart {
  WalStreamId stream;  // `start` is where this receiver begins to receive
  std::string place;   // of the server
  std::string version;
  std::string slot;
};

// What a receiver has to say while it goes on. From two threads, one at a time.
class WalEvents {
 public:
  virtual ~WalEvents() = default;

  virtual void receiving(const WalStart& start) = 0;
  virtual void flushed(const WalFlush& flush) = 0;
  virtual void gap(const WalGap& gap) = 0;
  virtual void note(const std::string& text) = 0;
  virtual void warning(const std::string& text) = 0;
};

// Absorbs what was pushed (wal_push.h), and flushes every run once. `in_use` as
// for absorb_pushed(): those before it go once they are stored whole. So do
// those that another one continues; where WAL is missing behind one, a receiver
// may still get it. Without `in_use` the stream of a timeline that the spool
// does not know goes on where the repository has it. Throws what a flush fails
// with.
void flush_spool(WalSpool& spool, WalStore& store, repo::Repository& repository,
                 const WalRun* in_use, WalEvents& events,
                 const std::stop_token& stop);

// Flushes when so much time has gone by, so much has gathered, or it is asked
// to. What fails is told of once and tried again until it goes well; what is in
// the spool stays there.
//
// Threads        received(), request() from many; finish() once.
// Abandonment    what is not committed stays in the spool.
class WalDrain {
 public:
  struct Options {
    std::chrono::seconds interval = std::chrono::minutes(5);
    std::uint64_t bytes = std::uint64_t{64} << 20;
  };
  // Opens the repository anew once it could not be reached, since a file system
  // that was mounted again is another one. Called by the drain's thread.
  using OpenRepository = std::function<repo::Repository()>;

  // Borrows spool and events. Begins with what is in the spool already.
  WalDrain(WalSpool& spool, WalStore store, repo::Repository repository,
           OpenRepository open, Options options, WalEvents& events);
  ~WalDrain();

  // Something is durable that was not.
  void received();
  // A flush now, whatever there is.
  void request();

  // One flush more; throws what it failed with.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  void wait_for_reason();
  // Answers whether all went well.
  bool flush_all();
  void tell_failure(const std::string& what);

  WalSpool& spool_;
  WalStore store_;
  std::optional<repo::Repository> repository_;
  OpenRepository open_;
  const Options options_;
  WalEvents& events_;

  // Of the thread alone:
  Clock::time_point next_;  // when it flushes unasked
  std::chrono::seconds backoff_{0};
  std::string told_;  // the failure that was told last

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool is_requested_ = false;
  bool is_closing_ = false;
  bool has_enough_ = false;
  std::exception_ptr failure_;  // of the last flush

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace cairn::ingest
