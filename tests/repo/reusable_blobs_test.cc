#include "repo/reusable_blobs.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::random_bytes;
using testing_support::StateWriter;
using testing_support::TestRepository;

// A pack of two chunks of one size.
struct TwoChunks {
  TwoChunks() {
    std::mt19937_64 random(1);
    auto repository = test.open();
    StateWriter writer(repository);
    for (auto& link : links) link = writer.chunk(random_bytes(random, 4'000));
    writer.add_file("file", links);
    (void)writer.commit(at_hour(1));
  }

  [[nodiscard]] std::array<bool, 2> reusable() {
    auto repository = test.open();
    ReusableBlobs blobs(test.disk(), repository.keyring(), repository.index(),
                        {});
    std::array<bool, 2> answers{};
    for (std::size_t i = 0; i < links.size(); ++i) {
      answers[i] = blobs.contains(BlobKind::content, links[i].id);
    }
    return answers;
  }

  TestRepository test;
  std::array<Link, 2> links;
};

TEST(ReusableBlobs, AreThoseThatTheirPacksConfirm) {
  TwoChunks two;

  EXPECT_EQ(two.reusable(), (std::array{true, true}));
}

TEST(ReusableBlobs, AreNoneOfAPackOfWhichTheIndexLies) {
  TwoChunks two;
  {
    auto repository = two.test.open();
    const auto id = list_indexes(two.test.disk()).front();
    auto object = read_index(two.test.disk(), repository.keyring(), id);
    for (auto& pack : object.packs) {
      auto& rows = pack.directory.rows;
      if (rows.front().kind == BlobKind::content) std::swap(rows[0], rows[1]);
    }
    two.test.disk().remove(index_name(id));
    (void)publish_index(two.test.disk(), repository.keyring(),
                        repository.signer(), object);
  }

  EXPECT_EQ(two.reusable(), (std::array{false, false}));
}

TEST(ReusableBlobs, AreReadOfEachDirectoryOnce) {
  TwoChunks two;
  auto repository = two.test.open();
  ReusableBlobs blobs(two.test.disk(), repository.keyring(), repository.index(),
                      {});
  ASSERT_TRUE(blobs.contains(BlobKind::content, two.links[0].id));
  for (const auto& pack : list_packs(two.test.disk())) {
    two.test.disk().remove(pack_name(pack.id));
  }

  EXPECT_TRUE(blobs.contains(BlobKind::content, two.links[1].id));
}

// What a run before noted of the two chunks.
struct Noted {
  explicit Noted(TwoChunks& two) {
    auto repository = two.test.open();
    ReusableBlobs blobs(two.test.disk(), repository.keyring(),
                        repository.index(), {});
    EXPECT_TRUE(blobs.contains(BlobKind::content, two.links[0].id, notes));
    EXPECT_TRUE(blobs.contains(BlobKind::content, two.links[1].id, notes));
    era = blobs.era();
  }

  [[nodiscard]] bool holds(TwoChunks& two) const {
    auto repository = two.test.open();
    return ReusableBlobs(two.test.disk(), repository.keyring(),
                         repository.index(), {})
        .has_as_noted(era, notes);
  }

  PackNotes notes;
  std::optional<BlobIndex::Era> era;
};

TEST(PackNotes, HoldWhileNothingChanged) {
  TwoChunks two;
  const Noted noted(two);

  EXPECT_EQ(noted.notes.packs.size(), 1U);
  EXPECT_TRUE(noted.holds(two));
}

TEST(PackNotes, DoNotHoldInAnotherEraOrWithoutAny) {
  TwoChunks two;
  Noted noted(two);

  Noted other = noted;
  other.era = *noted.era + 1;
  EXPECT_FALSE(other.holds(two));
  other.era.reset();
  EXPECT_FALSE(other.holds(two));
  noted.notes = {};
  EXPECT_FALSE(noted.holds(two));
}

TEST(PackNotes, DoNotHoldOfAPackWhoseDirectoryIsDamaged) {
  TwoChunks two;
  const Noted noted(two);
  auto repository = two.test.open();
  for (const auto& pack : list_packs(two.test.disk())) {
    const auto directory =
        read_pack_directory(two.test.disk(), repository.keyring(), pack.id);
    two.test.disk().flip_bit(pack_name(pack.id),
                             directory.directory_offset + 20, 0);
  }

  EXPECT_FALSE(noted.holds(two));
}

TEST(PackNotes, DoNotHoldOfAPackThatIsGone) {
  TwoChunks two;
  const Noted noted(two);
  for (const auto& pack : list_packs(two.test.disk())) {
    two.test.disk().remove(pack_name(pack.id));
  }

  EXPECT_FALSE(noted.holds(two));
}

TEST(PackNotes, AreFew) {
  PackNotes notes;
  for (std::uint32_t i = 0; i < PackNotes::kMost; ++i) {
    notes.add(2 * i);
    notes.add(2 * i);
  }
  EXPECT_EQ(notes.packs.size(), PackNotes::kMost);
  notes.add(1);
  EXPECT_TRUE(notes.packs.empty());
  notes.add(2);
  EXPECT_TRUE(notes.packs.empty());
}

}  // namespace
}  // namespace cairn::repo
