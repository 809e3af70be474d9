// To which snapshots and paths the blobs belong that cannot be read: what a
// person wants to know of damage.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/blob_reader.h"
#include "repo/keyring.h"
#include "repo/node.h"
#include "repo/reachability.h"
#include "repo/snapshot.h"

namespace cairn::repo {

// Nodes below which all is well are walked once, however many snapshots share
// them.
//
// Threads        one thread at a time.
class DamageTrace {
 public:
  using IsHurt = std::function<bool(const BlobId& blob)>;
  // Gets each place where a hurt blob is needed, as often as it is: the entry's
  // path, or that of the folder whose node it is; empty for the root.
  using Found = std::function<void(
      const BlobId& blob, const SessionId& snapshot, const std::string& path)>;

  // Borrows `blobs` and `keyring`.
  DamageTrace(BlobReader& blobs, const Keyring& keyring, IsHurt is_hurt,
              Found found);

  void trace(const Snapshot& snapshot, const std::stop_token& stop);

 private:
  struct Row {
    Link link;
    std::string name;  // of the entry it belongs to; empty: of the node's own
  };
  struct Node {
    BlobId id;
    std::vector<Row> rows;
    std::size_t next = 0;
    std::size_t path_size = 0;  // of the path to it
    bool is_hurt = false;
  };
  std::vector<Row> rows_of(const Link& link);

  BlobReader& blobs_;
  const Keyring& keyring_;
  const IsHurt is_hurt_;
  const Found found_;
  VisitedNodes sound_;
};

}  // namespace cairn::repo
