#include "ingest/wal_receiver.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "ingest/wal_run_choice.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kSlotInUse = "55006";
constexpr std::string_view kUndefinedFile = "58P01";  // WAL was removed

// A walsender whose client was killed takes a moment to notice.
constexpr seconds kSlotPatience{5};
constexpr seconds kSpoolPatience{10};
constexpr milliseconds kFirstBackoff{500};
constexpr milliseconds kMaxBackoff{30'000};

// What a crash of this host costs at most, and what the server may not forget
// yet: synced when nothing comes for a moment, and while it streams on.
constexpr milliseconds kIdle{20};
constexpr milliseconds kPatience{100};
constexpr milliseconds kLeastSyncInterval{200};
constexpr milliseconds kMostSyncInterval{1000};
constexpr std::uint64_t kMostUnsynced = std::uint64_t{16} << 20;

// A sixth of the server's usual wal_sender_timeout.
constexpr seconds kStatusInterval{10};

// For what the server has when it is told that we go.
constexpr seconds kFarewell{10};

constexpr milliseconds kRoomInterval{2000};

std::uint32_t timeline_at(Lsn lsn, const std::vector<TimelineEnd>& ends,
                          std::uint32_t newest) {
  const auto found = std::ranges::find_if(
      ends, [&](const TimelineEnd& one) { return lsn < one.end; });
  return found == ends.end() ? newest : found->timeline;
}

// The slot's own, or what the server has at all.
Lsn oldest_kept(const WalServer& server, const WalSlot& slot) {
  return segment_begin(slot.restart.value_or(server.end), server.segment_bytes);
}

}  // namespace

WalReceiver::WalReceiver(WalReceiverOptions options, Connect connect,
                         repo::Repository repository,
                         WalDrain::OpenRepository open,
                         TakeFlushRequest take_flush_request, WalEvents& events)
    : options_(std::move(options)),
      connect_(std::move(connect)),
      repository_(std::move(repository)),
      open_(std::move(open)),
      take_flush_request_(std::move(take_flush_request)),
      events_(events) {}

void WalReceiver::run(const std::stop_token& stop) {
  store_what_is_left();
  try {
    receive_until(stop);
  } catch (...) {
    try {
      if (drain_) drain_->finish();
    } catch (const std::exception&) {
      // It was told; what counts is why receiving ended.
    }
    throw;
  }
  if (drain_) drain_->finish();
}

// Of receivers that crashed, and of an archive_command, whether or not their
// server still answers.
void WalReceiver::store_what_is_left() {
  std::error_code error;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(options_.spool, error)) {
    folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  for (const auto& folder : folders) {
    const auto cluster = read_spooled_cluster(folder);
    if (!cluster) continue;
    std::optional<WalSpool> spool;
    try {
      spool.emplace(folder, cluster->segment_bytes);
    } catch (const repo::LockedError&) {
      continue;  // its receiver is at work
    } catch (const repo::Error& e) {
      events_.warning(e.what());
      continue;
    }
    try {
      WalStore store(*cluster, options_.store);
      flush_spool(*spool, store, *repository_, nullptr, events_, {});
    } catch (const repo::Error& e) {
      events_.warning(std::string(e.what()) + "; WAL stays in " +
                      folder.string() + " until it can be stored");
    }
  }
}

void WalReceiver::receive_until(const std::stop_token& stop) {
  const auto slot_deadline = Clock::now() + kSlotPatience;
  backoff_ = kFirstBackoff;
  while (!stop.stop_requested()) {
    try {
      attempt(stop);
      if (!stop.stop_requested()) tell_once("the server ended the stream");
    } catch (const repo::Cancelled&) {
      return;
    } catch (const SpoolFull&) {
      wait_for_room(stop);
      continue;
    } catch (const PostgresError& e) {
      if (stop.stop_requested()) return;
      if (e.sqlstate() == kUndefinedFile && !has_gap_) {
        has_gap_ = true;
        continue;
      }
      const bool is_in_use = e.sqlstate() == kSlotInUse;
      if (!has_received_ && is_in_use && Clock::now() >= slot_deadline) {
        throw repo::LockedError(
            std::string(e.what()) +
            "; another receiver uses the slot. End that one, or give this one "
            "a slot of its own with --slot");
      }
      if (!has_received_ && !is_in_use) throw;
      if (has_received_) tell_once(e.what());
    }
    wait(backoff_, stop);
    backoff_ = std::min(2 * backoff_, kMaxBackoff);
  }
}

void WalReceiver::attempt(const std::stop_token& stop) {
  auto connection = connect_(stop);
  const WalServer server = identify_wal_server(connection, stop);
  open_spool(server, stop);
  const WalSlot slot = ensure_wal_slot(connection, options_.slot, stop);
  for (const auto& text : slot.warnings) events_.warning(text);
  const bool is_made = slot.origin == WalSlot::Origin::made;
  if (is_made && (has_slot_ || !spool_->runs().empty())) {
    events_.warning("the replication slot " + options_.slot +
                    " was gone; a new one was made");
  } else if (is_made) {
    events_.note("made the replication slot " + options_.slot +
                 "; as long as it is there the server keeps WAL for it");
  }
  if (!has_slot_ && server.is_unknown_version) {
    events_.note("PostgreSQL " + server.version +
                 " is newer than this program; WAL is stored as it comes");
  }
  if (!has_slot_ && !slot.most_kept) {
    events_.note(
        "max_slot_wal_keep_size is -1: while nothing is received the server "
        "keeps WAL until its disk is full; a limit protects it");
  }
  has_slot_ = true;
  most_kept_ = slot.most_kept;
  choose_run(connection, server, slot, stop);
  if (!drain_) {
    drain_.emplace(*spool_, WalStore(cluster_, options_.store),
                   std::move(*repository_), open_, options_.drain, events_);
    repository_.reset();
  }
  Ended ended = Ended::timeline;
  while (ended == Ended::timeline && !stop.stop_requested()) {
    events_.receiving(
        {.stream = {cluster_.system, run_->timeline(), run_->end()},
         .place = connection.place(),
         .version = server.version,
         .slot = options_.slot});
    ended = stream(connection, stop);
  }
}

// An archive_command that stores what waits has it for a moment.
std::unique_ptr<WalSpool> WalReceiver::take_spool(std::uint64_t segment_bytes,
                                                  const std::stop_token& stop) {
  const auto deadline = Clock::now() + kSpoolPatience;
  for (;;) {
    try {
      return std::make_unique<WalSpool>(
          options_.spool / std::to_string(cluster_.system), segment_bytes);
    } catch (const repo::LockedError&) {
      if (Clock::now() >= deadline || stop.stop_requested()) throw;
    }
    wait(kPatience, stop);
  }
}

void WalReceiver::open_spool(const WalServer& server,
                             const std::stop_token& stop) {
  if (!spool_) {
    cluster_ = {server.system, server.segment_bytes, server.version};
    spool_ = take_spool(server.segment_bytes, stop);
    note_spooled_cluster(spool_->folder(), cluster_);
    return;
  }
  if (server.system == cluster_.system &&
      server.segment_bytes == cluster_.segment_bytes) {
    return;
  }
  throw repo::RefusedForSafety(fmt::format(
      "another cluster answers now: its system identifier is {}, and that of "
      "the WAL received so far is {}. Start this anew for that one, with "
      "--series if both live on",
      server.system, cluster_.system));
}

void WalReceiver::choose_run(PostgresConnection& connection,
                             const WalServer& server, const WalSlot& slot,
                             const std::stop_token& stop) {
  std::vector<TimelineEnd> ends;
  if (server.timeline > 1) {
    if (const auto history =
            read_timeline_history(connection, server.timeline, stop)) {
      ends = parse_timeline_history(*history);
      spool_->add_history(server.timeline, *history);
    }
  }
  if (!run_) {
    run_ = run_to_go_on_from(spool_->runs(), ends, oldest_kept(server, slot));
  }
  if (!run_) {
    WalStore store(cluster_, options_.store);
    const auto adopt = [&](std::uint32_t timeline) {
      auto adopted = store.adopt(*repository_, *spool_, timeline);
      if (adopted.warning) events_.warning(*adopted.warning);
      run_ = std::move(adopted.run);
    };
    adopt(server.timeline);
    for (auto older = ends.rbegin(); older != ends.rend() && !run_; ++older) {
      adopt(older->timeline);
    }
  }
  if (!run_) {
    const Lsn start = oldest_kept(server, slot);
    run_ = spool_->begin_run(
        timeline_at(slot.restart.value_or(server.end), ends, server.timeline),
        start);
    spool_->use(run_);
    return;
  }
  run_->sync();  // it may be the last that is heard of it
  if (has_gap_) {
    begin_run_after_gap(server, slot, ends);
  } else {
    follow_history(server, ends);
    require_not_behind(server);
  }
  spool_->use(run_);
}

void WalReceiver::begin_run_after_gap(const WalServer& server,
                                      const WalSlot& slot,
                                      const std::vector<TimelineEnd>& ends) {
  const Lsn from = run_->end();
  Lsn start = oldest_kept(server, slot);
  if (start <= from) start = segment_begin(server.end, server.segment_bytes);
  const auto timeline = timeline_at(start, ends, server.timeline);
  if (timeline == run_->timeline() && start <= from) {
    throw WalUnavailable(
        "the server has removed WAL that it made after " + to_string(from) +
        " and that its slot should keep; look at its log and at pg_wal");
  }
  events_.gap({run_->timeline(), from, start,
               "the server has removed the WAL between them"});
  run_ = spool_->begin_run(timeline, start);
}

// Over the ends of timelines that were received whole.
void WalReceiver::follow_history(const WalServer& server,
                                 const std::vector<TimelineEnd>& ends) {
  while (run_->timeline() != server.timeline) {
    const auto found =
        std::ranges::find(ends, run_->timeline(), &TimelineEnd::timeline);
    if (found == ends.end()) {
      throw repo::RefusedForSafety(fmt::format(
          "the server is on timeline {}, which does not come from timeline {} "
          "of the WAL that is stored: it was restored to an earlier moment, or "
          "is a former primary. Give it a series of its own (--series) and "
          "take a base backup",
          server.timeline, run_->timeline()));
    }
    if (run_->end() < found->end) return;  // the rest of it comes first
    const auto next = std::next(found);
    run_ =
        spool_->begin_run(next == ends.end() ? server.timeline : next->timeline,
                          segment_begin(found->end, server.segment_bytes));
  }
}

void WalReceiver::require_not_behind(const WalServer& server) const {
  if (run_->timeline() != server.timeline || server.end >= run_->end()) return;
  const std::string what = "the server's WAL ends at " + to_string(server.end) +
                           ", and " + to_string(run_->end()) +
                           " was received before";
  if (server.is_standby) {
    throw PostgresError(what + ": the standby is behind", "",
                        PostgresError::Connection::usable);
  }
  throw repo::RefusedForSafety(
      what +
      ": it was set back to an earlier state without a new timeline. Give it "
      "a series of its own (--series) and take a base backup");
}

WalReceiver::Ended WalReceiver::stream(PostgresConnection& connection,
                                       const std::stop_token& stop) {
  expected_ = segment_begin(run_->end(), run_->segment_bytes());
  server_end_ = expected_;
  connection.send(
      fmt::format("START_REPLICATION SLOT {} PHYSICAL {} TIMELINE {}",
                  connection.identifier(options_.slot), to_string(expected_),
                  run_->timeline()),
      stop);
  // Where the timeline ended just there, rows come at once.
  std::optional<PostgresResult::Row> next;
  while (auto result = connection.next_result(stop)) {
    if (result->kind == PostgresResult::Kind::rows && !result->rows.empty()) {
      next = result->rows.front();
    }
    if (result->kind == PostgresResult::Kind::copy_in) {
      connection.end_copy(stop);
    }
    if (result->kind == PostgresResult::Kind::copy_both &&
        receive(connection, stop) == Ended::stopped) {
      return Ended::stopped;
    }
  }
  run_->sync();
  drain_->received();
  if (!next) return Ended::lost;
  begin_next_timeline(connection, *next, stop);
  return Ended::timeline;
}

void WalReceiver::begin_next_timeline(PostgresConnection& connection,
                                      const PostgresResult::Row& next,
                                      const std::stop_token& stop) {
  const auto text = [&next](std::size_t column) {
    return column < next.size() ? next[column].value_or("") : std::string();
  };
  const auto timeline = parse_number(text(0), 10);
  const auto start = parse_lsn(text(1));
  if (!timeline || !start || *timeline <= run_->timeline() ||
      *timeline > UINT32_MAX) {
    throw PostgresError("PostgreSQL: a timeline that cannot follow", "",
                        PostgresError::Connection::lost);
  }
  const auto number = static_cast<std::uint32_t>(*timeline);
  if (const auto history = read_timeline_history(connection, number, stop)) {
    spool_->add_history(number, *history);
  }
  events_.note(fmt::format("timeline {} ended at {}; timeline {} begins there",
                           run_->timeline(), to_string(*start), number));
  run_ =
      spool_->begin_run(number, segment_begin(*start, run_->segment_bytes()));
  spool_->use(run_);
  drain_->request();
}

// Until the server's half of the COPY ends, or ours because of `stop`. Nothing
// here looks at the token but the loop: the server is heard to the end.
WalReceiver::Ended WalReceiver::receive(PostgresConnection& connection,
                                        const std::stop_token& stop) {
  constexpr unsigned kRounds = 2;
  last_sync_ = Clock::now();
  std::optional<Clock::time_point> deadline;  // once we are to stop
  unsigned answers = 0;                       // of the server to our saying so
  Lsn target;                                 // what it had by then
  sync_and_tell(connection, Reply::needless);
  for (;;) {
    if (!deadline && stop.stop_requested()) {
      deadline = Clock::now() + kFarewell;
      sync_and_tell(connection, Reply::wanted);
    }
    // The answer tells of what was sent before it; what was flushed when it was
    // asked for follows, before a second one.
    const bool has_all = answers >= kRounds && expected_ >= target;
    if (deadline && (has_all || Clock::now() >= *deadline)) {
      sync_and_tell(connection, Reply::needless);
      return Ended::stopped;
    }
    if (take_flush_request_()) {
      sync_and_tell(connection, Reply::needless);
      drain_->request();
    }
    require_room();
    const bool is_dirty = run_->end() != run_->durable_end();
    const auto received =
        connection.receive({}, is_dirty || deadline ? kIdle : kPatience);
    using Kind = PostgresConnection::Received::Kind;
    if (received.kind == Kind::ended) return Ended::lost;
    bool wants_reply = false;
    if (received.kind == Kind::message) {
      const auto message = parse_wal_message(received.message);
      if (const auto* const data = std::get_if<WalData>(&message)) {
        server_end_ = std::max(server_end_, data->server_end);
        take(*data);
      } else {
        const auto& keepalive = std::get<WalKeepalive>(message);
        server_end_ = std::max(server_end_, keepalive.server_end);
        wants_reply = keepalive.wants_reply;
        if (deadline && ++answers < kRounds) {
          sync_and_tell(connection, Reply::wanted);
        } else if (answers == kRounds) {
          target = server_end_;
        }
      }
    }
    const auto since_sync = Clock::now() - last_sync_;
    const bool is_idle = received.kind == Kind::timed_out;
    const auto unsynced = run_->end().value - run_->durable_end().value;
    const bool is_time_to_sync =
        unsynced > 0 &&
        (unsynced >= kMostUnsynced || since_sync >= kMostSyncInterval ||
         (is_idle && since_sync >= kLeastSyncInterval));
    if (wants_reply || is_time_to_sync ||
        Clock::now() - last_status_ >= kStatusInterval) {
      sync_and_tell(connection, Reply::needless);
    }
  }
}

void WalReceiver::take(const WalData& data) {
  if (data.start != expected_) {
    throw PostgresError("PostgreSQL: WAL from " + to_string(data.start) +
                            " came where that from " + to_string(expected_) +
                            " was due",
                        "", PostgresError::Connection::lost);
  }
  has_received_ = true;
  has_gap_ = false;
  backoff_ = kFirstBackoff;
  told_.clear();
  auto bytes = data.bytes;
  const bool is_head = expected_.value % cluster_.segment_bytes == 0;
  if (is_head && !is_segment_head(bytes, expected_, cluster_.system,
                                  cluster_.segment_bytes)) {
    throw repo::RefusedForSafety("what the server sends for " +
                                 to_string(expected_) +
                                 " is no segment of the WAL of cluster " +
                                 std::to_string(cluster_.system));
  }
  if (expected_ < run_->end()) {
    const auto known =
        bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(
            bytes.size(), run_->end().value - expected_.value)));
    if (const auto where = run_->first_difference(expected_, known)) {
      throw repo::RefusedForSafety(
          "the server has other WAL at " + to_string(*where) +
          " than it sent before: it was restored from a backup, or set back, "
          "without a new timeline. Nothing was overwritten. Give it a series "
          "of its own (--series) and take a base backup");
    }
    expected_.value += known.size();
    bytes = bytes.subspan(known.size());
  }
  try {
    run_->write(bytes);
  } catch (const repo::OutOfSpace& e) {
    run_->sync();
    events_.warning(std::string(e.what()) +
                    "; nothing more is taken from the server until there is "
                    "room");
    throw SpoolFull{};
  }
  expected_.value += bytes.size();
}

void WalReceiver::sync_and_tell(PostgresConnection& connection, Reply reply) {
  run_->sync();
  last_sync_ = Clock::now();
  last_status_ = last_sync_;
  connection.send_copy(standby_status(run_->end(), run_->durable_end(),
                                      options_.store.clock(), reply),
                       {});
  drain_->received();
  warn_of_lag();
}

// The server's disk, or its patience, comes to an end one day.
void WalReceiver::warn_of_lag() {
  if (!most_kept_ || server_end_ <= run_->durable_end()) return;
  const std::uint64_t lag = server_end_.value - run_->durable_end().value;
  if (lag > *most_kept_ / 10 * 8 && !is_warned_of_lag_) {
    is_warned_of_lag_ = true;
    events_.warning(fmt::format(
        "the server keeps {} MiB of WAL for the slot {}, and "
        "max_slot_wal_keep_size allows {} MiB: what is beyond is lost",
        lag >> 20, options_.slot, *most_kept_ >> 20));
  }
  if (lag < *most_kept_ / 2) is_warned_of_lag_ = false;
}

void WalReceiver::require_room() {
  if (spool_->uncommitted_bytes() < options_.max_spool) return;
  run_->sync();
  events_.warning(
      fmt::format("the spool is full: {} MiB wait for the repository "
                  "(--max-spool). Nothing more is taken from the server, which "
                  "keeps it for the slot",
                  options_.max_spool >> 20));
  throw SpoolFull{};
}

void WalReceiver::wait_for_room(const std::stop_token& stop) {
  drain_->request();
  do {
    wait(kRoomInterval, stop);
  } while (!stop.stop_requested() &&
           spool_->uncommitted_bytes() > options_.max_spool / 4 * 3);
}

void WalReceiver::wait(milliseconds time, const std::stop_token& stop) {
  const auto until = Clock::now() + time;
  std::mutex mutex;
  std::condition_variable_any never;
  while (!stop.stop_requested() && Clock::now() < until) {
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, kPatience, [] { return false; });
    if (take_flush_request_() && drain_) drain_->request();
  }
}

void WalReceiver::tell_once(const std::string& what) {
  if (what == told_) return;
  told_ = what;
  events_.warning(what + "; trying again until it answers");
}

}  // namespace cairn::ingest
