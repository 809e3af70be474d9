// What segments had in them that the spool has let go of, so that one that a
// server hands over again can be told from another one of the same name.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/digest.h"

namespace cairn::ingest {

// In a file of the spool's folder, a line for each. The newest some thousands
// are kept: 128 GiB of segments of the usual size.
//
// Threads        one thread at a time; many processes may read while one adds.
class WalDigests {
 public:
  // Nothing is made before something is added.
  explicit WalDigests(const std::filesystem::path& spool);

  [[nodiscard]] std::optional<crypto::Digest> find(
      const std::string& name) const;
  // The last by name that begins so. Nothing: none does.
  [[nodiscard]] std::optional<std::string> last_with(
      std::string_view beginning) const;

  // Durably. Requires: this process has the spool.
  void add(const std::string& name, const crypto::Digest& digest);

  static constexpr std::size_t kMost = 8192;

 private:
  std::filesystem::path path_;
  std::map<std::string, crypto::Digest> digests_;  // by name
  std::size_t lines_ = 0;
};

// Of all its bytes. Throws IoError.
[[nodiscard]] crypto::Digest digest_of_file(const std::filesystem::path& path);

}  // namespace cairn::ingest
