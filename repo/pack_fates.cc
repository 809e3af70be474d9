#include "repo/pack_fates.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <tuple>

namespace cairn::repo {
namespace {

// Packs smaller than this are merged once there are so many of one kind: every
// short backup leaves two.
constexpr std::uint64_t kSmallPackBytes = std::uint64_t{8} << 20;
constexpr std::size_t kManySmallPacks = 16;

class Decision {
 public:
  Decision(const PackSurvey& survey, const RowFacts& facts,
           const std::filesystem::path& folder,
           const PruneOptions& options = {})
      : survey_(survey),
        facts_(facts),
        options_(options),
        needed_(folder, survey.row_count()),
        needed_bytes_(survey.packs().size()),
        is_kept_(survey.packs().size()),
        is_to_merge_(survey.packs().size()),
        is_beyond_room_(survey.packs().size()) {}

  PackFates decide() {
    need_what_lives();
    if (!options_.room) find_small_ones();
    while (keep_more()) {
    }
    return fates();
  }

  PackFates decide_doom(const std::vector<bool>& may_go) {
    need_what_lives();
    bool has_kept = true;
    while (has_kept) {
      has_kept = false;
      for (std::size_t i = 0; i < packs().size(); ++i) {
        if (is_kept_[i] || (may_go[i] && is_dead(i))) continue;
        keep(i);
        has_kept = true;
      }
    }
    return fates();
  }

 private:
  [[nodiscard]] std::span<const SurveyedPack> packs() const {
    return survey_.packs();
  }

  void need_what_lives() {
    for (std::size_t i = 0; i < packs().size(); ++i) {
      for_each_row(i, [&](RowNumber row) {
        if (facts_.live.is_marked(row)) need(row);
      });
    }
  }

  [[nodiscard]] PackFates fates() const {
    PackFates fates;
    fates.verdicts.resize(packs().size());
    for (std::size_t i = 0; i < packs().size(); ++i) judge(i, fates);
    order_removals(fates);
    return fates;
  }

  template <typename Visit>
  void for_each_row(std::size_t pack, Visit visit) const {
    const RowNumber first = packs()[pack].first_row;
    for (RowNumber i = 0; i < packs()[pack].row_count; ++i) visit(first + i);
  }

  [[nodiscard]] std::optional<RowNumber> base_of(RowNumber row) const {
    const RowNumber base = facts_.base[row];
    if (base == 0) return std::nullopt;
    return base - 1;
  }

  // What has to be there if the row is.
  template <typename Visit>
  void for_each_lean(RowNumber row, Visit visit) const {
    if (const auto base = base_of(row)) visit(*base);
    if (facts_.with.empty()) return;
    const auto with = facts_.with.find(row);
    if (with != facts_.with.end()) visit(with->second);
  }

  [[nodiscard]] bool is_dead(std::size_t pack) const {
    return needed_bytes_[pack] == 0;
  }
  [[nodiscard]] std::uint64_t unused_bytes(std::size_t pack) const {
    return packs()[pack].blob_bytes - needed_bytes_[pack];
  }

  // The row, and what it leans on.
  void need(RowNumber row) {
    std::vector<RowNumber> left{row};
    while (!left.empty()) {
      const RowNumber at = left.back();
      left.pop_back();
      if (!needed_.mark(at)) continue;
      needed_bytes_[survey_.pack_of(at)] += survey_.stored_size(at);
      for_each_lean(at, [&](RowNumber on) { left.push_back(on); });
    }
  }

  void keep(std::size_t pack) {
    is_kept_[pack] = true;
    if (!packs()[pack].has_differences) return;
    for_each_row(pack, [&](RowNumber row) {
      if (const auto base = base_of(row)) need(*base);
    });
  }

  void find_small_ones() {
    for (const bool content : {true, false}) {
      std::vector<std::size_t> small;
      for (std::size_t i = 0; i < packs().size(); ++i) {
        if (packs()[i].holds_content == content && !is_dead(i) &&
            packs()[i].is_verified && packs()[i].size < kSmallPackBytes) {
          small.push_back(i);
        }
      }
      if (small.size() < kManySmallPacks) continue;
      for (const std::size_t pack : small) is_to_merge_[pack] = true;
    }
  }

  // One round: keeps what is not worth repacking, or not within the budget.
  // False: nothing more to keep, the others are repacked.
  bool keep_more() {
    struct Candidate {
      std::size_t pack;
      bool is_unsound;   // repacked whatever it costs
      bool is_to_merge;  // repacked whatever it wastes
      double waste;      // share of it
    };
    std::vector<Candidate> candidates;
    std::vector<std::size_t> kept;
    double used = 0;
    double unused = 0;
    for (std::size_t i = 0; i < packs().size(); ++i) {
      if (is_dead(i)) continue;
      used += static_cast<double>(needed_bytes_[i]);
      if (!packs()[i].is_verified) {
        if (!is_kept_[i]) kept.push_back(i);
        continue;  // what is unused in it nobody can do without
      }
      unused += static_cast<double>(unused_bytes(i));
      if (is_kept_[i]) continue;
      candidates.push_back({i, facts_.has_unsound[i], is_to_merge_[i],
                            static_cast<double>(unused_bytes(i)) /
                                static_cast<double>(packs()[i].blob_bytes)});
    }
    std::ranges::stable_sort(candidates, [](const auto& a, const auto& b) {
      return std::tuple(a.is_unsound, a.is_to_merge, a.waste) >
             std::tuple(b.is_unsound, b.is_to_merge, b.waste);
    });
    const double allowed = options_.max_unused * used;
    constexpr auto kNoLimit = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t budget = options_.budget.value_or(kNoLimit);
    std::uint64_t room = options_.room.value_or(kNoLimit);
    for (const auto& [pack, is_unsound, is_to_merge, waste] : candidates) {
      const std::uint64_t needed = needed_bytes_[pack];
      const bool is_worth_it = is_to_merge || (waste > 0 && unused > allowed);
      const bool is_due = is_unsound || (is_worth_it && needed <= budget);
      is_beyond_room_[pack] = is_due && needed > room;
      if (is_due && needed <= room) {
        budget -= std::min(budget, needed);
        room -= needed;
        unused -= static_cast<double>(unused_bytes(pack));
      } else {
        kept.push_back(pack);
      }
    }
    for (const std::size_t pack : kept) keep(pack);
    return !kept.empty();
  }

  void judge(std::size_t pack, PackFates& fates) const {
    PackVerdict& verdict = fates.verdicts[pack];
    verdict.needed_bytes = needed_bytes_[pack];
    verdict.is_beyond_room = is_beyond_room_[pack];
    if (is_kept_[pack]) return;
    if (is_dead(pack)) {
      verdict.fate = PackFate::remove_last;  // until the order says otherwise
      return;
    }
    verdict.fate = PackFate::repack;
    for_each_row(pack, [&](RowNumber row) {
      verdict.moved.push_back(needed_.is_marked(row));
    });
  }

  // Whatever leans on a pack goes before it. What a pack to repack leans on, or
  // a ring of packs, has to wait until no index object names them any more; in
  // the same order, since whoever makes the index anew knows them again.
  void order_removals(PackFates& fates) const {
    RemovalOrder order(*this);
    order.take_free([this](std::size_t pack) { return is_dead(pack); },
                    fates.removal_order);
    for (const std::size_t pack : fates.removal_order) {
      fates.verdicts[pack].fate = PackFate::remove_first;
    }
    order.take_all(fates.last_order);
  }

  // Of the packs that go, as far as they were not taken yet.
  class RemovalOrder {
   public:
    explicit RemovalOrder(const Decision& decision)
        : leans_on_(decision.packs().size()),
          dependents_(decision.packs().size()),
          is_taken_(decision.is_kept_) {
      for (std::size_t i = 0; i < leans_on_.size(); ++i) {
        // A kept pack leans on nothing that goes: that would be needed.
        if (is_taken_[i]) continue;
        if (!decision.packs()[i].has_differences &&
            decision.facts_.with.empty()) {
          continue;
        }
        auto& bases = leans_on_[i];
        decision.for_each_row(i, [&](RowNumber row) {
          decision.for_each_lean(row, [&](RowNumber on) {
            const std::size_t pack = decision.survey_.pack_of(on);
            if (pack != i && !is_taken_[pack]) bases.push_back(pack);
          });
        });
        std::ranges::sort(bases);
        // Not std::ranges::unique: clang 14 cannot compile libstdc++'s.
        bases.erase(std::unique(bases.begin(), bases.end()), bases.end());
        for (const std::size_t pack : bases) ++dependents_[pack];
      }
    }

    // Those that may go and on which nothing leans that is still there.
    template <typename MayGo>
    void take_free(MayGo may_go, std::vector<std::size_t>& order) {
      std::deque<std::size_t> ready;
      const auto see = [&](std::size_t pack) {
        if (!is_taken_[pack] && dependents_[pack] == 0 && may_go(pack)) {
          ready.push_back(pack);
        }
      };
      for (std::size_t i = 0; i < is_taken_.size(); ++i) see(i);
      for (; !ready.empty(); ready.pop_front()) {
        take(ready.front(), order);
        for (const std::size_t base : leans_on_[ready.front()]) see(base);
      }
    }

    // A ring is cut anywhere.
    void take_all(std::vector<std::size_t>& order) {
      const auto anything = [](std::size_t) { return true; };
      take_free(anything, order);
      for (std::size_t i = 0; i < is_taken_.size(); ++i) {
        if (is_taken_[i]) continue;
        take(i, order);
        take_free(anything, order);
      }
    }

   private:
    void take(std::size_t pack, std::vector<std::size_t>& order) {
      is_taken_[pack] = true;
      order.push_back(pack);
      for (const std::size_t base : leans_on_[pack]) --dependents_[base];
    }

    std::vector<std::vector<std::size_t>> leans_on_;
    std::vector<std::size_t> dependents_;  // that are still there
    std::vector<bool> is_taken_;
  };

  const PackSurvey& survey_;
  const RowFacts& facts_;
  const PruneOptions options_;
  MarkSet needed_;
  std::vector<std::uint64_t> needed_bytes_;  // these by pack
  std::vector<bool> is_kept_;
  std::vector<bool> is_to_merge_;
  std::vector<bool> is_beyond_room_;
};

}  // namespace

RowFacts::RowFacts(const PackSurvey& survey,
                   const std::filesystem::path& folder)
    : live(folder, survey.row_count()),
      base(folder),
      has_unsound(survey.packs().size()) {
  base.grow_to(survey.row_count());
}

void RowFacts::lean_on_all(RowNumber row, std::span<const RowNumber> bases) {
  // The deepest first: whoever may lean on that one may lean on the others.
  base[row] = bases.back() + 1;
  for (std::size_t i = 1; i < bases.size(); ++i) with[bases[i]] = bases[i - 1];
}

PackFates decide_fates(const PackSurvey& survey, const RowFacts& facts,
                       const PruneOptions& options,
                       const std::filesystem::path& folder) {
  return Decision(survey, facts, folder, options).decide();
}

PackFates decide_doom(const PackSurvey& survey, const RowFacts& facts,
                      const std::vector<bool>& may_go,
                      const std::filesystem::path& folder) {
  return Decision(survey, facts, folder).decide_doom(may_go);
}

}  // namespace cairn::repo
