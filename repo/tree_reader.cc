#include "repo/tree_reader.h"

#include <algorithm>

#include "repo/error.h"

namespace cairn::repo {
namespace {

std::string name_of(const Link& link) { return "node " + link.id.brief(); }

std::vector<Link> read_links(BlobReader& blobs, const Link& link) {
  const auto plain = blobs.read(BlobKind::links, link.id);
  return decode_links(*plain, name_of(link));
}

}  // namespace

TreeReader::TreeReader(BlobReader& blobs) : blobs_(blobs) {}

void TreeReader::for_each_entry(
    const Link& row, const std::function<Visit(const TreeEntry&)>& visit) {
  std::optional<std::string> last_name;

  // Recursion is bounded by kMaxListLevels.
  const std::function<Visit(const Link&, unsigned)> walk = [&](const Link& link,
                                                               unsigned level) {
    const auto links = read_links(blobs_, link);
    const bool is_entry_node =
        !links.empty() && links.front().kind == BlobKind::names;
    if (!is_entry_node) {
      if (level >= kMaxListLevels) {
        throw CorruptionError(name_of(link) + ": lists nested too deeply");
      }
      for (const auto& child : links) {
        if (child.kind != BlobKind::links) {
          throw CorruptionError(name_of(link) +
                                ": contents where a folder should be");
        }
        if (walk(child, level + 1) == Visit::stop) return Visit::stop;
      }
      return Visit::go_on;
    }
    const auto plain = blobs_.read(BlobKind::names, links.front().id);
    auto entries = decode_names(*plain, name_of(link));
    std::size_t next = 1;
    for (auto& [entry, rows] : entries) {
      if (rows > links.size() - next) {
        throw CorruptionError(name_of(link) + ": rows that are not there");
      }
      if (last_name && entry.name <= *last_name) {
        throw CorruptionError(name_of(link) + ": names that do not ascend");
      }
      last_name = entry.name;
      TreeEntry found{std::move(entry), {}};
      const auto begin = links.begin() + static_cast<std::ptrdiff_t>(next);
      found.rows.assign(begin, begin + static_cast<std::ptrdiff_t>(rows));
      next += static_cast<std::size_t>(rows);
      const bool is_folder = found.entry.type == EntryType::folder;
      if (is_folder && rows == 1 &&
          found.rows.front().kind != BlobKind::links) {
        throw CorruptionError(name_of(link) + ": a folder without a node");
      }
      if (visit(found) == Visit::stop) return Visit::stop;
    }
    if (next != links.size()) {
      throw CorruptionError(name_of(link) + ": rows that nobody owns");
    }
    return Visit::go_on;
  };
  (void)walk(row, 0);
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
    const std::uint64_t begin = level.offset;
    enter(read_links(blobs_, row), begin);
    if (levels_.back().end != begin + row.length) {
      throw CorruptionError(name_of(row) + ": lengths do not add up");
    }
  }
}

}  // namespace cairn::repo
