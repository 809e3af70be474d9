// Segments that a recovering server will probably ask for next, in a folder of
// this host, so that the next call needs no repository:
//
//   FOLDER/lock
//         /000000010000000000000002        the segment, and SHA-256 of its name
//         /000000010000000000000003        and bytes behind it
//
// A cache: whatever is wrong with it, the repository answers instead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "ingest/wal_fetch.h"
#include "ingest/wal_file.h"
#include "ingest/whole_file.h"

namespace cairn::ingest {

// Threads        one thread at a time; many processes.
// Abandonment    killed at any point, it leaves whole files or none.
class WalFetchAhead {
 public:
  // Of one repository, series and cluster. Made when something is put there.
  explicit WalFetchAhead(std::filesystem::path folder);

  // Writes the segment to `target`, which is not named yet, and lets go of what
  // precedes it. False: it is not here, or is not what was put here, and the
  // target can only be destroyed. Throws IoError for the target alone.
  [[nodiscard]] bool take(const WalFileName& name, WholeFile& target);

  // Of those behind `name` as many as most_bytes allow, and nothing else from
  // then on. Does nothing while another process does it. Throws what reading
  // them fails with; what is here stays good then.
  void fill(WalFetch& fetch, const WalFileName& name, std::uint64_t most_bytes);

  // When recovery has come to the end of WAL.
  void clear();

 private:
  void put(WalFetch& fetch, const WalFileName& name);
  void remove_unless(const std::function<bool(const std::string&)>& keep);

  const std::filesystem::path folder_;
};

}  // namespace cairn::ingest
