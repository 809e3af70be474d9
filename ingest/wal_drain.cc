#include "ingest/wal_drain.h"

#include <algorithm>
#include <set>
#include <utility>

#include "ingest/wal_push.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::chrono::seconds kFirstBackoff{2};
constexpr std::chrono::seconds kMaxBackoff{60};

void adopt_streams(WalSpool& spool, WalStore& store,
                   repo::Repository& repository, WalEvents& events) {
  std::set<std::uint32_t> known;
  for (const auto& run : spool.runs()) known.insert(run->timeline());
  for (const auto& file : PushedWal(spool.folder()).waiting()) {
    if (file.name.kind == WalFileName::Kind::history) continue;
    if (!known.insert(file.name.timeline).second) continue;
    const auto adopted = store.adopt(repository, spool, file.name.timeline);
    if (adopted.warning) events.warning(*adopted.warning);
  }
}

// Damage to it is no reason to store nothing.
StoredInPlace look_at_stored(repo::Repository& repository,
                             const WalStore& store, WalToPush segment) {
  segment.system = store.cluster().system;
  try {
    const auto found = compare_with_stored(repository, store.options().series,
                                           segment, store.options().clock());
    return found == InRepository::all ? StoredInPlace::same
                                      : StoredInPlace::unknown;
  } catch (const repo::RefusedForSafety&) {
    return StoredInPlace::other;
  } catch (const repo::CorruptionError&) {
    return StoredInPlace::unknown;
  } catch (const repo::NotFound&) {
    return StoredInPlace::unknown;
  }
}

// Whether another one holds, or held, what comes behind it.
bool is_continued(const WalRun& run,
                  const std::vector<std::shared_ptr<WalRun>>& all) {
  return std::ranges::any_of(all, [&run](const auto& other) {
    return other.get() != &run && other->timeline() == run.timeline() &&
           other->stream_begin() <= run.durable_end() &&
           run.durable_end() < other->durable_end();
  });
}

}  // namespace

void flush_spool(WalSpool& spool, WalStore& store, repo::Repository& repository,
                 const WalRun* in_use, WalEvents& events,
                 const std::stop_token& stop) {
  if (in_use == nullptr) adopt_streams(spool, store, repository, events);
  const auto look = [&](const WalToPush& segment) {
    return look_at_stored(repository, store, segment);
  };
  for (const auto& text : absorb_pushed(spool, in_use, look)) {
    events.warning(text);
  }
  const auto runs = spool.runs();
  bool is_before = in_use != nullptr;
  for (const auto& run : runs) {
    auto flush =
        store.flush(repository, *run, spool.histories(run->timeline()), stop);
    if (flush) events.flushed(*flush);
    if (run.get() == in_use) {
      is_before = false;
    } else if ((is_before || is_continued(*run, runs)) &&
               run->uncommitted_bytes() == 0) {
      spool.remove(*run);
    }
  }
}

WalDrain::WalDrain(WalSpool& spool, WalStore store, repo::Repository repository,
                   OpenRepository open, Options options, WalEvents& events)
    : spool_(spool),
      store_(std::move(store)),
      repository_(std::move(repository)),
      open_(std::move(open)),
      options_(options),
      events_(events),
      next_(Clock::now() + options.interval),
      is_requested_(spool.uncommitted_bytes() > 0),
      thread_([this] { run(); }) {}

WalDrain::~WalDrain() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  changed_.notify_all();
}

void WalDrain::received() {
  if (spool_.uncommitted_bytes() < options_.bytes) return;
  {
    const std::lock_guard lock(mutex_);
    if (has_enough_) return;
    has_enough_ = true;
  }
  changed_.notify_all();
}

void WalDrain::request() {
  {
    const std::lock_guard lock(mutex_);
    is_requested_ = true;
  }
  changed_.notify_all();
}

void WalDrain::finish() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (failure_) std::rethrow_exception(failure_);
}

void WalDrain::run() {
  for (;;) {
    wait_for_reason();
    const bool is_last = [this] {
      const std::lock_guard lock(mutex_);
      is_requested_ = false;
      has_enough_ = false;
      return is_closing_;
    }();
    const bool went_well = flush_all();
    if (is_last) return;
    if (went_well) {
      backoff_ = std::chrono::seconds(0);
      told_.clear();
      next_ = Clock::now() + options_.interval;
    } else {
      backoff_ = std::clamp(2 * backoff_, kFirstBackoff, kMaxBackoff);
      next_ = Clock::now() + std::min(backoff_, options_.interval);
    }
  }
}

// While flushes fail, having enough is no reason to try again.
void WalDrain::wait_for_reason() {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, next_, [this] {
    return is_closing_ || is_requested_ ||
           (has_enough_ && backoff_ == std::chrono::seconds(0));
  });
}

bool WalDrain::flush_all() {
  std::exception_ptr failure;
  try {
    if (!repository_) repository_.emplace(open_());
    const auto in_use = spool_.in_use();
    flush_spool(spool_, store_, *repository_, in_use.get(), events_, {});
  } catch (const repo::StorageUnreachable& e) {
    failure = std::current_exception();
    repository_.reset();
    tell_failure(e.what());
  } catch (const std::exception& e) {
    failure = std::current_exception();
    tell_failure(e.what());
  }
  const std::lock_guard lock(mutex_);
  failure_ = failure;
  return !failure;
}

void WalDrain::tell_failure(const std::string& what) {
  if (what == told_) return;
  told_ = what;
  events_.warning(what + "; WAL stays in " + spool_.folder().string() +
                  " until it can be stored");
}

}  // namespace cairn::ingest
