#include "repo/pack_fates.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::TempFolder;

constexpr std::uint32_t kRowBytes = 1000;

// A blob in a pack: its name, whether a snapshot needs it, and what it leans
// on; or all copies that this could be, where none is verified.
struct Row {
  std::string name;
  bool is_live = false;
  std::string base = {};
};

// Packs by their names, a letter each, which are also their order.
using Packs = std::map<char, std::vector<Row>>;

PackId id_of(char pack) {
  PackId id;
  id.bytes[0] = static_cast<std::byte>(pack);
  return id;
}

struct Fates {
  std::string kept, repacked, first, last;  // letters of packs
  std::string order;                        // of the first ones
  std::string last_order = {};              // of the others that go

  bool operator==(const Fates&) const = default;
};

void PrintTo(const Fates& fates, std::ostream* out) {
  *out << "kept " << fates.kept << ", repacked " << fates.repacked << ", first "
       << fates.first << ", last " << fates.last << ", order " << fates.order
       << ", last order " << fates.last_order;
}

Fates decide(const Packs& packs, const PruneOptions& options,
             const std::string& unsound = {},
             std::uint64_t pack_bytes = 100'000'000,
             const std::string& unverified = {}) {
  TempFolder folder;
  PackSurvey survey(folder.path());
  for (const auto& [letter, rows] : packs) {
    IndexedPack pack{id_of(letter), pack_bytes, {}};
    for (const auto& row : rows) {
      BlobRow blob;
      blob.codec = row.base.empty() ? Codec::raw : Codec::zstd_to_base;
      blob.stored_size = kRowBytes;
      if (!row.base.empty()) {
        blob.base = BlobId{};
        blob.depth = 1;
      }
      pack.directory.rows.push_back(blob);
    }
    survey.add(pack);
    if (unverified.find(letter) == std::string::npos) {
      survey.set_verified(survey.packs().size() - 1);
    }
  }
  std::map<std::string, RowNumber> numbers;
  std::size_t place = 0;
  for (const auto& [letter, rows] : packs) {
    RowNumber number = survey.packs()[place++].first_row;
    for (const auto& row : rows) numbers[row.name] = number++;
  }
  RowFacts facts(survey, folder.path());
  place = 0;
  std::string letters;
  for (const auto& [letter, rows] : packs) {
    for (const auto& row : rows) {
      const RowNumber number = numbers.at(row.name);
      if (row.is_live) facts.live.mark(number);
      std::vector<RowNumber> bases;
      std::istringstream names(row.base);
      for (std::string name; names >> name;) bases.push_back(numbers.at(name));
      if (bases.size() == 1) facts.base[number] = bases.front() + 1;
      if (bases.size() > 1) facts.lean_on_all(number, bases);
    }
    facts.has_unsound[place++] = unsound.find(letter) != std::string::npos;
    letters += letter;
  }

  const auto result = decide_fates(survey, facts, options, folder.path());

  Fates fates;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    switch (result.verdicts[i].fate) {
      case PackFate::keep:
        fates.kept += letters[i];
        break;
      case PackFate::repack:
        fates.repacked += letters[i];
        break;
      case PackFate::remove_first:
        fates.first += letters[i];
        break;
      case PackFate::remove_last:
        fates.last += letters[i];
        break;
    }
  }
  for (const auto pack : result.removal_order) fates.order += letters[pack];
  for (const auto pack : result.last_order) fates.last_order += letters[pack];
  return fates;
}

constexpr PruneOptions kNothingWasted{.max_unused = 0, .budget = {}};
constexpr PruneOptions kAnyWaste{.max_unused = 1e9, .budget = {}};

TEST(PackFates, RemoveWhatIsDeadAndKeepWhatIsFull) {
  const Packs packs{{'a', {{"1", true}, {"2", true}}}, {'b', {{"3"}, {"4"}}}};

  EXPECT_EQ(decide(packs, kNothingWasted), (Fates{.kept = "a",
                                                  .repacked = "",
                                                  .first = "b",
                                                  .last = "",
                                                  .order = "b"}));
}

TEST(PackFates, KeepBasesOfLiveRows) {
  const Packs packs{{'a', {{"1"}}}, {'b', {{"2", true, "1"}}}};

  EXPECT_EQ(decide(packs, kNothingWasted).kept, "ab");
}

TEST(PackFates, KeepBasesOfDeadRowsOfKeptPacks) {
  const Packs packs{{'a', {{"1"}}},
                    {'b', {{"2", false, "1"}}},
                    {'c', {{"3", true}, {"4", false, "2"}}}};

  EXPECT_EQ(decide(packs, kAnyWaste).kept, "abc");
}

TEST(PackFates, LetBasesGoThatOnlyDeadRowsOfRepackedPacksLeanOn) {
  const Packs packs{{'a', {{"1"}}}, {'b', {{"2", true}, {"3", false, "1"}}}};

  EXPECT_EQ(decide(packs, kNothingWasted), (Fates{.kept = "",
                                                  .repacked = "b",
                                                  .first = "",
                                                  .last = "a",
                                                  .order = "",
                                                  .last_order = "ba"}));
}

TEST(PackFates, RemoveWhatLeansBeforeWhatItLeansOn) {
  const Packs packs{{'a', {{"1"}}},
                    {'b', {{"2", false, "1"}}},
                    {'c', {{"3", false, "2"}, {"4", false, "1"}}},
                    {'d', {{"5", true}}}};

  EXPECT_EQ(decide(packs, kNothingWasted), (Fates{.kept = "d",
                                                  .repacked = "",
                                                  .first = "abc",
                                                  .last = "",
                                                  .order = "cba"}));
}

TEST(PackFates, RemoveARingOfPacksLast) {
  const Packs packs{{'a', {{"1"}, {"2", false, "3"}}},
                    {'b', {{"3"}, {"4", false, "1"}}},
                    {'c', {{"5", false, "4"}}}};

  EXPECT_EQ(decide(packs, kNothingWasted), (Fates{.kept = "",
                                                  .repacked = "",
                                                  .first = "c",
                                                  .last = "ab",
                                                  .order = "c",
                                                  .last_order = "ab"}));
}

TEST(PackFates, RemoveRepackedPacksBeforeWhatTheirDeadRowsLeanOn) {
  const Packs packs{{'a', {{"1", true}, {"2"}}},
                    {'b', {{"3"}}},
                    {'c', {{"4", true}, {"5", false, "3"}}},
                    {'d', {{"6", true}, {"7", false, "5"}, {"8", false, "2"}}}};

  EXPECT_EQ(decide(packs, kNothingWasted), (Fates{.kept = "",
                                                  .repacked = "acd",
                                                  .first = "",
                                                  .last = "b",
                                                  .order = "",
                                                  .last_order = "dacb"}));
}

TEST(PackFates, RepackTheMostWastefulUntilLittleIsWasted) {
  const Packs packs{{'a', {{"1", true}, {"2"}, {"3"}, {"4"}}},
                    {'b', {{"5", true}, {"6", true}, {"7"}}},
                    {'c', {{"8", true}, {"9", true}, {"10", true}}}};

  EXPECT_EQ(decide(packs, {.max_unused = 0.2, .budget = {}}).repacked, "a");
  EXPECT_EQ(decide(packs, kNothingWasted).repacked, "ab");
  EXPECT_EQ(decide(packs, kAnyWaste).repacked, "");
}

TEST(PackFates, StayWithinTheBudget) {
  const Packs packs{{'a', {{"1", true}, {"2"}, {"3"}, {"4"}}},
                    {'b', {{"5", true}, {"6", true}, {"7"}}}};

  EXPECT_EQ(decide(packs, {.max_unused = 0, .budget = kRowBytes}).repacked,
            "a");
  EXPECT_EQ(decide(packs, {.max_unused = 0, .budget = 0}).kept, "ab");
}

// Keeping b for want of budget makes a row of a needed, which was dead.
TEST(PackFates, LookAgainWhenKeepingMakesMoreNeeded) {
  const Packs packs{{'a', {{"1"}, {"2"}, {"3"}}},
                    {'b', {{"4", true}, {"5", true}, {"6", false, "1"}}}};

  EXPECT_EQ(decide(packs, {.max_unused = 0, .budget = kRowBytes}),
            (Fates{.kept = "b",
                   .repacked = "a",
                   .first = "",
                   .last = "",
                   .order = "",
                   .last_order = "a"}));
}

TEST(PackFates, RepackAPackWithRowsThatNobodyCouldRead) {
  const Packs packs{{'a', {{"1", true}, {"2"}}}};

  EXPECT_EQ(decide(packs, kAnyWaste, "a").repacked, "a");
}

TEST(PackFates, RepackAPackWithRowsThatNobodyCouldReadBeyondTheBudget) {
  const Packs packs{{'a', {{"1", true}, {"2"}}}, {'b', {{"3", true}, {"4"}}}};

  EXPECT_EQ(decide(packs, {.max_unused = 0, .budget = 0}, "a"),
            (Fates{.kept = "b",
                   .repacked = "a",
                   .first = "",
                   .last = "",
                   .order = "",
                   .last_order = "a"}));
  EXPECT_EQ(decide(packs, {.max_unused = 0, .budget = kRowBytes}, "a").repacked,
            "a");
}

TEST(PackFates, KeepAPackThatNobodyHasVerifiedWhileAnythingInItIsNeeded) {
  const Packs packs{
      {'a', {{"1", true}, {"2"}}}, {'b', {{"3", true}, {"4"}}}, {'c', {{"5"}}}};

  EXPECT_EQ(decide(packs, kNothingWasted, "a", 100'000'000, "ac"),
            (Fates{.kept = "a",
                   .repacked = "b",
                   .first = "c",
                   .last = "",
                   .order = "c",
                   .last_order = "b"}));
}

// Row 1 leans on one of 2 and 3, of which nobody knows which is false. What
// leans on the shallower one does not need the deeper.
TEST(PackFates, KeepAllThatABaseCouldBe) {
  const Packs packs{{'a', {{"1", true, "2 3"}}},
                    {'b', {{"2"}}},
                    {'c', {{"3"}}},
                    {'d', {{"4", false, "2 3"}}}};
  EXPECT_EQ(decide(packs, kNothingWasted, "", 100'000'000, "bc").kept, "abc");

  Packs shallow = packs;
  shallow['a'] = {{"1", true, "2"}};
  EXPECT_EQ(decide(shallow, kNothingWasted, "", 100'000'000, "bc").kept, "ab");

  Packs dead = packs;
  dead['a'] = {{"1", false, "2 3"}};
  const auto order = decide(dead, kNothingWasted, "", 100'000'000, "bc").order;
  EXPECT_EQ(order.size(), 4U);
  for (const char who : {'a', 'd'}) {
    for (const char base : {'b', 'c'}) {
      EXPECT_LT(order.find(who), order.find(base));
    }
  }
}

TEST(PackFates, MergeSmallPacksOnceTheyAreMany) {
  Packs packs;
  for (char letter = 'a'; letter < 'a' + 15; ++letter) {
    packs[letter] = {{std::string(1, letter), true}};
  }
  constexpr std::uint64_t kSmall = 100'000;

  EXPECT_EQ(decide(packs, kAnyWaste, "", kSmall).repacked, "");
  packs['z'] = {{"z", true}};
  EXPECT_EQ(decide(packs, kAnyWaste, "", kSmall).repacked, "abcdefghijklmnoz");
}

}  // namespace
}  // namespace cairn::repo
