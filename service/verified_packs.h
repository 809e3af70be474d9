// When this machine last read each pack of a repository and found it sound, as
// lines of text in its state folder:
//
//   cairn verified packs 1
//   paced SECONDS
//   pack HEX SECONDS
//   damaged HEX SECONDS
//   unread HEX SECONDS
//
// It is derived: where it is lost, or a line of it damaged, packs count as
// never verified, and are read again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "repo/ids.h"
#include "service/timetable.h"

namespace cairn::service {

struct VerifiedPacks {
  std::map<repo::PackId, Moment> sound;    // when it was last read
  std::map<repo::PackId, Moment> damaged;  // when that was found
  // The rest: since when they are known to be there.
  std::map<repo::PackId, Moment> unread;
  // Up to when the pace of the cycle is accounted for.
  std::optional<Moment> paced;

  bool operator==(const VerifiedPacks&) const = default;
};

[[nodiscard]] std::string to_text(const VerifiedPacks& packs);

// What makes no sense is left out.
[[nodiscard]] VerifiedPacks parse_verified_packs(std::string_view text);

// Threads and processes: any number.
class VerifiedPacksFile {
 public:
  // `repository` is its id in hex, `place` where it lies: a copy of it
  // elsewhere is read by itself. Creates nothing.
  VerifiedPacksFile(const std::filesystem::path& state,
                    const std::string& repository, const std::string& place);

  // Throws repo::IoError when there is a file that cannot be read.
  [[nodiscard]] VerifiedPacks read() const;

  // Stores what `change` makes of it, durably, while no other process does.
  void change(const std::function<void(VerifiedPacks&)>& change);

 private:
  std::filesystem::path file_;
};

}  // namespace cairn::service
