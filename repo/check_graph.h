// The part of check that follows snapshots: whatever one reaches is there, can
// be read if it is a node, and rests on bases that are there too.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/blob_index.h"
#include "repo/blob_reader.h"
#include "repo/finding.h"
#include "repo/linked_file_id.h"
#include "repo/mark_set.h"
#include "repo/node.h"
#include "repo/pack_survey.h"
#include "repo/reachability.h"
#include "repo/repository.h"
#include "repo/snapshot.h"

namespace cairn::repo {

// What is known of the packs before the graph is walked.
struct PackFacts {
  explicit PackFacts(const std::filesystem::path& folder) : survey(folder) {}

  PackSurvey survey;             // of those with a readable directory
  std::vector<bool> is_indexed;  // by place in the survey
  std::set<PackId> unreadable;   // those with another one
};

// Threads        one thread at a time.
class GraphCheck {
 public:
  // Borrows all of them. `index` may know packs that are gone.
  GraphCheck(Repository& repository, const BlobIndex& index,
             const PackFacts& facts, FindingList& findings);

  void walk(const Snapshot& snapshot, const std::stop_token& stop);

  // Once all snapshots were walked: rows that none of them needs, and whose
  // bases are missing; packs that none needs.
  void look_at_the_rest(const std::stop_token& stop);

  // Packs that are gone, and in which a snapshot's only copies lay.
  [[nodiscard]] const std::set<PackId>& missed_packs() const {
    return missed_packs_;
  }

  // Packs that no index object names, by place in the survey, and in which a
  // snapshot's only copies lie.
  [[nodiscard]] const std::set<std::size_t>& unindexed_packs() const {
    return unindexed_packs_;
  }

  [[nodiscard]] ConfirmedCopies& copies() { return copies_; }

  // The same without those in packs that prune is about to remove.
  [[nodiscard]] ConfirmedCopies& staying_copies() {
    return staying_ ? *staying_ : copies_;
  }

  // True if a snapshot reaches the blob of which that is a copy.
  [[nodiscard]] bool is_reached(RowNumber row) const {
    return reached_.is_marked(row);
  }

 private:
  Enter reach(const Link& link);
  void miss(const Link& link);
  void reach_copies(const Link& link, const std::vector<ConfirmedCopy>& copies);
  void mark_bases(const ConfirmedCopy& copy);
  void look_at_unneeded_rows(const SurveyedPack& pack);
  std::optional<std::vector<Link>> read_node(const Link& link);
  std::vector<Link> read_links(const Link& link);
  void read_names(const Link& names, std::span<const Link> rows);
  void look_at_number(const Entry& entry, std::span<const Link> rows);

  Repository& repository_;
  const BlobIndex& index_;
  const PackFacts& facts_;
  FindingList& findings_;
  BlobReader blobs_;
  ConfirmedCopies copies_;
  std::optional<ConfirmedCopies> staying_;  // nothing: no pack is doomed
  MarkSet reached_;
  RecentlyReached recent_;
  VisitedNodes without_row_;  // reached, though no pack confirms them

  // Of the snapshot being walked, as far as no earlier one has the same nodes.
  BlobId root_;
  std::map<HardLink, LinkedFileId> numbers_;
  std::uint64_t unequal_ = 0;  // names with the number of another file
  std::string first_unequal_;

  std::set<PackId> missed_packs_;
  std::set<std::size_t> unindexed_packs_;
};

}  // namespace cairn::repo
