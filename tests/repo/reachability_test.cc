#include "repo/reachability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "repo/base_chain.h"
#include "repo/mark_set.h"
#include "repo/pack_reader.h"
#include "repo/pack_survey.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::random_bytes;
using testing_support::StateWriter;
using testing_support::TempFolder;
using testing_support::TestRepository;

BlobId id_of(unsigned number) {
  BlobId id;
  id.bytes[0] = static_cast<std::byte>(number);
  id.bytes[1] = static_cast<std::byte>(number >> 8);
  return id;
}

Link node(unsigned number) { return {BlobKind::links, id_of(number), 1}; }
Link leaf(unsigned number) { return {BlobKind::content, id_of(number), 1}; }

using Graph = std::map<BlobId, std::vector<Link>>;

// What is reached, in order, and how often each node is read.
struct Walk {
  std::vector<BlobId> reached;
  std::map<BlobId, int> reads;
};

Walk walk(const Graph& graph, const Link& root) {
  Walk walk;
  VisitedNodes visited;
  walk_graph(root, {[&](const Link& link) {
                      walk.reached.push_back(link.id);
                      return visited.add(link.id) ? Enter::yes : Enter::no;
                    },
                    [&](const Link& link) -> std::optional<std::vector<Link>> {
                      ++walk.reads[link.id];
                      const auto found = graph.find(link.id);
                      if (found == graph.end()) return std::nullopt;
                      return found->second;
                    }});
  return walk;
}

TEST(Reachability, FollowsLinksDepthFirst) {
  const Graph graph{{id_of(1), {node(2), leaf(3)}}, {id_of(2), {leaf(4)}}};

  EXPECT_EQ(walk(graph, node(1)).reached,
            (std::vector{id_of(1), id_of(2), id_of(4), id_of(3)}));
}

TEST(Reachability, ReadsASharedNodeOnce) {
  const Graph graph{{id_of(1), {node(2), node(2), node(3)}},
                    {id_of(2), {node(3)}},
                    {id_of(3), {leaf(4)}}};

  const auto result = walk(graph, node(1));

  EXPECT_EQ(result.reads, (std::map<BlobId, int>{
                              {id_of(1), 1}, {id_of(2), 1}, {id_of(3), 1}}));
}

TEST(Reachability, GoesOnWithoutANodeThatCannotBeRead) {
  const Graph graph{{id_of(1), {node(2), leaf(3)}}};

  EXPECT_EQ(walk(graph, node(1)).reached,
            (std::vector{id_of(1), id_of(2), id_of(3)}));
}

TEST(Reachability, TakesAnyDepth) {
  Graph graph;
  for (unsigned i = 0; i < 60'000; ++i) graph[id_of(i)] = {node(i + 1)};

  EXPECT_EQ(walk(graph, node(0)).reads.size(), 60'001U);
}

TEST(RecentlyReached, NeverClaimsWhatItHasNotSeen) {
  RecentlyReached recent;
  VisitedNodes seen;
  testing_support::for_each_seed(3, [&](auto& random) {
    for (int i = 0; i < 20'000; ++i) {
      Link link = leaf(0);
      link.id.bytes[0] = static_cast<std::byte>(random());
      link.id.bytes[5] = static_cast<std::byte>(random());
      if (recent.contains_or_add(link)) {
        EXPECT_TRUE(seen.contains(link.id));
      }
      seen.add(link.id);
    }
  });
}

TEST(RecentlyReached, KeepsMostOfWhatItHasSeenWhenItGrows) {
  RecentlyReached recent;
  std::vector<Link> links(20'000, leaf(0));
  std::mt19937_64 random(1);
  for (Link& link : links) {
    for (auto& byte : link.id.bytes) byte = static_cast<std::byte>(random());
    EXPECT_FALSE(recent.contains_or_add(link));
  }
  const auto known = std::ranges::count_if(
      links, [&](const Link& link) { return recent.contains_or_add(link); });
  EXPECT_GT(known, 10'000);
}

TEST(MarkSet, RemembersWhatWasMarked) {
  TempFolder folder;
  testing_support::for_each_seed(5, [&](auto& random) {
    const std::uint64_t size = 1 + random() % 3'000'000;
    MarkSet marks(folder.path(), size);
    std::map<std::uint64_t, bool> model;

    for (int i = 0; i < 2'000; ++i) {
      const std::uint64_t number = random() % size;
      EXPECT_EQ(marks.mark(number), model.emplace(number, true).second);
      const std::uint64_t other = random() % size;
      EXPECT_EQ(marks.is_marked(other), model.contains(other));
    }
  });
}

TEST(MarkSet, LiesInMemoryWhereThereIsNoRoomOnDisk) {
  MarkSet marks("/proc/no-such-folder", 1'000'000);

  EXPECT_TRUE(marks.mark(999'999));
  EXPECT_TRUE(marks.is_marked(999'999));
}

TEST(PackSurvey, ConfirmsJustTheRowsThatPacksHave) {
  TestRepository test;
  auto repository = test.open();
  std::mt19937_64 random(1);
  {
    StateWriter writer(repository, {.pack_bytes = 50'000});
    std::vector<Link> chunks;
    for (int i = 0; i < 100; ++i) {
      chunks.push_back(writer.chunk(random_bytes(random, 2'000)));
    }
    writer.add_file("f", chunks);
    (void)writer.commit(at_hour(1));
  }
  TempFolder folder;
  PackSurvey survey(folder.path());
  std::vector<IndexedPack> packs;
  for (const auto& pack : list_packs(test.disk())) {
    packs.push_back(
        read_pack_directory(test.disk(), repository.keyring(), pack.id).pack);
    survey.add(packs.back());
  }
  ASSERT_GT(packs.size(), 3U);

  RowNumber last = 0;
  for (std::size_t i = 0; i < packs.size(); ++i) {
    EXPECT_EQ(survey.find(packs[i].id), i);
    std::uint64_t offset = 48;
    for (const auto& row : packs[i].directory.rows) {
      const auto number = survey.find_row(i, offset, row);
      ASSERT_TRUE(number);
      EXPECT_TRUE(*number == 0 || *number > last);
      last = *number;
      EXPECT_EQ(survey.pack_of(*number), i);
      EXPECT_EQ(survey.stored_size(*number), row.stored_size);
      EXPECT_FALSE(survey.find_row(i, offset + 1, row));
      auto other = row;
      other.id.bytes[3] ^= std::byte{1};
      EXPECT_FALSE(survey.find_row(i, offset, other));
      offset += row.stored_size;
    }
  }
  EXPECT_FALSE(survey.find(PackId{}));
}

TEST(BaseChain, IsDecodableOnlyWithEveryBaseBelowIt) {
  TestRepository test;
  std::mt19937_64 random(1);
  auto content = random_bytes(random, 4'000);
  std::vector<Link> chain;
  {
    auto repository = test.open();
    StateWriter writer(repository);
    std::optional<BlobId> base;
    for (int i = 0; i < 4; ++i) {
      chain.push_back(writer.chunk(content, base));
      base = chain.back().id;
      content[random() % content.size()] ^= std::byte{1};
      writer.end_packs();  // each in a pack of its own
    }
    writer.add_file("f", chain);
    (void)writer.commit(at_hour(1));
  }
  auto repository = test.open();
  auto& index = repository.index();
  for (const auto& link : chain) {
    EXPECT_TRUE(is_decodable(index, BlobKind::content, link.id));
    EXPECT_FALSE(is_decodable(index, BlobKind::links, link.id));
  }

  const auto second = index.pack(index.find(chain[1].id)[0].pack).id;
  auto existing = list_packs(test.disk());
  std::erase_if(existing,
                [&](const StoredPack& pack) { return pack.id == second; });
  index.restrict_to(existing);

  EXPECT_TRUE(is_decodable(index, BlobKind::content, chain[0].id));
  EXPECT_FALSE(is_decodable(index, BlobKind::content, chain[1].id));
  EXPECT_FALSE(is_decodable(index, BlobKind::content, chain[2].id));
  EXPECT_FALSE(is_decodable(index, BlobKind::content, chain[3].id));
}

}  // namespace
}  // namespace cairn::repo
