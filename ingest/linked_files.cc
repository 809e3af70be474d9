#include "ingest/linked_files.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cairn::ingest {

FolderPaths::Id FolderPaths::add(Id parent, std::string name) {
  folders_.push_back({parent, std::move(name)});
  return static_cast<Id>(folders_.size() - 1);
}

std::vector<std::string> FolderPaths::names(Id folder) const {
  std::vector<std::string> names;
  for (; folder != kRoot; folder = folders_[folder].parent) {
    names.push_back(folders_[folder].name);
  }
  std::ranges::reverse(names);
  return names;
}

bool LinkedFiles::begin(const repo::LinkedFileId& file) {
  const std::lock_guard lock(mutex_);
  return places_.try_emplace(file).second;
}

void LinkedFiles::finish(const repo::LinkedFileId& file, LinkedPlace place) {
  const std::lock_guard lock(mutex_);
  places_[file] = std::move(place);
}

void LinkedFiles::abandon(const repo::LinkedFileId& file) {
  const std::lock_guard lock(mutex_);
  places_.erase(file);
}

void LinkedFiles::keep(std::uint64_t device, std::uint64_t inode) {
  const std::lock_guard lock(mutex_);
  kept_.emplace(device, inode);
}

bool LinkedFiles::is_kept(std::uint64_t device, std::uint64_t inode) const {
  const std::lock_guard lock(mutex_);
  return kept_.contains({device, inode});
}

LinkedFiles::Answer LinkedFiles::find(const repo::LinkedFileId& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = places_.find(file);
  if (found == places_.end()) return {};
  return {.is_known = true, .place = found->second};
}

std::size_t LinkedFiles::Hash::operator()(
    const repo::LinkedFileId& file) const noexcept {
  std::size_t hash = 0;
  std::memcpy(&hash, file.data(), sizeof hash);
  return hash;
}

}  // namespace cairn::ingest
