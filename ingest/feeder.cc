#include "ingest/feeder.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <optional>
#include <utility>

#include "ingest/feeder_state.h"
#include "ingest/known_stream.h"
#include "ingest/page_files.h"
#include "ingest/source_places.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/node.h"

namespace cairn::ingest {
namespace {

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

std::string counted(std::uint64_t count, std::string_view one,
                    std::string_view many) {
  return std::to_string(count) + " " + std::string(count == 1 ? one : many);
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

Feeder::Feeder(repo::Repository& repository, const ReusableRows& reusable,
               const PathCache& paths, const std::set<std::string>& shared,
               const repo::SessionId& session, unsigned lane, BatchLine& line,
               repo::Progress& progress, BackupReport& report,
               std::stop_token stop)
    : state_(std::make_unique<State>(repository, reusable, paths, shared,
                                     session, lane, line, progress, report,
                                     std::move(stop))) {}

Feeder::~Feeder() = default;

// Turns what the walk meets into events.
//
// The folders above the given paths are held back until something below them
// is there to be saved.
class Feeder::Visitor : public FileVisitor {
 public:
  Visitor(State& state, std::span<const std::string> given,
          const FilesToBackUp& files)
      : state_(state),
        settling_(files.options.settling),
        changes_(files.changes),
        given_(given),
        levels_inside_(std::ranges::binary_search(given, "/") ? 1 : 0) {}

  // Whether anything of the source is in the snapshot beside the folders above
  // it and given ones that could not be listed.
  [[nodiscard]] bool has_saved() const noexcept { return has_saved_; }

  // What was expected to change and did, as a note; empty: nothing.
  [[nodiscard]] std::string what_changed() const {
    if (changed_ == 0 && vanished_ == 0) return {};
    return counted(changed_, "file", "files") + " changed and " +
           counted(vanished_, "entry", "entries") +
           " vanished while they were read";
  }

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
    if (known && known->settled_state == seen) {
      repo::Entry whole = with_content_of(entry, *known);
      if (repo::adds_up(whole, known->rows) && state_.is_usable(*known)) {
        saves();
        pass_by(std::move(whole), path, std::move(*known));
        return;
      }
    }
    const bool is_new = !known;
    if (read(entry, seen, path, opener, std::move(known)) && is_new) {
      ++state_.report.files_new;
    }
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

  void vanished(std::string_view path) override {
    if (changes_ == Changes::are_expected) {
      ++vanished_;
    } else {
      FileVisitor::vanished(path);
    }
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

  static repo::Entry with_content_of(repo::Entry entry,
                                     const PathState& known) {
    entry.holes = known.holes;
    entry.profile = known.profile;
    entry.weave = known.weave;
    return entry;
  }

  void pass_by(repo::Entry entry, std::string_view path, PathState known) {
    ++state_.report.files_unmodified;
    state_.report.bytes_read += entry.size;
    state_.progress.bytes_done += entry.size;
    WholeEntry whole{std::move(entry), std::string(path), std::nullopt};
    if (state_.reusable.is_valid(known.snapshot)) {
      known.older_snapshot = known.snapshot;
    }
    known.snapshot = state_.session;
    known.era = state_.reusable.blobs.era();
    whole.rows_sum = repo::memory_sum_of(known.rows);
    whole.state = std::move(known);
    state_.push(std::move(whole));
  }

  // False: nothing of it is in the snapshot.
  bool read(const repo::Entry& seen_entry, const FileState& seen,
            std::string_view path, Opener& opener,
            std::optional<PathState> before) {
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
    } catch (const FileVanished&) {
      state_.fail_content();
      throw;
    } catch (const FileReplaced&) {
      state_.fail_content();
      throw;
    } catch (const repo::IoError& e) {
      // Its disk fails, or it was cut short. What was read of it is cut off:
      // half a file under its name would look like the file.
      state_.fail_content();
      state_.problem(path, e.what());
      return false;
    }
    const bool is_as_seen = now == seen;
    if (!is_as_seen && changes_ == Changes::are_expected) {
      ++changed_;
    } else if (!is_as_seen) {
      state_.problem(path, "changed while it was read");
    }
    fit_to_content(entry, content_bytes);
    state_.progress.bytes_done += hole_bytes(entry.holes);
    saves();
    state_.report.bytes_read += entry.size;
    // Those of sysfs and procfs have another length than their status says,
    // and change without a word.
    const bool is_of_its_size = entry.size == seen_entry.size;
    state_.push(
        ContentEnds{.entry = std::move(entry),
                    .path = std::string(path),
                    .state = is_as_seen ? std::optional(now) : std::nullopt,
                    .is_settled = is_as_seen && is_of_its_size &&
                                  is_settled(now, read_began, settling_),
                    .before = std::move(before)});
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
  const Changes changes_;
  std::uint64_t changed_ = 0;
  std::uint64_t vanished_ = 0;
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
  report.name = files.name;
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
  Visitor visitor(state, source->paths(), files);
  source->walk(visitor, state.stop);
  if (state.stop.stop_requested()) throw repo::Cancelled("interrupted");

  if (const auto changed = visitor.what_changed(); !changed.empty()) {
    state.report.notes.push_back(files.name + ": " + changed);
  }
  report.bytes = state.report.bytes_read - bytes_before;
  report.entries = state.progress.items_done - items_before;
  const std::uint64_t problems = state.report.problem_count - problems_before;
  if (problems > 0) {
    report.status = visitor.has_saved() ? repo::SourceStatus::partial
                                        : repo::SourceStatus::failed;
    report.message =
        counted(problems, "entry", "entries") +
        (problems == 1 ? " not as it should be" : " not as they should be");
  } else if (report.bytes == 0 && !files.if_empty.empty()) {
    state.problem(files.name, files.if_empty);
    report.status = repo::SourceStatus::partial;
    report.message = files.if_empty;
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
    if (entry.size == 0 && !stream.if_empty.empty()) {
      throw ProducerFailed(stream.if_empty);
    }
    if (entry.size == 0) {
      const bool is_input = stream.kind == repo::SourceKind::standard_input;
      state.report.notes.push_back(
          stream.name + (is_input ? ": standard input was empty"
                                  : ": is empty; nothing was written"));
    }
    report.bytes = entry.size;
    report.entries = 1;
    state.report.bytes_read += entry.size;
    // Only now, so that a stream that fails leaves none.
    std::string path;
    std::vector<FolderBegins> above;
    for (const auto& name : folders) {
      path += "/" + name;
      above.push_back(state.begun(folder_like(entry, name), path));
    }
    ContentEnds content{.entry = std::move(entry), .path = stream.name};
    if (state.lane != 0) {
      state.push(StreamEnds{std::move(content), std::move(above)});
    } else {
      for (auto& folder : above) state.push(std::move(folder));
      state.push(std::move(content));
      for (std::size_t i = 0; i < folders.size(); ++i) state.push(FolderEnds{});
    }
  } catch (const repo::Cancelled&) {
    throw;
  } catch (const std::exception& e) {
    state.fail_content();
    state.fail(report, e.what());
  }
  ++state.progress.items_done;
  state.report.sources.push_back(std::move(report));
}

void Feeder::finish() { state_->send(); }

}  // namespace cairn::ingest
