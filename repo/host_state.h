// What this host keeps for itself about one repository, outside of it: its
// signing key; the last snapshot it committed to each series, from which the
// next one's sequence and predecessor follow (DESIGN 6 and 7); and what it last
// saw there. Losing it starts a new chain, and a host that knows nothing
// notices no rollback.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/digest.h"
#include "crypto/secret.h"
#include "repo/ids.h"
#include "repo/last_seen.h"

namespace cairn::repo {

struct ChainLink {
  std::uint64_t sequence = 0;  // of the next commit: how many there were
  crypto::Digest object{};     // SHA-256 of the last one's object

  bool operator==(const ChainLink&) const = default;
};

// Threads        one thread at a time.
class HostState {
 public:
  // `folder` is the program's state folder; what concerns this repository lies
  // in a folder of its own beneath it. Nothing is created before it is needed.
  HostState(const std::filesystem::path& folder,
            const RepositoryId& repository);

  // Made at its first use and kept with mode 0600.
  [[nodiscard]] crypto::Secret signing_seed();

  // Held from before a chain link is read until after the next is stored, so
  // that two backups of one series on this host do not both claim a place.
  class ChainLock {
   public:
    ChainLock(ChainLock&&) noexcept;
    ChainLock& operator=(ChainLock&&) = delete;
    ~ChainLock();

    [[nodiscard]] ChainLink last() const;
    void store(const ChainLink& link);

   private:
    friend class HostState;
    ChainLock(int fd, std::filesystem::path file);
    int fd_;
    std::filesystem::path file_;
  };
  [[nodiscard]] ChainLock lock_chain(std::string_view series);

  // What was last seen of the repository at one place (Storage::place()).
  // Nothing: it was never looked at there, or that was before hosts remembered
  // it, or the file is damaged.
  [[nodiscard]] std::optional<LastSeen> last_seen(std::string_view place) const;
  [[nodiscard]] std::vector<LastSeen> last_seen_elsewhere(
      std::string_view place) const;

  // Stores what `change` makes of it, while no other process changes it.
  void change_last_seen(std::string_view place,
                        const std::function<void(LastSeen&)>& change);

 private:
  void make_folder() const;
  [[nodiscard]] std::filesystem::path seen_file(std::string_view place) const;

  std::filesystem::path folder_;
};

}  // namespace cairn::repo
