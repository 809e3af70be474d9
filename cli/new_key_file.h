// A key file being made: only its owner may read it, and it takes no other
// file's place.
#pragma once

#include <string>

#include "crypto/secret.h"

namespace cairn::cli {

// Abandonment    destroyed before keep(), it removes the file again.
class NewKeyFile {
 public:
  // Makes a fresh key and writes it, durably. Throws repo::RefusedForSafety
  // when there is a file already, repo::IoError when it cannot be written.
  explicit NewKeyFile(std::string path);
  NewKeyFile(const NewKeyFile&) = delete;
  NewKeyFile& operator=(const NewKeyFile&) = delete;
  ~NewKeyFile();

  // Throws as making one there would, if there is a file already.
  static void require_absent(const std::string& path);

  [[nodiscard]] const crypto::Secret& key() const noexcept { return key_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  void keep() noexcept { is_kept_ = true; }

 private:
  std::string path_;
  crypto::Secret key_ = crypto::Secret::random();
  bool is_kept_ = false;
};

}  // namespace cairn::cli
