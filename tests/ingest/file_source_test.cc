#include "ingest/file_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <system_error>

#include "repo/error.h"
#include "tests/support/deny_syscalls.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::TempFolder;
using testing_support::write_file;

// Remembers all it is told, with paths relative to `top`.
class Recorder : public FileVisitor {
 public:
  explicit Recorder(const fs::path& top) : top_(top.native() + "/") {}

  void folder_begins(const repo::Entry& folder) override {
    add(folder);
    folders_.push_back(folder.name);
    deepest = std::max(deepest, folders_.size());
  }
  void folder_ends() override { folders_.pop_back(); }
  void file(const repo::Entry& entry, const FileState& state,
            std::string_view path, Opener& opener) override {
    EXPECT_EQ(path, absolute_path(entry.name));
    const std::string name = add(entry);
    states[name] = state;
    if (before_open) before_open(name);
    try {
      OpenFile file = opener.open();
      if (after_open) after_open(name);
      contents[name] = read_all(file);
      holes[name] = file.holes();
      states_after[name] = file.state_now();
    } catch (const FileVanished&) {
      throw;
    } catch (const FileReplaced&) {
      entries.erase(name);
      throw;
    } catch (const repo::IoError& e) {
      unreadable(path, e.what());
    }
  }
  void other(const repo::Entry& entry) override { add(entry); }
  void socket_skipped(std::string_view path) override {
    sockets.push_back(relative(path));
  }
  void excluded(std::string_view path) override {
    left_out.push_back(relative(path));
  }
  void unreadable(std::string_view path, std::string_view why) override {
    complaints[relative(path)] = why;
  }

  bool is_balanced() const { return folders_.empty(); }

  std::vector<std::string> order;  // paths in the order they came
  std::map<std::string, repo::Entry> entries;
  std::map<std::string, FileState> states;
  std::map<std::string, FileState> states_after;
  std::map<std::string, std::string> contents;
  std::map<std::string, std::vector<repo::Extent>> holes;
  std::vector<std::string> sockets;
  std::vector<std::string> left_out;
  std::map<std::string, std::string> complaints;
  std::size_t deepest = 0;
  std::function<void(const std::string&)> before_open;
  std::function<void(const std::string&)> after_open;

 private:
  static std::string read_all(OpenFile& file) {
    std::string content;
    std::string part(7919, '\0');
    while (const auto size =
               file.read(std::as_writable_bytes(std::span(part)))) {
      content.append(part, 0, size);
    }
    return content;
  }
  std::string absolute_path(const std::string& name) const {
    std::string path;
    for (const auto& folder : folders_) path += "/" + folder;
    return path + "/" + name;
  }
  std::string relative(std::string_view path) const {
    return std::string(path.starts_with(top_) ? path.substr(top_.size())
                                              : path);
  }
  std::string add(const repo::Entry& entry) {
    const std::string path = relative(absolute_path(entry.name));
    order.push_back(path);
    EXPECT_TRUE(entries.emplace(path, entry).second) << path;
    return path;
  }

  std::string top_;
  std::vector<std::string> folders_;
};

void walk(Recorder& recorder, const std::vector<std::string>& paths,
          FileSourceOptions options = {}) {
  FileSource source(paths, std::move(options));
  source.walk(recorder, {});
  EXPECT_TRUE(recorder.is_balanced());
}

Recorder walk_folder(const TempFolder& folder, FileSourceOptions options = {}) {
  Recorder recorder(folder.path());
  walk(recorder, {folder.path()}, std::move(options));
  return recorder;
}

// What came from within the folder, without its parents and itself.
std::vector<std::string> inside(const Recorder& recorder) {
  std::vector<std::string> paths;
  for (const auto& path : recorder.order) {
    if (path.front() != '/') paths.push_back(path);
  }
  return paths;
}

using Paths = std::vector<std::string>;

TEST(FileSource, VisitsEntriesSortedByTheBytesOfTheirNames) {
  TempFolder folder;
  for (const char* name : {"b", "a", "a.b", "\xff", "B", "a-b"}) {
    write_file(folder / name, name);
  }
  fs::create_directory(folder / "ab");
  write_file(folder / "ab/x", "");

  const Recorder seen = walk_folder(folder);

  EXPECT_EQ(inside(seen),
            (Paths{"B", "a", "a-b", "a.b", "ab", "ab/x", "b", "\xff"}));
}

TEST(FileSource, KeepsNamesOfAnyBytes) {
  TempFolder folder;
  const Paths names{std::string(255, 'n'), "line\nbreak", "\x01\x7f",
                    "\xc3\x28 not utf-8",  "back\\slash", " "};
  for (const auto& name : names) write_file(folder / name, name);

  const Recorder seen = walk_folder(folder);

  for (const auto& name : names) EXPECT_EQ(seen.contents.at(name), name);
}

TEST(FileSource, ParentsComeWithTheirMetadataAndNothingElse) {
  TempFolder folder;
  fs::create_directories(folder / "a/b");
  fs::create_directories(folder / "a/other");
  fs::permissions(folder / "a", fs::perms(0751));
  write_file(folder / "a/b/file", "x");
  Recorder seen(folder.path());

  walk(seen, {folder / "a/b/file"});

  EXPECT_EQ(inside(seen), (Paths{"a", "a/b", "a/b/file"}));
  EXPECT_EQ(seen.entries.at("a").mode, 0751u);
}

TEST(FileSource, APathInsideAnotherIsVisitedOnce) {
  TempFolder folder;
  fs::create_directories(folder / "a/b");
  write_file(folder / "a/b/file", "x");
  write_file(folder / "a-b", "x");
  Recorder seen(folder.path());

  walk(seen, {folder / "a/b/file", folder / "a-b", folder / "a/b", folder / "a",
              folder / "a"});

  EXPECT_EQ(inside(seen), (Paths{"a", "a/b", "a/b/file", "a-b"}));
}

TEST(FileSource, PathsAreAbsoluteAndKeepASymlinkAtTheirEnd) {
  TempFolder folder;
  fs::create_directory(folder / "real");
  write_file(folder / "real/file", "x");
  fs::create_directory_symlink("real", folder / "link");
  const Paths given{folder / "link/./file", folder / "link",
                    folder / "real/../real"};
  Recorder seen(folder.path());

  FileSource source(given, {});
  source.walk(seen, {});

  EXPECT_EQ(source.paths(),
            (Paths{folder / "link", folder / "real", folder / "real/file"}));
  EXPECT_EQ(seen.entries.at("link").symlink_target, "real");
  EXPECT_EQ(inside(seen), (Paths{"link", "real", "real/file"}));
}

TEST(FileSource, ASlashAtTheEndGoesThroughASymlink) {
  TempFolder folder;
  fs::create_directory(folder / "real");
  fs::create_directory_symlink("real", folder / "link");

  FileSource source(Paths{(folder / "link").native() + "/"}, {});

  EXPECT_EQ(source.paths(), Paths{folder / "real"});
}

TEST(FileSource, StoresAPathUnderWhatItsParentIs) {
  TempFolder folder;
  fs::create_directories(folder / "real/app");
  fs::create_directory_symlink("real", folder / "link");
  const std::string app = folder / "real/app";

  for (const std::string_view given :
       {"link/app", "link/app/", "link/./app", "real/../link//app/."}) {
    EXPECT_EQ(stored_path(folder / given), app) << given;
  }
  EXPECT_EQ(stored_path(app), app);
}

TEST(FileSource, NamesAPathThatDoesNotExist) {
  TempFolder folder;
  const std::string absent = folder / "absent";

  try {
    FileSource source(Paths{absent}, {});
    FAIL();
  } catch (const repo::NotFound& e) {
    EXPECT_NE(std::string(e.what()).find(absent), std::string::npos);
  }
}

TEST(FileSource, ReportsAGivenPathThatVanishedBeforeTheWalk) {
  TempFolder folder;
  write_file(folder / "file", "x");
  FileSource source(Paths{folder / "file"}, {});
  fs::remove(folder / "file");
  Recorder seen(folder.path());

  source.walk(seen, {});

  EXPECT_EQ(seen.complaints.at("file"), "No such file or directory");
}

TEST(FileSource, TellsModeOwnerAndTimesToTheNanosecond) {
  TempFolder folder;
  write_file(folder / "new", "x");
  write_file(folder / "old", "x");
  ASSERT_EQ(chmod((folder / "new").c_str(), 04751), 0);
  const timespec late[]{{0, UTIME_OMIT}, {1'700'000'000, 123'456'789}};
  const timespec early[]{{0, UTIME_OMIT}, {-2, 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, (folder / "new").c_str(), late, 0), 0);
  ASSERT_EQ(utimensat(AT_FDCWD, (folder / "old").c_str(), early, 0), 0);

  const Recorder seen = walk_folder(folder);

  const repo::Entry& file = seen.entries.at("new");
  EXPECT_EQ(file.type, repo::EntryType::file);
  EXPECT_EQ(file.mode, 04751u);
  EXPECT_EQ(file.uid, geteuid());
  EXPECT_EQ(file.gid, getegid());
  if (geteuid() == 0) {
    EXPECT_EQ(file.user, "root");
    EXPECT_EQ(file.group, "root");
  }
  EXPECT_EQ(file.size, 1u);
  EXPECT_EQ(file.modified, (repo::Timestamp{1'700'000'000, 123'456'789}));
  EXPECT_EQ(seen.entries.at("old").modified,
            (repo::Timestamp{-2, 999'999'999}));
}

TEST(FileSource, TellsLinksFifosAndDevices) {
  TempFolder folder;
  write_file(folder / "one", "x");
  fs::create_hard_link(folder / "one", folder / "two");
  write_file(folder / "three", "x");
  const std::string target(4000, 't');
  fs::create_symlink(target, folder / "link");
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0640), 0);
  const bool has_device =
      mknod((folder / "device").c_str(), S_IFCHR | 0600, makedev(7, 300)) == 0;

  const Recorder seen = walk_folder(folder);

  EXPECT_EQ(seen.entries.at("one").hard_link, seen.entries.at("two").hard_link);
  EXPECT_TRUE(seen.entries.at("one").hard_link.has_value());
  EXPECT_FALSE(seen.entries.at("three").hard_link.has_value());
  EXPECT_EQ(seen.entries.at("link").type, repo::EntryType::symlink);
  EXPECT_EQ(seen.entries.at("link").symlink_target, target);
  EXPECT_EQ(seen.entries.at("fifo").type, repo::EntryType::fifo);
  if (has_device) {
    EXPECT_EQ(seen.entries.at("device").type, repo::EntryType::char_device);
    EXPECT_EQ(seen.entries.at("device").device, (repo::DeviceNumber{7, 300}));
  }
}

TEST(FileSource, CountsSocketsAndStoresThemNot) {
  TempFolder folder;
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = folder / "socket";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(
      bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);

  const Recorder seen = walk_folder(folder);
  close(listener);

  EXPECT_EQ(seen.sockets, Paths{"socket"});
  EXPECT_EQ(inside(seen), Paths{});
}

void expect_xattrs_are_read() {
  TempFolder folder;
  write_file(folder / "file", "x");
  write_file(folder / "plain", "x");
  const std::string path = folder / "file";
  const std::string big(3000, 'v');
  if (setxattr(path.c_str(), "user.big", big.data(), big.size(), 0) != 0) {
    GTEST_SKIP() << "no xattrs here";
  }
  ASSERT_EQ(setxattr(path.c_str(), "user.a", "x\0y", 3, 0), 0);
  ASSERT_EQ(std::system(("setfacl -m u:1:r " + path).c_str()), 0);

  const Recorder seen = walk_folder(folder);

  const auto& xattrs = seen.entries.at("file").xattrs;
  ASSERT_EQ(xattrs.size(), 3u);
  EXPECT_EQ(xattrs[0].name, "system.posix_acl_access");
  EXPECT_EQ(xattrs[1], (repo::Xattr{"user.a", std::string("x\0y", 3)}));
  EXPECT_EQ(xattrs[2], (repo::Xattr{"user.big", big}));
  EXPECT_TRUE(seen.entries.at("plain").xattrs.empty());
  EXPECT_TRUE(seen.complaints.empty());
}

TEST(FileSource, ReadsXattrsAndAcls) { expect_xattrs_are_read(); }

TEST(FileSource, ReadsXattrsOnKernelsBeforeListxattrat) {
  EXPECT_EXIT(
      {
        testing_support::deny_syscalls({463, 464, 465, 466});
        expect_xattrs_are_read();
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

TEST(FileSource, ReadsXattrsInASandboxThatForbidsWhatItDoesNotKnow) {
  EXPECT_EXIT(
      {
        testing_support::deny_syscalls({463, 464, 465, 466}, EPERM);
        expect_xattrs_are_read();
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

// A file system in memory, which lets a file have xattrs of any size.
class MountedMemory {
 public:
  explicit MountedMemory(fs::path path) : path_(std::move(path)) {
    fs::create_directory(path_);
    is_mounted_ = mount("none", path_.c_str(), "tmpfs", 0, "size=64m") == 0;
  }
  ~MountedMemory() {
    if (is_mounted_) umount(path_.c_str());
  }
  MountedMemory(const MountedMemory&) = delete;
  MountedMemory& operator=(const MountedMemory&) = delete;

  [[nodiscard]] bool is_mounted() const { return is_mounted_; }

 private:
  fs::path path_;
  bool is_mounted_ = false;
};

// Anybody could keep a backup from ending by one file.
TEST(FileSource, ReportsMoreXattrsThanASnapshotHoldsAndReadsNoMore) {
  TempFolder folder;
  const MountedMemory memory(folder / "memory");
  if (!memory.is_mounted()) GTEST_SKIP() << "may not mount";
  const std::string path = folder / "memory/file";
  write_file(path, "x");
  write_file(folder / "memory/other", "x");
  const std::string value(60'000, 'v');
  for (int i = 100; i < 240; ++i) {
    const std::string name = "trusted." + std::to_string(i);
    if (setxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0)) {
      GTEST_SKIP() << "may not set trusted xattrs";
    }
  }

  const Recorder seen = walk_folder(folder);

  ASSERT_EQ(seen.complaints.size(), 1u);
  EXPECT_NE(seen.complaints.at("memory/file").find("xattrs"),
            std::string::npos);
  EXPECT_EQ(seen.contents.at("memory/file"), "x");
  EXPECT_EQ(seen.contents.at("memory/other"), "x");
  const auto& xattrs = seen.entries.at("memory/file").xattrs;
  EXPECT_EQ(xattrs.size(), (2u << 20) / (value.size() + 11));
  EXPECT_TRUE(std::ranges::is_sorted(xattrs));
}

TEST(FileSource, ReadsXattrsOfSymlinksAndNotOfTheirTargets) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may set trusted xattrs";
  TempFolder folder;
  write_file(folder / "file", "x");
  fs::create_symlink("file", folder / "link");
  const std::string link = folder / "link";
  ASSERT_EQ(lsetxattr(link.c_str(), "trusted.l", "1", 1, 0), 0);

  const Recorder seen = walk_folder(folder);

  EXPECT_EQ(seen.entries.at("link").xattrs,
            (std::vector<repo::Xattr>{{"trusted.l", "1"}}));
  EXPECT_TRUE(seen.entries.at("file").xattrs.empty());
}

TEST(FileSource, ReadsFileCapabilities) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may set file capabilities";
  TempFolder folder;
  write_file(folder / "file", "x");
  const std::string path = folder / "file";
  ASSERT_EQ(std::system(("setcap cap_net_raw+ep " + path).c_str()), 0);

  const Recorder seen = walk_folder(folder);

  ASSERT_EQ(seen.entries.at("file").xattrs.size(), 1u);
  EXPECT_EQ(seen.entries.at("file").xattrs[0].name, "security.capability");
}

// 1 MiB hole, "data" at its end, hole up to 3 MiB.
void write_sparse(const fs::path& path) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(pwrite(fd, "data", 4, 1 << 20), 4);
  ASSERT_EQ(ftruncate(fd, 3 << 20), 0);
  close(fd);
}

TEST(FileSource, ReadsDataWithoutItsHoles) {
  TempFolder folder;
  write_sparse(folder / "sparse");
  fs::resize_file((write_file(folder / "hole", ""), folder / "hole"), 1 << 20);
  write_file(folder / "full", std::string(10'000, 'f'));

  const Recorder seen = walk_folder(folder);

  if (seen.holes.at("hole").empty()) GTEST_SKIP() << "no holes here";
  EXPECT_EQ(seen.holes.at("hole"), (std::vector<repo::Extent>{{0, 1 << 20}}));
  EXPECT_EQ(seen.contents.at("hole"), "");
  EXPECT_TRUE(seen.holes.at("full").empty());
  const auto& holes = seen.holes.at("sparse");
  ASSERT_EQ(holes.size(), 2u);
  EXPECT_EQ(holes[0], (repo::Extent{0, 1 << 20}));
  EXPECT_EQ(holes[1].offset + holes[1].size, 3u << 20);
  const std::string& data = seen.contents.at("sparse");
  EXPECT_EQ(data.size(), holes[1].offset - holes[0].size);
  EXPECT_EQ(data.substr(0, 4), "data");
  EXPECT_EQ(data.find_first_not_of('\0', 4), std::string::npos);
}

TEST(FileSource, PeeksWithoutMovingTheReadPosition) {
  TempFolder folder;
  write_file(folder / "file", "0123456789");
  struct Peeker : Recorder {
    using Recorder::Recorder;
    void file(const repo::Entry&, const FileState&, std::string_view,
              Opener& opener) override {
      OpenFile file = opener.open();
      std::string part(4, '\0');
      const auto bytes = std::as_writable_bytes(std::span(part));
      EXPECT_EQ(file.peek(8, bytes), 2u);
      EXPECT_EQ(part.substr(0, 2), "89");
      EXPECT_EQ(file.peek(10, bytes), 0u);
      EXPECT_EQ(file.read(bytes), 4u);
      EXPECT_EQ(part, "0123");
    }
  } peeker(folder.path());

  walk(peeker, {folder.path()});
}

TEST(FileSource, AFileThatGrowsEndsWhereItEndedWhenOpened) {
  TempFolder folder;
  write_file(folder / "log", "before");
  Recorder seen(folder.path());
  seen.after_open = [&](const std::string&) {
    std::ofstream(folder / "log", std::ios::app) << "after";
  };

  walk(seen, {folder.path()});

  EXPECT_EQ(seen.contents.at("log"), "before");
  EXPECT_NE(seen.states_after.at("log"), seen.states.at("log"));
}

TEST(FileSource, AFileThatShrinksEndsEarly) {
  TempFolder folder;
  write_file(folder / "file", std::string(100'000, 'x'));
  Recorder seen(folder.path());
  seen.after_open = [&](const std::string&) {
    fs::resize_file(folder / "file", 10);
  };

  walk(seen, {folder.path()});

  EXPECT_EQ(seen.contents.at("file"), std::string(10, 'x'));
  EXPECT_NE(seen.states_after.at("file"), seen.states.at("file"));
}

TEST(FileSource, ReportsAFileThatVanishesAndGoesOn) {
  TempFolder folder;
  write_file(folder / "a", "x");
  write_file(folder / "b", "x");
  Recorder seen(folder.path());
  seen.before_open = [&](const std::string& name) {
    if (name == "a") fs::remove(folder / "a");
  };

  walk(seen, {folder.path()});

  EXPECT_TRUE(seen.complaints.contains("a"));
  EXPECT_EQ(seen.contents.at("b"), "x");
}

TEST(FileSource, ReportsAFileReplacedBetweenEachLookAndOpen) {
  TempFolder folder;
  write_file(folder / "file", "old");
  Recorder seen(folder.path());
  int looks = 0;
  seen.before_open = [&](const std::string& name) {
    ++looks;
    write_file(folder.path().native() + "-new", "new");
    fs::rename(folder.path().native() + "-new", folder / name);
  };

  walk(seen, {folder.path()});

  EXPECT_GT(looks, 1);
  EXPECT_EQ(seen.complaints.size(), 1u);
  EXPECT_TRUE(seen.contents.empty());
}

TEST(FileSource, LooksAgainAtAFileReplacedBetweenLookAndOpen) {
  TempFolder folder;
  for (const char* name : {"file", "fifo", "link"}) {
    write_file(folder / name, "old");
  }
  Recorder seen(folder.path());
  std::set<std::string> replaced;
  seen.before_open = [&](const std::string& name) {
    if (!replaced.insert(name).second) return;
    if (name == "file") {
      write_file(folder / "new", "new");
      fs::rename(folder / "new", folder / "file");
    } else {
      fs::remove(folder / name);
      if (name == "link") {
        fs::create_symlink("/etc/passwd", folder / "link");
      } else {
        ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
      }
    }
  };

  walk(seen, {folder.path()});

  EXPECT_TRUE(seen.complaints.empty());
  EXPECT_EQ(seen.contents,
            (std::map<std::string, std::string>{{"file", "new"}}));
  EXPECT_EQ(seen.entries.at("fifo").type, repo::EntryType::fifo);
  EXPECT_EQ(seen.entries.at("link").type, repo::EntryType::symlink);
}

// A program that was granted a lease on a file, as Samba is for its clients,
// and gives it back when it is asked to.
class LeaseHolder {
 public:
  explicit LeaseHolder(const fs::path& path) {
    int channel[2];
    if (pipe(channel) != 0) {
      throw std::system_error(errno, std::generic_category(), "pipe");
    }
    process_ = fork();
    if (process_ == 0) hold(path, channel[1]);
    close(channel[1]);
    char is_held = 0;
    is_held_ = read(channel[0], &is_held, 1) == 1;
    close(channel[0]);
  }
  ~LeaseHolder() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  LeaseHolder(const LeaseHolder&) = delete;
  LeaseHolder& operator=(const LeaseHolder&) = delete;

  // False where the file system has no leases.
  [[nodiscard]] bool is_held() const { return is_held_; }

 private:
  [[noreturn]] static void hold(const fs::path& path, int told) {
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGIO);
    sigprocmask(SIG_BLOCK, &asked, nullptr);
    const int fd = open(path.c_str(), O_RDWR);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) != 0) _exit(1);
    if (write(told, "y", 1) != 1) _exit(1);
    int signal = 0;
    sigwait(&asked, &signal);
    fcntl(fd, F_SETLEASE, F_UNLCK);
    for (;;) pause();
  }

  pid_t process_ = -1;
  bool is_held_ = false;
};

TEST(FileSource, WaitsUntilALeaseIsGivenBack) {
  TempFolder folder;
  write_file(folder / "leased", "x");
  const LeaseHolder holder(folder / "leased");
  if (!holder.is_held()) GTEST_SKIP() << "no leases here";

  const Recorder seen = walk_folder(folder);

  EXPECT_TRUE(seen.complaints.empty());
  EXPECT_EQ(seen.contents.at("leased"), "x");
}

TEST(FileSource, ReportsWhatItMayNotReadAndGoesOn) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  TempFolder folder;
  write_file(folder / "closed", "x");
  fs::create_directory(folder / "closed folder");
  fs::create_directory(folder / "passage");
  write_file(folder / "passage/file", "x");
  write_file(folder / "open", "x");
  fs::permissions(folder / "closed", fs::perms::none);
  fs::permissions(folder / "closed folder", fs::perms::none);
  fs::permissions(folder / "passage", fs::perms::owner_exec);
  Recorder seen(folder.path());

  walk(seen, {folder.path(), folder / "passage/file"});

  EXPECT_EQ(seen.complaints.size(), 3u);
  EXPECT_EQ(inside(seen), (Paths{"closed", "closed folder", "open", "passage",
                                 "passage/file"}));
  EXPECT_EQ(seen.contents.at("passage/file"), "x");
}

TEST(FileSource, LeavesOutWhatTheRulesSay) {
  TempFolder folder;
  fs::create_directories(folder / "src/build/deep");
  write_file(folder / "src/build/deep/file", "x");
  write_file(folder / "src/a.o", "x");
  write_file(folder / "src/keep.o", "x");
  write_file(folder / "a.o", "x");

  const Recorder seen =
      walk_folder(folder, {.exclude_rules = {"*.o", "!keep.o", "/src/build"}});

  EXPECT_EQ(inside(seen), (Paths{"src", "src/keep.o"}));
  EXPECT_EQ(seen.left_out, (Paths{"a.o", "src/a.o", "src/build"}));
}

TEST(FileSource, RulesAreRelativeToEachGivenPath) {
  TempFolder folder;
  fs::create_directories(folder / "one/tmp");
  fs::create_directories(folder / "two/tmp/tmp");
  Recorder seen(folder.path());

  walk(seen, {folder / "one", folder / "two/tmp"},
       {.exclude_rules = {"/tmp", "one", "two"}});

  EXPECT_EQ(inside(seen), (Paths{"one", "two", "two/tmp"}));
  EXPECT_EQ(seen.left_out, (Paths{"one/tmp", "two/tmp/tmp"}));
}

TEST(FileSource, AGivenPathIsReachedThroughAFolderLeftOut) {
  TempFolder folder;
  fs::create_directories(folder / "cache/a");
  write_file(folder / "cache/a/keep", "x");
  write_file(folder / "cache/a/other", "x");
  Recorder seen(folder.path());

  walk(seen, {folder.path(), folder / "cache/a/keep"},
       {.exclude_rules = {"cache", "keep"}});

  EXPECT_EQ(inside(seen), (Paths{"cache", "cache/a", "cache/a/keep"}));
}

TEST(FileSource, AFolderWithAMarkStaysEmpty) {
  TempFolder folder;
  fs::create_directories(folder / "cache/sub");
  write_file(folder / "cache/.nobackup", "");
  write_file(folder / "cache/sub/file", "x");
  fs::create_directory(folder / "data");

  const Recorder seen = walk_folder(
      folder, {.exclude_if_present = {"CACHEDIR.TAG", ".nobackup"}});

  EXPECT_EQ(inside(seen), (Paths{"cache", "data"}));
  EXPECT_EQ(seen.left_out, Paths{"cache"});
}

TEST(FileSource, LeavesTheRepositoryItselfEmpty) {
  TempFolder folder;
  fs::create_directories(folder / "backups/packs");
  write_file(folder / "backups/packs/p", "x");
  write_file(folder / "data", "x");
  struct stat status;
  ASSERT_EQ(stat((folder / "backups").c_str(), &status), 0);

  const Recorder seen =
      walk_folder(folder, {.left_out = {{status.st_dev, status.st_ino}}});

  EXPECT_EQ(inside(seen), (Paths{"backups", "data"}));
  EXPECT_EQ(seen.left_out, Paths{"backups"});
}

TEST(FileSource, StaysOnTheFileSystemOfEachGivenPath) {
  TempFolder folder;
  fs::create_directories(folder / "mounted");
  if (mount("none", (folder / "mounted").c_str(), "tmpfs", 0, nullptr) != 0) {
    GTEST_SKIP() << "may not mount";
  }
  write_file(folder / "mounted/file", "x");
  const FileSourceOptions one{.file_systems = FileSystems::one};
  Recorder both(folder.path());

  const Recorder outer = walk_folder(folder, one);
  walk(both, {folder.path(), folder / "mounted"}, one);
  const Recorder any = walk_folder(folder);
  umount((folder / "mounted").c_str());

  EXPECT_EQ(inside(outer), Paths{"mounted"});
  EXPECT_EQ(outer.left_out, Paths{"mounted"});
  EXPECT_EQ(inside(both), (Paths{"mounted", "mounted/file"}));
  EXPECT_EQ(inside(any), (Paths{"mounted", "mounted/file"}));
}

// Makes "d/d/d/...", each with a file that comes after "d", so that the walk
// has to come back to every folder.
void make_deep(const fs::path& top, std::size_t depth) {
  int folder = open(top.c_str(), O_RDONLY | O_DIRECTORY);
  for (std::size_t i = 0; i < depth; ++i) {
    ASSERT_EQ(mkdirat(folder, "d", 0700), 0);
    const int file = openat(folder, "file", O_CREAT | O_WRONLY, 0600);
    ASSERT_GE(file, 0);
    close(file);
    const int next = openat(folder, "d", O_RDONLY | O_DIRECTORY);
    ASSERT_GE(next, 0);
    close(folder);
    folder = next;
  }
  close(folder);
}

std::size_t descriptors_in_use() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

TEST(FileSource, WalksAnyDepthWithFewDescriptors) {
  constexpr std::size_t kDepth = 2'000;
  TempFolder folder;
  make_deep(folder.path(), kDepth);
  struct Counter : FileVisitor {
    void folder_begins(const repo::Entry&) override {
      ++folders;
      if (folders % 100 == 0) {
        most_descriptors = std::max(most_descriptors, descriptors_in_use());
      }
    }
    void folder_ends() override {}
    void file(const repo::Entry&, const FileState&, std::string_view,
              Opener& opener) override {
      files += opener.open().holes().empty();
    }
    void other(const repo::Entry&) override {}
    void socket_skipped(std::string_view) override {}
    void excluded(std::string_view) override {}
    void unreadable(std::string_view, std::string_view why) override {
      ADD_FAILURE() << why;
    }
    std::size_t folders = 0;
    std::size_t files = 0;
    std::size_t most_descriptors = 0;
  } seen;

  FileSource source(Paths{folder.path()}, {});
  source.walk(seen, {});

  EXPECT_EQ(seen.files, kDepth);
  EXPECT_LT(seen.most_descriptors, 100u);
}

// What the walk says of a tree, but for the folders' count.
struct Depths : FileVisitor {
  void folder_begins(const repo::Entry&) override { ++folders; }
  void folder_ends() override {}
  void file(const repo::Entry&, const FileState&, std::string_view,
            Opener&) override {}
  void other(const repo::Entry&) override {}
  void socket_skipped(std::string_view) override {}
  void excluded(std::string_view) override {}
  void unreadable(std::string_view path, std::string_view) override {
    left_out.push_back(std::string(path));
  }
  std::size_t folders = 0;
  std::vector<std::string> left_out;
};

std::size_t components_of(std::string_view path) {
  return static_cast<std::size_t>(std::ranges::count(path, '/'));
}

TEST(FileSource, LeavesOutAndReportsWhatNoRestoreWouldTake) {
  TempFolder folder;
  make_deep(folder.path(), 4'200);
  Depths seen;

  FileSource(Paths{folder.path()}, {}).walk(seen, {});

  EXPECT_EQ(seen.folders, 4096u);
  ASSERT_EQ(seen.left_out.size(), 2u);  // the next folder, and a file
  for (const std::string& path : seen.left_out) {
    EXPECT_EQ(components_of(path), 4097u);
  }
}

fs::path nth_deep(const fs::path& top, int depth) {
  fs::path path = top;
  for (int i = 0; i < depth; ++i) path /= "d";
  return path;
}

TEST(FileSource, FindsItsWayBackFromAFolderThatWasMoved) {
  TempFolder folder;
  TempFolder elsewhere;
  make_deep(folder.path(), 200);
  Recorder seen(folder.path());
  seen.before_open = [&, moved = false](const std::string&) mutable {
    // The first file is met on the way back from the deepest folder.
    if (std::exchange(moved, true)) return;
    fs::rename(nth_deep(folder.path(), 10), elsewhere / "moved");
  };

  walk(seen, {folder.path()});

  EXPECT_EQ(seen.contents.size(), 200u);
  EXPECT_TRUE(seen.complaints.empty());
}

TEST(FileSource, ReportsFoldersThatItCannotComeBackTo) {
  TempFolder folder;
  TempFolder elsewhere;
  make_deep(folder.path(), 200);
  Recorder seen(folder.path());
  seen.before_open = [&, moved = false](const std::string&) mutable {
    if (std::exchange(moved, true)) return;
    fs::rename(nth_deep(folder.path(), 10), elsewhere / "moved");
    fs::rename(nth_deep(folder.path(), 5), elsewhere / "swapped");
    fs::create_directories(nth_deep(folder.path(), 10));
    for (int i = 5; i < 10; ++i) {
      write_file(nth_deep(folder.path(), i) / "file", "not what was listed");
    }
  };

  walk(seen, {folder.path()});

  EXPECT_EQ(seen.contents.size(), 195u);
  EXPECT_EQ(seen.complaints.size(), 5u);
  for (const auto& [path, content] : seen.contents) EXPECT_EQ(content, "");
}

TEST(FileSource, StopsWhenAskedTo) {
  TempFolder folder;
  write_file(folder / "a", "x");
  write_file(folder / "b", "x");
  std::stop_source stop;
  Recorder seen(folder.path());
  seen.before_open = [&](const std::string&) { stop.request_stop(); };

  FileSource source(Paths{folder.path()}, {});
  source.walk(seen, stop.get_token());

  EXPECT_EQ(inside(seen), Paths{"a"});
}

TEST(FileSource, DescribesWhatItWalked) {
  TempFolder folder;
  write_sparse(folder / "file");
  fs::create_symlink("file", folder / "link");

  const Recorder seen = walk_folder(folder);

  repo::Entry file = seen.entries.at("file");
  file.holes = seen.holes.at("file");
  EXPECT_EQ(describe(folder / "file"), file);
  EXPECT_EQ(describe(folder / "link"), seen.entries.at("link"));
  EXPECT_THROW((void)describe(folder / "absent"), repo::IoError);
}

constexpr repo::Timestamp kNoon{.seconds = 1'700'000'000,
                                .nanoseconds = 5'000'000};

repo::Timestamp before_noon(std::int64_t nanoseconds) {
  const std::int64_t whole =
      kNoon.seconds * 1'000'000'000 + kNoon.nanoseconds - nanoseconds;
  return {.seconds = whole / 1'000'000'000,
          .nanoseconds = static_cast<std::uint32_t>(whole % 1'000'000'000)};
}

TEST(IsSettled, OnceTheClockHasTickedSinceTheLastChange) {
  FileState state;
  state.modified = before_noon(3'000'000'000);

  state.changed = before_noon(10'000'001);
  EXPECT_TRUE(is_settled(state, kNoon));
  state.changed = before_noon(10'000'000);
  EXPECT_FALSE(is_settled(state, kNoon));
  state.changed = kNoon;
  EXPECT_FALSE(is_settled(state, kNoon));
  state.changed = before_noon(-1);
  EXPECT_FALSE(is_settled(state, kNoon));
}

TEST(IsSettled, AStampIsAsOldAsWasAskedFor) {
  constexpr std::chrono::seconds kMinute{60};
  FileState state;
  state.modified = before_noon(90'000'000'000);
  state.changed = before_noon(60'010'000'001);
  EXPECT_TRUE(is_settled(state, kNoon, kMinute));
  state.changed = before_noon(60'000'000'000);
  EXPECT_FALSE(is_settled(state, kNoon, kMinute));
  state.changed = {.seconds = kNoon.seconds - 61, .nanoseconds = 0};
  EXPECT_FALSE(is_settled(state, kNoon, kMinute));
}

TEST(IsSettled, LooksAtBothTimes) {
  FileState state;
  state.changed = before_noon(3'000'000'000);
  state.modified = before_noon(1);

  EXPECT_FALSE(is_settled(state, kNoon));
}

TEST(IsSettled, StampsOfWholeSecondsMayBeTwoSecondsOld) {
  FileState state;
  state.modified = before_noon(9'000'000'000);

  state.changed = {.seconds = kNoon.seconds - 1, .nanoseconds = 0};
  EXPECT_FALSE(is_settled(state, kNoon));
  state.changed = {.seconds = kNoon.seconds - 2, .nanoseconds = 0};
  EXPECT_TRUE(is_settled(state, kNoon));
}

TEST(IsSettled, TwoWritesWithinATickAreNeverTakenForOne) {
  TempFolder folder;
  const std::string path = folder / "file";
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  std::size_t alike = 0;
  write_file(path, "0000");
  for (int i = 0; std::chrono::steady_clock::now() < end; ++i) {
    const repo::Timestamp began = file_clock_now();
    struct stat before;
    struct stat after;
    ASSERT_EQ(stat(path.c_str(), &before), 0);
    write_file(path, std::to_string(1000 + i % 9000));
    ASSERT_EQ(stat(path.c_str(), &after), 0);
    const auto state = [](const struct stat& s) {
      return FileState{
          .size = 4,
          .modified = {s.st_mtim.tv_sec,
                       static_cast<std::uint32_t>(s.st_mtim.tv_nsec)},
          .changed = {s.st_ctim.tv_sec,
                      static_cast<std::uint32_t>(s.st_ctim.tv_nsec)}};
    };
    if (state(before) != state(after)) continue;
    ++alike;
    EXPECT_FALSE(is_settled(state(before), began));
  }
  RecordProperty("alike", std::to_string(alike));
}

}  // namespace
}  // namespace cairn::ingest
