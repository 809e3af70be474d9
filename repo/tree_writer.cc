#include "repo/tree_writer.h"

#include <algorithm>
#include <cassert>
#include <optional>
#include <string>
#include <utility>

#include "crypto/digest.h"
#include "repo/error.h"
#include "repo/kept.h"
#include "repo/wire.h"

namespace cairn::repo {
namespace {

// FORMAT.md section 7.
constexpr std::size_t kRowsInEntry = 8;
constexpr std::uint32_t kListModulus = 256;
constexpr std::size_t kMaxListRows = 1024;
constexpr unsigned kEntriesPerNodeLimit = 512;
constexpr std::uint8_t kNameThreshold = 2;
constexpr std::size_t kNamesPerNodeBytes = std::size_t{128} << 10;
constexpr std::size_t kRowsPerEntryNode = 2048;

bool ends_list(const Link& link) {
  return wire::get_u32(std::span(link.id.bytes).first<4>()) % kListModulus == 0;
}

bool ends_entry_node(std::string_view name) {
  const auto digest = crypto::sha256(std::as_bytes(std::span(name)));
  return std::to_integer<std::uint8_t>(digest[0]) < kNameThreshold;
}

Link store_links(const StoreNode& store, const Kept<Link>& links) {
  const auto plain = encode_links(links.items());
  const std::uint64_t size = content_size(links.items());
  links.require_unchanged();
  return {BlobKind::links, store(BlobKind::links, plain), size};
}

// Lists upon lists until one row is left.
class Levels {
 public:
  explicit Levels(const StoreNode& store) : store_(store) {}

  // As they were before close_all() made `root` of them.
  Levels(const StoreNode& store, const Link& root,
         const ListWriter::ReadLinks& read);

  void add(const Link& link) { add_at(0, link); }

  // A list of what was added, or lists of lists of it. Requires one row.
  Link close_all() {
    for (std::size_t level = 0;; ++level) {
      if (!levels_[level].rows.empty()) close(level);
      Level& above = levels_[level + 1];
      if (above.total == 1) return above.rows.take().front();
    }
  }

 private:
  struct Level {
    Kept<Link> rows;
    std::uint64_t total = 0;  // rows ever added
  };

  void add_at(std::size_t level, const Link& link) {
    if (levels_.size() <= level) levels_.resize(level + 1);
    levels_[level].rows.add(link);
    ++levels_[level].total;
    // A list of one row would stand for nothing new.
    if (is_ended(level, levels_[level].rows.items())) close(level);
  }

  // Whether a list of these rows is one that more rows would not change.
  static bool is_ended(std::size_t level, std::span<const Link> rows) {
    const bool may_split = level + 1 < kMaxListLevels && rows.size() >= 2;
    return may_split && (ends_list(rows.back()) || rows.size() >= kMaxListRows);
  }

  void close(std::size_t level) {
    const Link list = store_links(store_, levels_[level].rows);
    levels_[level].rows.clear();
    add_at(level + 1, list);
  }

  const StoreNode& store_;
  std::vector<Level> levels_;
};

// From the root down along the last rows; then from the chunks up: a list that
// had not ended by itself is taken out of the one above and goes on.
Levels::Levels(const StoreNode& store, const Link& root,
               const ListWriter::ReadLinks& read)
    : store_(store) {
  std::vector<std::vector<Link>> way;  // the root's rows first
  Link last = root;
  while (last.kind == BlobKind::links) {
    if (way.size() >= kMaxListLevels) {
      throw CorruptionError("a stream's lists are nested too deeply");
    }
    auto rows = read(last);
    const auto is_alike = [&](const Link& row) {
      return row.kind == rows.front().kind;
    };
    if (rows.empty() || rows.front().kind == BlobKind::names ||
        !std::ranges::all_of(rows, is_alike)) {
      throw CorruptionError("node " + last.id.brief() +
                            ": no list of a stream");
    }
    last = rows.back();
    way.push_back(std::move(rows));
  }
  // The root is the only row that there ever was above. Of each level below
  // there were two at least, which is all that close_all() asks: also of the
  // root's own, whose rows are none now if their list had ended.
  std::ranges::reverse(way);
  way.push_back({root});
  levels_.resize(way.size());
  const std::size_t top = way.size() - 1;
  for (std::size_t level = 0; level < top; ++level) {
    if (is_ended(level, way[level])) continue;
    way[level + 1].pop_back();
    levels_[level].rows = Kept<Link>(way[level]);
  }
  levels_[top].rows = Kept<Link>(way[top]);
  for (std::size_t level = 0; level < top; ++level) {
    levels_[level].total = levels_[level].rows.size() + 2;
  }
  levels_[top].total = levels_[top].rows.size();
}

}  // namespace

struct ListWriter::State {
  const StoreNode& store;
  Kept<Link> first;  // until they are too many for the entry
  std::optional<Levels> lists;
};

ListWriter::ListWriter(const StoreNode& store)
    : state_(new State{store, {}, std::nullopt}) {}

ListWriter::ListWriter(const StoreNode& store, std::span<const Link> rows,
                       const ReadLinks& read)
    : state_(new State{store, {}, std::nullopt}) {
  if (rows.size() == 1 && rows.front().kind == BlobKind::links) {
    state_->lists.emplace(store, rows.front(), read);
    return;
  }
  const bool are_chunks = std::ranges::all_of(
      rows, [](const Link& row) { return row.kind == BlobKind::content; });
  if (!are_chunks || rows.size() > kRowsInEntry) {
    throw CorruptionError("the rows of a stream are no list of chunks");
  }
  state_->first = Kept<Link>(rows);
}

ListWriter::~ListWriter() = default;
ListWriter::ListWriter(ListWriter&&) noexcept = default;
ListWriter& ListWriter::operator=(ListWriter&&) noexcept = default;

void ListWriter::add(const Link& chunk) {
  if (state_->lists) {
    state_->lists->add(chunk);
    return;
  }
  state_->first.add(chunk);
  if (state_->first.size() <= kRowsInEntry) return;
  state_->lists.emplace(state_->store);
  for (const auto& link : state_->first.take()) state_->lists->add(link);
}

std::vector<Link> ListWriter::finish() && {
  if (!state_->lists) return state_->first.take();
  return {state_->lists->close_all()};
}

namespace {

// One folder's entry nodes.
class FolderWriter {
 public:
  explicit FolderWriter(const StoreNode& store) : store_(store) {}

  void add(const Entry& entry, std::span<const Link> rows) {
    assert(last_name_.empty() || last_name_ < entry.name);
    NodeEntry node_entry{entry, rows.size()};
    if (const auto fault = fault_in(node_entry)) {
      throw Error(entry.name + ": " + std::string(*fault) +
                  ", so that no reader would take it; this is a defect of "
                  "cairn, please report it");
    }
    // The last look before a snapshot promises what it does not have.
    if (has_content(entry.type) && !adds_up(entry, rows)) {
      throw Error(entry.name + ": what was stored of it is " +
                  std::to_string(content_size(rows)) + " bytes and should be " +
                  std::to_string(entry.size) +
                  "; this is a defect of cairn, please report it");
    }
    last_name_ = entry.name;
    const auto alone = encode_names({&node_entry, 1});
    const auto names = std::span(alone).subspan<1>();  // without their number
    if (names.size() > kMaxBlobBytes - 2 * kNamesPerNodeBytes) {
      throw Error(entry.name + ": more metadata than can be stored");
    }
    entries_.push_back(std::move(node_entry));
    names_sum_.add(memory_sum(names));
    names_bytes_ += names.size();
    for (const auto& row : rows) rows_.add(row);
    if (ends_entry_node(entry.name) ||
        entries_.size() >= kEntriesPerNodeLimit ||
        names_bytes_ >= kNamesPerNodeBytes ||
        rows_.size() >= kRowsPerEntryNode) {
      close();
    }
  }

  // The one row that stands for the folder; nothing for an empty one.
  std::optional<Link> finish() {
    if (!entries_.empty()) close();
    if (node_count_ == 0) return std::nullopt;
    if (node_count_ == 1) return only_.take().front();
    return lists_->close_all();
  }

  // An entry node without entries, for a root that is empty.
  Link empty_node() {
    close();
    return only_.take().front();
  }

 private:
  void close() {
    const auto names = encode_names(entries_);
    require_unchanged(names_sum_,
                      memory_sum(std::span(names).last(names_bytes_)));
    Kept<Link> links;
    links.add({BlobKind::names, store_(BlobKind::names, names), names.size()});
    for (const auto& row : rows_.take()) links.add(row);
    const Link node = store_links(store_, links);
    entries_.clear();
    names_sum_ = {};
    names_bytes_ = 0;
    ++node_count_;
    if (node_count_ == 1) {
      only_.add(node);
      return;
    }
    if (!lists_) {
      lists_.emplace(store_);
      lists_->add(only_.take().front());
    }
    lists_->add(node);
  }

  const StoreNode& store_;
  std::vector<NodeEntry> entries_;
  MemorySum names_sum_;  // of the entries as they are encoded
  std::size_t names_bytes_ = 0;
  Kept<Link> rows_;
  std::string last_name_;
  std::uint64_t node_count_ = 0;
  Kept<Link> only_;  // the first node, while it may be the only one
  std::optional<Levels> lists_;
};

struct OpenFolder {
  Entry entry;
  FolderWriter writer;
};

struct CollectedEntry {
  Entry entry;
  Kept<Link> rows;
};

// One whose entries come from several sources.
struct SharedFolder {
  Entry entry;
  std::vector<CollectedEntry> entries;
  std::vector<std::unique_ptr<SharedFolder>> folders;
};

// Recursion is bounded: shared folders lie on the paths of sources.
void write_entries(const StoreNode& store, SharedFolder& shared,
                   FolderWriter& writer) {
  for (const auto& folder : shared.folders) {
    FolderWriter inner(store);
    write_entries(store, *folder, inner);
    std::vector<Link> rows;
    if (const auto node = inner.finish()) rows.push_back(*node);
    shared.entries.push_back({std::move(folder->entry), Kept<Link>(rows)});
  }
  auto& entries = shared.entries;
  std::ranges::sort(entries, {},
                    [](const auto& child) { return child.entry.name; });
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i > 0 && entries[i - 1].entry.name == entries[i].entry.name) {
      throw Error("two sources are both named " + entries[i].entry.name);
    }
    writer.add(entries[i].entry, entries[i].rows.take());
  }
}

}  // namespace

struct TreeWriter::State {
  StoreNode store;
  SharedFolder root;
  // The way down from the root: first through shared folders, then others.
  std::vector<SharedFolder*> shared;
  std::vector<OpenFolder> folders;
};

TreeWriter::TreeWriter(StoreNode store)
    : state_(new State{std::move(store), {}, {}, {}}) {
  state_->shared.push_back(&state_->root);
}
TreeWriter::~TreeWriter() = default;

void TreeWriter::begin_folder(const Entry& folder) {
  state_->folders.push_back({folder, FolderWriter(state_->store)});
}

bool TreeWriter::begin_shared_folder(const Entry& folder) {
  assert(state_->folders.empty());
  auto& siblings = state_->shared.back()->folders;
  const auto found = std::ranges::find_if(siblings, [&](const auto& sibling) {
    return sibling->entry.name == folder.name;
  });
  if (found != siblings.end()) {
    state_->shared.push_back(found->get());
    return false;
  }
  siblings.push_back(std::make_unique<SharedFolder>());
  siblings.back()->entry = folder;
  state_->shared.push_back(siblings.back().get());
  return true;
}

std::vector<Link> TreeWriter::end_folder() {
  if (state_->folders.empty()) {
    assert(state_->shared.size() > 1);
    state_->shared.pop_back();
    return {};
  }
  OpenFolder folder = std::move(state_->folders.back());
  state_->folders.pop_back();
  std::vector<Link> rows;
  if (const auto node = folder.writer.finish()) rows.push_back(*node);
  add(folder.entry, rows);
  return rows;
}

void TreeWriter::add(const Entry& entry, std::span<const Link> rows) {
  if (state_->folders.empty()) {
    state_->shared.back()->entries.push_back({entry, Kept<Link>(rows)});
  } else {
    state_->folders.back().writer.add(entry, rows);
  }
}

Link TreeWriter::finish() && {
  assert(state_->folders.empty() && state_->shared.size() == 1);
  FolderWriter writer(state_->store);
  write_entries(state_->store, state_->root, writer);
  const auto node = writer.finish();
  return node ? *node : writer.empty_node();
}

}  // namespace cairn::repo
