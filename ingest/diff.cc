#include "ingest/diff.h"

#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "ingest/second_look.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

using repo::TreeEntry;
using repo::Visit;

// FORMAT.md, section 12.
constexpr std::size_t kMaxComponents = 4096;

// See restore.cc.
constexpr std::size_t kHeldFolders = 4;

auto metadata_of(const repo::Entry& entry) {
  return std::tie(entry.mode, entry.uid, entry.gid, entry.user, entry.group,
                  entry.modified, entry.xattrs);
}

bool has_same_content(const TreeEntry& a, const TreeEntry& b) {
  if (a.entry.type == repo::EntryType::folder) return true;
  return a.rows == b.rows && a.entry.size == b.entry.size &&
         a.entry.holes == b.entry.holes &&
         a.entry.symlink_target == b.entry.symlink_target &&
         a.entry.device == b.entry.device;
}

// What is different about the entries themselves, not what is below them.
std::optional<Change> change_between(const TreeEntry* before,
                                     const TreeEntry* after) {
  if (before == nullptr) return Change::added;
  if (after == nullptr) return Change::removed;
  if (before->entry.type != after->entry.type) return Change::type;
  if (!has_same_content(*before, *after)) return Change::content;
  if (metadata_of(before->entry) != metadata_of(after->entry)) {
    return Change::metadata;
  }
  return std::nullopt;
}

bool has_entries(const TreeEntry* entry) {
  return entry != nullptr && entry->entry.type == repo::EntryType::folder &&
         !entry->rows.empty();
}

// One tree's side of a folder, which may be in the other tree only; looks one
// entry ahead.
class Side {
 public:
  Side(repo::BlobReader& blobs, SecondLook& second_look,
       const TreeEntry* folder)
      : second_look_(&second_look) {
    if (has_entries(folder)) cursor_.emplace(blobs, folder->rows.front());
  }

  // Null: none is left. Valid until current() is called after advance(), or
  // until release().
  const TreeEntry* current() {
    if (!is_read_) {
      current_ = nullptr;
      if (cursor_) {
        current_ = second_look_->read([&] { return cursor_->next(); });
      }
      is_read_ = true;
    }
    return current_;
  }

  void advance() { is_read_ = false; }

  // As FolderCursor says; nothing, too, before advance().
  std::optional<repo::BlobId> unread_row() {
    if (!cursor_ || is_read_) return std::nullopt;
    return second_look_->read([&] { return cursor_->unread_row(); });
  }
  void skip_row() { cursor_->skip_row(); }

  // Gives back what can be read again.
  void release() {
    if (!cursor_) return;
    if (is_read_ && current_ != nullptr) {
      kept_ = std::make_unique<TreeEntry>(*current_);
      current_ = kept_.get();
    }
    cursor_->release();
  }

 private:
  SecondLook* second_look_;
  std::optional<repo::FolderCursor> cursor_;
  bool is_read_ = false;
  const TreeEntry* current_ = nullptr;  // in the cursor, or kept_
  std::unique_ptr<TreeEntry> kept_;
};

class Comparison {
 public:
  Comparison(repo::Repository& repository, const repo::TreeBound& before,
             const repo::TreeBound& after,
             const std::function<Visit(const Difference&)>& visit,
             const std::stop_token& stop)
      : blobs_(repository.blobs()),
        second_look_(repository),
        bound_before_(before),
        bound_after_(after),
        visit_(visit),
        stop_(stop) {}

  void run(const TreeEntry& before, const TreeEntry& after) {
    if (compare(&before, &after) == Visit::stop) return;
    while (!folders_.empty()) {
      if (stop_.stop_requested()) throw repo::Cancelled("diff: stopped");
      if (step() == Visit::stop) return;
    }
  }

 private:
  struct Folder {
    Side before;
    Side after;
    std::size_t parent_path_size = 0;
  };

  // The next name of the current folder.
  Visit step() {
    Folder& folder = folders_.back();
    skip_equal_rows(folder);
    const TreeEntry* before = folder.before.current();
    const TreeEntry* after = folder.after.current();
    if (before == nullptr && after == nullptr) {
      path_.resize(folder.parent_path_size);
      folders_.pop_back();
      return Visit::go_on;
    }
    if (before != nullptr && after != nullptr) {
      if (after->entry.name < before->entry.name) {
        before = nullptr;
      } else if (before->entry.name < after->entry.name) {
        after = nullptr;
      }
    }
    // The entries stay valid while the folder is not read further.
    if (before != nullptr) folder.before.advance();
    if (after != nullptr) folder.after.advance();

    const std::size_t parent_path_size = path_.size();
    if (!path_.empty()) path_ += '/';
    path_ += before != nullptr ? before->entry.name : after->entry.name;
    if (before != nullptr) bound_before_.count(*before, path_);
    if (after != nullptr) bound_after_.count(*after, path_);
    const std::size_t depth = folders_.size();
    const Visit next = compare(before, after);
    if (folders_.size() > depth) {
      folders_.back().parent_path_size = parent_path_size;
    } else {
      path_.resize(parent_path_size);
    }
    return next;
  }

  static void skip_equal_rows(Folder& folder) {
    for (;;) {
      const auto before = folder.before.unread_row();
      if (!before || before != folder.after.unread_row()) return;
      folder.before.skip_row();
      folder.after.skip_row();
    }
  }

  // Two entries of the same name, or one of them; goes down into folders.
  Visit compare(const TreeEntry* before, const TreeEntry* after) {
    const auto change = change_between(before, after);
    if (change && visit_({path_, *change, before, after}) == Visit::stop) {
      return Visit::stop;
    }
    const bool is_same = before != nullptr && after != nullptr &&
                         before->rows == after->rows &&
                         before->entry.type == after->entry.type;
    if (is_same || (!has_entries(before) && !has_entries(after))) {
      return Visit::go_on;
    }
    if (folders_.size() >= kMaxComponents) {
      throw repo::CorruptionError(path_.substr(0, 80) +
                                  "...: deeper than a path may be");
    }
    folders_.push_back({Side(blobs_, second_look_, before),
                        Side(blobs_, second_look_, after)});
    if (folders_.size() > kHeldFolders) {
      Folder& waiting = folders_[folders_.size() - 1 - kHeldFolders];
      waiting.before.release();
      waiting.after.release();
    }
    return Visit::go_on;
  }

  repo::BlobReader blobs_;
  SecondLook second_look_;
  repo::TreeBound bound_before_;
  repo::TreeBound bound_after_;
  const std::function<Visit(const Difference&)>& visit_;
  const std::stop_token& stop_;

  std::string path_;  // of the current folder
  std::vector<Folder> folders_;
};

}  // namespace

void diff(repo::Repository& repository, const Compared& before,
          const Compared& after,
          const std::function<Visit(const Difference&)>& visit,
          const std::stop_token& stop) {
  Comparison(repository, before.bound, after.bound, visit, stop)
      .run(before.entry, after.entry);
}

}  // namespace cairn::ingest
