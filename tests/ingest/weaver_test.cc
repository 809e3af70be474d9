#include "ingest/weaver.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/support/for_each_seed.h"
#include "tests/support/tar.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;

constexpr chunker::ChunkSizes kSizes{.min = 256, .normal = 1024, .max = 4096};
constexpr std::uint32_t kPageChunk = 8U << 10;

struct Woven {
  std::map<unsigned, std::vector<Bytes>> chunks;  // of each part
  repo::Weave weave;

  [[nodiscard]] Bytes part(unsigned number) const {
    Bytes all;
    const auto found = chunks.find(number);
    if (found == chunks.end()) return all;
    for (const auto& chunk : found->second) {
      all.insert(all.end(), chunk.begin(), chunk.end());
    }
    return all;
  }

  // By the recipe alone.
  [[nodiscard]] Bytes put_together() const {
    const Bytes recipe = part(repo::kRecipePart);
    std::map<unsigned, Bytes> parts;
    std::map<unsigned, std::size_t> at;
    Bytes all;
    for (std::size_t i = 0; i < recipe.size(); i += repo::kWeaveStepBytes) {
      const auto number = std::to_integer<unsigned>(recipe[i]);
      std::size_t length = 0;
      for (std::size_t k = repo::kWeaveStepBytes; k-- > 1;) {
        length = length << 8 | std::to_integer<std::size_t>(recipe[i + k]);
      }
      if (!parts.contains(number)) parts[number] = part(number);
      const auto bytes = std::span(parts[number]).subspan(at[number], length);
      all.insert(all.end(), bytes.begin(), bytes.end());
      at[number] += length;
    }
    return all;
  }
};

Woven weave(const Bytes& archive, std::size_t most = 1000) {
  const chunker::CutterKey key{std::byte{1}};
  const chunker::ContentDefinedCutter cdc(key, kSizes);
  const chunker::PageCutter page(kPageChunk);
  Woven woven;
  Weaver weaver(cdc, page, nullptr, [&](const Weaver::Cut& cut) {
    woven.chunks[cut.part].emplace_back(cut.bytes.begin(), cut.bytes.end());
  });
  std::span<const std::byte> rest = archive;
  while (!rest.empty()) {
    const auto piece = rest.first(std::min(most, rest.size()));
    weaver.add(piece);
    rest = rest.subspan(piece.size());
  }
  woven.weave = std::move(weaver).finish();
  return woven;
}

Bytes archive_of(const std::vector<Bytes>& contents,
                 std::uint64_t modified = 1'700'000'000) {
  Bytes archive;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    append_member(archive,
                  {.name = "member " + std::to_string(i), .modified = modified},
                  contents[i]);
  }
  append_end(archive);
  return archive;
}

TEST(Weaver, TheRecipeGivesBackWhatWentIn) {
  for_each_seed(100, [](auto& random) {
    std::vector<Bytes> contents;
    for (auto n = random() % 30; n > 0; --n) {
      contents.push_back(
          random_bytes(random, random() % (random() % 4 == 0 ? 20'000 : 300)));
    }
    Bytes archive = archive_of(contents);
    if (random() % 3 == 0) archive.resize(1 + random() % archive.size());

    const auto woven = weave(archive, 1 + random() % 9000);

    EXPECT_EQ(woven.put_together(), archive);
    repo::WeaveDigester digester;
    digester.add(archive);
    EXPECT_EQ(woven.weave.digest, digester.finish());
    for (unsigned i = 0; i < woven.weave.parts.size(); ++i) {
      EXPECT_EQ(woven.part(i).size(), woven.weave.parts[i]);
    }
  });
}

TEST(Weaver, MembersThatAreNotSmallBeginAndEndChunks) {
  std::mt19937_64 random(1);
  const Bytes one = random_bytes(random, 9000);
  const Bytes other = random_bytes(random, 7001);
  const Bytes small = random_bytes(random, 100);

  const auto alone = weave(archive_of({one}));
  const auto among =
      weave(archive_of({small, small, other, small, one, small}));

  const auto& chunks = among.chunks.at(Weaver::kContentPart);
  for (const auto& chunk : alone.chunks.at(Weaver::kContentPart)) {
    EXPECT_NE(std::ranges::find(chunks, chunk), chunks.end());
  }
}

TEST(Weaver, PageFilesAreCutOnTheirPages) {
  std::mt19937_64 random(1);
  Bytes database = random_bytes(random, 5 * kPageChunk + 4096);
  const Bytes magic = bytes_of(std::string_view("SQLite format 3\0", 16));
  std::ranges::copy(magic, database.begin());

  const auto woven =
      weave(archive_of({random_bytes(random, 333), database, database}));

  std::size_t whole = 0;
  for (const auto& chunk : woven.chunks.at(Weaver::kContentPart)) {
    whole += chunk.size() == kPageChunk ? 1 : 0;
  }
  EXPECT_EQ(whole, 10U);
}

TEST(Weaver, NewTimesChangeNoChunkOfContents) {
  std::mt19937_64 random(1);
  std::vector<Bytes> contents;
  for (int i = 0; i < 50; ++i) {
    contents.push_back(random_bytes(random, random() % 2000));
  }

  const auto before = weave(archive_of(contents, 1'700'000'000));
  const auto after = weave(archive_of(contents, 1'800'000'000));

  EXPECT_EQ(after.chunks.at(Weaver::kContentPart),
            before.chunks.at(Weaver::kContentPart));
  EXPECT_EQ(after.chunks.at(repo::kRecipePart),
            before.chunks.at(repo::kRecipePart));
  EXPECT_NE(after.chunks.at(Weaver::kHeaderPart),
            before.chunks.at(Weaver::kHeaderPart));
}

}  // namespace
}  // namespace cairn::ingest
