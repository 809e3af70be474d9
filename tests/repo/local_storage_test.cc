// The contract in a folder, and beneath it: the order of system calls, and what
// is left when any of them fails or is the last one.
#include "repo/local_storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/storage_contract.h"

namespace cairn::testing_support {
namespace {

// What comes between an unfinished file and its lock, in this thread.
std::function<void()>& before_locking() {
  thread_local std::function<void()> told;
  return told;
}

}  // namespace
}  // namespace cairn::testing_support

// NOLINTBEGIN(bugprone-reserved-identifier): the linker demands these names.
extern "C" {
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

int __wrap_flock(int fd, int operation) {
  const auto told = std::exchange(cairn::testing_support::before_locking(), {});
  if (told) {
    told();  // may lock what it finds
    cairn::testing_support::before_locking() = told;
  }
  return __real_flock(fd, operation);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace cairn::testing_support {
namespace {

namespace fs = std::filesystem;
using repo::Created;
using repo::LocalStorage;

// A new folder, gone at the end with all that is in it.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = fs::temp_directory_path() / "cairn-test-XXXXXX";
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temp folder");
    path_ = pattern;
  }
  ~TempFolder() { fs::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::shared_ptr<repo::Storage> in_a_folder() {
  struct Parts {
    TempFolder folder;
    std::unique_ptr<LocalStorage> storage = LocalStorage::open(folder.path());
  };
  const auto parts = std::make_shared<Parts>();
  return {parts, parts->storage.get()};
}

INSTANTIATE_TEST_SUITE_P(Local, StorageContract,
                         testing::Values(StorageMaker{in_a_folder}));

class LocalStorageTest : public testing::Test {
 protected:
  ~LocalStorageTest() override { before_locking() = nullptr; }

  [[nodiscard]] const fs::path& root() const { return folder_.path(); }
  [[nodiscard]] LocalStorage& storage() { return *storage_; }

  [[nodiscard]] std::string text_in(std::string_view name) {
    return text_of(repo::get_whole(*storage_, name, 1 << 20));
  }

  [[nodiscard]] std::set<std::string> names_in(std::string_view folder) {
    std::set<std::string> names;
    storage_->list(folder,
                   [&](const auto& object) { names.insert(object.name); });
    return names;
  }

  [[nodiscard]] std::ptrdiff_t unfinished_count() const {
    if (!fs::exists(root() / "tmp")) return 0;
    return std::distance(fs::directory_iterator(root() / "tmp"), {});
  }

 private:
  TempFolder folder_;
  std::unique_ptr<LocalStorage> storage_ = LocalStorage::open(folder_.path());
};

// The message of the `Error` that `call` throws.
template <typename Error, typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "threw another error: " << e.what();
    return {};
  }
  ADD_FAILURE() << "did not throw";
  return {};
}

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream(path) << text;
}

mode_t mode_of(const fs::path& path) {
  struct stat found {};
  EXPECT_EQ(::lstat(path.c_str(), &found), 0) << path;
  return found.st_mode & 07777u;
}

TEST_F(LocalStorageTest, IsFoundAgainByAnotherProcess) {
  ASSERT_EQ(storage().create("packs/3f/object", bytes_of("kept")),
            Created::created);

  const auto again = LocalStorage::open(root());

  EXPECT_EQ(text_of(repo::get_whole(*again, "packs/3f/object", 9)), "kept");
  EXPECT_EQ(again->create("packs/3f/object", {}), Created::exists);
  EXPECT_EQ(again->description(), root().string());
}

TEST_F(LocalStorageTest, LetsNobodyElseIn) {
  ASSERT_EQ(storage().create("packs/3f/created", {}), Created::created);
  ASSERT_EQ(storage().stage()->publish("index/staged"), Created::created);

  for (const auto* folder : {"packs", "packs/3f", "index", "tmp"}) {
    EXPECT_EQ(mode_of(root() / folder), 0700u) << folder;
  }
  EXPECT_EQ(mode_of(root() / "packs/3f/created"), 0600u);
  EXPECT_EQ(mode_of(root() / "index/staged"), 0600u);
}

TEST_F(LocalStorageTest, LeavesNoTemporaryNameBehind) {
  ASSERT_EQ(storage().create("config", {}), Created::created);
  ASSERT_EQ(storage().create("config", {}), Created::exists);
  ASSERT_EQ(storage().stage()->publish("index/a"), Created::created);
  ASSERT_EQ(storage().stage()->publish("index/a"), Created::exists);
  {
    const auto abandoned = storage().stage();
    abandoned->append(Bytes(1 << 20));
    EXPECT_EQ(unfinished_count(), 1);
  }

  EXPECT_EQ(unfinished_count(), 0);
}

// As when a bit flips in a buffer that was summed up before.
TEST_F(LocalStorageTest, PublishesNothingThatChangedOnTheWay) {
  const auto storage = LocalStorage::open(root());
  for (const std::size_t size : {std::size_t{9}, std::size_t{3} << 20}) {
    Bytes bytes(size, std::byte{7});
    const auto sum = repo::memory_sum(bytes);
    bytes[size / 2] ^= std::byte{4};
    auto staged = storage->stage();
    staged->append(bytes);
    staged->expect(sum);

    EXPECT_THROW((void)staged->publish("packs/00"), repo::CorruptionError);

    EXPECT_FALSE(storage->size("packs/00"));
    bytes[size / 2] ^= std::byte{4};
    staged = storage->stage();
    staged->append(bytes);
    staged->expect(sum);
    EXPECT_EQ(staged->publish("packs/" + std::to_string(size)),
              Created::created);
  }
}

TEST_F(LocalStorageTest, ListsEverythingButTheUnfinishedWhenNoFolderIsNamed) {
  ASSERT_EQ(storage().create("config", {}), Created::created);
  ASSERT_EQ(storage().create("packs/3f/object", {}), Created::created);
  const auto open = storage().stage();

  EXPECT_EQ(names_in(""), (std::set<std::string>{"config", "packs/3f/object"}));
}

TEST_F(LocalStorageTest, ListsOnlyFilesWithNamesOfOurs) {
  ASSERT_EQ(storage().create("packs/3f/object", {}), Created::created);
  write_file(root() / "packs/3f/.hidden", "x");
  write_file(root() / "packs/3f/Capital", "x");
  write_file(root() / "packs/3f/with space", "x");
  fs::create_directory(root() / "packs/lost+found");
  write_file(root() / "packs/lost+found/inside", "x");
  fs::create_symlink("object", root() / "packs/3f/link");
  fs::create_directory_symlink("3f", root() / "packs/4f");
  ASSERT_EQ(::mkfifo((root() / "packs/3f/fifo").c_str(), 0600), 0);

  EXPECT_EQ(names_in("packs"), std::set<std::string>{"packs/3f/object"});
}

TEST_F(LocalStorageTest, RemovesWhatCrashedProcessesLeft) {
  ASSERT_EQ(storage().create("config", bytes_of("kept")), Created::created);
  write_file(root() / "tmp/0123456789abcdef", "half an obj");
  write_file(root() / "tmp/.anything", "");

  storage().remove_unfinished();

  EXPECT_EQ(unfinished_count(), 0);
  EXPECT_EQ(text_in("config"), "kept");
}

TEST_F(LocalStorageTest, LeavesAloneWhatAnotherProcessIsWriting) {
  const auto object = storage().stage();
  object->append(bytes_of("half an obj"));

  LocalStorage::open(root())->remove_unfinished();

  object->append(bytes_of("ect"));
  EXPECT_EQ(object->publish("config"), Created::created);
  EXPECT_EQ(text_in("config"), "half an object");
  EXPECT_EQ(unfinished_count(), 0);
}

TEST_F(LocalStorageTest, DoesWithoutFilesThatAreRemovedBeforeTheyAreLocked) {
  const auto other = LocalStorage::open(root());
  int count = 0;
  before_locking() = [&] {
    if (++count <= 3) other->remove_unfinished();
  };

  const auto object = storage().stage();
  object->append(bytes_of("an object"));

  EXPECT_EQ(object->publish("config"), Created::created);
  EXPECT_EQ(text_in("config"), "an object");
  EXPECT_EQ(count, 4);
}

TEST_F(LocalStorageTest, DoesWithoutAFileThatAnotherProcessIsAboutToRemove) {
  int theirs = -1;
  fs::path file;
  before_locking() = [&] {
    if (theirs >= 0) return;
    file = fs::directory_iterator(root() / "tmp")->path();
    theirs = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(::flock(theirs, LOCK_EX | LOCK_NB), 0);
  };

  const auto object = storage().stage();
  fs::remove(file);
  ::close(theirs);
  object->append(bytes_of("an object"));

  EXPECT_EQ(object->publish("config"), Created::created);
  EXPECT_EQ(text_in("config"), "an object");
  EXPECT_EQ(unfinished_count(), 0);
}

TEST_F(LocalStorageTest, GivesUpWhereEveryFileIsRemovedBeforeItIsLocked) {
  const auto other = LocalStorage::open(root());
  before_locking() = [&] { other->remove_unfinished(); };

  EXPECT_EQ(
      message_of<repo::IoError>([&] { (void)storage().create("config", {}); }),
      "config: cannot create: its unfinished file is gone");
}

TEST_F(LocalStorageTest, CreatesObjectsWhileAnotherProcessTidiesUp) {
  std::atomic<bool> is_done = false;
  std::jthread tidying([&] {
    const auto other = LocalStorage::open(root());
    // A bound, since who only tidies up can starve who creates.
    for (int i = 0; i < 2000 && !is_done; ++i) other->remove_unfinished();
  });

  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(storage().create("marks/" + std::to_string(i), bytes_of("x")),
              Created::created);
  }
  is_done = true;
}

TEST_F(LocalStorageTest, ReadsManyObjectsWithFewDescriptors) {
  const auto open_descriptors = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = open_descriptors();
  for (int i = 0; i < 200; ++i) {
    const auto name = "index/" + std::to_string(i);
    ASSERT_EQ(storage().create(name, bytes_of(name)), Created::created);
  }

  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 200; ++i) {
      const auto name = "index/" + std::to_string(i);
      EXPECT_EQ(text_in(name), name);
    }
  }

  EXPECT_LE(open_descriptors() - before, 64);
}

TEST_F(LocalStorageTest, NoticesThatAnotherProcessRemovedWhatItHoldsOpen) {
  ASSERT_EQ(storage().create("index/a", bytes_of("x")), Created::created);
  EXPECT_EQ(text_in("index/a"), "x");

  LocalStorage::open(root())->remove("index/a");

  Bytes out(1);
  EXPECT_THROW(storage().get("index/a", 0, out), repo::NotFound);
}

TEST_F(LocalStorageTest, SaysHowLongATruncatedObjectIs) {
  ASSERT_EQ(storage().create("packs/3f/object", Bytes(200)), Created::created);
  fs::resize_file(root() / "packs/3f/object", 123);

  Bytes out(56);
  EXPECT_EQ(message_of<repo::CorruptionError>(
                [&] { storage().get("packs/3f/object", 400, out); }),
            "packs/3f/object: is 123 bytes long, expected at least 456");
}

// What is no folder and no file of ours

TEST_F(LocalStorageTest, RefusesASymbolicLinkInThePlaceOfAFolder) {
  const TempFolder elsewhere;
  fs::create_directory(elsewhere.path() / "3f");
  write_file(elsewhere.path() / "3f/object", "x");
  fs::create_directory_symlink(elsewhere.path(), root() / "packs");

  Bytes out(1);
  const auto ignore = [](const auto&) {};
  EXPECT_THROW((void)storage().create("packs/3f/new", {}), repo::IoError);
  EXPECT_THROW((void)storage().stage()->publish("packs/new"), repo::IoError);
  EXPECT_THROW(storage().get("packs/3f/object", 0, out), repo::IoError);
  EXPECT_THROW((void)storage().size("packs/3f/object"), repo::IoError);
  EXPECT_THROW(storage().list("packs", ignore), repo::IoError);
  EXPECT_THROW(storage().remove("packs/3f/object"), repo::IoError);

  EXPECT_TRUE(fs::exists(elsewhere.path() / "3f/object"));
  EXPECT_FALSE(fs::exists(elsewhere.path() / "3f/new"));
  EXPECT_EQ(unfinished_count(), 0);
}

TEST_F(LocalStorageTest, RefusesASymbolicLinkInThePlaceOfTheUnfinished) {
  const TempFolder elsewhere;
  write_file(elsewhere.path() / "precious", "x");
  fs::create_directory_symlink(elsewhere.path(), root() / "tmp");

  EXPECT_THROW((void)storage().create("config", {}), repo::IoError);
  EXPECT_THROW((void)storage().stage(), repo::IoError);
  EXPECT_THROW(storage().remove_unfinished(), repo::IoError);

  EXPECT_TRUE(fs::exists(elsewhere.path() / "precious"));
}

TEST_F(LocalStorageTest, CallsAnObjectThatIsNoFileCorrupt) {
  fs::create_directory(root() / "index");
  fs::create_symlink("/etc/hostname", root() / "index/link");
  ASSERT_EQ(::mkfifo((root() / "index/fifo").c_str(), 0600), 0);

  for (const auto* name : {"index/link", "index/fifo"}) {
    Bytes out(1);
    EXPECT_THROW(storage().get(name, 0, out), repo::CorruptionError) << name;
    EXPECT_THROW((void)storage().size(name), repo::CorruptionError) << name;
    EXPECT_EQ(storage().create(name, {}), Created::exists) << name;
  }
}

// Opening and making the folder

TEST(LocalStorage, OpensOnlyAFolderThatExists) {
  const TempFolder temp;
  write_file(temp.path() / "file", "x");

  EXPECT_THROW((void)LocalStorage::open(temp.path() / "none"),
               repo::NoRepository);
  EXPECT_THROW((void)LocalStorage::open(temp.path() / "file"),
               repo::NoRepository);
}

TEST(LocalStorage, MakesTheFolderForItsOwnerAlone) {
  const TempFolder temp;

  const auto storage = LocalStorage::create_folder(temp.path() / "a/b/repo/");

  EXPECT_EQ(storage->create("config", {}), Created::created);
  EXPECT_EQ(mode_of(temp.path() / "a/b/repo"), 0700u);
}

TEST(LocalStorage, TakesAnEmptyFolderThatExists) {
  const TempFolder temp;

  EXPECT_NE(LocalStorage::create_folder(temp.path()), nullptr);
}

TEST(LocalStorage, DoesNotTakeOverWhatIsSomebodysAlready) {
  const TempFolder temp;
  write_file(temp.path() / "file", "x");

  EXPECT_THROW((void)LocalStorage::create_folder(temp.path()),
               repo::RefusedForSafety);
  EXPECT_THROW((void)LocalStorage::create_folder(temp.path() / "file"),
               repo::RefusedForSafety);
}

// When the system refuses

TEST(LocalStorage, KnowsThatItsFolderIsGone) {
  const TempFolder temp;
  const auto storage = LocalStorage::create_folder(temp.path() / "repo");
  ASSERT_EQ(storage->create("packs/3f/object", {}), Created::created);
  const auto object = storage->stage();

  fs::remove_all(temp.path() / "repo");

  Bytes out(1);
  const auto ignore = [](const auto&) {};
  EXPECT_THROW((void)storage->create("config", {}), repo::StorageUnreachable);
  EXPECT_THROW((void)storage->stage(), repo::StorageUnreachable);
  EXPECT_THROW((void)object->publish("index/a"), repo::StorageUnreachable);
  EXPECT_THROW(storage->get("packs/3f/object", 0, out),
               repo::StorageUnreachable);
  EXPECT_THROW((void)storage->size("config"), repo::StorageUnreachable);
  EXPECT_THROW(storage->list("packs", ignore), repo::StorageUnreachable);
  EXPECT_THROW(storage->remove("packs/3f/object"), repo::StorageUnreachable);
  EXPECT_FALSE(fs::exists(temp.path() / "repo"));
}

// Root may do anything, so it becomes nobody for a while.
class WithoutRoot {
 public:
  WithoutRoot() {
    if (::geteuid() == 0) dropped_ = ::seteuid(65534) == 0;
  }
  ~WithoutRoot() {
    if (dropped_ && ::seteuid(0) != 0) std::abort();
  }
  WithoutRoot(const WithoutRoot&) = delete;
  WithoutRoot& operator=(const WithoutRoot&) = delete;

 private:
  bool dropped_ = false;
};

TEST_F(LocalStorageTest, SaysThatItMayNotWrite) {
  ASSERT_EQ(storage().create("packs/3f/object", {}), Created::created);
  fs::permissions(root(), fs::perms{0555});
  fs::permissions(root() / "tmp", fs::perms{0555});

  std::string create;
  std::string stage;
  {
    const WithoutRoot nobody;
    create = message_of<repo::IoError>(
        [&] { (void)storage().create("packs/3f/new", {}); });
    stage = message_of<repo::IoError>([&] { (void)storage().stage(); });
  }
  fs::permissions(root(), fs::perms{0700});
  fs::permissions(root() / "tmp", fs::perms{0700});

  EXPECT_EQ(create, "packs/3f/new: cannot create: Permission denied");
  EXPECT_EQ(stage, "new object: cannot create: Permission denied");
}

// A file system of 1 MiB. Only root may mount one, and not in every container.
class SmallDisk {
 public:
  SmallDisk()
      : mounted_(::mount("none", folder_.path().c_str(), "tmpfs", 0,
                         "size=1m,mode=700") == 0) {}
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  [[nodiscard]] bool is_mounted() const { return mounted_; }
  [[nodiscard]] const fs::path& path() const { return folder_.path(); }

 private:
  TempFolder folder_;
  bool mounted_;
};

TEST(LocalStorage, SaysThatTheDiskIsFullAndGoesOnOnceItIsNot) {
  const SmallDisk disk;
  if (!disk.is_mounted()) {
    GTEST_SKIP() << "cannot mount a tmpfs: " << std::strerror(errno);
  }
  const auto storage = LocalStorage::open(disk.path());
  ASSERT_EQ(storage->create("packs/3f/first", Bytes(600 << 10)),
            Created::created);

  EXPECT_EQ(message_of<repo::OutOfSpace>([&] {
              (void)storage->create("packs/3f/second", Bytes(600 << 10));
            }),
            "packs/3f/second: cannot write: No space left on device");
  EXPECT_EQ(message_of<repo::OutOfSpace>([&] {
              const auto object = storage->stage();
              for (int i = 0; i < 100; ++i) object->append(Bytes(10 << 10));
            }),
            "new object: cannot write: No space left on device");
  {
    // Small enough to wait in memory until it is published.
    ASSERT_EQ(storage->create("packs/3f/filler", Bytes(300 << 10)),
              Created::created);
    const auto object = storage->stage();
    object->append(Bytes(200 << 10));
    EXPECT_EQ(message_of<repo::OutOfSpace>(
                  [&] { (void)object->publish("packs/3f/third"); }),
              "packs/3f/third: cannot write: No space left on device");
  }

  EXPECT_TRUE(fs::is_empty(disk.path() / "tmp"));
  EXPECT_EQ(storage->size("packs/3f/second"), std::nullopt);
  EXPECT_EQ(storage->size("packs/3f/third"), std::nullopt);
  storage->remove("packs/3f/first");
  EXPECT_EQ(storage->create("packs/3f/second", Bytes(600 << 10)),
            Created::created);
}

// The disk has room; this process, or this file system, has a limit. Advice to
// free space would be wrong.
TEST_F(LocalStorageTest, DoesNotMistakeALimitOfFileSizeForAFullDisk) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 64 << 10;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);

  std::string message;
  bool out_of_space = false;
  try {
    (void)storage().create("config", Bytes(100 << 10));
  } catch (const repo::OutOfSpace&) {
    out_of_space = true;
  } catch (const repo::IoError& e) {
    message = e.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_FALSE(out_of_space);
  EXPECT_EQ(message, "config: cannot write: File too large");
  EXPECT_EQ(storage().size("config"), std::nullopt);
  EXPECT_EQ(unfinished_count(), 0);
}

// From here on this program runs itself under strace: main() has a second life
// which stores one object. strace shows its system calls, makes one of them
// fail, or kills it there.

constexpr const char* kObject = "packs/3f/object";

enum class How { create, stage };

Bytes object_content(How how) {
  Bytes content(how == How::create ? 1000 : 600 << 10);
  for (std::size_t i = 0; i < content.size(); ++i) {
    content[i] = static_cast<std::byte>(i * 7 >> 3);
  }
  return content;
}

enum Outcome {
  created = 0,
  failed = 1,
  exists = 10,
  unreachable = 13,
  full = 14
};

int store_one_object(How how, const char* folder) {
  try {
    const auto storage = LocalStorage::open(folder);
    const Bytes content = object_content(how);
    Created result{};
    if (how == How::create) {
      result = storage->create(kObject, content);
    } else {
      const auto object = storage->stage();
      object->append(content);
      result = object->publish(kObject);
    }
    return result == Created::created ? created : exists;
  } catch (const repo::OutOfSpace&) {
    return full;
  } catch (const repo::StorageUnreachable&) {
    return unreachable;
  } catch (const repo::Error&) {
    return failed;
  }
}

struct Traced {
  std::optional<int> exit;  // nothing: killed
  std::vector<std::string> calls;

  // How many calls hold all of `parts`.
  [[nodiscard]] std::size_t count(std::vector<std::string> parts) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(calls, [&](const std::string& call) {
          return std::ranges::all_of(parts, [&](const std::string& part) {
            return call.find(part) != std::string::npos;
          });
        }));
  }
  // Where the only such call is.
  [[nodiscard]] std::size_t place(std::vector<std::string> parts) const {
    EXPECT_EQ(count(parts), 1u) << testing::PrintToString(parts);
    const auto it = std::ranges::find_if(calls, [&](const std::string& call) {
      return std::ranges::all_of(parts, [&](const std::string& part) {
        return call.find(part) != std::string::npos;
      });
    });
    return static_cast<std::size_t>(it - calls.begin());
  }
};

class LocalStorageTraced : public testing::TestWithParam<How> {
 protected:
  void SetUp() override {
    // NOLINTNEXTLINE(concurrency-mt-unsafe)
    if (std::system("strace -o /dev/null true 2>/dev/null") != 0) {
      GTEST_SKIP() << "strace is absent or not permitted";
    }
  }

  // Stores the object in `root`. `options` are strace's.
  [[nodiscard]] static Traced store(const fs::path& root,
                                    const std::string& options) {
    const TempFolder scratch;
    const auto trace = scratch.path() / "trace";
    const auto self = fs::read_symlink("/proc/self/exe");
    // The leak checker cannot work under strace.
    const std::string command =
        "ASAN_OPTIONS=detect_leaks=0 strace -f -y -o '" + trace.string() +
        "' " + options + " '" + self.string() + "' " +
        (GetParam() == How::create ? "create" : "stage") + " '" +
        root.string() + "' >/dev/null 2>&1";
    // NOLINTNEXTLINE(concurrency-mt-unsafe)
    const int status = std::system(command.c_str());

    Traced traced;
    if (WIFEXITED(status) && WEXITSTATUS(status) < 128) {
      traced.exit = WEXITSTATUS(status);
    }
    std::ifstream lines(trace);
    for (std::string line; std::getline(lines, line);) {
      traced.calls.push_back(line);
    }
    return traced;
  }

  // Which calls of this kind concern the repository; 1 is the first. The others
  // are the loader's and the sanitizers' own.
  [[nodiscard]] static std::vector<int> calls_of_ours(const std::string& call) {
    const TempFolder temp;
    std::vector<int> ours;
    int nth = 0;
    for (const auto& line : store(temp.path(), "-e trace=" + call).calls) {
      if (line.find(call + "(") == std::string::npos) continue;
      ++nth;
      if (line.find(temp.path()) != std::string::npos) ours.push_back(nth);
    }
    return ours;
  }

  // Stores the object while the nth call is hit: "error=EIO", "signal=KILL".
  [[nodiscard]] static Traced store_and_hit(const fs::path& root,
                                            const std::string& call, int nth,
                                            const std::string& by) {
    return store(root, "-e trace=" + call + ",linkat -e inject=" + call + ":" +
                           by + ":when=" + std::to_string(nth));
  }

  // True: whole. Anything between absent and whole is a failure.
  static bool is_whole(const fs::path& root) {
    const auto storage = LocalStorage::open(root);
    if (!storage->size(kObject)) return false;
    EXPECT_TRUE(repo::get_whole(*storage, kObject, 1 << 20) ==
                object_content(GetParam()));
    return true;
  }

  static bool has_unfinished(const fs::path& root) {
    return fs::exists(root / "tmp") && !fs::is_empty(root / "tmp");
  }
};

INSTANTIATE_TEST_SUITE_P(All, LocalStorageTraced,
                         testing::Values(How::create, How::stage),
                         [](const auto& p) {
                           return p.param == How::create ? "create" : "stage";
                         });

TEST_P(LocalStorageTraced, SyncsTheFileThenNamesItThenSyncsTheFolder) {
  const TempFolder temp;
  const std::string root = temp.path();

  const Traced traced = store(
      root, "-e trace=mkdirat,write,fdatasync,linkat,fsync,unlinkat,renameat2");

  ASSERT_EQ(traced.exit, created);
  const auto sync_file = traced.place({"fdatasync(", root + "/tmp/"});
  const auto make_packs = traced.place({"mkdirat(", "\"packs\""});
  const auto make_3f = traced.place({"mkdirat(", "\"3f\""});
  const auto sync_packs = traced.place({"fsync(", root + "/packs>"});
  const auto link = traced.place({"linkat(", root + "/tmp>", "\"object\""});
  const auto sync_folder = traced.place({"fsync(", root + "/packs/3f>"});
  const auto unlink = traced.place({"unlinkat(", root + "/tmp>"});
  EXPECT_LT(sync_file, link);
  EXPECT_LT(link, sync_folder);
  EXPECT_LT(sync_folder, unlink);
  EXPECT_LT(make_packs, make_3f);
  EXPECT_LT(make_3f, sync_packs);
  EXPECT_LT(sync_packs, link);
  EXPECT_EQ(traced.count({"fsync(", root + ">"}), 2u);  // for tmp and packs
}

TEST_P(LocalStorageTraced, IsAbsentOrWholeWhicheverCallIsTheLast) {
  for (const std::string call : {"openat", "mkdirat", "write", "fdatasync",
                                 "close", "linkat", "fsync", "unlinkat"}) {
    const auto ours = calls_of_ours(call);
    EXPECT_FALSE(ours.empty()) << call;
    for (const int nth : ours) {
      SCOPED_TRACE("killed at " + call + " " + std::to_string(nth));
      const TempFolder temp;

      const Traced traced =
          store_and_hit(temp.path(), call, nth, "signal=KILL");

      EXPECT_EQ(traced.exit, std::nullopt);
      const bool whole = is_whole(temp.path());
      const auto storage = LocalStorage::open(temp.path());
      storage->remove_unfinished();
      EXPECT_FALSE(has_unfinished(temp.path()));
      EXPECT_EQ(is_whole(temp.path()), whole);
      EXPECT_EQ(storage->create(kObject, object_content(GetParam())),
                whole ? Created::exists : Created::created);
      if (HasFailure()) return;
    }
  }
}

TEST_P(LocalStorageTraced, IsAbsentOrWholeWhicheverCallFails) {
  struct Failing {
    std::string call;
    std::string error;
    int exit;
  };
  for (const auto& [call, error, exit] :
       std::initializer_list<Failing>{{"mkdirat", "ENOSPC", full},
                                      {"mkdirat", "EACCES", failed},
                                      {"write", "ENOSPC", full},
                                      {"write", "EDQUOT", full},
                                      {"write", "EIO", failed},
                                      {"fdatasync", "EIO", failed},
                                      {"fdatasync", "ENOSPC", full},
                                      {"fdatasync", "ESTALE", unreachable},
                                      {"linkat", "EIO", failed},
                                      {"linkat", "ENOSPC", full},
                                      {"linkat", "ESTALE", unreachable},
                                      {"fsync", "EIO", failed}}) {
    const auto ours = calls_of_ours(call);
    EXPECT_FALSE(ours.empty()) << call;
    for (const int nth : ours) {
      SCOPED_TRACE(call + " " + std::to_string(nth) + " answers " + error);
      const TempFolder temp;

      const Traced traced =
          store_and_hit(temp.path(), call, nth, "error=" + error);

      EXPECT_EQ(traced.count({"INJECTED"}), 1u);
      EXPECT_EQ(traced.exit, exit);
      (void)is_whole(temp.path());
      EXPECT_FALSE(has_unfinished(temp.path()));
      if (HasFailure()) return;
    }
  }
}

// Linux forgets the pages it could not write: a second sync would succeed.
TEST_P(LocalStorageTraced, NeitherNamesNorSyncsAgainWhatItCouldNotSync) {
  const TempFolder temp;

  const Traced traced = store_and_hit(temp.path(), "fdatasync", 1, "error=EIO");

  EXPECT_EQ(traced.exit, failed);
  EXPECT_EQ(traced.count({"fdatasync("}), 1u);
  EXPECT_EQ(traced.count({"linkat("}), 0u);
  EXPECT_FALSE(is_whole(temp.path()));
  EXPECT_FALSE(has_unfinished(temp.path()));
}

TEST_P(LocalStorageTraced, GivesNoNameToAFileThatFailsToClose) {
  int files_closed = 0;
  for (const int nth : calls_of_ours("close")) {
    SCOPED_TRACE(nth);
    const TempFolder temp;

    const Traced traced = store_and_hit(temp.path(), "close", nth, "error=EIO");

    const auto in_unfinished = temp.path().string() + "/tmp/";
    if (traced.count({in_unfinished, "INJECTED"}) == 0) continue;
    if (traced.count({"linkat("}) > 0) {
      EXPECT_TRUE(is_whole(temp.path()));  // its lock, after all is done
      continue;
    }
    ++files_closed;
    EXPECT_EQ(traced.exit, failed);
    EXPECT_FALSE(is_whole(temp.path()));
    EXPECT_FALSE(has_unfinished(temp.path()));
  }

  EXPECT_EQ(files_closed, 1);
}

// A small object is read back; a pack carries hashes that its reader checks.
TEST_P(LocalStorageTraced, GivesNoNameToASmallObjectThatReadsBackDifferently) {
  const auto reads = calls_of_ours("pread64");
  EXPECT_EQ(reads.size(), GetParam() == How::create ? 1u : 0u);
  for (const int nth : reads) {
    const TempFolder temp;

    const Traced traced =
        store_and_hit(temp.path(), "pread64", nth, "poke_exit=@arg2=ff");

    EXPECT_EQ(traced.exit, failed);
    EXPECT_EQ(traced.count({"linkat("}), 0u);
    EXPECT_FALSE(is_whole(temp.path()));
    EXPECT_FALSE(has_unfinished(temp.path()));
  }
}

TEST_P(LocalStorageTraced, IsNotDisturbedByAnInterruption) {
  for (const int nth : calls_of_ours("write")) {
    const TempFolder temp;

    EXPECT_EQ(store_and_hit(temp.path(), "write", nth, "error=EINTR").exit,
              created);

    EXPECT_TRUE(is_whole(temp.path()));
  }
}

TEST_P(LocalStorageTraced, RenamesWhereThereAreNoHardLinks) {
  for (const std::string error : {"EPERM", "EOPNOTSUPP", "ENOSYS", "EMLINK"}) {
    SCOPED_TRACE(error);
    const TempFolder temp;
    const std::string options = "-e inject=linkat:error=" + error;

    EXPECT_EQ(store(temp.path(), options).exit, created);
    EXPECT_TRUE(is_whole(temp.path()));
    EXPECT_EQ(store(temp.path(), options).exit, exists);
    EXPECT_TRUE(is_whole(temp.path()));
    EXPECT_FALSE(has_unfinished(temp.path()));
  }
}

TEST_P(LocalStorageTraced, NeverReplacesWhereItCannotTellThatANameIsTaken) {
  const TempFolder temp;

  const Traced traced = store(temp.path(),
                              "-e inject=linkat:error=EPERM "
                              "-e inject=renameat2:error=EINVAL");

  EXPECT_EQ(traced.exit, failed);
  EXPECT_FALSE(is_whole(temp.path()));
  EXPECT_FALSE(has_unfinished(temp.path()));
}

// CIFS cannot sync folders.
TEST_P(LocalStorageTraced, PutsUpWithFoldersThatCannotBeSynced) {
  const TempFolder temp;

  EXPECT_EQ(store(temp.path(), "-e inject=fsync:error=EINVAL").exit, created);

  EXPECT_TRUE(is_whole(temp.path()));
}

}  // namespace

}  // namespace cairn::testing_support

int main(int argc, char** argv) {
  using cairn::testing_support::How;
  using cairn::testing_support::store_one_object;
  if (argc == 3 && argv[1] == std::string_view("create")) {
    return store_one_object(How::create, argv[2]);
  }
  if (argc == 3 && argv[1] == std::string_view("stage")) {
    return store_one_object(How::stage, argv[2]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
