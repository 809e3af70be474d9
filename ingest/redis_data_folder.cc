#include "ingest/redis_data_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <compare>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "ingest/redis_aof.h"
#include "repo/cbor.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCopyBytes = std::size_t{1} << 20;
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

// redis-server, redis-sentinel, redis6-server, redict-server; no redis-cli and
// no redis_exporter.
bool is_of_redis(std::string_view program) {
  constexpr std::array<std::string_view, 4> kNames{"redis", "redict", "valkey",
                                                   "keydb"};
  if (program.starts_with("dragonfly")) return true;
  return program.find("-s") != program.npos &&
         std::ranges::any_of(kNames, [&](std::string_view name) {
           return program.starts_with(name);
         });
}

bool is_shell(std::string_view program) {
  constexpr std::array<std::string_view, 9> kShells{
      "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox"};
  return std::ranges::find(kShells, program) != kShells.end();
}

// A file, whatever name it was opened by, in a container, too.
struct Place {
  dev_t device = 0;
  ino_t inode = 0;

  auto operator<=>(const Place&) const = default;
};

std::optional<Place> place_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return Place{status.st_dev, status.st_ino};
}

void add_files_in(const fs::path& folder, std::map<Place, std::string>& found) {
  constexpr std::size_t kMost = 100'000;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end;
       !error && at != end && found.size() < kMost; at.increment(error)) {
    const auto place = place_of(at->path());
    if (place && at->is_regular_file(error)) {
      found[*place] = repo::as_utf8(at->path().filename().string());
    }
  }
}

// The parent's process; 0: none, or it cannot be seen.
pid_t parent_of(pid_t process) {
  const std::string line =
      first_line(fs::path("/proc") / std::to_string(process) / "stat");
  // "1 (name, of any characters) S 0 ..."
  constexpr std::size_t kToParent = 4;
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos || name_end + kToParent > line.size()) {
    return 0;
  }
  pid_t parent = 0;
  (void)std::from_chars(line.data() + name_end + kToParent,
                        line.data() + line.size(), parent);
  return parent;
}

std::set<std::string> ourselves_and_above() {
  std::set<std::string> all;
  for (pid_t process = ::getpid(); process > 0; process = parent_of(process)) {
    if (!all.insert(std::to_string(process)).second) break;
  }
  return all;
}

// What nobody may know of who is in the way.
[[noreturn]] void refuse_unseen(const std::string& who) {
  throw repo::RefusedForSafety(
      "whether " + who + " works in that folder cannot be seen; stop it, or " +
      (::geteuid() == 0 ? "give cairn the capability SYS_PTRACE"
                        : "restore as root"));
}

// Servers go to the folder where they keep their data, and stay there.
void require_elsewhere(const fs::path& process, const std::string& program,
                       const Place& folder) {
  const std::string who =
      repo::as_utf8(program) + " (process " + process.filename().string() + ")";
  const auto there = place_of(process / "cwd");
  if (!there) {
    const bool has_ended = errno != EACCES && errno != EPERM;
    if (has_ended || !is_of_redis(program)) return;
    refuse_unseen(who);
  }
  if (*there != folder || is_shell(program)) return;
  throw repo::RefusedForSafety(
      who +
      " works in that folder, and a server would write over what is restored "
      "there; stop it, and let nothing start it until the restore has ended");
}

// Of those whose files we may see.
void require_none_open(const fs::path& process, const std::string& program,
                       const std::map<Place, std::string>& files) {
  std::error_code error;
  for (fs::directory_iterator at(process / "fd", error), end;
       !error && at != end; at.increment(error)) {
    const auto place = place_of(at->path());
    const auto file = place ? files.find(*place) : files.end();
    if (file == files.end()) continue;
    throw repo::RefusedForSafety(
        repo::as_utf8(program) + " (process " + process.filename().string() +
        ") has " + file->second +
        " of that folder open; stop it, and let nothing start it until the "
        "restore has ended");
  }
}

void sync(const UniqueFd& fd, const fs::path& path) {
  if (::fsync(fd.get()) != 0) fail(path);
}

void write_all(const UniqueFd& fd, std::span<const std::byte> bytes,
               const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t size = ::write(fd.get(), bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) fail(path);
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
}

// Whether it was not there. Root's folders are of no use to a server; whose it
// is to be, whoever owns the place for it tells.
bool make_folders(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) == 0) return false;
  const fs::path above = folder.parent_path();
  if (!folder.has_filename()) return make_folders(above);
  (void)make_folders(above);
  if (::mkdir(folder.c_str(), kFolderMode) != 0) {
    if (errno == EEXIST) return false;
    fail(folder);
  }
  if (::geteuid() != 0 || ::stat(above.c_str(), &status) != 0) return true;
  const UniqueFd made(
      ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat now {};
  if (!made || ::fstat(made.get(), &now) != 0 || now.st_uid != 0 ||
      ::fchown(made.get(), status.st_uid, status.st_gid) != 0) {
    fail(folder);
  }
  return true;
}

// For programs and functions that take a path: of whatever the descriptor is,
// not of what somebody has put in its place.
std::string path_through(const UniqueFd& folder, std::string_view name) {
  return "/proc/self/fd/" + std::to_string(folder.get()) + "/" +
         std::string(name);
}

UniqueFd open_folder_in(const UniqueFd& folder, const std::string& name) {
  UniqueFd fd(::openat(folder.get(), name.c_str(),
                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) fail(name);
  return fd;
}

UniqueFd create_in(const UniqueFd& folder, const std::string& name) {
  UniqueFd fd(::openat(folder.get(), name.c_str(),
                       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       kFileMode));
  if (!fd) fail(name);
  return fd;
}

std::optional<struct stat> status_in(const UniqueFd& folder,
                                     const std::string& name) {
  struct stat status {};
  if (::fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) !=
      0) {
    return std::nullopt;
  }
  return status;
}

bool move_between(const UniqueFd& from, const std::string& name,
                  const UniqueFd& to, const std::string& new_name,
                  unsigned flags = 0) {
  return ::renameat2(from.get(), name.c_str(), to.get(), new_name.c_str(),
                     flags) == 0;
}

// What its manifests are called by; none: it is no folder of append-only files.
std::vector<std::string> prefixes_in(const fs::path& folder) {
  std::vector<std::string> prefixes;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    auto prefix = aof_prefix_of(at->path().filename().string());
    if (prefix) prefixes.push_back(std::move(*prefix));
  }
  return prefixes;
}

// The RDB, and append-only files of all times.
std::map<Place, std::string> data_files_in(const fs::path& folder) {
  std::map<Place, std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!prefixes_in(at->path()).empty()) {
      add_files_in(at->path(), files);
    } else if (name.ends_with(".rdb") || name.ends_with(".aof")) {
      if (const auto place = place_of(at->path())) {
        files[*place] = repo::as_utf8(name);
      }
    }
  }
  return files;
}

// Neither ours nor one that an earlier restore moved aside.
bool may_be_read_by_a_server(std::string_view name) {
  return !name.starts_with('.') && name.find(".before-") == name.npos;
}

// As those of Redis and Valkey do. Whatever else lies there is not waited for.
bool begins_as_rdb(const fs::path& path) {
  const UniqueFd fd(
      ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return false;
  }
  constexpr std::size_t kMagic = 9;  // "REDIS0011", "VALKEY080"
  std::array<char, kMagic> bytes{};
  if (::pread(fd.get(), bytes.data(), kMagic, 0) != ssize_t{kMagic}) {
    return false;
  }
  const std::string_view magic(bytes.data(), kMagic);
  const auto number = magic.find_first_of("0123456789");
  return (magic.substr(0, number) == "REDIS" ||
          magic.substr(0, number) == "VALKEY") &&
         magic.find_first_not_of("0123456789", number) == magic.npos;
}

// In no folder of its own.
struct DataFiles {
  std::vector<std::string> dumps;  // by their names, or what they begin with
  std::vector<std::string> aofs;   // of servers before Redis 7
};

DataFiles single_files_in(const fs::path& folder, const std::string& aof_name) {
  DataFiles found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::string name = at->path().filename().string();
    std::error_code unseen;
    // What a server that was killed had begun to write.
    const bool is_partial = name.starts_with("temp-");
    if (is_partial || !may_be_read_by_a_server(name) ||
        !at->is_regular_file(unseen)) {
      continue;
    }
    if (name.ends_with(".aof") || name == aof_name) {
      found.aofs.push_back(std::move(name));
    } else if (name.ends_with(".rdb") || begins_as_rdb(at->path())) {
      found.dumps.push_back(std::move(name));
    }
  }
  return found;
}

std::string listed(std::vector<std::string> names) {
  std::ranges::sort(names);
  std::string text;
  for (const auto& name : names) {
    text += (text.empty() ? "" : ", ") + repo::as_utf8(name);
  }
  return text;
}

struct AofNames {
  std::string folder;
  std::string prefix;
};

// Nothing: no server has kept any there.
std::optional<AofNames> aof_names_in(const fs::path& folder) {
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
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return found.front();
  std::vector<std::string> manifests;
  for (const auto& one : found) {
    manifests.push_back(one.folder + "/" + one.prefix + ".manifest");
  }
  throw repo::RefusedForSafety(
      folder.string() + ": holds append-only files more than once: " +
      listed(std::move(manifests)) +
      "; which of them the server reads cannot be seen, so move the others "
      "out of this folder");
}

// `setting`: which one says that a server reads these.
void require_no_others(const fs::path& folder, std::vector<std::string> files,
                       const std::string& name, const std::string& setting) {
  std::erase(files, name);
  if (files.empty()) return;
  throw repo::RefusedForSafety(
      folder.string() + ": holds " + listed(std::move(files)) +
      ", and a server that is told so by `" + setting +
      "` would start with that, not with " + repo::as_utf8(name) +
      ", as which the dump is restored; move it out of this folder, and if it "
      "was the server's, give " +
      repo::as_utf8(name) + " its name after the restore");
}

}  // namespace

void require_no_redis_in(const fs::path& folder) {
  const auto here = place_of(folder);
  if (!here) {
    if (errno == ENOENT) return;
    fail(folder);
  }
  const auto files = data_files_in(folder);
  const auto ours = ourselves_and_above();
  std::error_code error;
  for (fs::directory_iterator at("/proc", error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (ours.contains(name)) continue;
    const std::string program = first_line(at->path() / "comm");
    require_elsewhere(at->path(), program, *here);
    require_none_open(at->path(), program, files);
  }
}

bool sees_all_programs() {
  constexpr ino_t kFirstNamespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO of Linux
  const auto ours = place_of("/proc/self/ns/pid");
  return ours && ours->inode == kFirstNamespace &&
         ::access("/proc/1", F_OK) == 0;
}

RedisNames redis_names_in(const fs::path& folder,
                          const KnownRedisNames& saved) {
  const RedisNames usual;
  RedisNames names{.dump = saved.dump.value_or(usual.dump),
                   .aof_folder = saved.aof_folder.value_or(usual.aof_folder),
                   .aof_prefix = saved.aof_prefix.value_or(usual.aof_prefix)};
  if (auto there = aof_names_in(folder)) {
    names.aof_folder = std::move(there->folder);
    names.aof_prefix = std::move(there->prefix);
  }
  auto files = single_files_in(folder, names.aof_prefix);
  // Of a server that is not the one that was saved, and has the usual name.
  if (files.dumps == std::vector{usual.dump}) names.dump = usual.dump;
  require_no_others(folder, std::move(files.dumps), names.dump, "dbfilename");
  // One by the usual name is taken care of, too.
  std::erase(files.aofs, kOldAofName);
  require_no_others(folder, std::move(files.aofs), names.aof_prefix,
                    "appendfilename");
  return names;
}

bool has_redis_data(const fs::path& folder) {
  const auto files = single_files_in(folder, std::string(kOldAofName));
  if (!files.dumps.empty() || !files.aofs.empty()) return true;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (!prefixes_in(at->path()).empty()) return true;
  }
  return false;
}

RedisDataFolder::RedisDataFolder(fs::path folder, const KnownRedisNames& saved)
    : folder_(std::move(folder)) {
  require_no_redis_in(folder_);
  is_new_ = make_folders(fs::absolute(folder_).lexically_normal());
  fd_ = UniqueFd(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd_ && errno == ENOTDIR) {
    throw repo::RefusedForSafety(folder_.string() + ": is no folder");
  }
  struct stat here {};
  if (!fd_ || ::fstat(fd_.get(), &here) != 0) fail(folder_);
  owner_ = {here.st_uid, here.st_gid};
  names_ = redis_names_in(folder_, saved);
  staging_ = make_inside(".cairn-restore-XXXXXX");
  rdb_ = create_in(staging_.fd, names_.dump);
}

RedisDataFolder::~RedisDataFolder() {
  remove_inside(trial_);
  remove_inside(staging_);
}

RedisDataFolder::Inside RedisDataFolder::make_inside(
    const char* pattern) const {
  std::string path = path_through(fd_, pattern);
  if (::mkdtemp(path.data()) == nullptr) fail(folder_);
  Inside inside{.name = fs::path(path).filename().string(), .fd = {}};
  inside.fd = open_folder_in(fd_, inside.name);
  constexpr mode_t kOthers = 0077;
  struct stat made {};
  if (::fstat(inside.fd.get(), &made) != 0) fail(folder_ / inside.name);
  if (made.st_uid != ::geteuid() || (made.st_mode & kOthers) != 0) {
    throw repo::RefusedForSafety((folder_ / inside.name).string() +
                                 ": somebody else put it there, in the place "
                                 "of what is restored");
  }
  return inside;
}

void RedisDataFolder::remove_inside(Inside& inside) const noexcept {
  if (inside.name.empty()) return;
  std::error_code ignored;
  fs::remove_all(path_through(fd_, inside.name), ignored);
  inside = {};
}

void RedisDataFolder::write(std::span<const std::byte> bytes) {
  write_all(rdb_, bytes, folder_ / names_.dump);
}

void RedisDataFolder::give_to_owner(const UniqueFd& fd) const {
  if (::geteuid() != 0) return;
  if (::fchown(fd.get(), owner_.user, owner_.group) != 0) fail(folder_);
}

// The base is the same file as the dump, which servers replace, and never
// change.
void RedisDataFolder::make_aof_in(const UniqueFd& folder) const {
  const AofEntry base{
      .name = names_.aof_prefix + ".1.base.rdb", .number = 1, .kind = 'b'};
  const fs::path where = folder_ / names_.aof_folder;
  if (::mkdirat(folder.get(), names_.aof_folder.c_str(), kFolderMode) != 0) {
    fail(where);
  }
  const UniqueFd aof = open_folder_in(folder, names_.aof_folder);
  if (::linkat(staging_.fd.get(), names_.dump.c_str(), aof.get(),
               base.name.c_str(), 0) != 0) {
    fail(where / base.name);
  }
  const UniqueFd manifest = create_in(aof, names_.aof_prefix + ".manifest");
  const std::string text = aof_manifest_text({base});
  write_all(manifest, std::as_bytes(std::span(text)), where);
  give_to_owner(manifest);
  give_to_owner(aof);
  sync(manifest, where);
  sync(aof, where);
}

// It stays ours for now, and its owner's group may read it: a server that tries
// a copy cannot change it.
void RedisDataFolder::complete() {
  if (::fchmod(rdb_.get(), kFileMode) != 0) fail(folder_);
  if (::geteuid() == 0 && ::fchown(rdb_.get(), 0, owner_.group) != 0) {
    fail(folder_);
  }
  sync(rdb_, folder_ / names_.dump);
  make_aof_in(staging_.fd);
  sync(staging_.fd, folder_);
}

fs::path RedisDataFolder::copy_to_try(AofLayout layout) {
  remove_inside(trial_);
  trial_ = make_inside(".cairn-trial-XXXXXX");
  const auto& rdb = names_.dump;
  if (::linkat(staging_.fd.get(), rdb.c_str(), trial_.fd.get(), rdb.c_str(),
               0) != 0) {
    fail(folder_ / trial_.name / rdb);
  }
  if (layout == AofLayout::folder) {
    make_aof_in(trial_.fd);
  } else {
    make_old_aof_in(trial_.fd, names_.aof_prefix);
  }
  if (::fchmod(trial_.fd.get(), kFolderMode) != 0) fail(folder_ / trial_.name);
  give_to_owner(trial_.fd);
  return folder_ / trial_.name;
}

// A copy: a server of then appends to the very file.
void RedisDataFolder::make_old_aof_in(const UniqueFd& folder,
                                      const std::string& name) const {
  const UniqueFd copy = create_in(folder, name);
  std::vector<std::byte> room(kCopyBytes);
  for (off_t at = 0;;) {
    const ssize_t size = ::pread(rdb_.get(), room.data(), room.size(), at);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) fail(folder_ / names_.dump);
    if (size == 0) break;
    write_all(copy, std::span(room).first(static_cast<std::size_t>(size)),
              folder_ / name);
    at += size;
  }
  give_to_owner(copy);
  sync(copy, folder_ / name);
}

RedisDataFolder::Move RedisDataFolder::put_in_two_steps(
    const std::string& name, const std::string& aside) {
  if (!move_between(fd_, name, fd_, aside)) fail(folder_ / name);
  if (move_between(staging_.fd, name, fd_, name)) return {name, aside};
  const int error = errno;
  if (!move_between(fd_, aside, fd_, name)) {
    throw repo::IoError((folder_ / name).string() + ": what was there is now " +
                        aside + ", and could not be moved back; do so");
  }
  repo::throw_system_error((folder_ / name).string(), error);
}

// What is there and what is to be there change places in one step, where the
// file system can do that.
RedisDataFolder::Move RedisDataFolder::put(const std::string& name,
                                           const std::string& suffix) {
  if (!status_in(fd_, name)) {
    if (!move_between(staging_.fd, name, fd_, name)) fail(folder_ / name);
    return {name, std::nullopt};
  }
  const std::string aside = name + suffix;
  if (!move_between(staging_.fd, name, fd_, name, RENAME_EXCHANGE)) {
    if (errno == EINVAL || errno == ENOSYS) {
      return put_in_two_steps(name, aside);
    }
    fail(folder_ / name);
  }
  if (move_between(staging_.fd, name, fd_, aside)) return {name, aside};
  const int error = errno;
  if (!move_between(staging_.fd, name, fd_, name, RENAME_EXCHANGE)) {
    const std::string left = std::exchange(staging_, {}).name;
    throw repo::IoError((folder_ / name).string() + ": what was there is now " +
                        (folder_ / left / name).string() +
                        ", and could not be moved back; do so");
  }
  repo::throw_system_error((folder_ / aside).string(), error);
}

// The last first.
void RedisDataFolder::take_back(const std::vector<Move>& moves,
                                const std::string& why) {
  std::string left;
  for (auto move = moves.rbegin(); move != moves.rend(); ++move) {
    const bool is_back =
        move_between(fd_, move->name, staging_.fd, move->name) &&
        (!move->aside || move_between(fd_, *move->aside, fd_, move->name));
    if (is_back) continue;
    left += "; " + move->name + " is what was restored" +
            (move->aside ? ", and what was there is " + *move->aside : "");
  }
  if (left.empty()) return;
  throw repo::IoError(why +
                      "; and what was done before that could not be "
                      "undone in " +
                      folder_.string() + left +
                      "; move back what was there before a server is started");
}

std::vector<std::string> RedisDataFolder::put_in_place(
    const std::string& suffix) {
  remove_inside(trial_);
  std::vector<std::string> names{names_.aof_folder, names_.dump};
  for (const auto& old :
       std::set{names_.aof_prefix, std::string(kOldAofName)}) {
    const auto there = status_in(fd_, old);
    if (!there || !S_ISREG(there->st_mode) || old == names_.dump) continue;
    make_old_aof_in(staging_.fd, old);
    names.push_back(old);
  }
  for (const auto& name : names) {
    if (!status_in(fd_, name + suffix)) continue;
    throw repo::RefusedForSafety((folder_ / (name + suffix)).string() +
                                 ": is there already");
  }
  give_to_owner(rdb_);
  require_no_redis_in(folder_);
  std::vector<Move> moves;
  try {
    for (const auto& name : names) moves.push_back(put(name, suffix));
  } catch (const repo::Error& e) {
    take_back(moves, e.what());
    throw;
  }
  sync(fd_, folder_);
  std::vector<std::string> moved;
  for (const auto& move : moves) {
    if (move.aside) moved.push_back(*move.aside);
  }
  return moved;
}

}  // namespace cairn::ingest
