#include "ingest/tar_splitter.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/for_each_seed.h"
#include "tests/support/tar.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;

// What a splitter made of an archive that came in pieces of some size.
struct Split {
  Bytes all;
  std::size_t headers = 0;  // bytes
  Bytes contents;
  std::vector<std::uint64_t> members;  // sizes
};

Split split(const Bytes& archive, std::size_t most = ~std::size_t{0}) {
  Split result;
  TarSplitter splitter;
  std::span<const std::byte> rest = archive;
  while (!rest.empty()) {
    const auto part = rest.first(std::min(most, rest.size()));
    rest = rest.subspan(part.size());
    splitter.split(part, [&](const TarSplitter::Piece& piece) {
      EXPECT_FALSE(piece.bytes.empty());
      result.all.insert(result.all.end(), piece.bytes.begin(),
                        piece.bytes.end());
      if (piece.kind == TarSplitter::Kind::header) {
        result.headers += piece.bytes.size();
      } else {
        result.contents.insert(result.contents.end(), piece.bytes.begin(),
                               piece.bytes.end());
      }
      if (piece.member_size > 0) result.members.push_back(piece.member_size);
    });
  }
  return result;
}

Bytes random_archive(std::mt19937_64& random) {
  Bytes archive;
  constexpr std::string_view kTypes = "0001235xgLK7";
  for (auto n = random() % 12; n > 0; --n) {
    append_member(archive,
                  {.name = "member " + std::to_string(random()),
                   .type = kTypes[random() % kTypes.size()]},
                  random_bytes(random, random() % 3000));
  }
  append_end(archive);
  return archive;
}

TEST(TarSplitter, LosesNothingOfAnyArchive) {
  for_each_seed(300, [](auto& random) {
    Bytes archive = random_archive(random);
    switch (random() % 3) {
      case 0:
        break;
      case 1:
        archive.resize(random() % archive.size());
        break;
      default:
        for (int i = 0; i < 5; ++i) {
          archive[random() % archive.size()] = static_cast<std::byte>(random());
        }
    }
    const auto whole = split(archive);
    EXPECT_EQ(whole.all, archive);
    const auto piecewise = split(archive, 1 + random() % 700);
    EXPECT_EQ(piecewise.all, archive);
    EXPECT_EQ(piecewise.members, whole.members);
  });
}

TEST(TarSplitter, TellsContentsFromWhatDescribesThem) {
  Bytes archive;
  append_member(archive, {.name = "a"}, bytes_of("one"));
  append_member(archive, {.name = "folder/", .type = '5'});
  append_member(archive, {.name = "empty"});
  append_member(archive, {.name = "long name", .type = 'L'},
                bytes_of(std::string(700, 'n')));
  append_member(archive, {.name = "b"}, bytes_of(std::string(600, '2')));
  append_end(archive);

  const auto result = split(archive, 100);

  EXPECT_EQ(text_of(result.contents), "one" + std::string(600, '2'));
  EXPECT_EQ(result.members, (std::vector<std::uint64_t>{3, 600}));
  EXPECT_EQ(result.headers, archive.size() - 603);
}

TEST(TarSplitter, BelievesThePaxRecordOfASize) {
  Bytes archive;
  append_member(archive, {.name = "pax", .type = 'x'},
                bytes_of("20 path=a long name\n12 size=600\n"));
  const Bytes content(600, std::byte{7});
  append_member(archive, {.name = "b", .size_field = "00000000000"}, content);
  append_member(archive, {.name = "c"}, bytes_of("c"));

  const auto result = split(archive);

  EXPECT_EQ(result.members, (std::vector<std::uint64_t>{600, 1}));
}

TEST(TarSplitter, ReadsSizesInBase256) {
  Bytes archive;
  std::string size(12, '\0');
  size[0] = '\x80';
  size[10] = 2;
  size[11] = 1;
  append_member(archive, {.name = "b", .size_field = size}, Bytes(513));
  append_member(archive, {.name = "c"}, bytes_of("c"));

  EXPECT_EQ(split(archive).members, (std::vector<std::uint64_t>{513, 1}));
}

// GNU tar's maps of sparse members with many holes go on in blocks of their
// own.
TEST(TarSplitter, TakesTheMapOfASparseMemberForItsHeader) {
  Bytes archive;
  append_member(archive, {.name = "s", .type = 'S'}, Bytes(700, std::byte{7}));
  Bytes with_map(archive.begin(), archive.begin() + kBlock);
  with_map[482] = std::byte{1};
  // The checksum counts that byte, too.
  const auto sum =
      std::stoul(text_of(std::span(with_map).subspan(148, 6)), nullptr, 8) + 1;
  std::ranges::copy(bytes_of(octal(sum, 6)), with_map.begin() + 148);
  Bytes map(kBlock, std::byte{'m'});
  map[504] = std::byte{1};
  with_map.insert(with_map.end(), map.begin(), map.end());
  map[504] = std::byte{0};
  with_map.insert(with_map.end(), map.begin(), map.end());
  with_map.insert(with_map.end(), archive.begin() + kBlock, archive.end());
  append_member(with_map, {.name = "b"}, bytes_of("b"));

  const auto result = split(with_map, 333);

  EXPECT_EQ(result.members, (std::vector<std::uint64_t>{700, 1}));
  EXPECT_EQ(result.contents.size(), 701U);
}

TEST(TarSplitter, LinksHaveNoContentWhateverTheirSizeSays) {
  Bytes archive;
  append_member(archive,
                {.name = "a", .type = '1', .size_field = "00000001000"});
  append_member(archive, {.name = "b"}, bytes_of("b"));

  EXPECT_EQ(split(archive).members, (std::vector<std::uint64_t>{1}));
}

TEST(TarSplitter, TakesForContentWhatItDoesNotUnderstand) {
  Bytes archive;
  append_member(archive, {.name = "a"}, bytes_of("a"));
  append(archive, std::string(2000, 'x'));
  append_member(archive, {.name = "b"}, bytes_of("b"));

  const auto result = split(archive);

  EXPECT_EQ(result.all, archive);
  EXPECT_EQ(result.members, (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(result.headers, 2 * kBlock - 1);
}

TEST(TarSplitter, KnowsTheBeginningOfAnArchive) {
  Bytes archive;
  append_member(archive, {.name = "a"}, bytes_of("a"));
  EXPECT_TRUE(begins_like_tar(archive));
  EXPECT_FALSE(begins_like_tar(std::span(archive).first(kBlock - 1)));
  EXPECT_FALSE(begins_like_tar(Bytes(kBlock)));
  archive[3] ^= std::byte{1};
  EXPECT_FALSE(begins_like_tar(archive));
}

}  // namespace
}  // namespace cairn::ingest
