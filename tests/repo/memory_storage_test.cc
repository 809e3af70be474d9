// The storages that other tests stand on keep the contract too, and fail
// exactly where they are told to.
#include "tests/support/memory_storage.h"

#include "tests/support/faulty_storage.h"
#include "tests/support/power_cut.h"
#include "tests/support/storage_contract.h"

namespace cairn::testing_support {

namespace {

using repo::Created;

constexpr std::size_t kForEver = ~std::size_t{0};

std::shared_ptr<repo::Storage> with_power() {
  struct Parts {
    MemoryStorage disk;
    PowerCut power{disk, kForEver};
  };
  const auto parts = std::make_shared<Parts>();
  return {parts, &parts->power};
}

std::shared_ptr<repo::Storage> without_faults() {
  struct Parts {
    MemoryStorage disk;
    FaultyStorage faulty{disk};
  };
  const auto parts = std::make_shared<Parts>();
  return {parts, &parts->faulty};
}

INSTANTIATE_TEST_SUITE_P(Memory, StorageContract,
                         testing::Values(StorageMaker{[] {
                           return std::make_shared<MemoryStorage>();
                         }}));
INSTANTIATE_TEST_SUITE_P(WithPower, StorageContract,
                         testing::Values(StorageMaker{with_power}));
INSTANTIATE_TEST_SUITE_P(WithoutFaults, StorageContract,
                         testing::Values(StorageMaker{without_faults}));

std::string text_in(const repo::Storage& storage, std::string_view name) {
  return text_of(repo::get_whole(storage, name, 1 << 20));
}

TEST(MemoryStorage, GoesItsOwnWayOnceItIsCopied) {
  MemoryStorage one;
  ASSERT_EQ(one.create("both", bytes_of("x")), Created::created);

  MemoryStorage other = one;
  ASSERT_EQ(other.create("other", bytes_of("y")), Created::created);
  other.flip_bit("both", 0, 0);
  one.remove("both");

  EXPECT_EQ(one.size("other"), std::nullopt);
  EXPECT_EQ(text_in(other, "both"), "y");
}

TEST(MemoryStorage, CanBeDamaged) {
  MemoryStorage storage;
  ASSERT_EQ(storage.create("a", bytes_of("abc")), Created::created);

  storage.flip_bit("a", 1, 5);
  EXPECT_EQ(text_in(storage, "a"), "aBc");
  storage.truncate("a", 2);
  EXPECT_EQ(text_in(storage, "a"), "aB");
  storage.replace("a", bytes_of("another"));
  EXPECT_EQ(text_in(storage, "a"), "another");
}

TEST(MemoryStorage, ListsEverythingWhenNoFolderIsNamed) {
  MemoryStorage storage;
  ASSERT_EQ(storage.create("config", {}), Created::created);
  ASSERT_EQ(storage.create("packs/3f/one", {}), Created::created);

  std::set<std::string> names;
  storage.list("", [&](const auto& object) { names.insert(object.name); });

  EXPECT_EQ(names, (std::set<std::string>{"config", "packs/3f/one"}));
}

TEST(PowerCut, HitsTheWriteThatFollowsTheAllowedOnes) {
  MemoryStorage disk;
  PowerCut storage{disk, 2};

  EXPECT_EQ(storage.create("a", {}), Created::created);
  const auto object = storage.stage();
  object->append(bytes_of("x"));
  EXPECT_EQ(object->publish("b"), Created::created);
  EXPECT_FALSE(storage.has_happened());
  EXPECT_THROW(storage.remove("a"), repo::IoError);

  EXPECT_TRUE(storage.has_happened());
  EXPECT_TRUE(disk.size("a"));
  EXPECT_TRUE(disk.size("b"));
}

TEST(PowerCut, CanFallAfterTheEffectOfTheWriteItHits) {
  MemoryStorage disk;
  PowerCut create{disk, 0, CutFalls::after_effect};
  PowerCut publish{disk, 0, CutFalls::after_effect};
  const auto object = publish.stage();

  EXPECT_THROW((void)create.create("created", {}), repo::IoError);
  EXPECT_THROW((void)object->publish("published"), repo::IoError);

  EXPECT_TRUE(disk.size("created"));
  EXPECT_TRUE(disk.size("published"));
  PowerCut remove{disk, 0, CutFalls::after_effect};
  EXPECT_THROW(remove.remove("created"), repo::IoError);
  EXPECT_FALSE(disk.size("created"));
}

TEST(PowerCut, LeavesEverythingDark) {
  MemoryStorage disk;
  ASSERT_EQ(disk.create("a", bytes_of("x")), Created::created);
  PowerCut storage{disk, 0};
  const auto object = storage.stage();
  EXPECT_THROW((void)storage.create("b", {}), repo::IoError);

  Bytes out(1);
  EXPECT_THROW((void)storage.create("b", {}), repo::IoError);
  EXPECT_THROW((void)storage.stage(), repo::IoError);
  EXPECT_THROW(object->append(out), repo::IoError);
  EXPECT_THROW((void)object->publish("c"), repo::IoError);
  EXPECT_THROW(storage.get("a", 0, out), repo::IoError);
  EXPECT_THROW((void)storage.size("a"), repo::IoError);
  EXPECT_THROW(storage.list("packs", [](const auto&) {}), repo::IoError);
  EXPECT_THROW(storage.remove("a"), repo::IoError);
  EXPECT_THROW(storage.remove_unfinished(), repo::IoError);

  EXPECT_EQ(text_in(disk, "a"), "x");
  EXPECT_FALSE(disk.size("b"));
  EXPECT_FALSE(disk.size("c"));
}

TEST(FaultyStorage, FailsTheNthCallFromNowOnAndOnlyThat) {
  MemoryStorage disk;
  FaultyStorage storage{disk};
  EXPECT_EQ(storage.create("a", {}), Created::created);
  storage.fail(Call::create, 2, repo::OutOfSpace("disk full"));

  EXPECT_EQ(storage.create("b", {}), Created::created);
  EXPECT_THROW((void)storage.create("c", {}), repo::OutOfSpace);
  EXPECT_EQ(storage.create("d", {}), Created::created);

  EXPECT_FALSE(disk.size("c"));
  EXPECT_EQ(storage.count(Call::create), 4u);
}

TEST(FaultyStorage, FailsEveryKindOfCall) {
  MemoryStorage disk;
  FaultyStorage storage{disk};
  ASSERT_EQ(storage.create("a", bytes_of("x")), Created::created);
  const auto object = storage.stage();
  for (const auto call :
       {Call::create, Call::stage, Call::append, Call::publish, Call::get,
        Call::size, Call::list, Call::remove, Call::remove_unfinished}) {
    storage.fail(call, 1, repo::IoError("bad disk"));
  }

  Bytes out(1);
  EXPECT_THROW((void)storage.create("b", {}), repo::IoError);
  EXPECT_THROW((void)storage.stage(), repo::IoError);
  EXPECT_THROW(object->append(out), repo::IoError);
  EXPECT_THROW((void)object->publish("c"), repo::IoError);
  EXPECT_THROW(storage.get("a", 0, out), repo::IoError);
  EXPECT_THROW((void)storage.size("a"), repo::IoError);
  EXPECT_THROW(storage.list("packs", [](const auto&) {}), repo::IoError);
  EXPECT_THROW(storage.remove("a"), repo::IoError);
  EXPECT_THROW(storage.remove_unfinished(), repo::IoError);

  EXPECT_EQ(text_in(storage, "a"), "x");
}

TEST(FaultyStorage, CanGoOnFailing) {
  MemoryStorage disk;
  FaultyStorage storage{disk};
  storage.add({.call = Call::append,
               .error = std::make_exception_ptr(repo::OutOfSpace("disk full")),
               .lasts = Lasts::from_then_on});

  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THROW(storage.stage()->append({}), repo::OutOfSpace);
  }
}

TEST(FaultyStorage, CanDoTheWorkAndStillNotSaySo) {
  MemoryStorage disk;
  FaultyStorage storage{disk};
  storage.add({.call = Call::create,
               .error = std::make_exception_ptr(
                   repo::AmbiguousError("connection lost after sending")),
               .effect = Effect::present});

  EXPECT_THROW((void)storage.create("a", bytes_of("x")), repo::AmbiguousError);

  EXPECT_EQ(text_in(storage, "a"), "x");
}

}  // namespace

}  // namespace cairn::testing_support
