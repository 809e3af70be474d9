// What becomes of each pack, once it is known which rows are needed: a decision
// over numbers, without storage.
//
// Two rules make it safe (FORMAT.md, I1 and I5). Rows that a snapshot needs
// stay, or move to a new pack. And the packs that stay are closed under bases,
// counting every row in them, live or dead: a later backup may reuse a row that
// is dead today. So to keep a pack may make rows of others needed, and the
// decision is a fixed point.
//
// A third keeps what write keys stored apart from what was verified: a pack
// that is not verified is never repacked, or false bytes would come into packs
// that everyone relies on. It stays as it is while anything in it is needed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "repo/mark_set.h"
#include "repo/pack_survey.h"
#include "repo/scratch_array.h"

namespace cairn::repo {

struct PruneOptions {
  // How much may stay wasted, as a share of what is used. 0: nothing.
  double max_unused = 0.10;
  // Bytes of blobs to write anew at most; nothing: no limit. Packs with rows
  // whose bases are missing are written anew beyond it.
  std::optional<std::uint64_t> budget;
  // Bytes of blobs for which a full disk has room; nothing: no limit. With one,
  // what wastes most comes first, and nothing is merged to have fewer packs.
  std::optional<std::uint64_t> room = std::nullopt;
  // Sessions that began so long ago are fenced unless they are certainly alive;
  // nothing: none.
  std::optional<std::chrono::seconds> revoke_after = std::nullopt;
  // How long to wait for sessions that began before the condemnation.
  std::chrono::seconds wait{0};
  // How long what is doomed stays before it is removed.
  std::chrono::seconds trash{0};
};

// What is known of each row, by its number.
struct RowFacts {
  RowFacts(const PackSurvey& survey, const std::filesystem::path& folder);

  // Makes the row lean on all of these copies of its base, by ascending depth,
  // of which none is verified.
  void lean_on_all(RowNumber row, std::span<const RowNumber> bases);

  MarkSet live;                  // chosen copies of what snapshots reach
  ScratchArray<RowNumber> base;  // chosen copy of its base, plus one; 0: none
  // Of a copy that is needed as a base, one that is needed with it. Only where
  // none is verified, and several could be meant: few, so in memory.
  std::unordered_map<RowNumber, RowNumber> with;
  std::vector<bool> has_unsound;  // by pack: rows whose base is missing
};

enum class PackFate {
  keep,
  repack,        // what is needed moves, then it goes
  remove_first,  // nothing needs it, not even a row that nothing needs
  remove_last,   // only rows of packs that go as well lean on it
};

struct PackVerdict {
  PackFate fate = PackFate::keep;
  std::uint64_t needed_bytes = 0;  // of blobs
  bool is_beyond_room = false;     // worth repacking, and kept for that alone
  std::vector<bool> moved;         // by row, of a pack to repack
};

struct PackFates {
  std::vector<PackVerdict> verdicts;  // by place in the survey
  // Those to remove first, in an order in which nothing that is still there
  // ever leans on what is gone.
  std::vector<std::size_t> removal_order;
  // The others that go, repacked or not, likewise; but rings have no order.
  std::vector<std::size_t> last_order;
};

[[nodiscard]] PackFates decide_fates(const PackSurvey& survey,
                                     const RowFacts& facts,
                                     const PruneOptions& options,
                                     const std::filesystem::path& folder);

// The same when it was said before which packs may go, by place: of these the
// ones of which nothing is needed. None is repacked.
[[nodiscard]] PackFates decide_doom(const PackSurvey& survey,
                                    const RowFacts& facts,
                                    const std::vector<bool>& may_go,
                                    const std::filesystem::path& folder);

}  // namespace cairn::repo
