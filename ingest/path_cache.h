// What the last backup of a series found at each path: enough to pass over an
// unchanged file without reading it, and to know the previous chunks of one
// that changed. A cache: losing it costs time and no more.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ingest/file_source.h"
#include "repo/blob_index.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/index_store.h"
#include "repo/node.h"
#include "repo/reusable_blobs.h"

namespace cairn::ingest {

struct PathState {
  // The snapshot that holds these rows. They are safe to use again only while
  // it is valid: then collection keeps all that lies below them.
  repo::SessionId snapshot;
  // An older one that held them already: what counts when the run that passed
  // the file by never committed.
  std::optional<repo::SessionId> older_snapshot;
  // Nothing: the file could have changed unseen (see is_settled), or is a
  // stream; its rows serve as bases, but it has to be read.
  std::optional<FileState> settled_state;
  // In place of that, to tell whether it changed: as it was when it was read,
  // though it could have changed unseen since.
  std::optional<FileState> unsettled_state;
  // When everything below the rows was last seen to be there. Nothing: it has
  // to be looked at.
  std::optional<repo::BlobIndex::Era> era;
  // Where the rows were found then.
  repo::PackNotes packs;
  repo::Profile profile = repo::Profile::cdc;
  std::optional<repo::Weave> weave;
  std::vector<repo::Extent> holes;
  std::vector<repo::Link> rows;

  bool operator==(const PathState&) const = default;
};

// Threads        find() from many threads; the others one thread at a time.
// Failure        none: what cannot be read is not known.
class PathCache {
 public:
  // Borrows the store.
  PathCache(repo::IndexStore& store, std::string_view series);

  [[nodiscard]] std::optional<PathState> find(std::string_view path) const;

  // Kept in mind until flush().
  void remember(std::string_view path, const PathState& state);
  [[nodiscard]] std::size_t pending_bytes() const noexcept {
    return pending_bytes_;
  }

  // Writes what remember() was told. Under the store's lock.
  void flush(repo::IndexStore::Writer& writer);

  // Forgets paths, of whatever series, whose snapshots are not among `valid`
  // any more, which is asked for only when so much was written since the last
  // time that to look at all of them costs little beside it.
  using Valid = std::function<std::set<repo::SessionId>()>;
  void drop_what_is_gone(repo::IndexStore::Writer& writer, const Valid& valid);

 private:
  [[nodiscard]] std::string key_of(std::string_view path) const;

  repo::IndexStore& store_;
  std::string series_;
  std::vector<std::pair<std::string, std::string>> pending_;
  std::size_t pending_bytes_ = 0;
  std::uint64_t flushed_ = 0;  // paths, not counted in the store yet
};

}  // namespace cairn::ingest
