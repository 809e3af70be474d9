#include "ingest/hole_map.h"

#include <gtest/gtest.h>

#include <random>
#include <tuple>
#include <vector>

#include "tests/support/for_each_seed.h"

namespace cairn::ingest {
namespace {

using repo::Extent;

// Place in the file, size, distance from the content's begin.
using Pieces =
    std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>>;

Pieces pieces_of(const HoleMap& holes, Extent content) {
  Pieces pieces;
  holes.for_each_piece(content, [&](const Extent& piece, std::uint64_t at) {
    pieces.emplace_back(piece.offset, piece.size, at);
  });
  return pieces;
}

repo::Entry entry_with(std::uint64_t size, std::vector<Extent> holes) {
  repo::Entry entry;
  entry.size = size;
  entry.holes = std::move(holes);
  return entry;
}

TEST(HoleMap, WithoutHolesContentLiesWhereItIs) {
  const HoleMap holes(entry_with(100, {}));

  EXPECT_EQ(pieces_of(holes, {0, 100}), (Pieces{{0, 100, 0}}));
  EXPECT_EQ(pieces_of(holes, {30, 5}), (Pieces{{30, 5, 0}}));
}

TEST(HoleMap, CutsContentWhereAHoleLiesInIt) {
  const HoleMap holes(entry_with(100, {{0, 10}, {20, 5}, {90, 10}}));

  EXPECT_EQ(pieces_of(holes, {0, 75}), (Pieces{{10, 10, 0}, {25, 65, 10}}));
  EXPECT_EQ(pieces_of(holes, {9, 2}), (Pieces{{19, 1, 0}, {25, 1, 1}}));
  EXPECT_EQ(pieces_of(holes, {10, 1}), (Pieces{{25, 1, 0}}));
}

TEST(HoleMap, GivesNoPieceForNoContent) {
  EXPECT_TRUE(pieces_of(HoleMap(entry_with(10, {{0, 10}})), {0, 0}).empty());
}

// Against a file written down byte for byte.
TEST(HoleMap, PlacesEveryByteWhereTheFileHasIt) {
  testing_support::for_each_seed(200, [](auto& random) {
    repo::Entry entry;
    std::vector<std::uint64_t> place_of_content;
    for (bool is_hole = random() % 2 == 0; entry.size < 200;
         is_hole = !is_hole) {
      const std::uint64_t size = 1 + random() % 20;
      if (is_hole) entry.holes.push_back({entry.size, size});
      for (std::uint64_t i = 0; i < size && !is_hole; ++i) {
        place_of_content.push_back(entry.size + i);
      }
      entry.size += size;
    }
    const HoleMap holes(entry);
    const std::uint64_t offset = random() % place_of_content.size();
    const std::uint64_t size =
        random() % (place_of_content.size() - offset + 1);

    std::vector<std::uint64_t> places;
    for (const auto& [place, piece_size, at] :
         pieces_of(holes, {offset, size})) {
      EXPECT_EQ(at, places.size());
      for (std::uint64_t i = 0; i < piece_size; ++i)
        places.push_back(place + i);
    }

    const auto begin =
        place_of_content.begin() + static_cast<std::ptrdiff_t>(offset);
    EXPECT_EQ(places, std::vector<std::uint64_t>(
                          begin, begin + static_cast<std::ptrdiff_t>(size)));
  });
}

}  // namespace
}  // namespace cairn::ingest
