// Reads the graph of a snapshot: folders, paths, and the chunks of a stream,
// from nodes that may have been written by anybody (FORMAT.md, 6.12 and 6.13).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/blob_reader.h"
#include "repo/node.h"

namespace cairn::repo {

// An entry with the rows that hold its content or its children.
struct TreeEntry {
  Entry entry;
  std::vector<Link> rows;
};

enum class Visit { go_on, stop };

// The entries of one folder in the order of their names, for who walks several
// folders at once or goes down into them: one list per level and one node in
// memory, however large the folder.
//
// Threads        one thread at a time.
class FolderCursor {
 public:
  // Of the folder whose node `row` names. Borrows `blobs`.
  FolderCursor(BlobReader& blobs, const Link& row);

  // The next entry; null behind the last. Valid until the next call. When it
  // throws, it may be called again, or pass_over() first.
  [[nodiscard]] const TreeEntry* next();

  // Goes on behind the node that next() failed to read.
  void pass_over();

  // The row that next() would read first: a node, or a list of many. Nothing
  // inside a node and behind the last. Where two folders meet the same one,
  // skip_row() passes over it in both.
  [[nodiscard]] std::optional<BlobId> unread_row();
  void skip_row();

  // Gives the memory back; next() reads again where it stood.
  void release() noexcept;

 private:
  struct List {
    Link link;
    std::vector<Link> rows;  // empty: given back
    std::size_t next = 0;
  };
  [[nodiscard]] bool find_row();
  void open_row();
  [[nodiscard]] std::vector<TreeEntry> read_node(
      const Link& link, std::span<const Link> links) const;

  BlobReader* blobs_;
  std::vector<List> lists_;  // the way down; the first has only the folder
  std::optional<Link> node_;
  std::vector<TreeEntry> entries_;  // of node_; empty: given back
  std::size_t next_entry_ = 0;
  std::string last_name_;  // of the nodes so far
};

// Threads        one thread at a time.
class TreeReader {
 public:
  // Borrows `blobs`.
  explicit TreeReader(BlobReader& blobs);

  // The entries of the folder whose node `row` names, in the order of their
  // names, a node at a time.
  void for_each_entry(const Link& row,
                      const std::function<Visit(const TreeEntry&)>& visit);

  // The chunks of a file or stream in order. Lists are read as they are
  // reached.
  void for_each_chunk(std::span<const Link> rows,
                      const std::function<Visit(const Link&)>& visit);

  // The entry at `path` (components joined by "/", slashes at the ends do not
  // matter); an empty path gives a folder without a name that stands for the
  // root. Nothing: no such path.
  [[nodiscard]] std::optional<TreeEntry> find(const Link& root,
                                              std::string_view path);

 private:
  BlobReader& blobs_;
};

// The chunks of one stream by their place in it, read forward mostly; holds one
// list per level in memory, however long the stream.
//
// Threads        one thread at a time.
class StreamCursor {
 public:
  // Borrows `blobs`.
  StreamCursor(BlobReader& blobs, std::vector<Link> rows);

  struct Place {
    BlobId id;
    std::uint64_t offset = 0;  // of the chunk, in the stream's content
    std::uint64_t length = 0;
  };

  // The chunk that holds the byte at `offset`; nothing behind the end.
  [[nodiscard]] std::optional<Place> at(std::uint64_t offset);

 private:
  struct Level {
    std::vector<Link> rows;
    std::size_t next = 0;      // row
    std::uint64_t offset = 0;  // of that row
    std::uint64_t begin = 0;   // of rows[0]
    std::uint64_t end = 0;
  };
  void enter(std::vector<Link> rows, std::uint64_t begin);

  BlobReader& blobs_;
  std::vector<Level> levels_;
};

}  // namespace cairn::repo
