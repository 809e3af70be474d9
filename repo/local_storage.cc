// Every path is walked from the held root descriptor, one component at a time
// and never through a symbolic link: whoever can plant a link in the repository
// cannot lead us out of it.
#include "repo/local_storage.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "repo/error.h"
#include "repo/file_calls.h"
#include "repo/memory_sum.h"
#include "repo/unnamed_file.h"

namespace cairn::repo {

namespace {

constexpr std::string_view kUnfinished = "tmp";
constexpr mode_t kFolderMode = 0700;
constexpr std::size_t kWriteBytes = 256 << 10;

// A restore reads many blobs out of few packs at a time.
constexpr std::size_t kOpenFiles = 64;

// Makes a folder and, where they are absent, those above it.
void make_folder_and_parents(const std::filesystem::path& folder) {
  const auto parent = folder.parent_path();
  bool made = ::mkdir(folder.c_str(), kFolderMode) == 0;
  if (!made && errno == ENOENT && parent != folder) {
    make_folder_and_parents(parent);
    made = ::mkdir(folder.c_str(), kFolderMode) == 0;
  }
  if (!made) {
    if (errno == EEXIST) return;
    fail(folder.string(), "cannot make the folder", errno);
  }
  const UniqueFd above = open_root(parent);
  if (!above.is_open()) fail(parent.string(), "cannot open", errno);
  sync_folder(above.get(), folder.string());
}

bool is_object_component(std::string_view component) {
  return !component.empty() && component.front() != '.' &&
         std::ranges::all_of(component, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

std::vector<std::string> components_of(std::string_view name) {
  std::vector<std::string> components;
  while (true) {
    const auto slash = name.find('/');
    components.emplace_back(name.substr(0, slash));
    assert(is_object_component(components.back()));
    if (slash == std::string_view::npos) break;
    name.remove_prefix(slash + 1);
  }
  assert(components.front() != kUnfinished);
  return components;
}

struct SplitName {
  std::vector<std::string> folders;
  std::string last;
};

SplitName split(std::string_view name) {
  SplitName split{components_of(name), {}};
  split.last = std::move(split.folders.back());
  split.folders.pop_back();
  return split;
}

// The files read most recently, open. All members from many threads.
class OpenFiles {
 public:
  // Shared by this list and by the reads under way, so that a file which is
  // pushed out of the list stays open until they are done.
  using File = std::shared_ptr<const UniqueFd>;

  // Null: not among them.
  [[nodiscard]] File find(std::string_view name) {
    std::lock_guard lock(mutex_);
    const auto it = std::ranges::find(files_, name, &Named::first);
    if (it == files_.end()) return nullptr;
    files_.splice(files_.begin(), files_, it);
    return files_.front().second;
  }

  void add(std::string_view name, File file) {
    std::lock_guard lock(mutex_);
    files_.emplace_front(name, std::move(file));
    if (files_.size() > kOpenFiles) files_.pop_back();
  }

  void drop(std::string_view name) {
    std::lock_guard lock(mutex_);
    files_.remove_if([&](const auto& file) { return file.first == name; });
  }

 private:
  using Named = std::pair<std::string, File>;

  std::mutex mutex_;        // guards files_
  std::list<Named> files_;  // most recent first; short enough to search
};

CorruptionError not_a_file(std::string_view name) {
  return CorruptionError(std::string(name) + ": is not a file");
}

// A folder is no object; what is neither file nor folder was never ours.
bool is_object(const struct stat& found, std::string_view name) {
  if (S_ISREG(found.st_mode)) return true;
  if (S_ISDIR(found.st_mode)) return false;
  throw not_a_file(name);
}

}  // namespace

struct LocalStorage::State {
  State(UniqueFd root_fd, std::string root_path)
      : root(std::move(root_fd)), path(std::move(root_path)) {}

  // A folder that was deleted has no links left; what we create in it would be
  // lost, and what we miss in it proves nothing.
  void check_root_exists() const {
    if (look_at(root.get(), path).st_nlink == 0) {
      throw StorageUnreachable(path + ": the folder is gone");
    }
  }

  // Not open: it is absent.
  [[nodiscard]] UniqueFd find_folder(const std::vector<std::string>& folders,
                                     std::string_view object) const {
    UniqueFd folder = open_folder_at(root.get(), ".");
    if (!folder.is_open()) fail(object, "cannot open the repository", errno);
    for (const auto& name : folders) {
      UniqueFd inner = open_folder_at(folder.get(), name);
      if (!inner.is_open()) {
        if (errno != ENOENT) fail(object, "cannot open its folder", errno);
        check_root_exists();
        return {};
      }
      folder = std::move(inner);
    }
    return folder;
  }

  [[nodiscard]] UniqueFd make_folder(const std::vector<std::string>& folders,
                                     std::string_view object) {
    check_root_exists();
    UniqueFd folder = open_folder_at(root.get(), ".");
    if (!folder.is_open()) fail(object, "cannot open the repository", errno);
    std::string walked;
    for (const auto& name : folders) {
      walked += "/" + name;
      UniqueFd inner = open_folder_at(folder.get(), name);
      if (!inner.is_open() && errno == ENOENT) {
        if (::mkdirat(folder.get(), name.c_str(), kFolderMode) != 0 &&
            errno != EEXIST) {
          fail(object, "cannot make its folder", errno);
        }
        inner = open_folder_at(folder.get(), name);
      }
      if (!inner.is_open()) fail(object, "cannot open its folder", errno);
      sync_once(folder.get(), walked, object);
      folder = std::move(inner);
    }
    return folder;
  }

  // A folder that is already there may have been made a moment ago by a
  // process that has not synced it yet: ours counts, once.
  void sync_once(int parent, const std::string& made, std::string_view object) {
    {
      std::lock_guard lock(mutex);
      if (durable_folders.contains(made)) return;
    }
    sync_folder(parent, object);
    std::lock_guard lock(mutex);
    durable_folders.insert(made);
  }

  // Null: no such name.
  [[nodiscard]] OpenFiles::File open_file(std::string_view name) const {
    const auto [folders, last] = split(name);
    const UniqueFd folder = find_folder(folders, name);
    if (!folder.is_open()) return nullptr;

    // O_NONBLOCK: a planted FIFO must not make us wait for its writer.
    UniqueFd file = open_at(folder.get(), last, O_RDONLY | O_NONBLOCK);
    if (!file.is_open()) {
      if (errno == ELOOP) throw not_a_file(name);  // a symbolic link
      if (errno != ENOENT) fail(name, "cannot open", errno);
      check_root_exists();
      return nullptr;
    }
    if (!is_object(look_at(file.get(), name), name)) return nullptr;
    return std::make_shared<const UniqueFd>(std::move(file));
  }

  void list(UniqueFd folder, const std::string& prefix,
            const std::function<void(const ListedObject&)>& visit) const {
    // The names are read before the first visit, which may remove some.
    UniqueFd stream = open_folder_at(folder.get(), ".");
    if (!stream.is_open()) fail(prefix, "cannot list", errno);
    for (const auto& name : names_in(std::move(stream), prefix)) {
      if (!is_object_component(name)) continue;
      if (prefix.empty() && name == kUnfinished) continue;
      struct stat found {};
      if (::fstatat(folder.get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW)) {
        if (errno == ENOENT) continue;  // removed in between
        fail(prefix + name, "cannot look at it", errno);
      }
      if (S_ISREG(found.st_mode)) {
        visit({prefix + name, static_cast<std::uint64_t>(found.st_size)});
      } else if (S_ISDIR(found.st_mode)) {
        UniqueFd inner = open_folder_at(folder.get(), name);
        if (!inner.is_open()) fail(prefix + name, "cannot list", errno);
        list(std::move(inner), prefix + name + "/", visit);
      }
    }
  }

  [[nodiscard]] UniqueFd unfinished_folder(std::string_view object) {
    return make_folder({std::string(kUnfinished)}, object);
  }

  [[nodiscard]] Created publish(UnnamedFile& file, std::string_view name) {
    const auto [folders, last] = split(name);
    const UniqueFd folder = make_folder(folders, name);
    return file.publish(folder.get(), last);
  }

  class Staged;

  const UniqueFd root;
  const std::string path;
  OpenFiles open_files;

  std::mutex mutex;  // guards durable_folders
  std::set<std::string> durable_folders;
};

class LocalStorage::State::Staged final : public StagedObject {
 public:
  explicit Staged(std::shared_ptr<State> state)
      : state_(std::move(state)),
        file_(state_->unfinished_folder(kNewObject), kNewObject) {
    buffer_.reserve(kWriteBytes);
  }

  void append(std::span<const std::byte> bytes) override {
    if (buffer_.size() + bytes.size() >= kWriteBytes) {
      const auto filler =
          bytes.first(std::min(bytes.size(), kWriteBytes - buffer_.size()));
      buffer_.insert(buffer_.end(), filler.begin(), filler.end());
      bytes = bytes.subspan(filler.size());
      flush();
      const auto whole_writes =
          bytes.first(bytes.size() / kWriteBytes * kWriteBytes);
      if (!whole_writes.empty()) write(whole_writes);
      bytes = bytes.subspan(whole_writes.size());
    }
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }

  void expect(const MemorySum& sum) override { expected_ = sum; }

  Created publish(std::string_view name) override {
    file_.call_it(name);
    flush();
    require_expected();
    file_.sync();
    return state_->publish(file_, name);
  }

 private:
  static constexpr const char* kNewObject = "new object";

  void flush() {
    write(buffer_);
    buffer_.clear();
  }

  // What changed before it was written is still changed after it.
  void write(std::span<const std::byte> bytes) {
    file_.append(bytes);
    written_.add(bytes);
  }

  void require_expected() const {
    if (!expected_ || written_ == *expected_) return;
    throw CorruptionError(file_.object() +
                          ": changed before it was written; the memory of "
                          "this machine is failing");
  }

  std::shared_ptr<State> state_;
  UnnamedFile file_;
  std::vector<std::byte> buffer_;  // fewer than kWriteBytes
  MemorySum written_;
  std::optional<MemorySum> expected_;
};

std::unique_ptr<LocalStorage> LocalStorage::open(
    const std::filesystem::path& root) {
  UniqueFd fd = open_root(root);
  if (!fd.is_open() && errno == ENOENT) {
    throw NoRepository(root.string() +
                       ": no such folder; 'cairn init' makes a repository");
  }
  if (!fd.is_open() && errno == ENOTDIR) {
    throw NoRepository(root.string() +
                       ": a file, and a repository is a folder");
  }
  if (!fd.is_open()) fail(root.string(), "cannot open", errno);
  return std::unique_ptr<LocalStorage>(
      new LocalStorage(std::make_shared<State>(std::move(fd), root.string())));
}

std::unique_ptr<LocalStorage> LocalStorage::create_folder(
    const std::filesystem::path& root) {
  auto path = std::filesystem::absolute(root).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // it ended with "/"
  make_folder_and_parents(path);
  if (!std::filesystem::is_directory(path)) {
    throw RefusedForSafety(root.string() + ": is not a folder");
  }
  auto storage = open(root);
  UniqueFd folder = open_folder_at(storage->state_->root.get(), ".");
  if (!folder.is_open()) fail(root.string(), "cannot open", errno);
  if (names_in(std::move(folder), root.string()).size() > 2) {  // "." and ".."
    throw RefusedForSafety(root.string() + ": the folder is not empty");
  }
  return storage;
}

LocalStorage::LocalStorage(std::shared_ptr<State> state)
    : state_(std::move(state)) {}

LocalStorage::~LocalStorage() = default;

Created LocalStorage::create(std::string_view name,
                             std::span<const std::byte> bytes) {
  const MemorySum sum = memory_sum(bytes);
  const auto attempt = [&] {
    UnnamedFile file(state_->unfinished_folder(name), std::string(name));
    file.append(bytes);
    file.sync();
    file.verify(bytes, sum);
    return state_->publish(file, name);
  };
  try {
    return attempt();
  } catch (const Vanished&) {
    // A prune took it for what a crash left, where the file system has no
    // locks.
    return attempt();
  }
}

std::unique_ptr<StagedObject> LocalStorage::stage() {
  return std::make_unique<State::Staged>(state_);
}

void LocalStorage::get(std::string_view name, std::uint64_t offset,
                       std::span<std::byte> out) const {
  auto file = state_->open_files.find(name);
  struct stat found {};
  if (file) found = look_at(file->get(), name);
  if (file && found.st_nlink == 0) {
    state_->open_files.drop(name);  // removed, perhaps by another process
    file = nullptr;
  }
  if (!file) {
    file = state_->open_file(name);
    if (!file) throw NotFound(std::string(name) + ": no such object");
    state_->open_files.add(name, file);
    found = look_at(file->get(), name);
  }

  const auto size = static_cast<std::uint64_t>(found.st_size);
  if (offset > size || out.size() > size - offset) {
    throw CorruptionError(std::string(name) + ": is " + std::to_string(size) +
                          " bytes long, expected at least " +
                          std::to_string(offset + out.size()));
  }
  read_fully(file->get(), offset, out, name);
}

std::optional<std::uint64_t> LocalStorage::size(std::string_view name) const {
  const auto [folders, last] = split(name);
  const UniqueFd folder = state_->find_folder(folders, name);
  if (!folder.is_open()) return std::nullopt;
  struct stat found {};
  if (::fstatat(folder.get(), last.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT) fail(name, "cannot look at it", errno);
    state_->check_root_exists();
    return std::nullopt;
  }
  if (!is_object(found, name)) return std::nullopt;
  return static_cast<std::uint64_t>(found.st_size);
}

void LocalStorage::list(
    std::string_view folder,
    const std::function<void(const ListedObject&)>& visit) const {
  if (folder.empty()) {
    state_->list(state_->find_folder({}, ""), "", visit);
    return;
  }
  UniqueFd found = state_->find_folder(components_of(folder), folder);
  if (!found.is_open()) return;
  state_->list(std::move(found), std::string(folder) + "/", visit);
}

void LocalStorage::remove(std::string_view name) {
  const auto [folders, last] = split(name);
  const UniqueFd folder = state_->find_folder(folders, name);
  if (!folder.is_open()) return;
  if (::unlinkat(folder.get(), last.c_str(), 0) != 0 && errno != ENOENT) {
    fail(name, "cannot remove", errno);
  }
  state_->open_files.drop(name);
  // Also when it was absent: whoever removed it may not have synced that.
  sync_folder(folder.get(), name);
}

void LocalStorage::remove_unfinished() {
  const UniqueFd folder =
      state_->find_folder({std::string(kUnfinished)}, kUnfinished);
  if (!folder.is_open()) return;
  UniqueFd stream = open_folder_at(folder.get(), ".");
  if (!stream.is_open()) fail(kUnfinished, "cannot list", errno);
  for (const auto& name : names_in(std::move(stream), kUnfinished)) {
    if (name == "." || name == "..") continue;
    const UniqueFd file = open_at(folder.get(), name, O_RDONLY | O_NONBLOCK);
    if (file.is_open() && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 &&
        errno == EWOULDBLOCK) {
      continue;  // a process is writing it
    }
    if (::unlinkat(folder.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      fail(std::string(kUnfinished) + "/" + name, "cannot remove", errno);
    }
  }
}

std::string LocalStorage::description() const { return state_->path; }

// Disks that take turns under one path are told apart by their file systems.
std::string LocalStorage::place() const {
  struct statfs status {};
  std::uint64_t id = 0;
  if (::fstatfs(state_->root.get(), &status) == 0) {
    static_assert(sizeof status.f_fsid == sizeof id);
    std::memcpy(&id, &status.f_fsid, sizeof id);
  }
  return state_->path + " " + std::to_string(id);
}

}  // namespace cairn::repo
