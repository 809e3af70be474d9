#include "ingest/redis_data_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <string_view>
#include <utility>

#include "ingest/redis_aof.h"
#include "ingest/unique_fd.h"
#include "repo/cbor.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRdbName = "dump.rdb";
constexpr std::string_view kTrialName = "trial";
// The only append-only file there was before Redis 7; since 4.0 it may begin
// with an RDB.
constexpr std::string_view kOldAofName = "appendonly.aof";
constexpr mode_t kFileMode = 0640;
constexpr mode_t kFolderMode = 0750;

[[noreturn]] void fail(const fs::path& path) {
  repo::throw_system_error(path.string(), errno);
}

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

bool is_of_redis(std::string_view program) {
  return program.starts_with("redis-s") || program.starts_with("valkey-s") ||
         program.starts_with("keydb-s");
}

// Servers go to the folder where they keep their data, and stay there.
void require_elsewhere(const fs::path& process, const std::string& program,
                       const struct stat& folder) {
  struct stat there {};
  const fs::path where = process / "cwd";
  const std::string who =
      repo::as_utf8(program) + " (process " + process.filename().string() + ")";
  if (::stat(where.c_str(), &there) == 0) {
    if (there.st_dev != folder.st_dev || there.st_ino != folder.st_ino) return;
    throw repo::RefusedForSafety(
        who +
        " works in that folder, and would write over what is restored there; "
        "stop it, and let nothing start it until the restore has ended");
  }
  if (errno != EACCES && errno != EPERM) return;  // it has ended
  throw repo::RefusedForSafety(
      "whether " + who +
      " works in that folder cannot be seen; stop it, or restore as root");
}

void sync(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) fail(path);
}

void write_new(const fs::path& path, std::string_view text) {
  const UniqueFd fd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  if (!fd || ::write(fd.get(), text.data(), text.size()) !=
                 static_cast<ssize_t>(text.size())) {
    fail(path);
  }
}

bool is_there(const fs::path& path) {
  struct stat ignored {};
  return ::lstat(path.c_str(), &ignored) == 0;
}

// The names of its manifests without what all of them end with; none: it is no
// folder of append-only files.
std::vector<std::string> prefixes_in(const fs::path& folder) {
  constexpr std::string_view kManifest = ".manifest";
  std::vector<std::string> prefixes;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::string name = at->path().filename().string();
    if (!name.ends_with(kManifest) || name.starts_with("temp-")) continue;
    name.resize(name.size() - kManifest.size());
    if (!name.empty()) prefixes.push_back(std::move(name));
  }
  return prefixes;
}

// Neither ours nor one that an earlier restore moved aside.
bool may_be_read_by_a_server(std::string_view name) {
  return !name.starts_with('.') && name.find(".before-") == name.npos;
}

}  // namespace

void require_no_redis_in(const fs::path& folder) {
  struct stat here {};
  if (::stat(folder.c_str(), &here) != 0) {
    if (errno == ENOENT) return;
    fail(folder);
  }
  std::error_code error;
  for (fs::directory_iterator at("/proc", error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string program = first_line(at->path() / "comm");
    if (is_of_redis(program)) require_elsewhere(at->path(), program, here);
  }
}

AofNames aof_names_in(const fs::path& folder) {
  std::vector<AofNames> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!at->is_directory(error) || !may_be_read_by_a_server(name)) continue;
    for (auto& prefix : prefixes_in(at->path())) {
      found.push_back({name, std::move(prefix)});
    }
  }
  if (found.size() < 2) return found.empty() ? AofNames{} : found.front();
  std::vector<std::string> manifests;
  for (const auto& one : found) {
    manifests.push_back(
        repo::as_utf8(one.folder + "/" + one.prefix + ".manifest"));
  }
  std::ranges::sort(manifests);
  std::string names;
  for (const auto& one : manifests) names += (names.empty() ? "" : ", ") + one;
  throw repo::RefusedForSafety(
      folder.string() + ": holds append-only files more than once: " + names +
      "; which of them the server reads cannot be seen, so move the others "
      "out of this folder");
}

bool has_redis_data(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name == kRdbName || name == kOldAofName || !prefixes_in(at->path()).empty()) {
      return true;
    }
  }
  return false;
}

RedisDataFolder::RedisDataFolder(fs::path folder) : folder_(std::move(folder)) {
  require_no_redis_in(folder_);
  std::error_code error;
  fs::create_directories(folder_, error);
  struct stat here {};
  if (::stat(folder_.c_str(), &here) != 0) fail(folder_);
  if (!S_ISDIR(here.st_mode)) {
    throw repo::RefusedForSafety(folder_.string() + ": is no folder");
  }
  owner_ = {here.st_uid, here.st_gid};
  aof_ = aof_names_in(folder_);
  std::string staging = (folder_ / ".cairn-restore-XXXXXX").string();
  if (::mkdtemp(staging.data()) == nullptr) fail(folder_);
  staging_ = staging;
  try {
    give_to_owner(staging_);
    if (::chmod(staging_.c_str(), kFolderMode) != 0) fail(staging_);
  } catch (...) {
    fs::remove_all(staging_, error);
    throw;
  }
}

RedisDataFolder::~RedisDataFolder() {
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

fs::path RedisDataFolder::rdb() const { return staging_ / kRdbName; }

void RedisDataFolder::give_to_owner(const fs::path& path) const {
  if (::geteuid() != 0) return;
  if (::lchown(path.c_str(), owner_.user, owner_.group) != 0) fail(path);
}

// The base is the same file as dump.rdb, which servers replace, and never
// change.
void RedisDataFolder::make_aof_in(const fs::path& folder) const {
  const fs::path aof = folder / aof_.folder;
  const AofEntry base{
      .name = aof_.prefix + ".1.base.rdb", .number = 1, .kind = 'b'};
  const fs::path manifest = aof / (aof_.prefix + ".manifest");
  if (::mkdir(aof.c_str(), kFolderMode) != 0) fail(aof);
  if (::link(rdb().c_str(), (aof / base.name).c_str()) != 0) fail(aof);
  write_new(manifest, aof_manifest_text({base}));
  give_to_owner(aof);
  give_to_owner(manifest);
}

void RedisDataFolder::complete() {
  if (::chmod(rdb().c_str(), kFileMode) != 0) fail(rdb());
  give_to_owner(rdb());
  sync(rdb());
  make_aof_in(staging_);
  sync(staging_ / aof_.folder / (aof_.prefix + ".manifest"));
  sync(staging_ / aof_.folder);
  sync(staging_);
}

fs::path RedisDataFolder::copy_to_try() {
  const fs::path trial = staging_ / kTrialName;
  std::error_code ignored;
  fs::remove_all(trial, ignored);
  if (::mkdir(trial.c_str(), kFolderMode) != 0) fail(trial);
  give_to_owner(trial);
  if (::link(rdb().c_str(), (trial / kRdbName).c_str()) != 0) fail(trial);
  make_aof_in(trial);
  return trial;
}

// What is there and what is to be there change places in one step, where the
// file system can do that.
void RedisDataFolder::put(const std::string& name, const std::string& suffix,
                          std::vector<std::string>& moved) {
  const fs::path from = staging_ / name;
  const fs::path to = folder_ / name;
  const fs::path aside = folder_ / (name + suffix);
  if (!is_there(to)) {
    if (::rename(from.c_str(), to.c_str()) != 0) fail(to);
    return;
  }
  if (is_there(aside)) {
    throw repo::RefusedForSafety(aside.string() + ": is there already");
  }
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(),
                  RENAME_EXCHANGE) == 0) {
    if (::rename(from.c_str(), aside.c_str()) != 0) {
      staging_.clear();  // what was there lies in it now, and stays
      fail(aside);
    }
  } else if (errno == EINVAL || errno == ENOSYS) {
    if (::rename(to.c_str(), aside.c_str()) != 0) fail(aside);
    if (::rename(from.c_str(), to.c_str()) != 0) fail(to);
  } else {
    fail(to);
  }
  moved.push_back(aside.filename().string());
}

std::vector<std::string> RedisDataFolder::put_in_place(
    const std::string& suffix) {
  std::error_code ignored;
  fs::remove_all(staging_ / kTrialName, ignored);
  require_no_redis_in(folder_);
  std::vector<std::string> moved;
  put(aof_.folder, suffix, moved);
  put(std::string(kRdbName), suffix, moved);
  const fs::path old_aof = folder_ / kOldAofName;
  struct stat old {};
  if (::lstat(old_aof.c_str(), &old) == 0 && S_ISREG(old.st_mode)) {
    // A copy: a server of then appends to the very file.
    const fs::path again = staging_ / kOldAofName;
    std::error_code error;
    if (!fs::copy_file(folder_ / kRdbName, again, error)) {
      repo::throw_system_error(again.string(), error.value());
    }
    give_to_owner(again);
    sync(again);
    put(std::string(kOldAofName), suffix, moved);
  }
  sync(folder_);
  return moved;
}

}  // namespace cairn::ingest
