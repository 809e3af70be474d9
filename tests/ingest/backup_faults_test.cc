// Whatever stops a backup, the repository stays sound, and the next one goes
// on from there.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>

#include "repo/error.h"
#include "repo/local_storage.h"
#include "repo/pack_reader.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "tests/support/backup_site.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/observed_storage.h"
#include "tests/support/power_cut.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;

constexpr std::string_view kStream = "db/dump";

// A machine with a folder and a database, of which one state is backed up
// already, and a second one that is not.
struct SecondState {
  SecondState() {
    std::mt19937_64 random(1);
    write_file(folder / "same", text_of(random_bytes(random, 30'000)));
    write_file(folder / "changes", text_of(random_bytes(random, 100'000)));
    write_file(folder / "goes", "away");
    stream = random_bytes(random, 150'000);
    let_settle(folder.path());
    auto repository = site.open();
    (void)back_up(repository);
    first = read_newest(site);

    std::fstream(folder / "changes", std::ios::in | std::ios::out) << "CHANGED";
    fs::remove(folder / "goes");
    write_file(folder / "new", text_of(random_bytes(random, 90'000)));
    stream.resize(120'000);
    const Bytes more = random_bytes(random, 50'000);
    stream.insert(stream.begin() + 70'000, more.begin(), more.end());
    let_settle(folder.path());
  }

  [[nodiscard]] static BackupOptions options() {
    auto options = backup_options();
    options.pack_bytes = 48U << 10;  // several packs
    return options;
  }

  BackupReport back_up(repo::Repository& repository,
                       std::stop_token stop = {}) const {
    repo::Progress progress;
    return ingest::back_up(
        repository,
        sources(source_of(folder.path()),
                source_of(std::string(kStream), stream, 10'000)),
        options(), progress, std::move(stop));
  }

  // Whether the tree is the second state.
  void expect_second(const StoredTree& tree) const {
    for (const char* name : {"same", "changes", "new"}) {
      const auto path = folder / name;
      EXPECT_TRUE(text_of(tree.at(path.string().substr(1)).content) ==
                  read_file(path));
    }
    EXPECT_FALSE(tree.contains((folder / "goes").string().substr(1)));
    EXPECT_TRUE(tree.at(std::string(kStream)).content == stream);
  }

  // Sound, with so many snapshots, of which the first is as it was.
  void expect_sound(std::size_t snapshots) {
    EXPECT_EQ(damage_in(site), std::vector<std::string>{});
    const auto stored = read_all_snapshots(site);
    ASSERT_EQ(stored.size(), snapshots);
    EXPECT_TRUE(std::ranges::equal(
        stored[0].tree, first, [](const auto& a, const auto& b) {
          return a.first == b.first && a.second.entry == b.second.entry &&
                 a.second.content == b.second.content;
        }));
    for (std::size_t i = 1; i < snapshots; ++i) expect_second(stored[i].tree);
  }

  TempFolder folder;
  Bytes stream;
  BackupSite site;
  StoredTree first;
};

bool is_slot(std::string_view name) { return name.starts_with("snapshots/"); }

TEST(Backup, LeavesASoundRepositoryWhicheverWriteThePowerCutHits) {
  SecondState state;
  state.site.keep();
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool has_happened = true;
    for (std::size_t writes = 0; has_happened; ++writes) {
      SCOPED_TRACE("power cut at write " + std::to_string(writes));
      state.site.go_back();
      PowerCut storage(state.site.disk(), writes, falls);
      bool has_committed = false;
      try {
        auto repository = state.site.open_through(storage);
        has_committed = state.back_up(repository).snapshot.has_value();
      } catch (const repo::IoError&) {
        EXPECT_TRUE(storage.has_happened());
      }
      has_happened = storage.has_happened();

      std::size_t slots = 0;
      state.site.disk().list("snapshots",
                             [&](const repo::ListedObject&) { ++slots; });
      EXPECT_TRUE(slots == 2 || !has_committed);
      state.expect_sound(slots);

      auto repository = state.site.open();
      EXPECT_TRUE(state.back_up(repository).is_complete);
      state.expect_second(read_newest(state.site));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(Backup, LeavesNothingButPacksOnAFullDisk) {
  SecondState state;
  state.site.keep();
  for (const auto call :
       {Call::create, Call::stage, Call::append, Call::publish}) {
    std::size_t calls = 0;
    {
      state.site.go_back();
      FaultyStorage storage(state.site.disk());
      auto repository = state.site.open_through(storage);
      (void)state.back_up(repository);
      calls = storage.count(call);
    }
    // Appends are many; what a full disk does to them is the same each time.
    const std::size_t step = std::max<std::size_t>(1, calls / 6);
    for (std::size_t nth = 1; nth <= calls; nth += step) {
      SCOPED_TRACE("call " + std::to_string(static_cast<int>(call)) + " " +
                   std::to_string(nth));
      state.site.go_back();
      FaultyStorage storage(state.site.disk());
      storage.add(
          {.call = call,
           .nth = nth,
           .error = std::make_exception_ptr(repo::OutOfSpace("disk full")),
           .lasts = Lasts::from_then_on});
      auto repository = state.site.open_through(storage);

      EXPECT_THROW((void)state.back_up(repository), repo::OutOfSpace);

      EXPECT_EQ(sessions_in(state.site), 0u);
      EXPECT_EQ(read_all_snapshots(state.site).size(), 1u);
      EXPECT_EQ(damage_in(state.site), std::vector<std::string>{});
    }
  }
  auto repository = state.site.open();
  EXPECT_TRUE(state.back_up(repository).is_complete);
  state.expect_sound(2);
}

TEST(Backup, EndsWhenTheStorageFails) {
  SecondState state;
  state.site.keep();
  for (const auto call : {Call::create, Call::publish, Call::list}) {
    for (std::size_t nth = 1; nth <= 3; ++nth) {
      state.site.go_back();
      FaultyStorage storage(state.site.disk());
      storage.fail(call, nth, repo::StorageUnreachable("gone"));
      auto repository = state.site.open_through(storage);

      // Opening lists too.
      EXPECT_THROW((void)state.back_up(repository), repo::StorageUnreachable);

      EXPECT_EQ(sessions_in(state.site), 0u);
      EXPECT_EQ(read_all_snapshots(state.site).size(), 1u);
    }
  }
}

TEST(Backup, TakesALostReadForNoMoreThanALostBase) {
  SecondState state;
  ObservedStorage storage(state.site.disk());
  storage.before_read = [](std::string_view name) {
    if (name.starts_with("packs/")) throw repo::IoError("bad sector");
  };
  auto repository = state.site.open_through(storage);

  EXPECT_TRUE(state.back_up(repository).is_complete);

  state.expect_sound(2);
}

TEST(Backup, HasCommittedEvenIfItCannotTakeItsRegistrationBack) {
  SecondState state;
  FaultyStorage storage(state.site.disk());
  storage.fail(Call::remove, 1, repo::IoError("read-only file system"));
  auto repository = state.site.open_through(storage);

  const auto report = state.back_up(repository);

  EXPECT_TRUE(report.snapshot.has_value());
  EXPECT_EQ(sessions_in(state.site), 1u);
  state.expect_sound(2);
}

// Its place in the series is found again from its snapshots.
TEST(Backup, HasCommittedEvenIfItCannotNoteItsPlaceInTheSeries) {
  BackupSite site;
  const auto back_up = [&](std::string_view text) {
    return run_backup(site, source_of("stream", bytes_of(text)));
  };
  (void)back_up("first");
  const auto series = crypto::sha256(std::as_bytes(std::span(kSeries)));
  fs::path in_the_way;
  for (const auto& file :
       fs::recursive_directory_iterator(site.state_folder())) {
    const std::string name =
        "chain-" + crypto::to_hex(std::span(series).first<8>());
    if (file.path().filename() == name) in_the_way = file.path();
  }
  in_the_way += ".new";
  fs::create_directory(in_the_way);

  const auto second = back_up("second");
  EXPECT_TRUE(second.snapshot.has_value());
  EXPECT_EQ(second.warnings.size(), 1U);
  (void)back_up("third");
  fs::remove(in_the_way);
  EXPECT_TRUE(back_up("fourth").warnings.empty());

  crypto::Digest previous{};
  std::uint64_t sequence = 0;
  for (const auto& [snapshot, tree] : read_all_snapshots(site)) {
    EXPECT_EQ(snapshot.header.sequence, sequence++);
    EXPECT_EQ(snapshot.header.previous, previous);
    previous = repo::object_digest(site.disk(), snapshot.id);
  }
  EXPECT_EQ(sequence, 4U);
}

TEST(Backup, HasCommittedEvenIfItsCacheIsGoneByThen) {
  SecondState state;
  ObservedStorage storage(state.site.disk());
  storage.before_write = [&](std::string_view name) {
    if (is_slot(name)) fs::remove_all(state.site.cache_folder());
  };
  {
    auto repository = state.site.open_through(storage);

    EXPECT_TRUE(state.back_up(repository).snapshot.has_value());
  }

  state.expect_sound(2);
}

// In the middle, when its index is large enough to move there.
TEST(Backup, GoesOnWithoutACacheThatFails) {
  SecondState state;
  ObservedStorage storage(state.site.disk());
  std::size_t indexes = 0;
  storage.before_write = [&](std::string_view name) {
    if (!name.starts_with("index/")) return;
    ++indexes;
    fs::remove_all(state.site.cache_folder());
    write_file(state.site.cache_folder(), "no folder");
  };
  std::mt19937_64 random(9);
  const Bytes stream = random_bytes(random, 1'500'000);
  {
    auto repository = state.site.open_through(storage);

    const auto report = run_backup(
        repository, sources(source_of("big", stream)), SecondState::options());

    EXPECT_TRUE(report.snapshot.has_value());
  }

  EXPECT_GE(indexes, 2U);
  EXPECT_TRUE(damage_in(state.site).empty());
  EXPECT_TRUE(read_all_snapshots(state.site).at(1).tree.at("big").content ==
              stream);
}

// Plain bytes of the chunks in all packs.
std::uint64_t content_bytes_in(repo::Repository& repository) {
  std::uint64_t bytes = 0;
  for (const auto& pack : repo::list_packs(repository.storage())) {
    const auto directory = repo::read_pack_directory(
        repository.storage(), repository.keyring(), pack.id);
    for (const auto& row : directory.pack.directory.rows) {
      if (row.kind == repo::BlobKind::content) bytes += row.plain_size;
    }
  }
  return bytes;
}

TEST(Backup, LeavesPacksForTheNextOneWhenItIsCancelled) {
  SecondState state;
  state.site.keep();
  std::uint64_t before = 0;
  std::uint64_t fresh = 0;
  {
    auto repository = state.site.open();
    before = content_bytes_in(repository);
    fresh = state.back_up(repository).bytes_new;
  }
  for_each_seed(12, [&](auto& random) {
    state.site.go_back();
    std::stop_source stop;
    ObservedStorage storage(state.site.disk());
    std::atomic<std::uint64_t> writes_left = random() % 12;
    storage.before_write = [&](std::string_view) {
      if (writes_left-- == 0) stop.request_stop();
    };
    bool was_cancelled = false;
    {
      auto repository = state.site.open_through(storage);
      try {
        EXPECT_TRUE(state.back_up(repository, stop.get_token()).is_complete);
      } catch (const repo::Cancelled&) {
        was_cancelled = true;
      }
    }

    EXPECT_EQ(sessions_in(state.site), 0u);
    EXPECT_EQ(packs_in(state.site.disk()), indexed_packs_in(state.site));
    state.expect_sound(was_cancelled ? 1 : 2);
    auto repository = state.site.open();
    const std::uint64_t kept = content_bytes_in(repository) - before;
    const auto again = state.back_up(repository);
    EXPECT_TRUE(again.is_complete);
    // Everything that the first run stored is used, and nothing twice.
    EXPECT_EQ(again.bytes_new, fresh - kept);
    state.expect_second(read_newest(state.site));
  });
}

// Asks for a stop and waits for it, in the middle of its bytes or at their end.
class Stalls : public ByteStream {
 public:
  enum class Where { in_the_middle, at_the_end };

  Stalls(std::stop_source& stop, Where where, bool& was_told)
      : stop_(stop), where_(where), was_told_(was_told) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    constexpr int kReads = 10;
    if (reads_++ < kReads) return out.size();
    if (where_ == Where::in_the_middle) wait(std::move(stop));
    return 0;
  }
  void finish(std::stop_token stop) override { wait(std::move(stop)); }

 private:
  void wait(std::stop_token stop) {
    stop_.request_stop();
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    constexpr std::chrono::seconds kLong{20};
    never.wait_for(lock, stop, kLong, [] { return false; });
    was_told_ = stop.stop_requested();
    if (was_told_) throw repo::Cancelled("interrupted");
  }

  std::stop_source& stop_;
  Where where_;
  bool& was_told_;
  int reads_ = 0;
};

TEST(Backup, StopsWaitingForAStreamWhenItIsCancelled) {
  for (const auto where :
       {Stalls::Where::in_the_middle, Stalls::Where::at_the_end}) {
    BackupSite site;
    std::stop_source stop;
    bool was_told = false;
    auto stream = std::make_unique<Stalls>(stop, where, was_told);
    auto repository = site.open();
    repo::Progress progress;

    EXPECT_THROW(
        (void)back_up(repository, sources(source_of("s", std::move(stream))),
                      backup_options(), progress, stop.get_token()),
        repo::Cancelled);

    EXPECT_TRUE(was_told);
    EXPECT_EQ(sessions_in(site), 0u);
  }
}

TEST(Backup, HasNoSnapshotWhenItWasFencedOff) {
  SecondState state;
  ObservedStorage storage(state.site.disk());
  auto repository = state.site.open_through(storage);
  storage.before_write = [&](std::string_view name) {
    if (!is_slot(name)) return;
    const auto id = repo::SessionId::from_hex(name.substr(name.find('/') + 1));
    (void)repo::publish_tombstone(state.site.disk(), repository.keyring(),
                                  repository.signer(),
                                  {*id, file_clock_now(), "taken for dead"});
  };

  EXPECT_THROW((void)state.back_up(repository), repo::LockedError);

  EXPECT_EQ(sessions_in(state.site), 0u);
  state.expect_sound(1);
}

TEST(Backup, RefusesWordsThatAreNotText) {
  BackupSite site;
  auto repository = site.open();
  auto options = backup_options();
  options.tags = {"\xff"};

  EXPECT_THROW(
      (void)run_backup(repository, sources(source_of("s", Bytes{})), options),
      std::invalid_argument);

  EXPECT_EQ(sessions_in(site), 0u);
}

// Two processes' worth of everything but the folders they share.
TEST(Backup, RunsBesideAnotherOne) {
  TempFolder folder;
  const auto keyring = repo::Keyring::create();
  repo::initialise(*repo::LocalStorage::create_folder(folder / "repository"),
                   keyring, {1, 0}, [](repo::Storage&) {});
  const auto open = [&] {
    return repo::Repository::open(
        repo::LocalStorage::open(folder / "repository"),
        [&](const repo::Storage&, const repo::Config&) {
          return keyring.for_role(repo::Role::owner);
        },
        {folder / "cache", folder / "state"});
  };
  std::mt19937_64 random(1);
  const Bytes shared = random_bytes(random, 2'000'000);
  std::vector<Bytes> contents(2, shared);
  for (auto& content : contents) {
    const Bytes own = random_bytes(random, 2'000'000);
    content.insert(content.end(), own.begin(), own.end());
  }

  for (int round = 0; round < 3; ++round) {
    std::vector<std::jthread> machines;
    for (int i = 0; i < 2; ++i) {
      machines.emplace_back([&, i] {
        auto repository = open();
        auto options = backup_options();
        // Once in one series, so that they contend for its chain too.
        if (round > 0) options.series += std::to_string(i);
        const auto report = run_backup(
            repository,
            sources(source_of("s" + std::to_string(i),
                              contents[static_cast<std::size_t>(i)])),
            options);
        EXPECT_TRUE(report.is_complete);
      });
    }
  }

  auto repository = open();
  const auto list = repository.snapshots(file_clock_now());
  ASSERT_EQ(list.snapshots.size(), 6u);
  std::array<int, 2> found{};
  for (const auto& [snapshot, holds] : list.snapshots) {
    const auto tree = read_tree(repository, snapshot.header.root);
    const auto& [name, stream] = *tree.begin();
    const std::size_t i = name == "s0" ? 0 : 1;
    ++found.at(i);
    EXPECT_TRUE(stream.content == contents[i]);
  }
  EXPECT_EQ(found, (std::array{3, 3}));
  EXPECT_TRUE(
      repo::read_sessions(repository.storage(), repository.keyring()).empty());
}

}  // namespace
}  // namespace cairn::ingest
