// What this host keeps for itself about one repository, outside of it: its
// signing key, and the last snapshot it committed to each series, from which
// the next one's sequence and predecessor follow (DESIGN 6 and 7). Losing it
// starts a new chain and loses nothing else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "crypto/digest.h"
#include "crypto/secret.h"
#include "repo/ids.h"

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

 private:
  void make_folder() const;

  std::filesystem::path folder_;
};

}  // namespace cairn::repo
