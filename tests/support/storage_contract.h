// What every Storage promises (repo/storage.h), as one suite that each of them
// must pass:
//
//   INSTANTIATE_TEST_SUITE_P(
//       Memory, StorageContract,
//       testing::Values(StorageMaker{[] {
//         return std::make_shared<MemoryStorage>();
//       }}));
//
// Include it in one file of a test program only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "repo/error.h"
#include "repo/storage.h"
#include "tests/support/bytes.h"

namespace cairn::testing_support {

// Makes a new, empty storage. Its owner keeps alive whatever it stands on (a
// temporary folder, a server); null skips the suite.
struct StorageMaker {
  std::function<std::shared_ptr<repo::Storage>()> make;
};

class StorageContract : public testing::TestWithParam<StorageMaker> {
 protected:
  void SetUp() override {
    storage_ = GetParam().make();
    if (!storage_) GTEST_SKIP() << "there is no such storage here";
  }

  [[nodiscard]] repo::Storage& storage() { return *storage_; }

  [[nodiscard]] Bytes read(std::string_view name) {
    return repo::get_whole(storage(), name, 64 << 20);
  }

  // In order; a name that is listed twice is here twice.
  [[nodiscard]] std::vector<std::string> names_in(std::string_view folder) {
    std::vector<std::string> names;
    storage().list(folder, [&](const repo::ListedObject& object) {
      names.push_back(object.name);
    });
    std::ranges::sort(names);
    return names;
  }

  // Runs `work(i)` on `count` threads that begin together.
  template <typename Work>
  static void race(int count, Work work) {
    std::latch start(count);
    std::vector<std::jthread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&start, &work, i] {
        start.arrive_and_wait();
        work(i);
      });
    }
  }

 private:
  std::shared_ptr<repo::Storage> storage_;
};

using Names = std::vector<std::string>;

TEST_P(StorageContract, GivesBackWhatWasCreated) {
  EXPECT_EQ(storage().create("config", bytes_of("what was stored")),
            repo::Created::created);

  EXPECT_EQ(text_of(read("config")), "what was stored");
  EXPECT_EQ(storage().size("config"), 15u);
}

TEST_P(StorageContract, GivesBackWhatWasStaged) {
  const auto object = storage().stage();
  object->append(bytes_of("one "));
  object->append({});
  object->append(bytes_of("two"));

  EXPECT_EQ(object->publish("packs/3f/3f9a"), repo::Created::created);

  EXPECT_EQ(text_of(read("packs/3f/3f9a")), "one two");
}

TEST_P(StorageContract, KeepsAnEmptyObject) {
  EXPECT_EQ(storage().create("marks/created", {}), repo::Created::created);
  EXPECT_EQ(storage().stage()->publish("marks/staged"), repo::Created::created);

  EXPECT_EQ(storage().size("marks/created"), 0u);
  EXPECT_EQ(storage().size("marks/staged"), 0u);
  EXPECT_TRUE(read("marks/created").empty());
  EXPECT_EQ(names_in("marks"), (Names{"marks/created", "marks/staged"}));
}

TEST_P(StorageContract, KeepsABigStagedObject) {
  std::mt19937_64 random(1);
  const Bytes content = random_bytes(random, (20 << 20) + 7);
  const auto object = storage().stage();
  std::span<const std::byte> rest = content;
  for (std::size_t step = 1; !rest.empty(); step = step * 3 + 1) {
    const auto part = rest.first(std::min(step % (3 << 20), rest.size()));
    object->append(part);
    rest = rest.subspan(part.size());
  }

  EXPECT_EQ(object->publish("packs/00/big"), repo::Created::created);

  EXPECT_EQ(storage().size("packs/00/big"), content.size());
  EXPECT_TRUE(read("packs/00/big") == content);
}

TEST_P(StorageContract, NeverReplacesAnObject) {
  ASSERT_EQ(storage().create("snapshots/a", bytes_of("first")),
            repo::Created::created);

  EXPECT_EQ(storage().create("snapshots/a", bytes_of("the second")),
            repo::Created::exists);
  const auto object = storage().stage();
  object->append(bytes_of("third"));
  EXPECT_EQ(object->publish("snapshots/a"), repo::Created::exists);

  EXPECT_EQ(text_of(read("snapshots/a")), "first");
}

TEST_P(StorageContract, LetsExactlyOneOfManyThreadsCreateAName) {
  for (int round = 0; round < 20; ++round) {
    const std::string name = "snapshots/" + std::to_string(round);
    std::atomic<int> winners = 0;
    std::atomic<int> winner = -1;

    race(8, [&](int i) {
      const Bytes mine = bytes_of("written by " + std::to_string(i));
      auto result = repo::Created::exists;
      if (i % 2 == 0) {
        result = storage().create(name, mine);
      } else {
        const auto object = storage().stage();
        object->append(mine);
        result = object->publish(name);
      }
      if (result == repo::Created::created) {
        ++winners;
        winner = i;
      }
      // Whoever lost finds the winner's object whole, at once.
      EXPECT_EQ(text_of(read(name)).substr(0, 11), "written by ");
    });

    EXPECT_EQ(winners, 1);
    EXPECT_EQ(text_of(read(name)),
              "written by " + std::to_string(winner.load()));
  }
}

TEST_P(StorageContract, ServesManyThreadsAtOnce) {
  race(8, [&](int i) {
    const std::string mine = "index/thread" + std::to_string(i);
    for (int round = 0; round < 10; ++round) {
      const std::string name = mine + "-" + std::to_string(round);
      EXPECT_EQ(storage().create(name, bytes_of(name)), repo::Created::created);
      EXPECT_EQ(text_of(read(name)), name);
      storage().list("index", [](const repo::ListedObject&) {});
      if (round % 2 == 0) storage().remove(name);
    }
  });

  EXPECT_EQ(names_in("index").size(), 8u * 5u);
}

TEST_P(StorageContract, ReadsARange) {
  ASSERT_EQ(storage().create("index/a", bytes_of("0123456789")),
            repo::Created::created);

  Bytes middle(4);
  storage().get("index/a", 3, middle);
  EXPECT_EQ(text_of(middle), "3456");
  Bytes end(1);
  storage().get("index/a", 9, end);
  EXPECT_EQ(text_of(end), "9");
  storage().get("index/a", 10, {});
}

TEST_P(StorageContract, CallsAnObjectThatIsTooShortCorrupt) {
  ASSERT_EQ(storage().create("index/a", bytes_of("0123456789")),
            repo::Created::created);

  Bytes out(4);
  EXPECT_THROW(storage().get("index/a", 7, out), repo::CorruptionError);
  EXPECT_THROW(storage().get("index/a", 10, out), repo::CorruptionError);
  EXPECT_THROW(storage().get("index/a", ~0ull - 1, out), repo::CorruptionError);
}

TEST_P(StorageContract, RefusesToReadWholeWhatIsLargerThanTheLimit) {
  ASSERT_EQ(storage().create("index/a", bytes_of("0123456789")),
            repo::Created::created);

  EXPECT_EQ(repo::get_whole(storage(), "index/a", 10).size(), 10u);
  EXPECT_THROW((void)repo::get_whole(storage(), "index/a", 9),
               repo::CorruptionError);
}

TEST_P(StorageContract, SaysThatANameIsAbsent) {
  ASSERT_EQ(storage().create("packs/aa/there", bytes_of("x")),
            repo::Created::created);

  // Beside it, in a folder that is absent, and the folder itself.
  for (const auto* name : {"packs/aa/not", "packs/bb/not", "not", "packs/aa"}) {
    SCOPED_TRACE(name);
    Bytes out(1);
    EXPECT_EQ(storage().size(name), std::nullopt);
    EXPECT_THROW(storage().get(name, 0, out), repo::NotFound);
    EXPECT_THROW(storage().get(name, 0, {}), repo::NotFound);
    EXPECT_THROW((void)repo::get_whole(storage(), name, 9), repo::NotFound);
  }
}

TEST_P(StorageContract, ListsWhatLiesInAFolderAndBelow) {
  for (const auto* name : {"packs/3f/one", "packs/3f/two", "packs/a0/three",
                           "index/four", "packs-not", "config"}) {
    ASSERT_EQ(storage().create(name, bytes_of(name)), repo::Created::created);
  }

  EXPECT_EQ(names_in("packs"),
            (Names{"packs/3f/one", "packs/3f/two", "packs/a0/three"}));
  EXPECT_EQ(names_in("packs/3f"), (Names{"packs/3f/one", "packs/3f/two"}));
  EXPECT_EQ(names_in("index"), (Names{"index/four"}));
  EXPECT_EQ(names_in(""),
            (Names{"config", "index/four", "packs-not", "packs/3f/one",
                   "packs/3f/two", "packs/a0/three"}));
  storage().list("packs", [](const repo::ListedObject& object) {
    EXPECT_EQ(object.size, object.name.size());
  });
}

TEST_P(StorageContract, ListsNothingInAFolderThatDoesNotExist) {
  ASSERT_EQ(storage().create("packs/3f/one", {}), repo::Created::created);

  EXPECT_EQ(names_in("snapshots"), Names{});
  EXPECT_EQ(names_in("packs/3"), Names{});
  EXPECT_EQ(names_in("packs/4f"), Names{});
}

TEST_P(StorageContract, ListsEachOfManyObjectsOnce) {
  Names expected;
  for (int i = 0; i < 5000; ++i) {
    expected.push_back("packs/" + std::to_string(10 + i % 90) + "/" +
                       std::to_string(i));
  }
  race(8, [&](int thread) {
    for (auto i = static_cast<std::size_t>(thread); i < expected.size();
         i += 8) {
      EXPECT_EQ(storage().create(expected[i], {}), repo::Created::created);
    }
  });
  std::ranges::sort(expected);

  EXPECT_TRUE(names_in("packs") == expected);
}

TEST_P(StorageContract, LetsAListingRemoveWhatItVisits) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(storage().create("marks/" + std::to_string(i), {}),
              repo::Created::created);
  }

  int visits = 0;
  storage().list("marks", [&](const repo::ListedObject& object) {
    ++visits;
    storage().remove(object.name);
  });

  EXPECT_EQ(visits, 100);
  EXPECT_EQ(names_in("marks"), Names{});
}

TEST_P(StorageContract, ShowsNothingOfAnObjectBeforeItIsPublished) {
  const auto object = storage().stage();
  object->append(Bytes(3 << 20));

  for (const auto* folder : {"packs", "packs/3f", "index", "snapshots"}) {
    EXPECT_EQ(names_in(folder), Names{});
  }
  EXPECT_EQ(storage().size("packs/3f/3f9a"), std::nullopt);

  EXPECT_EQ(object->publish("packs/3f/3f9a"), repo::Created::created);
  EXPECT_EQ(names_in("packs"), Names{"packs/3f/3f9a"});
}

TEST_P(StorageContract, KeepsNothingOfAnAbandonedObject) {
  {
    const auto object = storage().stage();
    object->append(Bytes(3 << 20));
  }

  EXPECT_EQ(names_in("packs"), Names{});
  EXPECT_EQ(storage().create("packs/3f/3f9a", {}), repo::Created::created);
}

TEST_P(StorageContract, RemovesAnObject) {
  ASSERT_EQ(storage().create("packs/3f/one", bytes_of("1")),
            repo::Created::created);
  ASSERT_EQ(storage().create("packs/3f/two", bytes_of("2")),
            repo::Created::created);
  Bytes out(1);
  storage().get("packs/3f/one", 0, out);

  storage().remove("packs/3f/one");

  EXPECT_EQ(storage().size("packs/3f/one"), std::nullopt);
  EXPECT_THROW(storage().get("packs/3f/one", 0, out), repo::NotFound);
  EXPECT_EQ(names_in("packs"), Names{"packs/3f/two"});
}

TEST_P(StorageContract, RemovesAnAbsentNameWithoutComplaint) {
  ASSERT_EQ(storage().create("packs/3f/one", {}), repo::Created::created);

  storage().remove("packs/3f/one");
  storage().remove("packs/3f/one");
  storage().remove("packs/4f/never");
}

TEST_P(StorageContract, ForgetsARemovedNameEntirely) {
  ASSERT_EQ(storage().create("snapshots/a", bytes_of("first")),
            repo::Created::created);
  EXPECT_EQ(text_of(read("snapshots/a")), "first");
  storage().remove("snapshots/a");

  EXPECT_EQ(storage().create("snapshots/a", bytes_of("the second")),
            repo::Created::created);

  EXPECT_EQ(text_of(read("snapshots/a")), "the second");
}

TEST_P(StorageContract, RemovesOnlyWhatIsUnfinished) {
  storage().remove_unfinished();
  ASSERT_EQ(storage().create("config", bytes_of("whole")),
            repo::Created::created);

  storage().remove_unfinished();

  EXPECT_EQ(text_of(read("config")), "whole");
  EXPECT_EQ(storage().create("packs/3f/after", {}), repo::Created::created);
}

TEST_P(StorageContract, SaysWhereItIs) {
  EXPECT_FALSE(storage().description().empty());
}

}  // namespace cairn::testing_support
