#include "repo/pending_changes.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::for_each_seed;
using Map = std::map<std::string, std::optional<std::string>>;

Map contents(PendingChanges& changes) {
  Map map;
  std::string_view last;
  for (const auto& [key, value] : changes.sort()) {
    EXPECT_TRUE(map.empty() || last < key);
    map.emplace(key, value);
    last = key;
  }
  return map;
}

TEST(PendingChanges, KeepsTheLastChangeToEachKeyInOrder) {
  for_each_seed(50, [](auto& random) {
    PendingChanges changes;
    for (int round = 0; round < 3; ++round) {
      Map expected;
      const auto steps = random() % 2000;
      for (std::size_t i = 0; i < steps; ++i) {
        std::string key(random() % 4, 'k');
        key += std::to_string(random() % 500);
        std::optional<std::string> value;
        if (random() % 5 != 0) value = std::string(random() % 20, 'v');
        changes.add(key, value);
        expected[key] = value;

        const std::string asked = "k" + std::to_string(random() % 500);
        const auto* const found = changes.find(asked);
        const auto known = expected.find(asked);
        ASSERT_EQ(found != nullptr, known != expected.end());
        if (found != nullptr) {
          EXPECT_EQ(found->key, asked);
          EXPECT_EQ(found->value, known->second);
        }
      }
      EXPECT_EQ(changes.empty(), expected.empty());
      EXPECT_EQ(contents(changes), expected);
      changes.clear();
      EXPECT_TRUE(changes.empty());
      EXPECT_EQ(changes.find("k1"), nullptr);
    }
  });
}

TEST(PendingChanges, KnowsWhatItTakes) {
  PendingChanges changes;
  EXPECT_LT(changes.bytes(), 100u);

  changes.add("key", std::string(100'000, 'v'));

  EXPECT_GE(changes.bytes(), 100'000u);
  changes.clear();
  EXPECT_LT(changes.bytes(), 100u);
}

// Whose table could not be written, and who goes on all the same.
TEST(PendingChanges, TakesMoreAfterTheyWerePutInOrder) {
  PendingChanges changes;
  for (int i = 0; i < 1000; ++i) changes.add(std::to_string(i), "old");
  (void)changes.sort();

  changes.add("7", "new");
  changes.add("more", "new");

  const Map map = contents(changes);
  EXPECT_EQ(map.size(), 1001u);
  EXPECT_EQ(map.at("7"), "new");
  EXPECT_EQ(map.at("8"), "old");
}

TEST(PendingChanges, TellsEmptyValuesFromRemovals) {
  PendingChanges changes;
  changes.add("", "");
  changes.add("gone", std::nullopt);

  ASSERT_NE(changes.find(""), nullptr);
  EXPECT_EQ(changes.find("")->value, "");
  ASSERT_NE(changes.find("gone"), nullptr);
  EXPECT_EQ(changes.find("gone")->value, std::nullopt);
}

}  // namespace
}  // namespace cairn::repo
