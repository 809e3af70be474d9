#include "ingest/backup.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <iterator>
#include <numeric>
#include <set>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "ingest/assembler.h"
#include "ingest/batch.h"
#include "ingest/chunk_encoder.h"
#include "ingest/feeder.h"
#include "ingest/file_source.h"
#include "ingest/host_cache.h"
#include "ingest/learn_features.h"
#include "ingest/pack_publisher.h"
#include "ingest/size_count.h"
#include "ingest/source_places.h"
#include "ingest/stage_group.h"
#include "repo/cbor.h"
#include "repo/commit.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/heartbeat.h"
#include "repo/kept.h"
#include "repo/reusable_blobs.h"
#include "repo/session.h"
#include "repo/session_keys.h"

namespace cairn::ingest {
namespace {

// Each worker has one batch in hand; the others wait, are being fed or put
// together.
constexpr std::size_t kBatchesPerWorker = 2;
constexpr std::size_t kBatchesPerLane = 2;
constexpr std::size_t kBatchesBeside = 2;
constexpr std::size_t kLeastBatchBytes = std::size_t{2} << 20;
constexpr std::size_t kChunksPerBatch = 4;  // of the largest

constexpr std::string_view kDamagedPackAdvice =
    "nothing in it was used, what this snapshot needs of it was stored anew. "
    "`cairn check` says what else needs it";

// Places in `sources`, as they are fed. Where any share folders, files come
// first: whoever is first describes a folder, and a stream knows none.
std::vector<std::size_t> order_of(std::span<const Source> sources,
                                  const std::set<std::string>& shared) {
  std::vector<std::size_t> order(sources.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (!shared.empty()) {
    std::ranges::stable_partition(order, [&](std::size_t place) {
      return std::holds_alternative<FilesToBackUp>(sources[place]);
    });
  }
  return order;
}

// How many of them there are. What comes from different ones mixes, which a
// tree that fills the root would not bear.
unsigned lanes_of(std::span<const Source> sources) {
  unsigned last = 0;
  bool has_tree = false;
  for (const auto& source : sources) {
    const auto* const stream = std::get_if<StreamToBackUp>(&source);
    has_tree = has_tree || std::holds_alternative<TreeToBackUp>(source);
    if (stream) last = std::max(last, stream->lane);
  }
  if (last >= kMaxLanes || (last > 0 && has_tree)) {
    throw std::invalid_argument("only streams are read beside others, in " +
                                std::to_string(kMaxLanes) +
                                " lanes at most, and none beside a tree");
  }
  return last + 1;
}

unsigned lane_of(const Source& source) {
  const auto* const stream = std::get_if<StreamToBackUp>(&source);
  return stream ? stream->lane : 0;
}

// What one lane has fed, to what others have; `places` are those of its
// sources.
void add_report(BackupReport& fed, std::span<const std::size_t> places,
                BackupReport& report) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    report.sources[places[i]] = std::move(fed.sources.at(i));
  }
  for (auto& problem : fed.problems) {
    if (report.problems.size() == BackupReport::kMaxProblems) break;
    report.problems.push_back(std::move(problem));
  }
  report.problem_count += fed.problem_count;
  std::ranges::move(fed.notes, std::back_inserter(report.notes));
  report.files_new += fed.files_new;
  report.files_unmodified += fed.files_unmodified;
  report.folders += fed.folders;
  report.others += fed.others;
  report.sockets_skipped += fed.sockets_skipped;
  report.excluded += fed.excluded;
  report.bytes_read += fed.bytes_read;
}

void require_utf8(const BackupOptions& options) {
  const auto require = [](const std::string& text, const char* what) {
    if (!repo::is_utf8(text)) {
      throw std::invalid_argument(std::string(what) + " is not UTF-8");
    }
  };
  require(options.series, "the series");
  require(options.host, "the host name");
  require(options.user, "the user name");
  for (const auto& tag : options.tags) require(tag, "a tag");
}

// What the newest snapshot of the series was, and which snapshots are valid.
struct History {
  std::vector<repo::ValidSnapshot> snapshots;
  std::set<repo::SessionId> valid;
  const repo::Snapshot* previous = nullptr;  // into snapshots
};

History read_history(const repo::Repository& repository,
                     const repo::SeriesTag& series,
                     const repo::Timestamp& now) {
  History history;
  history.snapshots = repository.snapshots(now).snapshots;
  for (const auto& [snapshot, holds] : history.snapshots) {
    history.valid.insert(snapshot.id);
    if (snapshot.header.series_tag == series) history.previous = &snapshot;
  }
  return history;
}

// The index, with what the previous state needs even where no index object
// names it any more. Nobody vouches for such packs, so that it is only learned
// from, and a warning given.
repo::BlobIndex& index_of(repo::Repository& repository,
                          const History& history) {
  return history.previous == nullptr
             ? repository.index()
             : repository.index_for(history.previous->header.root);
}

// One run, from registered to committed.
class Run {
 public:
  Run(repo::Repository& repository, const BackupOptions& options,
      const std::set<std::string>& shared, repo::Progress& progress,
      repo::Session& session)
      : repository_(repository),
        options_(options),
        shared_(shared),
        progress_(progress),
        session_(session),
        tag_(repo::series_tag(repository.keyring(), options.series)),
        history_(read_history(repository, tag_, options.now)),
        reusable_(repository.storage(), repository.keyring(),
                  index_of(repository, history_), session.epoch()),
        keys_(repository.keyring()),
        cache_(repository, options.series, tag_),
        publisher_(repository, session.id(), claimed_, progress) {
    if (history_.previous != nullptr) {
      progress_.bytes_total = history_.previous->header.logical_bytes;
    }
    for (const auto& [snapshot, holds] : history_.snapshots) {
      if (snapshot.header.series_tag == tag_ &&
          repo::arrived_in_the_future(snapshot, options.now)) {
        report_.future = snapshot.id;
      }
    }
  }

  // Everything into packs, named by index objects. Answers the root.
  repo::Kept<repo::Link> store(std::vector<Source>& sources,
                               std::stop_token stop);

  // Publishes the index of what a run that ends early has stored.
  void keep_what_is_stored() {
    publisher_.finish();
    remember();
  }

  void commit(const repo::Kept<repo::Link>& root,
              std::span<const Source> sources);
  void remember() {
    cache_.flush_last([this] {
      auto valid = history_.valid;
      valid.insert(session_.id());
      return valid;
    });
  }

  [[nodiscard]] BackupReport& report() { return report_; }

 private:
  repo::Repository& repository_;
  const BackupOptions& options_;
  const std::set<std::string>& shared_;
  repo::Progress& progress_;
  repo::Session& session_;
  repo::SeriesTag tag_;
  History history_;
  repo::ReusableBlobs reusable_;
  repo::SessionKeys keys_;
  HostCache cache_;
  ClaimedBlobs claimed_;
  ChunkCounts counts_;
  PackPublisher publisher_;
  BackupReport report_;
  std::uint64_t entries_ = 0;
};

repo::Kept<repo::Link> Run::store(std::vector<Source>& sources,
                                  std::stop_token stop) {
  const ReusableRows reusable{
      [this](const repo::SessionId& id) { return history_.valid.contains(id); },
      reusable_};
  const std::size_t max_chunk = std::max<std::size_t>(
      repository_.config().cdc_max, repository_.config().page_chunk);
  if (history_.previous != nullptr && !cache_.features.is_there() &&
      repository_.keyring().can_read(repo::KeyClass::content)) {
    learn_features(repository_, history_.previous->header.root, cache_,
                   progress_, stop);
  }
  // The places of each lane's sources, as they are fed, and what it reports.
  struct Lane {
    std::vector<std::size_t> places;
    BackupReport fed;
  };
  std::vector<Lane> lanes(lanes_of(sources));
  for (const std::size_t place : order_of(sources, shared_)) {
    lanes[lane_of(sources[place])].places.push_back(place);
  }
  BatchLine line(options_.workers * kBatchesPerWorker +
                     lanes.size() * kBatchesPerLane + kBatchesBeside,
                 std::max(kLeastBatchBytes, kChunksPerBatch * max_chunk));
  std::atomic<std::size_t> feeding = lanes.size();
  repo::Kept<repo::Link> root;
  std::optional<SizeCount> size_count;
  if (history_.previous == nullptr &&
      options_.first_total == FirstTotal::counted) {
    size_count.emplace(sources, progress_);
  }
  {
    StageGroup stages(stop);
    for (unsigned i = 0; i < lanes.size(); ++i) {
      stages.start([&, i](std::stop_token stage_stop) {
        Feeder feeder(repository_, reusable, cache_.paths, shared_,
                      session_.id(), i, line, progress_, lanes[i].fed,
                      stage_stop);
        for (const std::size_t place : lanes[i].places) {
          Source& source = sources[place];
          if (auto* const files = std::get_if<FilesToBackUp>(&source)) {
            feeder.feed(*files);
          } else if (auto* const tree = std::get_if<TreeToBackUp>(&source)) {
            feeder.feed(*tree);
          } else {
            feeder.feed(std::get<StreamToBackUp>(source), options_);
          }
        }
        feeder.finish();
        if (--feeding == 0) line.close();
      });
    }
    for (unsigned i = 0; i < options_.workers; ++i) {
      stages.start([&](std::stop_token stage_stop) {
        ChunkEncoder encoder(repository_, reusable_, keys_, options_.levels,
                             cache_.features, claimed_, counts_, progress_);
        while (const auto batch = line.take_to_encode(stage_stop)) {
          encoder.encode(*batch);
          line.encoded(batch);
        }
      });
    }
    stages.start([&](std::stop_token stage_stop) {
      Assembler assembler(repository_, reusable_, keys_, options_,
                          session_.id(), claimed_, cache_, publisher_,
                          stage_stop);
      while (auto batch = line.take_to_assemble(stage_stop)) {
        assembler.add(*batch);
        line.release(std::move(batch));
      }
      if (stage_stop.stop_requested()) return;
      root.add(std::move(assembler).finish());
      entries_ = assembler.entries();
      const auto& read = assembler.read_files();
      report_.files_changed = read.changed;
      report_.files_read_again = read.unmodified;
      report_.files_unmodified = read.unmodified;
      publisher_.close();
    });
    stages.start(
        [&](std::stop_token stage_stop) { publisher_.run(stage_stop); });
    stages.join();
  }
  if (stop.stop_requested()) throw repo::Cancelled("interrupted");
  publisher_.finish();

  report_.sources.resize(sources.size());
  for (auto& lane : lanes) add_report(lane.fed, lane.places, report_);
  report_.chunks = counts_.chunks;
  report_.chunks_new = counts_.chunks_new;
  report_.bytes_new = counts_.bytes_new;
  report_.differences = counts_.differences;
  report_.bytes_stored = publisher_.bytes_stored();
  for (const auto& what : reusable_.damage()) {
    if (report_.warnings.size() == BackupReport::kMaxProblems) break;
    report_.warnings.push_back(what + "; " + std::string(kDamagedPackAdvice));
  }
  return root;
}

void Run::commit(const repo::Kept<repo::Link>& root,
                 std::span<const Source> sources) {
  keys_.require_unwrap(repository_.keyring());
  repo::SnapshotRecord record;
  record.series = options_.series;
  record.host = options_.host;
  record.user = options_.user;
  record.tags = options_.tags;
  record.program = options_.program;
  record.sources = report_.sources;
  for (const auto& source : sources) {
    if (const auto* const files = std::get_if<FilesToBackUp>(&source)) {
      record.paths.insert(record.paths.end(), files->paths.begin(),
                          files->paths.end());
    } else if (const auto* const tree = std::get_if<TreeToBackUp>(&source)) {
      record.paths.push_back(tree->name);
    } else {
      record.paths.push_back(std::get<StreamToBackUp>(source).name);
    }
  }

  repo::SnapshotHeader header;
  header.time = options_.time.value_or(options_.now);
  header.logical_bytes = report_.bytes_read;
  header.stored_bytes = report_.bytes_stored;
  header.is_complete = report_.is_complete;
  header.entries = entries_;

  auto chain = repository_.host_state().lock_chain(record.series);
  header.root = root.unchanged().front().id;
  if (auto warning =
          repo::commit_snapshot(repository_, chain, session_, header, record,
                                history_.snapshots, file_clock_now)) {
    report_.warnings.push_back(std::move(*warning));
  }
  report_.snapshot = session_.id();
}

// For what comes after the outcome of a run is decided, and must not change it.
// A registration that cannot be taken back is fenced by the next prune; packs
// without an index are stored again.
template <typename Step>
void as_far_as_possible(Step step) {
  try {
    step();
  } catch (const repo::Error&) {
  }
}

// On a thread of its own, or where there is none to be had, at wait().
template <typename Step>
std::future<void> beside(Step step) {
  try {
    return std::async(std::launch::async, step);
  } catch (const std::system_error&) {
    return std::async(std::launch::deferred, step);
  }
}

}  // namespace

BackupReport back_up(repo::Repository& repository, std::vector<Source> sources,
                     const BackupOptions& options, repo::Progress& progress,
                     std::stop_token stop) {
  require_utf8(options);
  const auto shared = shared_folders(sources);
  (void)lanes_of(sources);
  repo::Session session(repository.storage(), repository.keyring(),
                        repository.signer(), options.now);
  std::optional<Run> run;
  std::future<void> remembering;
  try {
    run.emplace(repository, options, shared, progress, session);
    const auto root = [&] {
      const repo::Heartbeat heartbeat(session, file_clock_now);
      return run->store(sources, stop);
    }();
    BackupReport& report = run->report();
    const auto failed =
        std::ranges::count(report.sources, repo::SourceStatus::failed,
                           &repo::SourceReport::status);
    report.is_complete = std::ranges::all_of(
        report.sources, [](const repo::SourceReport& source) {
          return source.status == repo::SourceStatus::complete;
        });
    // Beside the commit, which waits for the disk: what a host remembers rests
    // on the packs alone, whose index is there.
    remembering = beside([&] { run->remember(); });
    if (failed < std::ssize(report.sources)) run->commit(root, sources);
  } catch (const repo::Cancelled&) {
    if (run) as_far_as_possible([&] { run->keep_what_is_stored(); });
    as_far_as_possible([&] { session.end(); });
    throw;
  } catch (...) {
    as_far_as_possible([&] { session.end(); });
    throw;
  }
  as_far_as_possible([&] { session.end(); });
  remembering.wait();  // whatever it throws: the snapshot is there
  return std::move(run->report());
}

}  // namespace cairn::ingest
