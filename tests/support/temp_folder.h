// A folder for one test, gone with everything in it when the test ends.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

namespace cairn::testing_support {

class TempFolder {
 public:
  TempFolder() {
    namespace fs = std::filesystem;
    std::string pattern =
        fs::canonical(fs::temp_directory_path()) / "cairn-test-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), pattern);
    }
    path_ = pattern;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  // Where that fails, by rm, which manages any depth with few descriptors, and
  // what may not be written.
  ~TempFolder() {
    std::error_code fault;
    std::filesystem::remove_all(path_, fault);
    if (!fault) return;
    const std::string quoted = "'" + path_.native() + "'";
    if (std::system(
            ("chmod -R u+rwX " + quoted + " 2>/dev/null; rm -rf " + quoted)
                .c_str()) != 0) {
      ADD_FAILURE() << "cannot remove " << path_;
    }
  }

  // Absolute, without symlinks.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path,
                       std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
  if (!out.flush()) {
    throw std::system_error(errno, std::generic_category(), path.string());
  }
}

[[nodiscard]] inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw std::system_error(errno, std::generic_category(), path.string());
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace cairn::testing_support
