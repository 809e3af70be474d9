#include "ingest/path_cache.h"

#include <gtest/gtest.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <atomic>
#include <chrono>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "repo/index_store.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using repo::IndexStore;
using testing_support::for_each_seed;
using testing_support::TempFolder;

constexpr std::string_view kSeries = "host/files";
constexpr std::chrono::seconds kPatience{20};

template <typename Id>
Id random_id(std::mt19937_64& random) {
  Id id;
  for (auto& byte : id.bytes) byte = static_cast<std::byte>(random());
  return id;
}

repo::Timestamp random_time(std::mt19937_64& random) {
  return {static_cast<std::int64_t>(random()),
          static_cast<std::uint32_t>(random() % 1'000'000'000)};
}

// Each part there or not.
PathState random_state(std::mt19937_64& random) {
  PathState state;
  state.snapshot = random_id<repo::SessionId>(random);
  if (random() % 2 == 0) {
    state.older_snapshot = random_id<repo::SessionId>(random);
  }
  const FileState file{.size = random(),
                       .modified = random_time(random),
                       .changed = random_time(random),
                       .device = random(),
                       .inode = random()};
  switch (random() % 3) {
    case 0:
      state.settled_state = file;
      break;
    case 1:
      state.unsettled_state = file;
      break;
    default:
      break;
  }
  if (random() % 2 == 0) state.profile = repo::Profile::page;
  for (auto n = random() % 4; n > 0; --n) {
    state.holes.push_back({random(), random()});
  }
  for (auto n = random() % 4; n > 0; --n) {
    state.rows.push_back(
        {random() % 2 == 0 ? repo::BlobKind::content : repo::BlobKind::links,
         random_id<repo::BlobId>(random), 1 + random() % 1'000'000});
  }
  return state;
}

PathState state_of(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  return random_state(random);
}

class PathCaches : public ::testing::Test {
 protected:
  void flush(PathCache& one) {
    EXPECT_EQ(
        store.write(kPatience,
                    [&](IndexStore::Writer& writer) { one.flush(writer); }),
        IndexStore::Written::yes);
  }
  void flush() { flush(cache); }

  // Every value as it lies in the store becomes another.
  template <typename Change>
  void change_values(Change change) {
    std::vector<std::pair<std::string, std::string>> all;
    store.for_each("f", [&](std::string_view key, std::string_view value) {
      all.emplace_back(key, value);
      return IndexStore::Next::go_on;
    });
    ASSERT_FALSE(all.empty());
    EXPECT_EQ(store.write(kPatience,
                          [&](IndexStore::Writer& writer) {
                            for (auto& [key, value] : all) {
                              writer.put(key, change(value));
                            }
                          }),
              IndexStore::Written::yes);
  }

  TempFolder folder;
  IndexStore store{folder / "cache"};
  PathCache cache{store, kSeries};
};

TEST_F(PathCaches, GiveBackEveryFieldOfAState) {
  std::vector<PathState> states;
  for_each_seed(200, [&](auto& random) {
    states.push_back(random_state(random));
    cache.remember("path " + std::to_string(states.size()), states.back());
  });

  flush();

  for (std::size_t i = 0; i < states.size(); ++i) {
    EXPECT_EQ(cache.find("path " + std::to_string(i + 1)), states[i]) << i;
  }
}

TEST_F(PathCaches, KnowOnlyThePathsTheyWereTold) {
  cache.remember("a/b", state_of(1));
  flush();

  EXPECT_TRUE(cache.find("a/b"));
  for (const char* path : {"", "a", "a/", "a/b/", "/a/b", "A/B"}) {
    EXPECT_FALSE(cache.find(path)) << path;
  }
}

TEST_F(PathCaches, KnowThePathsOfTheirSeriesOnly) {
  PathCache other(store, "host/other");
  PathCache joined(store, "host/filesa");  // with "b", the same letters
  cache.remember("ab", state_of(1));
  other.remember("of other", state_of(2));

  flush();
  flush(other);

  EXPECT_FALSE(other.find("ab"));
  EXPECT_FALSE(cache.find("of other"));
  EXPECT_FALSE(joined.find("b"));
  EXPECT_TRUE(PathCache(store, kSeries).find("ab"));
}

TEST_F(PathCaches, KnowTheStateThatWasToldLast) {
  cache.remember("path", state_of(1));
  flush();
  cache.remember("path", state_of(2));
  cache.remember("path", state_of(3));

  flush();

  EXPECT_EQ(cache.find("path"), state_of(3));
}

TEST_F(PathCaches, KeepWhatTheyAreToldInMemoryUntilTheyFlush) {
  cache.remember("path", state_of(1));
  EXPECT_GT(cache.pending_bytes(), 0u);
  EXPECT_FALSE(cache.find("path"));

  flush();

  EXPECT_EQ(cache.pending_bytes(), 0u);
  EXPECT_TRUE(cache.find("path"));
}

TEST_F(PathCaches, CountWhatSmallStatesTakeToo) {
  PathState small;
  std::size_t before = 0;
  for (int i = 0; i < 100; ++i) {
    cache.remember("path " + std::to_string(i), small);
    EXPECT_GE(cache.pending_bytes() - before, sizeof(std::string) * 2);
    before = cache.pending_bytes();
  }
}

// Else files with ever new names, as mail has, would make it grow for ever.
TEST_F(PathCaches, ForgetPathsWhoseSnapshotsAreGoneOnceMuchWasWritten) {
  std::mt19937_64 random(1);
  const auto old_one = random_id<repo::SessionId>(random);
  const auto new_one = random_id<repo::SessionId>(random);
  const auto state_of = [](const repo::SessionId& snapshot) {
    PathState state;
    state.snapshot = snapshot;
    return state;
  };
  PathState of_both = state_of(random_id<repo::SessionId>(random));
  of_both.older_snapshot = new_one;
  int looks = 0;
  const auto drop = [&] {
    EXPECT_EQ(store.write(kPatience,
                          [&](IndexStore::Writer& writer) {
                            cache.flush(writer);
                            cache.drop_what_is_gone(writer, [&] {
                              ++looks;
                              return std::set<repo::SessionId>{new_one};
                            });
                          }),
              IndexStore::Written::yes);
  };
  cache.remember("gone", state_of(old_one));
  cache.remember("both", of_both);
  drop();
  EXPECT_TRUE(cache.find("gone"));

  for (int i = 0; i < 400'000 && looks == 0; ++i) {
    cache.remember("there " + std::to_string(i % 1000), state_of(new_one));
    if (i % 50'000 == 0) drop();
  }

  EXPECT_EQ(looks, 1);
  EXPECT_FALSE(cache.find("gone"));
  EXPECT_EQ(cache.find("both"), of_both);
  EXPECT_EQ(cache.find("there 7"), state_of(new_one));
}

TEST_F(PathCaches, ForgetAStateThatIsCutOff) {
  PathState state = state_of(1);
  state.rows.push_back({repo::BlobKind::content, {}, 5});
  std::size_t size = 1;
  for (std::size_t left = 0; left < size; left += 1 + size / 20) {
    cache.remember("path", state);
    flush();

    change_values([&](std::string value) {
      size = value.size();
      return value.substr(0, left);
    });

    EXPECT_FALSE(cache.find("path")) << left << " of " << size;
  }
}

TEST_F(PathCaches, ForgetAStateThatHasMoreBehindIt) {
  cache.remember("path", state_of(1));
  flush();

  change_values([](const std::string& value) { return value + '\0'; });

  EXPECT_FALSE(cache.find("path"));
}

TEST_F(PathCaches, ForgetAStateOfWhichAnyBitFlipped) {
  cache.remember("a", state_of(1));
  flush();
  std::string whole;
  change_values([&](const std::string& value) { return whole = value; });

  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    change_values([&](const std::string&) {
      std::string changed = whole;
      changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
      return changed;
    });
    ASSERT_FALSE(cache.find("a")) << "bit " << bit;
  }
  change_values([&](const std::string&) { return whole; });
  EXPECT_EQ(cache.find("a"), state_of(1));
}

// What another version could have written.
TEST_F(PathCaches, SurviveAnyOtherValueWithItsSum) {
  for_each_seed(30, [&](auto& random) {
    cache.remember("path", random_state(random));
    flush();
    change_values([&](std::string value) {
      value.resize(value.size() - sizeof(XXH64_hash_t));
      value[random() % value.size()] = static_cast<char>(random());
      const auto sum = XXH3_64bits(value.data(), value.size());
      return value.append(reinterpret_cast<const char*>(&sum), sizeof sum);
    });

    (void)cache.find("path");  // a state or none
  });
}

TEST_F(PathCaches, KnowAPathAgainAfterItsDamage) {
  cache.remember("path", state_of(1));
  flush();
  change_values([](const std::string&) { return "damage"; });

  cache.remember("path", state_of(2));
  flush();

  EXPECT_EQ(cache.find("path"), state_of(2));
}

TEST_F(PathCaches, CanBeAskedWhileTheyFlush) {
  cache.remember("there", state_of(1));
  flush();
  std::atomic<bool> is_done = false;
  std::atomic<std::uint64_t> missed = 0;
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!is_done) missed += cache.find("there") != state_of(1);
    });
  }

  for (std::uint64_t i = 0; i < 8; ++i) {
    cache.remember("path " + std::to_string(i), state_of(i));
    flush();
  }
  is_done = true;
  readers.clear();

  EXPECT_EQ(missed, 0u);
}

}  // namespace
}  // namespace cairn::ingest
