// The files of tests/golden: vectors and a whole repository, written by another
// program from FORMAT.md alone (tests/golden/README.md).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/digest.h"
#include "crypto/secret.h"
#include "tests/support/bytes.h"
#include "tests/support/memory_storage.h"
#include "tests/support/temp_folder.h"

namespace cairn::testing_support {

inline std::filesystem::path golden_path(std::string_view name) {
  return std::filesystem::path(CAIRN_GOLDEN_DIR) / name;
}

inline Bytes from_hex(std::string_view text) {
  Bytes bytes(text.size() / 2);
  EXPECT_TRUE(crypto::from_hex(text, bytes)) << text;
  return bytes;
}

// Hex, whitespace between the digits.
inline Bytes golden_bytes(std::string_view name) {
  std::string text = read_file(golden_path(name));
  std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
  return from_hex(text);
}

// One record of a vector file: `name: value` lines in their order.
class Vector {
 public:
  void add(std::string name, std::string value) {
    fields_.emplace_back(std::move(name), std::move(value));
  }

  [[nodiscard]] bool is_empty() const { return fields_.empty(); }
  [[nodiscard]] const auto& fields() const { return fields_; }

  [[nodiscard]] std::string text(std::string_view name) const {
    const auto found = std::ranges::find(
        fields_, name,
        [](const auto& f) -> std::string_view { return f.first; });
    if (found != fields_.end()) return found->second;
    ADD_FAILURE() << "no field " << name;
    return {};
  }

  [[nodiscard]] std::uint64_t number(std::string_view name) const {
    return std::stoull(text(name));
  }

  [[nodiscard]] Bytes bytes(std::string_view name) const {
    return from_hex(text(name));
  }

  template <std::size_t kSize>
  [[nodiscard]] std::array<std::byte, kSize> array(
      std::string_view name) const {
    const Bytes all = bytes(name);
    EXPECT_EQ(all.size(), kSize) << name;
    std::array<std::byte, kSize> out{};
    std::copy_n(all.begin(), std::min(kSize, all.size()), out.begin());
    return out;
  }

  [[nodiscard]] crypto::Secret secret(std::string_view name) const {
    return crypto::Secret::from_bytes(bytes(name));
  }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

inline std::vector<Vector> golden_vectors(std::string_view name) {
  std::vector<Vector> records(1);
  std::istringstream lines(read_file(golden_path(name)));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    if (line.empty()) {
      if (!records.back().is_empty()) records.emplace_back();
      continue;
    }
    const auto colon = line.find(':');
    std::string value = line.substr(colon + 1);
    if (value.starts_with(' ')) value.erase(0, 1);
    records.back().add(line.substr(0, colon), std::move(value));
  }
  if (records.back().is_empty()) records.pop_back();
  return records;
}

inline MemoryStorage golden_repository() {
  namespace fs = std::filesystem;
  MemoryStorage storage;
  const fs::path root = golden_path("repository");
  for (const auto& item : fs::recursive_directory_iterator(root)) {
    if (!item.is_regular_file()) continue;
    const std::string bytes = read_file(item.path());
    (void)storage.create(fs::relative(item.path(), root).string(),
                         std::as_bytes(std::span(bytes)));
  }
  return storage;
}

}  // namespace cairn::testing_support
