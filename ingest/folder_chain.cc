#include "ingest/folder_chain.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cassert>

#include "ingest/file_error.h"

namespace cairn::ingest {
namespace {

UniqueFd open_folder(int parent, const char* name, int flags) {
  return UniqueFd(uninterrupted([&] {
    return openat(parent, name,
                  flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  }));
}

}  // namespace

FolderChain::FolderChain(UniqueFd start, int reopen_flags)
    : reopen_flags_(reopen_flags) {
  levels_.push_back(
      {std::make_shared<const UniqueFd>(std::move(start)), std::nullopt, {}});
}

int FolderChain::fd() const noexcept {
  return levels_.back().fd ? levels_.back().fd->get() : -1;
}

std::shared_ptr<const UniqueFd> FolderChain::share() const noexcept {
  return levels_.back().fd;
}

int FolderChain::start() const noexcept { return levels_.front().fd->get(); }

std::size_t FolderChain::depth() const noexcept { return levels_.size() - 1; }

void FolderChain::push(UniqueFd folder, std::string name) {
  levels_.push_back({std::make_shared<const UniqueFd>(std::move(folder)),
                     std::nullopt, std::move(name)});
  if (depth() <= kHeld) return;
  Level& given_up = levels_[depth() - kHeld];
  if (!given_up.fd) return;
  given_up.identity = identity_of(given_up.fd->get());
  given_up.fd.reset();
}

void FolderChain::pop() {
  assert(depth() > 0);
  const Level child = std::move(levels_.back());
  levels_.pop_back();
  if (levels_.back().fd) return;
  UniqueFd again = open_again(child);
  if (again) {
    levels_.back().fd = std::make_shared<const UniqueFd>(std::move(again));
  }
}

UniqueFd FolderChain::open_again(const Level& child) const {
  if (child.fd) {
    UniqueFd parent = open_folder(child.fd->get(), "..", reopen_flags_);
    if (is_current(parent)) return parent;
  }
  std::size_t at = depth();
  while (!levels_[at].fd) --at;  // the start is always held
  UniqueFd folder;
  int above = levels_[at].fd->get();
  while (++at <= depth()) {
    const int flags = at == depth() ? reopen_flags_ : O_PATH;
    folder = open_folder(above, levels_[at].name.c_str(), flags);
    if (!folder) return {};
    above = folder.get();
  }
  if (is_current(folder)) return folder;
  return {};
}

bool FolderChain::is_current(const UniqueFd& fd) const {
  if (!fd) return false;
  const auto& expected = levels_.back().identity;
  return expected && identity_of(fd.get()) == expected;
}

// The time of birth tells a folder from a later one that was given the same
// inode number; it is 0 where the file system keeps none.
std::optional<FolderChain::Identity> FolderChain::identity_of(int fd) {
  struct statx status;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0) {
    return std::nullopt;
  }
  Identity identity{
      .device = makedev(status.stx_dev_major, status.stx_dev_minor),
      .inode = status.stx_ino,
      .born_seconds = 0,
      .born_nanoseconds = 0};
  if ((status.stx_mask & STATX_BTIME) != 0) {
    identity.born_seconds = status.stx_btime.tv_sec;
    identity.born_nanoseconds = status.stx_btime.tv_nsec;
  }
  return identity;
}

}  // namespace cairn::ingest
