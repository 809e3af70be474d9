#include "ingest/linked_files.h"

#include <algorithm>
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

bool LinkedFiles::begin(const repo::HardLink& number) {
  const std::lock_guard lock(mutex_);
  return places_.try_emplace(number).second;
}

void LinkedFiles::finish(const repo::HardLink& number, LinkedPlace place) {
  const std::lock_guard lock(mutex_);
  places_[number] = std::move(place);
}

void LinkedFiles::abandon(const repo::HardLink& number) {
  const std::lock_guard lock(mutex_);
  places_.erase(number);
}

LinkedFiles::Answer LinkedFiles::find(const repo::HardLink& number) const {
  const std::lock_guard lock(mutex_);
  const auto found = places_.find(number);
  if (found == places_.end()) return {};
  return {.is_known = true, .place = found->second};
}

std::size_t LinkedFiles::Hash::operator()(
    const repo::HardLink& number) const noexcept {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
  return static_cast<std::size_t>((number.inode ^ number.device << 32) * kOdd);
}

}  // namespace cairn::ingest
