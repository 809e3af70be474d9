// What the sources of a backup share while they are fed: the batch that is
// being filled, the cutters, and what earlier runs know.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chunker/chunker.h"
#include "ingest/cutter_key.h"
#include "ingest/feeder.h"
#include "ingest/known_stream.h"
#include "ingest/tar_splitter.h"
#include "ingest/weaver.h"
#include "repo/blob_reader.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/kept.h"
#include "repo/node.h"
#include "repo/reachability.h"

namespace cairn::ingest {

// A batch goes on its way when this much of it is cut. The rest of its buffer
// takes what is read ahead of the next cut.
inline constexpr std::size_t kBatchTarget = std::size_t{1} << 20;
inline constexpr std::size_t kMaxEvents = 1024;
inline constexpr std::size_t kReadBytes = std::size_t{256} << 10;

// Fixed cuts serve files of many pages.
inline constexpr std::uint64_t kMinPageFileBytes = 16U << 10;

// Threads        one thread.
struct Feeder::State {
  State(repo::Repository& repository_, const ReusableRows& reusable_,
        const PathCache& paths_, const std::set<std::string>& shared_,
        const repo::SessionId& session_, unsigned lane_, BatchLine& line_,
        repo::Progress& progress_, BackupReport& report_, std::stop_token stop_)
      : repository(repository_),
        reusable(reusable_),
        paths(paths_),
        shared(shared_),
        session(session_),
        lane(lane_),
        line(line_),
        progress(progress_),
        report(report_),
        stop(std::move(stop_)),
        cdc(cutter_key(repository.keyring()),
            {repository.config().cdc_min, repository.config().cdc_normal,
             repository.config().cdc_max}),
        page(repository.config().page_chunk),
        nodes(repository.blobs()) {}

  repo::Repository& repository;
  const ReusableRows& reusable;
  const PathCache& paths;
  const std::set<std::string>& shared;
  const repo::SessionId& session;
  const unsigned lane;
  BatchLine& line;
  repo::Progress& progress;
  BackupReport& report;
  std::stop_token stop;
  chunker::ContentDefinedCutter cdc;
  chunker::PageCutter page;
  repo::BlobReader nodes;

  std::shared_ptr<Batch> batch;
  std::size_t cut_end = 0;  // of the batch's buffer, what events cover

  // ---- batches

  void need_batch() {
    if (batch) return;
    batch = empty_batch();
    cut_end = 0;
  }

  [[nodiscard]] std::shared_ptr<Batch> empty_batch() {
    auto empty = line.acquire(stop);
    if (!empty) throw repo::Cancelled("interrupted");
    empty->lane = lane;
    return empty;
  }

  // Sends the batch; what is read but not cut yet moves to the next.
  void send() {
    if (!batch) return;
    const std::size_t left = batch->used - cut_end;
    if (left == 0) {
      line.feed(std::exchange(batch, nullptr));
      return;
    }
    auto next = empty_batch();
    std::memcpy(next->buffer.data(), batch->buffer.data() + cut_end, left);
    next->used = left;
    line.feed(std::exchange(batch, std::move(next)));
    cut_end = 0;
  }

  void push(Event event) {
    need_batch();
    batch->events.push_back(std::move(event));
    if (batch->events.size() >= kMaxEvents) send();
  }

  [[nodiscard]] FolderBegins begun(repo::Entry folder,
                                   const std::string& path) const {
    const auto sharing =
        shared.contains(path) ? Sharing::several_sources : Sharing::none;
    return {std::move(folder), sharing};
  }

  void begin_folder(repo::Entry folder, const std::string& path) {
    push(begun(std::move(folder), path));
  }

  // ---- content

  using Read = std::function<std::size_t(std::span<std::byte>)>;

  // A stream whose chunks may be recognised.
  struct StreamBefore {
    std::shared_ptr<const std::filesystem::path> file;
    KnownStream known;
  };

  struct Fed {
    std::uint64_t bytes = 0;
    std::optional<repo::Weave> weave;
  };

  // Reads to the end and cuts.
  Fed feed_content(const repo::Entry& entry, const Read& read,
                   StreamBefore* before = nullptr) {
    const bool is_page = entry.profile == repo::Profile::page;
    const bool may_be_woven = !is_page && entry.holes.empty();
    const std::size_t max_chunk =
        is_page ? repository.config().page_chunk : repository.config().cdc_max;
    std::uint64_t bytes = 0;
    bool is_at_end = false;
    while (!is_at_end) {
      need_batch();
      if (cut_end >= kBatchTarget ||
          batch->buffer.size() - batch->used < max_chunk) {
        send();
        need_batch();
      }
      const std::size_t room =
          std::min(kReadBytes, batch->buffer.size() - batch->used);
      const std::size_t size =
          read(std::span(batch->buffer).subspan(batch->used, room));
      batch->used += size;
      is_at_end = size == 0;
      progress.bytes_done += size;
      if (bytes == 0 && may_be_woven && batch->used - cut_end >= max_chunk &&
          begins_like_tar(uncut())) {
        return weave_content(read, before);
      }
      while (cut_end < batch->used &&
             (is_at_end || batch->used - cut_end >= max_chunk)) {
        const auto rest = uncut();
        std::optional<KnownChunk> known;
        if (before != nullptr) known = before->known.recognise(rest);
        const std::size_t length = known     ? known->length
                                   : is_page ? page.first_cut(rest)
                                             : cdc.first_cut(rest);
        push_chunk({.bytes = rest.first(length), .known = known}, before);
        bytes += length;
        cut_end += length;
      }
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    }
    return {.bytes = bytes, .weave = {}};
  }

  [[nodiscard]] std::span<const std::byte> uncut() const {
    return std::span<const std::byte>(batch->buffer)
        .subspan(cut_end, batch->used - cut_end);
  }

  // Requires: the bytes lie in the batch's buffer.
  void push_chunk(const Weaver::Cut& cut, const StreamBefore* before) {
    Chunk chunk;
    chunk.plain = cut.bytes;
    chunk.part = cut.part;
    chunk.cut_by = cut.cut_by;
    if (before != nullptr) chunk.stream = before->file;
    if (cut.known) {
      chunk.id = cut.known->id;
      chunk.id_sum = repo::memory_sum_of(chunk.id);
      chunk.mac = cut.known->mac;
    } else {
      chunk.sum = repo::memory_sum(cut.bytes);
    }
    batch->events.push_back(std::move(chunk));
  }

  // The same, of a tar archive whose beginning lies uncut in the batch. What is
  // read is dealt out to the weaver's parts, and chunks that come from there
  // are copied into batches.
  Fed weave_content(const Read& read, StreamBefore* before) {
    Weaver weaver(cdc, page, before ? &before->known : nullptr,
                  [&](const Weaver::Cut& cut) { push_copy(cut, before); });
    std::vector<std::byte> piece(uncut().begin(), uncut().end());
    batch->used = cut_end;
    std::uint64_t bytes = 0;
    while (!piece.empty()) {
      weaver.add(piece);
      bytes += piece.size();
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
      piece.resize(kReadBytes);
      piece.resize(read(piece));
      progress.bytes_done += piece.size();
    }
    return {.bytes = bytes, .weave = std::move(weaver).finish()};
  }

  void push_copy(const Weaver::Cut& cut, const StreamBefore* before) {
    if (batch && (cut_end >= kBatchTarget ||
                  batch->buffer.size() - batch->used < cut.bytes.size())) {
      send();
    }
    need_batch();
    const auto place =
        std::span(batch->buffer).subspan(batch->used, cut.bytes.size());
    std::memcpy(place.data(), cut.bytes.data(), place.size());
    batch->used += place.size();
    cut_end = batch->used;
    Weaver::Cut copied = cut;
    copied.bytes = place;
    push_chunk(copied, before);
  }

  // Gives up the content that was being fed.
  void fail_content() {
    if (batch) batch->used = cut_end;
    push(ContentFails{});
  }

  // Whether a snapshot that holds the rows is valid.
  [[nodiscard]] bool is_valid(const PathState& state) const {
    return reusable.is_valid(state.snapshot) ||
           (state.older_snapshot && reusable.is_valid(*state.older_snapshot));
  }

  // Whether the rows may be used again: their snapshot is valid, so that
  // collection keeps what lies below them, and nothing of it was lost.
  // Notes where they lie.
  [[nodiscard]] bool is_usable(PathState& state) {
    if (!is_valid(state)) return false;
    if (reusable.blobs.has_as_noted(state.era, state.packs)) return true;
    state.packs = {};
    const auto below = reusable.blobs.has_lost_nothing_since(state.era)
                           ? repo::Enter::no
                           : repo::Enter::yes;
    return std::ranges::all_of(state.rows, [&](const repo::Link& row) {
      return is_stored(row, below, state.packs);
    });
  }

  // Whether the row is, and everything below it if that is asked.
  [[nodiscard]] bool is_stored(const repo::Link& row, repo::Enter below,
                               repo::PackNotes& packs) {
    bool is_whole = true;
    const repo::GraphVisitor visitor{
        [&](const repo::Link& link) {
          is_whole =
              is_whole && reusable.blobs.contains(link.kind, link.id, packs);
          return is_whole ? below : repo::Enter::no;
        },
        [&](const repo::Link& list) {
          return repo::decode_links(*nodes.read(list.kind, list.id),
                                    "list " + list.id.brief());
        }};
    try {
      walk_graph(row, visitor);
    } catch (const repo::Error&) {
      return false;  // a list cannot be read
    }
    return is_whole;
  }

  // A source of which nothing will be in the snapshot.
  void fail(repo::SourceReport& source, const char* why) {
    problem(source.name, why);
    source.status = repo::SourceStatus::failed;
    source.message = repo::as_utf8(why);
  }

  // Failures of the system name the path themselves.
  void problem(std::string_view path, std::string_view why) {
    const std::string prefix = std::string(path) + ": ";
    if (why.starts_with(prefix)) why.remove_prefix(prefix.size());
    ++report.problem_count;
    if (report.problems.size() < BackupReport::kMaxProblems) {
      report.problems.push_back({std::string(path), std::string(why)});
    }
  }
};

}  // namespace cairn::ingest
