// A bit flips in what a writer keeps until it has a whole object or node: it
// says so, and publishes nothing of it.
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "repo/error.h"
#include "repo/index_batch.h"
#include "repo/pack_writer.h"
#include "repo/tree_writer.h"
#include "tests/support/flip_in_memory.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::Masked;
using testing_support::random_bytes;
using testing_support::random_id;
using testing_support::SampleRepository;

using MaskedId = Masked<BlobId>;

class FailingMemory : public ::testing::Test {
 protected:
  // Answers where to find it again.
  MaskedId add_chunk(const std::function<void(const Link&)>& add) {
    const Link chunk{BlobKind::content, random_id<BlobId>(random), 1000};
    add(chunk);
    return MaskedId(chunk.id);
  }

  MaskedId add_file(TreeWriter& tree, const std::string& name) {
    return add_chunk([&](const Link& chunk) {
      Entry entry;
      entry.name = name;
      entry.type = EntryType::file;
      entry.size = chunk.length;
      tree.add(entry, {&chunk, 1});
    });
  }

  static Entry folder_of(const std::string& name) {
    Entry entry;
    entry.name = name;
    entry.type = EntryType::folder;
    return entry;
  }

  void expect_nothing_published() {
    sample.storage.list(
        "", [](const ListedObject& object) { ADD_FAILURE() << object.name; });
  }

  std::mt19937_64 random{1};
  SampleRepository sample;
  std::optional<MaskedId> first_node;  // the links node that came first
  StoreNode store = [this](BlobKind kind, std::span<const std::byte> plain) {
    const auto id = sample.id_of(Bytes(plain.begin(), plain.end()), kind);
    if (kind == BlobKind::links && !first_node) first_node.emplace(id);
    return id;
  };
};

TEST_F(FailingMemory, IsSeenInListsOfAnyLength) {
  for (const int count : {1, 9, 2000}) {
    const auto write = [&] {
      ListWriter list(store);
      for (int i = 0; i < count; ++i) {
        const auto row = add_chunk([&](const Link& link) { list.add(link); });
        // Later it may be in a node already, where it can do no harm.
        if (i == count / 2) {
          ASSERT_GT(row.flip_bit(), 0U);
        }
      }
      (void)std::move(list).finish();
    };
    EXPECT_THROW(write(), CorruptionError) << count;
  }
}

TEST_F(FailingMemory, IsSeenInAFolder) {
  TreeWriter tree(store);
  tree.begin_folder(folder_of("folder"));
  const auto row = add_file(tree, "a");
  (void)add_file(tree, "b");
  ASSERT_GT(row.flip_bit(), 0U);
  EXPECT_THROW((void)tree.end_folder(), CorruptionError);
}

// Which waits until there is a second one, or the folder ends.
TEST_F(FailingMemory, IsSeenInTheFirstNodeOfAFolder) {
  for (const int entries_behind : {0, 1, 1000}) {
    first_node.reset();
    TreeWriter tree(store);
    int name = 10'000;
    const auto add_one = [&] { (void)add_file(tree, std::to_string(name++)); };
    tree.begin_folder(folder_of("folder"));
    while (!first_node) add_one();
    ASSERT_GT(first_node->flip_bit(), 0U);
    const auto go_on = [&] {
      for (int i = 0; i < entries_behind; ++i) add_one();
      (void)tree.end_folder();
    };
    EXPECT_THROW(go_on(), CorruptionError) << entries_behind;
  }
}

TEST_F(FailingMemory, IsSeenInWhatSeveralSourcesShare) {
  TreeWriter tree(store);
  const auto row = add_file(tree, "b");
  (void)add_file(tree, "a");
  ASSERT_GT(row.flip_bit(), 0U);
  EXPECT_THROW((void)std::move(tree).finish(), CorruptionError);
}

TEST_F(FailingMemory, IsSeenInAPacksDirectory) {
  PackWriter writer(sample.storage, sample.keyring.newest());
  std::optional<MaskedId> chosen;
  for (int i = 0; i < 20; ++i) {
    const auto blob = sample.encode(random_bytes(random, 500));
    writer.add(blob.row, sample.keys.wrapped(KeyClass::content), blob.stored);
    if (i == 7) chosen.emplace(blob.row.id);
  }
  ASSERT_GT(chosen->flip_bit(), 0U);
  EXPECT_THROW((void)std::move(writer).finish(), CorruptionError);
  expect_nothing_published();
}

TEST_F(FailingMemory, IsSeenInABlobBeforeItIsInAPack) {
  auto blob = sample.encode(random_bytes(random, 500));
  require_unchanged(blob);
  ASSERT_GT(MaskedId(blob.row.id).flip_bit(), 0U);
  EXPECT_THROW(require_unchanged(blob), CorruptionError);
}

TEST_F(FailingMemory, IsSeenInAnIndexObject) {
  IndexedPack pack;
  pack.id = random_id<PackId>(random);
  pack.directory.keys.emplace_back();
  for (int i = 0; i < 20; ++i) {
    BlobRow row;
    row.id = random_id<BlobId>(random);
    pack.directory.rows.push_back(row);
  }
  const MaskedId chosen(pack.directory.rows[7].id);
  IndexBatch batch(sample.storage, sample.keyring, sample.signer, SessionId{});
  batch.add(std::move(pack));
  ASSERT_GT(chosen.flip_bit(), 0U);
  EXPECT_THROW(batch.finish(), CorruptionError);
  expect_nothing_published();
}

}  // namespace
}  // namespace cairn::repo
