#include "ingest/staged_tree.h"

#include <algorithm>
#include <cassert>
#include <string_view>
#include <utility>

#include "ingest/tree_walk.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

// "a/b" of "a/b/c"; "" of "a".
std::string_view folder_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return path.substr(0, slash == std::string_view::npos ? 0 : slash);
}

std::string_view name_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

bool is_within(std::string_view path, std::string_view folder) {
  return folder.empty() ||
         (path.size() > folder.size() && path.starts_with(folder) &&
          path[folder.size()] == '/');
}

repo::Entry private_folder(std::string_view name, const repo::Entry& below) {
  constexpr std::uint32_t kPrivate = 0700;
  repo::Entry folder;
  folder.name = name;
  folder.type = repo::EntryType::folder;
  folder.mode = kPrivate;
  folder.uid = below.uid;
  folder.gid = below.gid;
  folder.user = below.user;
  folder.group = below.group;
  folder.modified = below.modified;
  return folder;
}

}  // namespace

void StagedTree::add(std::string path, const repo::Entry& entry,
                     std::span<const repo::Link> rows) {
  assert(name_of(path) == entry.name);
  entries_.push_back({std::move(path), entry, repo::Kept<repo::Link>(rows)});
}

std::uint64_t StagedTree::give_to(repo::TreeWriter& tree) && {
  std::ranges::sort(entries_, precedes_in_tree, &Staged::path);
  std::uint64_t count = 0;
  std::string open;  // the folder that `tree` is in
  std::string_view last_file;
  const auto enter = [&](const repo::Entry& folder) {
    tree.begin_folder(folder);
    if (!open.empty()) open += '/';
    open += folder.name;
    ++count;
  };
  const auto leave = [&] {
    tree.end_folder();
    open.resize(folder_of(open).size());
  };
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    auto& [path, entry, rows] = entries_[i];
    if (i > 0 && entries_[i - 1].path == path) {
      throw repo::Error(path + ": came twice");
    }
    if (!last_file.empty() && is_within(path, last_file)) {
      throw repo::Error(path + ": lies in a file");
    }
    const auto folder = folder_of(path);
    while (folder != open && !is_within(folder, open)) leave();
    while (open.size() < folder.size()) {
      const auto begin = open.empty() ? 0 : open.size() + 1;
      const auto end = folder.find('/', begin);
      enter(private_folder(folder.substr(begin, end - begin), entry));
    }
    if (entry.type == repo::EntryType::folder) {
      enter(entry);
    } else {
      tree.add(entry, rows.take());
      last_file = path;
      ++count;
    }
  }
  while (!open.empty()) leave();
  entries_.clear();
  return count;
}

}  // namespace cairn::ingest
