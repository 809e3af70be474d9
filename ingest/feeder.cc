#include "ingest/feeder.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <optional>
#include <utility>

#include "ingest/cutter_key.h"
#include "ingest/known_stream.h"
#include "ingest/page_files.h"
#include "ingest/source_places.h"
#include "ingest/tar_splitter.h"
#include "ingest/weaver.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/node.h"
#include "repo/reachability.h"

namespace cairn::ingest {
namespace {

// A batch goes on its way when this much of it is cut. The rest of its buffer
// takes what is read ahead of the next cut.
constexpr std::size_t kBatchTarget = std::size_t{1} << 20;
constexpr std::size_t kMaxEvents = 1024;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;

// Fixed cuts serve files of many pages.
constexpr std::uint64_t kMinPageFileBytes = 16U << 10;

// Where in its file the byte after the first `content_bytes` of content lies,
// holes counted.
std::uint64_t file_offset_after(std::uint64_t content_bytes,
                                const std::vector<repo::Extent>& holes) {
  std::uint64_t offset = content_bytes;
  for (const auto& hole : holes) {
    if (hole.offset > offset) break;
    offset += hole.size;
  }
  return offset;
}

std::uint64_t hole_bytes(const std::vector<repo::Extent>& holes) {
  std::uint64_t bytes = 0;
  for (const auto& hole : holes) bytes += hole.size;
  return bytes;
}

// Slashes in the name of a stream are folders, which nobody described.
repo::Entry folder_like(const repo::Entry& stream, const std::string& name) {
  repo::Entry folder = stream;
  folder.name = name;
  folder.type = repo::EntryType::folder;
  folder.size = 0;
  constexpr std::uint32_t kPrivateFolder = 0700;
  folder.mode = kPrivateFolder;
  return folder;
}

// What was read of a file, which may have changed meanwhile, as an entry that
// is true to itself: content and holes add up to the size, and no hole lies
// behind it.
void fit_to_content(repo::Entry& entry, std::uint64_t content_bytes) {
  entry.size = file_offset_after(content_bytes, entry.holes);
  std::erase_if(entry.holes, [&](const repo::Extent& hole) {
    return hole.offset + hole.size > entry.size;
  });
  entry.size = content_bytes + hole_bytes(entry.holes);
}

}  // namespace

struct Feeder::State {
  State(repo::Repository& repository_, const ReusableRows& reusable_,
        const PathCache& paths_, const std::set<std::string>& shared_,
        const repo::SessionId& session_, BatchLine& line_,
        repo::Progress& progress_, BackupReport& report_, std::stop_token stop_)
      : repository(repository_),
        reusable(reusable_),
        paths(paths_),
        shared(shared_),
        session(session_),
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
    batch = line.acquire(stop);
    if (!batch) throw repo::Cancelled("interrupted");
    cut_end = 0;
  }

  // Sends the batch; what is read but not cut yet moves to the next.
  void send() {
    if (!batch) return;
    const std::size_t left = batch->used - cut_end;
    if (left == 0) {
      line.feed(std::exchange(batch, nullptr));
      return;
    }
    auto next = line.acquire(stop);
    if (!next) throw repo::Cancelled("interrupted");
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

  void begin_folder(repo::Entry folder, const std::string& path) {
    const auto sharing =
        shared.contains(path) ? Sharing::several_sources : Sharing::none;
    push(FolderBegins{std::move(folder), sharing});
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
        push_chunk(rest.first(length), 0, known, before);
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
  void push_chunk(std::span<const std::byte> plain, unsigned part,
                  const std::optional<KnownChunk>& known,
                  const StreamBefore* before) {
    Chunk chunk;
    chunk.plain = plain;
    chunk.sum = repo::memory_sum(plain);
    chunk.part = part;
    if (before != nullptr) chunk.stream = before->file;
    if (known) {
      chunk.id = known->id;
      chunk.mac = known->mac;
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
    push_chunk(place, cut.part, cut.known, before);
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

Feeder::Feeder(repo::Repository& repository, const ReusableRows& reusable,
               const PathCache& paths, const std::set<std::string>& shared,
               const repo::SessionId& session, BatchLine& line,
               repo::Progress& progress, BackupReport& report,
               std::stop_token stop)
    : state_(std::make_unique<State>(repository, reusable, paths, shared,
                                     session, line, progress, report,
                                     std::move(stop))) {}

Feeder::~Feeder() = default;

// Turns what the walk meets into events.
//
// The folders above the given paths are held back until something below them
// is there to be saved.
class Feeder::Visitor : public FileVisitor {
 public:
  Visitor(State& state, std::span<const std::string> given,
          std::chrono::seconds settling)
      : state_(state),
        settling_(settling),
        given_(given),
        levels_inside_(std::ranges::binary_search(given, "/") ? 1 : 0) {}

  // Whether anything of the source is in the snapshot beside the folders above
  // it and given ones that could not be listed.
  [[nodiscard]] bool has_saved() const noexcept { return has_saved_; }

  void folder_begins(const repo::Entry& folder) override {
    path_ += '/';
    path_ += folder.name;
    if (levels_inside_ == 0 && !std::ranges::binary_search(given_, path_)) {
      held_back_.push_back({folder, path_});
      return;
    }
    ++levels_inside_;
    send_held_back();
    if (path_ != unreadable_) has_saved_ = true;
    begin(folder, path_);
  }

  void folder_ends() override {
    path_.resize(path_.rfind('/'));
    if (levels_inside_ > 0) --levels_inside_;
    if (held_back_.empty()) {
      state_.push(FolderEnds{});
    } else {
      held_back_.pop_back();
    }
  }

  void file(const repo::Entry& entry, const FileState& seen,
            std::string_view path, Opener& opener) override {
    const std::uint64_t item = state_.progress.items_done++;
    constexpr std::uint64_t kShowEvery = 64;
    if (item % kShowEvery == 0 || entry.size > kBatchTarget) {
      state_.progress.set_current(path);
    }
    auto known = state_.paths.find(path);
    const bool is_unchanged = known && known->settled_state == seen;
    if (is_unchanged && state_.is_usable(*known)) {
      saves();
      pass_by(entry, path, std::move(*known));
      return;
    }
    if (!read(entry, seen, path, opener)) return;
    ++(known ? state_.report.files_changed : state_.report.files_new);
  }

  void other(const repo::Entry& entry) override {
    saves();
    ++state_.report.others;
    state_.push(WholeEntry{entry, {}, std::nullopt});
  }

  void socket_skipped(std::string_view) override {
    ++state_.report.sockets_skipped;
  }
  void excluded(std::string_view) override { ++state_.report.excluded; }

  // Where a walk of all there is meets it, it is no news.
  void left_out(std::string_view path) override {
    excluded(path);
    if (!std::ranges::binary_search(given_, path)) return;
    state_.report.notes.push_back(
        repo::as_utf8(path) +
        ": was left out, since this backup itself is writing there");
  }

  void unreadable(std::string_view path, std::string_view why) override {
    unreadable_ = path;
    state_.problem(path, why);
  }

 private:
  void begin(const repo::Entry& folder, const std::string& path) {
    ++state_.report.folders;
    state_.begin_folder(folder, path);
  }

  void send_held_back() {
    for (const auto& [folder, path] : held_back_) begin(folder, path);
    held_back_.clear();
  }

  // To be called before an entry is sent.
  void saves() {
    send_held_back();
    has_saved_ = true;
  }

  void pass_by(const repo::Entry& entry, std::string_view path,
               PathState known) {
    ++state_.report.files_unmodified;
    state_.report.bytes_read += entry.size;
    state_.progress.bytes_done += entry.size;
    WholeEntry whole{entry, std::string(path), std::nullopt};
    whole.entry.holes = known.holes;
    whole.entry.profile = known.profile;
    whole.entry.weave = known.weave;
    if (state_.reusable.is_valid(known.snapshot)) {
      known.older_snapshot = known.snapshot;
    }
    known.snapshot = state_.session;
    known.era = state_.reusable.blobs.era();
    whole.state = std::move(known);
    state_.push(std::move(whole));
  }

  // False: nothing of it is in the snapshot.
  bool read(const repo::Entry& seen_entry, const FileState& seen,
            std::string_view path, Opener& opener) {
    const repo::Timestamp read_began = file_clock_now();
    repo::Entry entry = seen_entry;
    std::uint64_t content_bytes = 0;
    FileState now;
    try {
      OpenFile file = opener.open();
      entry.holes = file.holes();
      entry.profile = profile(file, entry);
      auto fed = state_.feed_content(
          entry, [&](std::span<std::byte> out) { return file.read(out); });
      content_bytes = fed.bytes;
      entry.weave = std::move(fed.weave);
      now = file.state_now();
    } catch (const repo::IoError& e) {
      // It vanished, or its disk fails. What was read of it is cut off: half a
      // file under its name would look like the file.
      state_.fail_content();
      state_.problem(path, e.what());
      return false;
    }
    const bool is_as_seen = now == seen;
    if (!is_as_seen) state_.problem(path, "changed while it was read");
    fit_to_content(entry, content_bytes);
    saves();
    state_.report.bytes_read += entry.size;
    const bool may_be_remembered =
        is_as_seen && is_settled(now, read_began, settling_);
    state_.push(
        ContentEnds{std::move(entry), std::string(path),
                    may_be_remembered ? std::optional(now) : std::nullopt});
    return true;
  }

  static repo::Profile profile(const OpenFile& file, const repo::Entry& entry) {
    // Fixed cuts count from the start of the content, which holes shift.
    if (entry.size < kMinPageFileBytes || !entry.holes.empty()) {
      return repo::Profile::cdc;
    }
    std::array<std::byte, kProfilePeekBytes> beginning;
    const std::size_t size = file.peek(0, beginning);
    return profile_of(entry.size, std::span(beginning).first(size));
  }

  State& state_;
  const std::chrono::seconds settling_;
  std::span<const std::string> given_;
  std::string path_;           // of the folder the walk is in
  std::size_t levels_inside_;  // of it, from a given path on
  // With their paths; the innermost of those it is in.
  std::vector<std::pair<repo::Entry, std::string>> held_back_;
  std::string unreadable_;  // the last one
  bool has_saved_ = false;
};

void Feeder::feed(const FilesToBackUp& files) {
  State& state = *state_;
  repo::SourceReport report;
  report.name = "files";
  report.kind = repo::SourceKind::files;
  std::optional<FileSource> source;
  try {
    source.emplace(files.paths, files.options);
  } catch (const repo::Error& e) {  // one of the paths is not there
    state.fail(report, e.what());
    state.report.sources.push_back(std::move(report));
    return;
  }
  const std::uint64_t problems_before = state.report.problem_count;
  const std::uint64_t bytes_before = state.report.bytes_read;
  const std::uint64_t items_before = state.progress.items_done;
  Visitor visitor(state, source->paths(), files.options.settling);
  source->walk(visitor, state.stop);
  if (state.stop.stop_requested()) throw repo::Cancelled("interrupted");

  report.bytes = state.report.bytes_read - bytes_before;
  report.entries = state.progress.items_done - items_before;
  const std::uint64_t problems = state.report.problem_count - problems_before;
  if (problems > 0) {
    report.status = visitor.has_saved() ? repo::SourceStatus::partial
                                        : repo::SourceStatus::failed;
    report.message =
        std::to_string(problems) + " entries not as they should be";
  }
  state.report.sources.push_back(std::move(report));
}

void Feeder::feed(StreamToBackUp& stream, const BackupOptions& options) {
  State& state = *state_;
  state.progress.set_current(stream.name);
  auto folders = names_of_stream(stream.name);
  repo::Entry entry;
  entry.name = folders.back();
  folders.pop_back();
  entry.type = repo::EntryType::stream;
  constexpr std::uint32_t kPrivate = 0600;
  entry.mode = kPrivate;
  entry.uid = ::getuid();
  entry.gid = ::getgid();
  entry.modified = options.now;

  repo::SourceReport report;
  report.name = stream.name;
  report.kind = stream.kind;
  const auto file = std::make_shared<const std::filesystem::path>(
      known_stream_file(state.repository, options.series, stream.name));
  State::StreamBefore before{
      file, KnownStream(*file, known_stream_key(state.repository.keyring()))};
  try {
    auto fed = state.feed_content(
        entry,
        [&](std::span<std::byte> out) {
          return stream.stream->read(out, state.stop);
        },
        &before);
    entry.size = fed.bytes;
    entry.weave = std::move(fed.weave);
    stream.stream->finish(state.stop);
    if (entry.size == 0) {
      const bool is_input = stream.kind == repo::SourceKind::standard_input;
      state.report.notes.push_back(stream.name +
                                   (is_input ? ": standard input was empty"
                                             : ": the command wrote nothing"));
    }
    report.bytes = entry.size;
    report.entries = 1;
    state.report.bytes_read += entry.size;
    // Only now, so that a stream that fails leaves none.
    std::string path;
    for (const auto& name : folders) {
      path += "/" + name;
      state.begin_folder(folder_like(entry, name), path);
    }
    state.push(ContentEnds{std::move(entry), stream.name, std::nullopt});
    for (std::size_t i = 0; i < folders.size(); ++i) state.push(FolderEnds{});
  } catch (const repo::Cancelled&) {
    throw;
  } catch (const std::exception& e) {
    state.fail_content();
    state.fail(report, e.what());
  }
  ++state.progress.items_done;
  state.report.sources.push_back(std::move(report));
}

namespace {

// Reads a member as a file is read: with a look at its beginning first.
class MemberReader {
 public:
  MemberReader(TreeStream& tree, std::stop_token stop)
      : tree_(tree), stop_(std::move(stop)) {
    while (head_size_ < head_.size()) {
      const auto size = tree_.read(std::span(head_).subspan(head_size_), stop_);
      if (size == 0) break;
      head_size_ += size;
    }
  }

  [[nodiscard]] repo::Profile profile(std::uint64_t size) const {
    if (size < kMinPageFileBytes) return repo::Profile::cdc;
    return profile_of(size, std::span(head_).first(head_size_));
  }

  std::size_t read(std::span<std::byte> out) {
    if (head_read_ == head_size_) return tree_.read(out, stop_);
    const std::size_t size = std::min(out.size(), head_size_ - head_read_);
    std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(head_read_), size,
                out.begin());
    head_read_ += size;
    return size;
  }

 private:
  TreeStream& tree_;
  std::stop_token stop_;
  std::array<std::byte, kProfilePeekBytes> head_{};
  std::size_t head_size_ = 0;
  std::size_t head_read_ = 0;
};

}  // namespace

void Feeder::feed(TreeToBackUp& source) {
  State& state = *state_;
  state.progress.set_current(source.name);
  repo::SourceReport report;
  report.name = source.name;
  report.kind = source.kind;
  TreeStream& tree = *source.tree;
  state.push(TreeBegins{});
  try {
    while (auto member = tree.next(state.stop)) {
      auto& [path, entry] = *member;
      state.progress.bytes_total = tree.expected_bytes();
      ++report.entries;
      if (entry.type != repo::EntryType::file) {
        ++state.report.folders;
        state.push(WholeEntry{std::move(entry), std::move(path), {}});
        continue;
      }
      ++state.progress.items_done;
      state.progress.set_current(path);
      MemberReader reader(tree, state.stop);
      entry.profile = reader.profile(entry.size);
      auto fed = state.feed_content(
          entry, [&](std::span<std::byte> out) { return reader.read(out); });
      entry.size = fed.bytes;
      entry.weave = std::move(fed.weave);
      report.bytes += entry.size;
      ++state.report.files_new;
      state.push(ContentEnds{std::move(entry), std::move(path), {}});
    }
    auto outcome = tree.finish(state.stop);
    report.facts = std::move(outcome.facts);
    for (auto& note : outcome.notes) {
      state.report.notes.push_back(std::move(note));
    }
    for (const auto& problem : outcome.problems) {
      state.problem(source.name, problem);
      report.status = repo::SourceStatus::partial;
      report.message = repo::as_utf8(problem);  // the last sums up
    }
    state.report.bytes_read += report.bytes;
    state.push(TreeEnds{});
  } catch (const repo::Cancelled&) {
    throw;
  } catch (const std::exception& e) {
    state.fail_content();
    state.push(TreeFails{});
    report.bytes = 0;
    report.entries = 0;
    state.report.files_new = 0;
    state.report.folders = 0;
    state.fail(report, e.what());
  }
  state.report.sources.push_back(std::move(report));
}

void Feeder::finish() {
  state_->send();
  state_->line.close();
}

}  // namespace cairn::ingest
