#include "ingest/linked_files.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "repo/cbor.h"

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

LinkedFileId linked_file_id(const repo::Entry& entry,
                            std::span<const repo::Link> rows) {
  const repo::DeviceNumber device = entry.device.value_or(repo::DeviceNumber{});
  repo::CborWriter out;
  out.array(10 + rows.size());
  out.uint(entry.hard_link->device).uint(entry.hard_link->inode);
  out.uint(static_cast<std::uint64_t>(entry.type)).uint(entry.size);
  out.sint(entry.modified.seconds).uint(entry.modified.nanoseconds);
  out.bytes(entry.symlink_target).uint(device.major).uint(device.minor);
  out.array(2 * entry.holes.size());
  for (const repo::Extent& hole : entry.holes) {
    out.uint(hole.offset).uint(hole.size);
  }
  for (const repo::Link& row : rows) out.bytes(row.id.bytes);
  return crypto::sha256(out.view());
}

bool LinkedFiles::begin(const LinkedFileId& file) {
  const std::lock_guard lock(mutex_);
  return places_.try_emplace(file).second;
}

void LinkedFiles::finish(const LinkedFileId& file, LinkedPlace place) {
  const std::lock_guard lock(mutex_);
  places_[file] = std::move(place);
}

void LinkedFiles::abandon(const LinkedFileId& file) {
  const std::lock_guard lock(mutex_);
  places_.erase(file);
}

LinkedFiles::Answer LinkedFiles::find(const LinkedFileId& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = places_.find(file);
  if (found == places_.end()) return {};
  return {.is_known = true, .place = found->second};
}

std::size_t LinkedFiles::Hash::operator()(
    const LinkedFileId& file) const noexcept {
  std::size_t hash = 0;
  std::memcpy(&hash, file.data(), sizeof hash);
  return hash;
}

}  // namespace cairn::ingest
