#include "repo/base_order.h"

#include <limits>
#include <unordered_map>

#include "repo/ids.h"

namespace cairn::repo {
namespace {

constexpr auto kNone = std::numeric_limits<std::size_t>::max();

// Blobs, in the order in which they are met, and what leans on them.
class Forest {
 public:
  Forest(std::span<const BlobRow> rows, const FindBase& find_base)
      : rows_(rows), next_row_(rows.size(), kNone) {
    for (const BlobRow& row : rows_) {
      const std::size_t at = blob_of(row.id);
      if (!blobs_[at].is_known) lean(at, row);
    }
    for (const BlobRow& row : rows_) add_bases(row, find_base);
    link();
  }

  [[nodiscard]] std::vector<std::size_t> order() const {
    std::vector<std::size_t> order;
    order.reserve(rows_.size());
    std::vector<bool> is_visited(blobs_.size(), false);
    std::vector<std::size_t> to_visit;
    const auto visit_from = [&](std::size_t root) {
      to_visit.push_back(root);
      while (!to_visit.empty()) {
        const std::size_t at = to_visit.back();
        to_visit.pop_back();
        if (is_visited[at]) continue;
        is_visited[at] = true;
        for (auto i = blobs_[at].first_row; i != kNone; i = next_row_[i]) {
          order.push_back(i);
        }
        for (auto i = blobs_[at].last_leaning; i != kNone;
             i = blobs_[i].leaning_before) {
          to_visit.push_back(i);
        }
      }
    };
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
      if (blobs_[i].base == kNone) visit_from(i);
    }
    // What false rows make lean on itself.
    for (std::size_t i = 0; i < blobs_.size(); ++i) visit_from(i);
    return order;
  }

 private:
  struct Blob {
    bool is_known = false;  // what it leans on
    std::size_t base = kNone;
    std::size_t last_leaning = kNone;    // on this one
    std::size_t leaning_before = kNone;  // on the same as this one
    std::size_t first_row = kNone;
  };

  std::size_t blob_of(const BlobId& id) {
    const auto [at, is_new] = numbers_.try_emplace(id, blobs_.size());
    if (is_new) blobs_.emplace_back();
    return at->second;
  }

  void lean(std::size_t at, const BlobRow& row) {
    const std::size_t base = row.base ? blob_of(*row.base) : kNone;
    blobs_[at].base = base;
    blobs_[at].is_known = true;
  }

  void add_bases(const BlobRow& row, const FindBase& find_base) {
    std::optional<BlobRow> at = row;
    while (at && at->base) {
      const std::size_t base = blob_of(*at->base);
      if (blobs_[base].is_known) return;
      blobs_[base].is_known = true;
      at = find_base(*at);
      if (at) lean(base, *at);
    }
  }

  void link() {
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
      if (blobs_[i].base == kNone) continue;
      Blob& base = blobs_[blobs_[i].base];
      blobs_[i].leaning_before = base.last_leaning;
      base.last_leaning = i;
    }
    for (std::size_t i = rows_.size(); i-- > 0;) {
      Blob& blob = blobs_[numbers_.at(rows_[i].id)];
      next_row_[i] = blob.first_row;
      blob.first_row = i;
    }
  }

  std::span<const BlobRow> rows_;
  std::vector<std::size_t> next_row_;  // of the same blob
  std::vector<Blob> blobs_;
  std::unordered_map<BlobId, std::size_t, IdHash> numbers_;
};

}  // namespace

std::vector<std::size_t> order_by_bases(std::span<const BlobRow> rows,
                                        const FindBase& find_base) {
  return Forest(rows, find_base).order();
}

}  // namespace cairn::repo
