// Segments that a recovering server will probably ask for next, in a folder of
// this host, so that the next call needs no repository:
//
//   FOLDER/plan                            which are there, or will be soon
//         /000000010000000000000002        the segment, and XXH3 of its name
//         /000000010000000000000003        and bytes behind it
//
// A cache: whatever is wrong with it, the repository answers instead.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ingest/unique_fd.h"
#include "ingest/wal_fetch.h"
#include "ingest/wal_file.h"
#include "ingest/whole_file.h"

namespace cairn::ingest {

// Threads        one thread at a time; many processes, one of which fills.
// Abandonment    killed at any point, it leaves whole files or none.
class WalFetchAhead {
 public:
  // Of one repository, series and cluster. Made when something is put there.
  explicit WalFetchAhead(std::filesystem::path folder);

  // Writes the segment to `target`, which is not named yet, and lets go of what
  // precedes it; waits for one that is being put there. False: it is not here,
  // or is not what was put here, and the target can only be destroyed. Throws
  // IoError for the target alone.
  [[nodiscard]] bool take(const WalFileName& name, WholeFile& target);

  // More were stored behind what was planned, and half of that was taken by
  // now.
  [[nodiscard]] bool is_running_low(const WalFileName& name) const;

  // This process is the one to fill it, as long as it lives. False: another one
  // is.
  [[nodiscard]] bool claim();

  // Says that those behind `name` will be here soon, as many as most_bytes
  // allow. Requires: claimed.
  void plan(WalFetch& fetch, const WalFileName& name, std::uint64_t most_bytes);
  // Puts there what was planned, and nothing else stays. Throws what reading
  // fails with; what is here stays good then.
  void fill(WalFetch& fetch);

  // When recovery has come to an end.
  void clear();

 private:
  struct Plan {
    bool has_more = false;  // behind its last one
    std::set<std::string> names;
  };
  [[nodiscard]] std::filesystem::path plan_path() const;
  [[nodiscard]] std::optional<Plan> read_plan() const;
  [[nodiscard]] bool is_being_filled() const;
  [[nodiscard]] UniqueFd open_segment(const WalFileName& name) const;
  void put(WalFetch& fetch, const WalFileName& name);
  void remove_unless(const std::function<bool(const std::string&)>& keep);

  const std::filesystem::path folder_;
  UniqueFd claim_;
  std::vector<WalFileName> planned_;
};

}  // namespace cairn::ingest
