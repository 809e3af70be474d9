#include "ingest/redis_aof.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "repo/cbor.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxManifest = std::size_t{1} << 20;
constexpr std::size_t kMaxFiles = 1000;
constexpr std::string_view kManifestEnd = ".manifest";
// What Redis writes before it gives it its name.
constexpr std::string_view kTemporary = "temp-";

[[noreturn]] void fail(const std::string& what, int error) {
  throw ProducerFailed(what + ": " + std::strerror(error));
}

UniqueFd open_in(const UniqueFd& folder, const std::string& name) {
  return UniqueFd(::openat(folder.get(), name.c_str(),
                           O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

struct stat status_of(const UniqueFd& file, const std::string& name) {
  struct stat now {};
  if (::fstat(file.get(), &now) != 0) fail(name, errno);
  if (!S_ISREG(now.st_mode)) throw ProducerFailed(name + ": is no file");
  return now;
}

std::string read_manifest(const UniqueFd& folder, const std::string& name) {
  const UniqueFd file = open_in(folder, name);
  if (!file) fail(name, errno);
  if (status_of(file, name).st_size > static_cast<off_t>(kMaxManifest)) {
    throw ProducerFailed(name + ": is too long to be a manifest");
  }
  std::string text(kMaxManifest, '\0');
  const ssize_t size = ::pread(file.get(), text.data(), text.size(), 0);
  if (size < 0) fail(name, errno);
  text.resize(static_cast<std::size_t>(size));
  return text;
}

std::string find_manifest(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> found;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::string name = at->path().filename().string();
    if (aof_prefix_of(name)) found.push_back(std::move(name));
  }
  if (error) fail(folder.string(), error.value());
  if (found.size() == 1) return found.front();
  throw ProducerFailed(
      folder.string() +
      (found.empty()
           ? ": holds no manifest of append-only files; it should be the "
             "folder that appenddirname names, of Redis 7.0 or later with "
             "`appendonly yes`"
           : ": holds more than one manifest of append-only files"));
}

// Words of a line, quoted where they hold spaces: as Redis reads them.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    if (line.front() == ' ') {
      line.remove_prefix(1);
      continue;
    }
    std::string word;
    if (line.front() != '"') {
      const auto end = std::min(line.find(' '), line.size());
      word = line.substr(0, end);
      line.remove_prefix(end);
    } else {
      line.remove_prefix(1);
      while (!line.empty() && line.front() != '"') {
        if (line.front() == '\\') line.remove_prefix(1);
        if (line.empty()) break;
        word += line.front();
        line.remove_prefix(1);
      }
      if (line.empty()) {
        throw ProducerFailed("the manifest has a name without an end");
      }
      line.remove_prefix(1);
    }
    words.push_back(std::move(word));
  }
  return words;
}

AofEntry entry_of(std::string_view line) {
  AofEntry entry;
  const auto words = words_of(line);
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    const auto& value = words[i + 1];
    if (words[i] == "file") entry.name = value;
    if (words[i] == "type" && value.size() == 1) entry.kind = value.front();
    if (words[i] == "seq") {
      (void)std::from_chars(value.data(), value.data() + value.size(),
                            entry.number);
    }
  }
  constexpr std::string_view kKinds = "bih";
  const bool is_name =
      !entry.name.empty() && entry.name != "." && entry.name != ".." &&
      entry.name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  if (!is_name || entry.number == 0 ||
      kKinds.find(entry.kind) == std::string_view::npos) {
    throw ProducerFailed("the manifest has a line that no server wrote: " +
                         repo::as_utf8(line.substr(0, 100)));
  }
  return entry;
}

// Nothing: a file is gone, so that the manifest is no more the newest.
std::optional<std::vector<AofFile>> open_files(
    const UniqueFd& folder, const std::vector<AofEntry>& entries) {
  std::vector<AofFile> files;
  for (const auto& entry : entries) {
    UniqueFd fd = open_in(folder, entry.name);
    if (!fd && errno == ENOENT) return std::nullopt;
    if (!fd) fail(entry.name, errno);
    files.push_back({entry.name, 0, {}, std::move(fd)});
  }
  for (auto& file : files) {
    const auto now = status_of(file.fd, file.name);
    file.bytes = static_cast<std::uint64_t>(now.st_size);
    file.modified = {now.st_mtim.tv_sec,
                     static_cast<std::uint32_t>(now.st_mtim.tv_nsec)};
  }
  return files;
}

class AofBytes : public ByteStream {
 public:
  explicit AofBytes(AofFile file) : file_(std::move(file)) {}

  std::size_t read(std::span<std::byte> out, std::stop_token) override {
    const auto want = static_cast<std::size_t>(
        std::min<std::uint64_t>(out.size(), file_.bytes - at_));
    if (want == 0) return 0;
    const ssize_t size =
        ::pread(file_.fd.get(), out.data(), want, static_cast<off_t>(at_));
    if (size < 0) repo::throw_system_error(file_.name, errno);
    if (size == 0) {
      throw ProducerFailed(file_.name + ": was cut while it was read");
    }
    at_ += static_cast<std::uint64_t>(size);
    return static_cast<std::size_t>(size);
  }
  void finish(std::stop_token) override {}

 private:
  AofFile file_;
  std::uint64_t at_ = 0;
};

}  // namespace

std::optional<std::string> aof_prefix_of(std::string_view name) {
  if (!name.ends_with(kManifestEnd) || name.starts_with(kTemporary)) {
    return std::nullopt;
  }
  name.remove_suffix(kManifestEnd.size());
  if (name.empty()) return std::nullopt;
  return std::string(name);
}

std::vector<AofEntry> read_aof_manifest(std::string_view text) {
  std::vector<AofEntry> entries;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    if (entries.size() == kMaxFiles) {
      throw ProducerFailed("the manifest names too many files");
    }
    entries.push_back(entry_of(line));
  }
  return entries;
}

std::string aof_manifest_text(const std::vector<AofEntry>& entries) {
  std::string text;
  for (const auto& entry : entries) {
    std::string name;
    for (const char c : entry.name) {
      if (c == '"' || c == '\\') name += '\\';
      name += c;
    }
    if (name != entry.name || name.find(' ') != std::string::npos) {
      name = '"' + name + '"';
    }
    text += "file " + name + " seq " + std::to_string(entry.number) + " type " +
            entry.kind + "\n";
  }
  return text;
}

AofFolder open_aof_folder(const fs::path& path) {
  // A rewrite changes it twice; nobody rewrites as often as we look.
  constexpr int kTries = 100;
  AofFolder folder{
      .manifest_name = find_manifest(path), .manifest = {}, .files = {}};
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) fail(path.string(), errno);
  for (int i = 0; i < kTries; ++i) {
    const std::string text = read_manifest(fd, folder.manifest_name);
    auto entries = read_aof_manifest(text);
    std::erase_if(entries,
                  [](const AofEntry& entry) { return entry.kind == 'h'; });
    auto files = open_files(fd, entries);
    if (!files || read_manifest(fd, folder.manifest_name) != text) continue;
    folder.manifest = aof_manifest_text(entries);
    folder.files = std::move(*files);
    return folder;
  }
  throw ProducerFailed(path.string() +
                       ": its files are not those that its manifest names, or "
                       "change faster than they can be opened");
}

std::unique_ptr<ByteStream> read_aof_file(AofFile file) {
  return std::make_unique<AofBytes>(std::move(file));
}

}  // namespace cairn::ingest
