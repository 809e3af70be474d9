// What a check has to say: findings, which are values, and how many things were
// looked at.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "repo/ids.h"

namespace cairn::repo {

enum class Severity {
  note,         // worth knowing
  garbage,      // of no use, and of no harm; prune removes it
  unsupported,  // written by a newer program: not judged
  damage,
};

struct Finding {
  Severity severity = Severity::note;
  std::string_view code;  // as FORMAT.md section 9.1 has it; lasts for ever
  std::string object;     // its name, or "blob 3f9a12c4"
  std::string message;    // what is wrong with it
  // Of damage to blobs: the snapshots that cannot be restored whole, and some
  // of the paths in them that are hurt, if this key may read names.
  std::vector<SessionId> snapshots = {};
  std::vector<std::string> paths = {};
  std::uint64_t paths_total = 0;  // with those that are not in `paths`
  std::uint64_t blobs = 0;        // how many are concerned, if any
};

struct CheckReport {
  std::vector<Finding> findings;         // worst first
  std::array<std::uint64_t, 4> found{};  // by severity; also those left out
  std::uint64_t packs = 0;
  std::uint64_t packs_read = 0;  // whole
  // That were not verified for everyone, as what write keys store, and that
  // this check has verified.
  std::uint64_t packs_verified = 0;
  // Why packs that are sound could not be named as verified. Empty: they were.
  std::string verifying_failed;
  std::uint64_t index_objects = 0;
  std::uint64_t snapshots = 0;  // valid ones
  std::uint64_t blobs = 0;      // rows of directories
  std::uint64_t bytes_read = 0;

  [[nodiscard]] std::uint64_t count(Severity severity) const noexcept {
    return found[static_cast<std::size_t>(severity)];
  }
};

// Collects findings while several threads look. A repository that is hurt all
// over gives no endless list: what is beyond a thousand of one severity is
// counted only.
//
// Threads        all members from many threads.
class FindingList {
 public:
  void add(Severity severity, std::string_view code, std::string object,
           std::string message);

  // One finding for all blobs of the same object and code; `message` is about
  // the first of them. `lost` is the blob if it cannot be had elsewhere, so
  // that snapshots are concerned.
  void add_blob(Severity severity, std::string_view code,
                const std::string& object, const std::string& message,
                const std::optional<BlobId>& lost);

  // The blobs given, each with the findings it belongs to.
  using Concerned =
      std::unordered_map<BlobId, std::vector<std::size_t>, IdHash>;
  [[nodiscard]] Concerned concerned() const;

  // That findings are about this snapshot too, and this path in it.
  void concern(const std::vector<std::size_t>& findings,
               const SessionId& snapshot, const std::string& path);

  // Adds the findings of another list to this one.
  void append(FindingList&& other);

  [[nodiscard]] bool has(Severity severity) const;
  [[nodiscard]] bool has(std::string_view code) const;

  // Into the report, worst first. The list is spent then.
  void move_to(CheckReport& report);

 private:
  // Nothing: too many already.
  Finding* add_locked(Finding finding);

  mutable std::mutex mutex_;  // guards everything below
  std::vector<Finding> findings_;
  std::array<std::uint64_t, 4> found_{};
  std::unordered_map<std::string, std::size_t> by_object_;  // of blobs
  // By finding, the hashes of the paths that are counted already.
  std::unordered_map<std::size_t, std::unordered_set<std::size_t>> paths_seen_;
  Concerned concerned_;
};

}  // namespace cairn::repo
