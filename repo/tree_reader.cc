#include "repo/tree_reader.h"

#include <algorithm>

#include "repo/error.h"

namespace cairn::repo {
namespace {

std::string name_of(const Link& link) { return "node " + link.id.brief(); }

// What a tree needs and nobody has is damage, and no answer.
PlainBlob read_blob(BlobReader& blobs, BlobKind kind, const BlobId& id) {
  try {
    return blobs.read(kind, id);
  } catch (const NotFound& e) {
    throw CorruptionError(e.what());
  }
}

std::vector<Link> read_links(BlobReader& blobs, const Link& link) {
  const auto plain = read_blob(blobs, BlobKind::links, link.id);
  return decode_links(*plain, name_of(link));
}

}  // namespace

FolderCursor::FolderCursor(BlobReader& blobs, const Link& row)
    : blobs_(&blobs) {
  lists_.push_back({row, {row}, 0});
}

const TreeEntry* FolderCursor::next() {
  while (true) {
    if (!node_) {
      if (!find_row()) return nullptr;
      open_row();
      continue;
    }
    if (entries_.empty()) {
      entries_ = read_node(*node_, read_links(*blobs_, *node_));
    }
    if (next_entry_ < entries_.size()) return &entries_[next_entry_++];
    node_.reset();
    entries_.clear();
  }
}

// Leaves what is at its end. False: nothing is left.
bool FolderCursor::find_row() {
  while (!lists_.empty()) {
    List& list = lists_.back();
    if (list.rows.empty()) list.rows = read_links(*blobs_, list.link);
    if (list.next < list.rows.size()) return true;
    lists_.pop_back();
  }
  return false;
}

// Nothing changes before everything was read.
void FolderCursor::open_row() {
  List& list = lists_.back();
  const Link row = list.rows[list.next];
  auto links = read_links(*blobs_, row);
  if (links.front().kind == BlobKind::names) {
    auto entries = read_node(row, links);
    if (!entries.empty() && entries.front().entry.name <= last_name_) {
      throw CorruptionError(name_of(row) + ": names that do not ascend");
    }
    ++list.next;
    if (entries.empty()) return;
    last_name_ = entries.back().entry.name;
    node_ = row;
    entries_ = std::move(entries);
    next_entry_ = 0;
    return;
  }
  if (lists_.size() > kMaxListLevels) {
    throw CorruptionError(name_of(row) + ": lists nested too deeply");
  }
  const bool has_folders = std::ranges::all_of(
      links, [](const Link& child) { return child.kind == BlobKind::links; });
  if (!has_folders) {
    throw CorruptionError(name_of(row) + ": contents where a folder should be");
  }
  ++list.next;
  lists_.push_back({row, std::move(links), 0});
}

std::vector<TreeEntry> FolderCursor::read_node(
    const Link& link, std::span<const Link> links) const {
  const auto plain = read_blob(*blobs_, BlobKind::names, links.front().id);
  links = links.subspan(1);
  std::vector<TreeEntry> entries;
  for (auto& [entry, rows] : decode_names(*plain, name_of(link))) {
    if (rows > links.size()) {
      throw CorruptionError(name_of(link) + ": rows that are not there");
    }
    const auto own = links.first(static_cast<std::size_t>(rows));
    links = links.subspan(own.size());
    if (entry.type == EntryType::folder && !own.empty() &&
        own.front().kind != BlobKind::links) {
      throw CorruptionError(name_of(link) + ": a folder without a node");
    }
    if (has_content(entry.type) && !adds_up(entry, own)) {
      throw CorruptionError(name_of(link) +
                            ": a size that is not that of content and holes");
    }
    entries.push_back({std::move(entry), {own.begin(), own.end()}});
  }
  if (!links.empty()) {
    throw CorruptionError(name_of(link) + ": rows that nobody owns");
  }
  return entries;
}

void FolderCursor::pass_over() {
  if (node_) {
    node_.reset();
  } else if (!lists_.empty() && lists_.back().rows.empty()) {
    lists_.pop_back();
  } else if (!lists_.empty()) {
    ++lists_.back().next;
  }
}

std::optional<BlobId> FolderCursor::unread_row() {
  const bool is_inside =
      node_ && (entries_.empty() || next_entry_ < entries_.size());
  if (is_inside) return std::nullopt;
  if (!find_row()) return std::nullopt;
  return lists_.back().rows[lists_.back().next].id;
}

void FolderCursor::skip_row() {
  node_.reset();
  entries_.clear();
  ++lists_.back().next;
}

void FolderCursor::release() noexcept {
  if (next_entry_ == entries_.size()) node_.reset();
  entries_ = {};
  for (std::size_t i = 1; i < lists_.size(); ++i) lists_[i].rows = {};
}

TreeReader::TreeReader(BlobReader& blobs) : blobs_(blobs) {}

void TreeReader::for_each_entry(
    const Link& row, const std::function<Visit(const TreeEntry&)>& visit) {
  FolderCursor folder(blobs_, row);
  while (const TreeEntry* const entry = folder.next()) {
    if (visit(*entry) == Visit::stop) return;
  }
}

void TreeReader::for_each_chunk(
    std::span<const Link> rows,
    const std::function<Visit(const Link&)>& visit) {
  const std::function<Visit(const Link&, unsigned)> walk = [&](const Link& link,
                                                               unsigned level) {
    if (link.kind == BlobKind::content) return visit(link);
    if (link.kind != BlobKind::links || level >= kMaxListLevels) {
      throw CorruptionError(name_of(link) + ": no list of a stream");
    }
    std::uint64_t total = 0;
    const auto children = read_links(blobs_, link);
    for (const auto& child : children) total += child.length;
    if (total != link.length) {
      throw CorruptionError(name_of(link) + ": lengths do not add up");
    }
    for (const auto& child : children) {
      if (walk(child, level + 1) == Visit::stop) return Visit::stop;
    }
    return Visit::go_on;
  };
  for (const auto& row : rows) {
    if (walk(row, 0) == Visit::stop) return;
  }
}

std::optional<TreeEntry> TreeReader::find(const Link& root,
                                          std::string_view path) {
  TreeEntry found;
  found.entry.type = EntryType::folder;
  found.entry.mode = 0755;
  found.rows = {root};
  while (true) {
    while (path.starts_with('/')) path.remove_prefix(1);
    if (path.empty()) return found;
    const auto slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(name.size());
    if (found.entry.type != EntryType::folder || found.rows.empty()) {
      return std::nullopt;
    }
    std::optional<TreeEntry> child;
    for_each_entry(found.rows.front(), [&](const TreeEntry& entry) {
      if (entry.entry.name == name) child = entry;
      return entry.entry.name < name ? Visit::go_on : Visit::stop;
    });
    if (!child) return std::nullopt;
    found = std::move(*child);
  }
}

StreamCursor::StreamCursor(BlobReader& blobs, std::vector<Link> rows)
    : blobs_(blobs) {
  enter(std::move(rows), 0);
}

void StreamCursor::enter(std::vector<Link> rows, std::uint64_t begin) {
  if (levels_.size() > kMaxListLevels) {
    throw CorruptionError("a stream's lists are nested too deeply");
  }
  Level level{std::move(rows), 0, begin, begin, begin};
  for (const auto& row : level.rows) level.end += row.length;
  levels_.push_back(std::move(level));
}

std::optional<StreamCursor::Place> StreamCursor::at(std::uint64_t offset) {
  while (levels_.size() > 1 &&
         (offset < levels_.back().begin || offset >= levels_.back().end)) {
    levels_.pop_back();
  }
  while (true) {
    Level& level = levels_.back();
    if (offset >= level.end) return std::nullopt;
    if (offset < level.offset) {
      level.next = 0;
      level.offset = level.begin;
    }
    while (offset - level.offset >= level.rows[level.next].length) {
      level.offset += level.rows[level.next].length;
      ++level.next;
    }
    const Link row = level.rows[level.next];
    if (row.kind == BlobKind::content) {
      return Place{row.id, level.offset, row.length};
    }
    if (row.kind != BlobKind::links) {
      throw CorruptionError(name_of(row) + ": no list of a stream");
    }
    const std::uint64_t begin = level.offset;
    enter(read_links(blobs_, row), begin);
    if (levels_.back().end != begin + row.length) {
      throw CorruptionError(name_of(row) + ": lengths do not add up");
    }
  }
}

}  // namespace cairn::repo
