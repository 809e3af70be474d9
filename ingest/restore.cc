#include "ingest/restore.h"

#include <atomic>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "ingest/content_writers.h"
#include "ingest/hole_map.h"
#include "ingest/restore_tally.h"
#include "ingest/second_look.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {
namespace {

// FORMAT.md, section 12.
constexpr std::size_t kMaxComponents = 4096;
constexpr std::size_t kMaxPathBytes = 65'536;

// Folders on the way down that keep their nodes in memory. To come back to one
// further up costs reading its node again, once for as many folders below.
constexpr std::size_t kHeldFolders = 4;

std::string_view without_slashes(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

// Goes through the tree in order, with a stack of its own: a snapshot may be
// 4096 folders deep.
class Walk {
 public:
  Walk(const repo::Keyring& keyring, repo::BlobReader& blobs,
       SecondLook& second_look, TargetTree& target, ContentWriters& writers,
       RestoreTally& tally, repo::Progress& progress,
       const RestoreOptions& options)
      : keyring_(keyring),
        blobs_(blobs),
        second_look_(second_look),
        target_(target),
        writers_(writers),
        tally_(tally),
        progress_(progress),
        bound_(options.bound) {}

  // All that is in a folder; `path` is the folder's.
  void run_inside(const repo::TreeEntry& folder, std::string_view path) {
    path_ = path;
    if (folder.rows.empty()) return;
    push(folder, path_.size());
    while (!folders_.empty()) {
      writers_.check();
      if (const repo::TreeEntry* const entry = next_entry()) {
        restore(*entry);
      } else {
        pop();
      }
    }
  }

  // One entry, which is no folder; `path` is its folder's.
  void run(const repo::TreeEntry& entry, std::string_view path) {
    path_ = path;
    restore(entry);
  }

 private:
  struct Folder {
    repo::FolderCursor cursor;
    std::size_t parent_path_size = 0;
  };

  const repo::TreeEntry* next_entry() {
    repo::FolderCursor& cursor = folders_.back().cursor;
    for (;;) {
      const repo::TreeEntry* entry = nullptr;
      auto failure = failure_of(path_, [&] {
        entry = second_look_.read([&] { return cursor.next(); });
      });
      if (!failure) return entry;
      tally_.add(std::move(*failure));
      cursor.pass_over();
    }
  }

  void restore(const repo::TreeEntry& entry) {
    const std::string path = path_of(entry.entry.name);
    bound_.count(entry, path);
    progress_.set_current(path);
    auto failure = failure_of(path, [&] { restore(entry, path); });
    if (failure) tally_.add(std::move(*failure));
  }

  void restore(const repo::TreeEntry& entry, const std::string& path) {
    switch (entry.entry.type) {
      case repo::EntryType::folder:
        enter(entry, path);
        return;
      case repo::EntryType::file:
      case repo::EntryType::stream:
        restore_file(entry, path);
        return;
      case repo::EntryType::symlink:
        restore_other(entry.entry, tally_.symlinks);
        return;
      case repo::EntryType::fifo:
      case repo::EntryType::char_device:
      case repo::EntryType::block_device:
        restore_other(entry.entry, tally_.others);
        return;
    }
  }

  void restore_other(const repo::Entry& entry,
                     std::atomic<std::uint64_t>& count) {
    if (entry.hard_link && is_linked(entry, {})) {
      ++tally_.hard_links;
    } else if (target_.create_other(entry)) {
      ++count;
    } else {
      ++tally_.kept;
    }
    ++progress_.items_done;
  }

  void enter(const repo::TreeEntry& folder, const std::string& path) {
    if (folders_.size() > kMaxComponents || path.size() > kMaxPathBytes) {
      throw repo::CorruptionError("a folder deeper than a path may be");
    }
    ++progress_.items_done;
    if (target_.enter(folder.entry) == Entered::passed_over) {
      ++tally_.kept;
      progress_.bytes_done += repo::content_size(folder.rows);
      target_.leave();
      return;
    }
    ++tally_.folders;
    if (folder.rows.empty()) {
      target_.leave();
    } else {
      const std::size_t parent_path_size = path_.size();
      path_ = path;
      push(folder, parent_path_size);
    }
  }

  void push(const repo::TreeEntry& folder, std::size_t parent_path_size) {
    folders_.push_back(
        {repo::FolderCursor(blobs_, folder.rows.front()), parent_path_size});
    if (folders_.size() > kHeldFolders) {
      folders_[folders_.size() - 1 - kHeldFolders].cursor.release();
    }
  }

  void pop() {
    const std::size_t parent_path_size = folders_.back().parent_path_size;
    folders_.pop_back();
    if (folders_.empty()) return;  // the target itself is left by finish()
    auto failure = failure_of(path_, [&] { target_.leave(); });
    if (failure) tally_.add(std::move(*failure));
    path_.resize(parent_path_size);
  }

  void restore_file(const repo::TreeEntry& file, const std::string& path) {
    if (file.entry.hard_link && is_linked(file.entry, file.rows)) {
      ++tally_.hard_links;
      pass_over_content(file);
      return;
    }
    if (auto present = target_.find_linked(file.entry, file.rows)) {
      if (holds(*present, file)) {
        std::move(*present).finish();
        ++tally_.files;
        tally_.bytes_unchanged += repo::content_size(file.rows);
        pass_over_content(file);
        return;
      }
    }
    writers_.wait_for_room(file.entry);
    auto target = target_.create_file(file.entry, file.rows);
    if (target) {
      writers_.add(std::move(*target), file.entry, file.rows, path);
    } else {
      ++tally_.kept;
      pass_over_content(file);
    }
  }

  // Reads the file that is there before it is replaced as a whole.
  bool holds(const TargetFile& present, const repo::TreeEntry& file) {
    if (file.entry.weave) return false;  // its chunks are nowhere in it
    const HoleMap holes(file.entry);
    repo::StreamCursor chunks(blobs_, file.rows);
    std::uint64_t offset = 0;
    while (const auto chunk =
               second_look_.read([&] { return chunks.at(offset); })) {
      if (chunk->length > repo::kMaxBlobBytes) return false;
      present_.resize(static_cast<std::size_t>(chunk->length));
      const std::span<std::byte> bytes = present_;
      bool is_whole = true;
      holes.for_each_piece({chunk->offset, chunk->length},
                           [&](const repo::Extent& piece, std::uint64_t at) {
                             const auto out = bytes.subspan(at, piece.size);
                             is_whole &=
                                 present.read(piece.offset, out) == out.size();
                           });
      if (!is_whole ||
          keyring_.id_of(repo::BlobKind::content, bytes) != chunk->id) {
        return false;
      }
      offset += chunk->length;
      writers_.check();
    }
    return offset == repo::content_size(file.rows);
  }

  void pass_over_content(const repo::TreeEntry& file) {
    progress_.bytes_done += repo::content_size(file.rows);
    ++progress_.items_done;
  }

  // False: an earlier name of the file was not restored, so this one is to be.
  bool is_linked(const repo::Entry& entry, std::span<const repo::Link> rows) {
    for (;;) {
      const std::uint64_t ended = writers_.ended_count();
      switch (target_.link(entry, rows)) {
        case Linked::done:
          return true;
        case Linked::unknown:
          return false;
        case Linked::unfinished:
          writers_.wait_for_more_than(ended);
      }
    }
  }

  [[nodiscard]] std::string path_of(std::string_view name) const {
    std::string path = path_;
    if (!path.empty()) path += '/';
    path += name;
    return path;
  }

  const repo::Keyring& keyring_;
  repo::BlobReader& blobs_;
  SecondLook& second_look_;
  TargetTree& target_;
  ContentWriters& writers_;
  RestoreTally& tally_;
  repo::Progress& progress_;

  repo::TreeBound bound_;
  std::string path_;  // of the current folder, in the snapshot
  std::vector<Folder> folders_;
  std::vector<std::byte> present_;  // reused between chunks
};

// What is to be restored, where it lies, and how many bytes it contains.
struct Found {
  repo::TreeEntry entry;
  std::string path;
  std::string parent_path;
  std::uint64_t bytes = 0;
};

Found find(repo::BlobReader& blobs, SecondLook& second_look,
           const repo::BlobId& root, std::string_view path) {
  Found found;
  found.path = without_slashes(path);
  found.parent_path = found.path.substr(
      0, found.path.find('/') == std::string::npos ? 0 : found.path.rfind('/'));
  repo::TreeReader tree(blobs);
  auto entry = second_look.read([&] {
    return tree.find({repo::BlobKind::links, root, 0}, found.path);
  });
  if (!entry) {
    throw repo::NotFound(found.path + ": no such path in the snapshot");
  }
  found.entry = std::move(*entry);
  found.bytes = repo::content_size(found.entry.rows);
  if (found.path.empty()) {
    const auto plain = second_look.read(
        [&] { return blobs.read(repo::BlobKind::links, root); });
    found.bytes = repo::content_size(repo::decode_links(*plain, "root"));
  }
  return found;
}

// Of what lies at `path` in the target, whose root is `base` in the snapshot.
std::string path_in_snapshot(const TargetTree& target, std::string base,
                             const std::string& path) {
  const std::size_t above = target.path_of("").size();
  if (path.size() <= above) return base;
  if (!base.empty()) base += '/';
  return base + path.substr(above);
}

// The entry is there; but what it lacks it could have had.
RestoreFailure failure_of_disk(const Shortfall& shortfall, std::string path) {
  std::string what = shortfall.what + " could not be set: " + shortfall.why;
  if (shortfall.count > 1) {
    what += ", nor on " + std::to_string(shortfall.count - 1) + " more";
  }
  if (path.empty()) path = "/";
  return {std::move(path), FailureCause::io_error, std::move(what)};
}

// Throws: where damage was found before, it is the graver news.
[[noreturn]] void give_up(const RestoreTally& tally, const repo::IoError& e) {
  for (const RestoreFailure& failure : tally.report().failures) {
    if (failure.cause == FailureCause::damaged ||
        failure.cause == FailureCause::differs) {
      throw repo::CorruptionError(failure.path + ": " + failure.what +
                                  "; then it could not go on: " + e.what());
    }
  }
  throw;
}

}  // namespace

RestoreReport restore(repo::Repository& repository, const repo::BlobId& root,
                      const RestoreOptions& options, repo::Progress& progress,
                      std::stop_token stop) {
  repo::BlobReader blobs = repository.blobs();
  SecondLook second_look(repository);
  Found found = find(blobs, second_look, root, options.path);
  progress.bytes_total = found.bytes;

  const bool is_folder = found.entry.entry.type == repo::EntryType::folder;
  const std::string root_path = is_folder ? found.path : found.parent_path;
  RestoreTally tally;
  TargetTree target(options.target, options.overwrite);
  try {
    ContentWriters writers(repository, second_look, tally, progress,
                           options.read_back, options.workers, stop);
    Walk walk(repository.keyring(), blobs, second_look, target, writers, tally,
              progress, options);
    if (!is_folder) {
      walk.run(found.entry, root_path);
    } else {
      if (!found.path.empty()) {
        found.entry.entry.name.clear();
        target.enter(found.entry.entry);
      }
      walk.run_inside(found.entry, root_path);
    }
    writers.finish();
    target.finish();
  } catch (const repo::IoError& e) {
    give_up(tally, e);
  }
  std::vector<Shortfall> shortfalls;
  for (const Shortfall& shortfall : target.shortfalls()) {
    if (shortfall.is_of_disk) {
      tally.add(failure_of_disk(
          shortfall, path_in_snapshot(target, root_path, shortfall.first)));
    } else {
      shortfalls.push_back(shortfall);
    }
  }
  RestoreReport report = tally.report();
  report.shortfalls = std::move(shortfalls);
  return report;
}

}  // namespace cairn::ingest
