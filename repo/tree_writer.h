// Builds the graph of one snapshot while its content streams by: lists of
// chunks, folders of entries, split where their content says so, so that
// unchanged stretches are shared with other snapshots (FORMAT.md, section 7).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "repo/blob.h"
#include "repo/entry.h"
#include "repo/node.h"

namespace cairn::repo {

// Stores one node, or finds that it is stored already, and answers its id.
using StoreNode =
    std::function<BlobId(BlobKind kind, std::span<const std::byte> plain)>;

// The rows of one file or stream. Holds at most one list per level in memory,
// however long the stream.
//
// Threads        one thread at a time.
class ListWriter {
 public:
  // Borrows `store`.
  explicit ListWriter(const StoreNode& store);

  // Goes on behind `rows`, as finish() gave them: what comes out is what one
  // writer would have made of all chunks. Of the old lists only those are read
  // whose ends were still open, one per level; no chunk is looked at. `read`
  // answers a links node that anybody may have written. Throws what it throws,
  // CorruptionError for rows that are no list.
  using ReadLinks = std::function<std::vector<Link>(const Link& node)>;
  ListWriter(const StoreNode& store, std::span<const Link> rows,
             const ReadLinks& read);
  ~ListWriter();
  ListWriter(ListWriter&&) noexcept;
  ListWriter& operator=(ListWriter&&) noexcept;

  void add(const Link& chunk);

  // The rows for the entry: the chunks themselves while they are few, else one
  // row of a list.
  [[nodiscard]] std::vector<Link> finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The folders. Entries of a folder come with ascending names, but those of the
// root and of shared folders in any order, since they come from several
// sources; they stay in memory until finish().
//
// Threads        one thread at a time.
class TreeWriter {
 public:
  explicit TreeWriter(StoreNode store);
  ~TreeWriter();

  void begin_folder(const Entry& folder);
  // Answers the row that stands for it, if there is one: none for an empty
  // folder, nor yet for a shared one.
  std::vector<Link> end_folder();
  void add(const Entry& entry, std::span<const Link> rows);

  // In the root or in another shared folder; as often as there are sources with
  // something below it, of which the first describes it. Answers whether this
  // is the first.
  bool begin_shared_folder(const Entry& folder);

  // The root's node. Requires that every folder was ended; throws Error when
  // two sources gave a shared folder the same name.
  [[nodiscard]] Link finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
