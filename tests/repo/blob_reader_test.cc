#include "repo/blob_reader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/one_base.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::Call;
using testing_support::FaultyStorage;
using testing_support::ObservedStorage;
using testing_support::random_bytes;
using testing_support::SampleRepository;
using testing_support::slightly_changed;
using testing_support::TempFolder;

class BlobReaderTest : public ::testing::Test {
 protected:
  void publish(const std::vector<EncodedBlob>& blobs) {
    packs.push_back(sample.store(blobs));
    index.add(packs.back());
  }

  BlobReader reader() {
    return {sample.storage, sample.keyring, index, cached_keys};
  }

  // A blob that says it is `named` and is `plain`: what only somebody with a
  // write key can make.
  EncodedBlob lie(const Bytes& named, const Bytes& plain) {
    BlobEncoder encoder(sample.keyring, sample.keys, {});
    return encoder.encode(BlobKind::content, sample.id_of(named), plain);
  }

  // plain, a difference to base, a difference to root; plain in a pack of its
  // own.
  struct Chain {
    Bytes root;
    Bytes base;
    Bytes plain;
    EncodedBlob blob;  // of plain
  };
  Chain publish_chain() {
    Chain chain;
    chain.root = random_bytes(random, 20'000);
    chain.base = slightly_changed(chain.root, random);
    chain.plain = slightly_changed(chain.base, random);
    publish({sample.encode(chain.root),
             sample.encode(chain.base, BlobKind::content,
                           Base{sample.id_of(chain.root), 0, chain.root})});
    chain.blob = sample.encode(chain.plain, BlobKind::content,
                               Base{sample.id_of(chain.base), 1, chain.base});
    publish({chain.blob});
    return chain;
  }

  void damage(const IndexedPack& pack) {
    sample.storage.flip_bit(pack_name(pack.id), kPackHeadBytes + 3, 1);
  }

  std::mt19937_64 random{1};
  TempFolder folder;
  SampleRepository sample;
  IndexStore store{folder.path()};
  BlobIndex index{store, sample.keyring};
  SessionKeyCache cached_keys{sample.keyring};
  std::vector<IndexedPack> packs;
};

TEST_F(BlobReaderTest, ReadsAChainOfTheGreatestDepth) {
  std::vector<Bytes> states = {random_bytes(random, 20'000)};
  std::vector<EncodedBlob> blobs = {sample.encode(states[0])};
  for (unsigned depth = 1; depth <= kMaxDepth; ++depth) {
    states.push_back(slightly_changed(states.back(), random));
    const Bytes& base = states[depth - 1];
    blobs.push_back(sample.encode(states.back(), BlobKind::content,
                                  Base{sample.id_of(base), depth - 1, base}));
    ASSERT_EQ(blobs.back().row.depth, depth);
  }
  publish(blobs);

  const auto last =
      reader().read(BlobKind::content, sample.id_of(states.back()));

  EXPECT_EQ(*last, states.back());
}

TEST_F(BlobReaderTest, ABaseOfEqualDepthIsNotUsed) {
  const Bytes root = random_bytes(random, 20'000);
  const Bytes base = slightly_changed(root, random);
  const Bytes plain = slightly_changed(base, random);
  // The base lies as a difference of depth 1, the blob claims depth 1 too.
  publish({sample.encode(root),
           sample.encode(base, BlobKind::content,
                         Base{sample.id_of(root), 0, root}),
           sample.encode(plain, BlobKind::content,
                         Base{sample.id_of(base), 0, base})});
  BlobReader blobs = reader();
  EXPECT_THROW((void)blobs.read(BlobKind::content, sample.id_of(plain)),
               CorruptionError);

  publish({sample.encode(base)});

  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
}

TEST_F(BlobReaderTest, ALoopOfBasesEnds) {
  const Bytes one = random_bytes(random, 20'000);
  const Bytes two = slightly_changed(one, random);
  publish(
      {sample.encode(one, BlobKind::content, Base{sample.id_of(two), 0, two}),
       sample.encode(two, BlobKind::content, Base{sample.id_of(one), 0, one})});
  EXPECT_THROW((void)reader().read(BlobKind::content, sample.id_of(one)),
               CorruptionError);
}

// A row at hand, as check has it, and one copy.
TEST_F(BlobReaderTest, AFalseCopyOfABaseDoesNotHurtWhatLeansOnAGoodOne) {
  const auto [root, base, plain, blob] = publish_chain();
  publish({lie(base, slightly_changed(base, random))});  // shallower
  publish({lie(base, random_bytes(random, 20'000))});
  BlobReader blobs = reader();
  const auto copy = index.find(sample.id_of(plain)).at(0);

  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
  EXPECT_EQ(*blobs.read_copy(copy, VerifyId::yes), plain);
  EXPECT_EQ(*blobs.decode(blob.row, sample.keys.wrapped(KeyClass::content),
                          blob.stored, VerifyId::yes),
            plain);
}

// At each depth two false copies, which lean on false ones as well: to try all
// ways through them would never end.
TEST_F(BlobReaderTest, ManyFalseCopiesCostOneTryEach) {
  Bytes base = random_bytes(random, 20'000);
  publish({lie(base, random_bytes(random, 20'000))});
  for (unsigned depth = 1; depth <= kMaxDepth; ++depth) {
    const Bytes plain = slightly_changed(base, random);
    for (int i = 0; i < 2; ++i) {
      const Bytes wrong = slightly_changed(base, random);
      const std::optional<Base> given =
          Base{sample.id_of(base), depth - 1, base};
      BlobEncoder encoder(sample.keyring, sample.keys, {});
      publish({encoder.encode(BlobKind::content, sample.id_of(plain), wrong,
                              testing_support::one_base(given))});
    }
    base = plain;
  }

  EXPECT_THROW((void)reader().read(BlobKind::content, sample.id_of(base)),
               CorruptionError);
}

TEST_F(BlobReaderTest, ReadsAnotherCopyWhenTheFirstIsDamagedOrGone) {
  const Bytes plain = random_bytes(random, 1000);
  for (int i = 0; i < 3; ++i) publish({sample.encode(plain)});
  damage(packs[0]);
  sample.storage.remove(pack_name(packs[1].id));
  EXPECT_EQ(*reader().read(BlobKind::content, sample.id_of(plain)), plain);

  damage(packs[2]);

  EXPECT_THROW((void)reader().read(BlobKind::content, sample.id_of(plain)),
               Error);
}

TEST_F(BlobReaderTest, ReadsAnotherCopyWhenTheDiskFailsUnderTheFirst) {
  const Bytes plain = random_bytes(random, 1000);
  for (int i = 0; i < 2; ++i) publish({sample.encode(plain)});
  FaultyStorage faulty(sample.storage);
  // With what comes after it, and by itself.
  faulty.fail(Call::get, 1, IoError("bad sector"));
  faulty.fail(Call::get, 2, IoError("bad sector"));
  BlobReader blobs(faulty, sample.keyring, index, cached_keys);
  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
}

// Differences are small, and to ask for each by itself takes as long as to
// decode it.
TEST_F(BlobReaderTest, ReadsSmallNeighboursTogether) {
  std::vector<Bytes> plains;
  std::vector<EncodedBlob> blobs;
  for (int i = 0; i < 100; ++i) {
    plains.push_back(random_bytes(random, 500));
    blobs.push_back(sample.encode(plains.back()));
  }
  publish(blobs);
  FaultyStorage counting(sample.storage);
  BlobReader reading(counting, sample.keyring, index, cached_keys);
  for (const Bytes& plain : plains) {
    EXPECT_EQ(*reading.read(BlobKind::content, sample.id_of(plain)), plain);
  }
  EXPECT_LE(counting.count(Call::get), 10u);
}

TEST_F(BlobReaderTest, ABadSectorUnderOneOfThemKeepsNoOther) {
  const Bytes first = random_bytes(random, 500);
  const Bytes second = random_bytes(random, 500);
  publish({sample.encode(first), sample.encode(second)});
  FaultyStorage faulty(sample.storage);
  faulty.fail(Call::get, 1, IoError("bad sector"));
  BlobReader reading(faulty, sample.keyring, index, cached_keys);
  EXPECT_EQ(*reading.read(BlobKind::content, sample.id_of(first)), first);
}

TEST_F(BlobReaderTest, WhatWasBadInMemoryIsReadAgain) {
  const Bytes first = random_bytes(random, 500);
  const Bytes second = random_bytes(random, 500);
  publish({sample.encode(first), sample.encode(second)});
  BlobReader reading = reader();
  sample.storage.flip_bit(pack_name(packs[0].id), kPackHeadBytes + 3, 1);
  EXPECT_THROW((void)reading.read(BlobKind::content, sample.id_of(first)),
               Error);
  sample.storage.flip_bit(pack_name(packs[0].id), kPackHeadBytes + 3, 1);
  EXPECT_EQ(*reading.read(BlobKind::content, sample.id_of(first)), first);
}

TEST_F(BlobReaderTest, ReadsAnotherCopyOfADamagedBase) {
  const Bytes base = random_bytes(random, 20'000);
  const Bytes plain = slightly_changed(base, random);
  publish({sample.encode(base)});
  publish({sample.encode(base)});
  publish({sample.encode(plain, BlobKind::content,
                         Base{sample.id_of(base), 0, base})});
  damage(packs[0]);
  EXPECT_EQ(*reader().read(BlobKind::content, sample.id_of(plain)), plain);
}

TEST_F(BlobReaderTest, ACopyThatIsNotWhatItsIdNamesIsPassedOver) {
  const Bytes plain = random_bytes(random, 1000);
  publish({lie(plain, random_bytes(random, 1000))});
  EXPECT_THROW((void)reader().read(BlobKind::content, sample.id_of(plain)),
               CorruptionError);
  publish({sample.encode(plain)});
  EXPECT_EQ(*reader().read(BlobKind::content, sample.id_of(plain)), plain);
}

TEST_F(BlobReaderTest, ABaseThatIsNotWhatItsIdNamesIsPassedOver) {
  const Bytes base = random_bytes(random, 20'000);
  const Bytes plain = slightly_changed(base, random);
  publish({lie(base, random_bytes(random, 20'000))});
  publish({sample.encode(base)});
  publish({sample.encode(plain, BlobKind::content,
                         Base{sample.id_of(base), 0, base})});
  BlobReader blobs = reader();
  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
  // And whoever leans on it is not spoilt by what was passed over.
  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(base)), base);
}

// As AFalseCopyOfABaseDoesNotHurtWhatLeansOnAGoodOne, and an index object names
// besides a pack that is not there as the place of a shallower copy.
TEST_F(BlobReaderTest, AFalseBaseBesideACopyThatIsGoneHurtsNobody) {
  const auto [root, base, plain, blob] = publish_chain();
  publish({lie(base, slightly_changed(base, random))});  // shallower
  BlobReader blobs = reader();
  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
  publish({lie(plain, random_bytes(random, 20'000))});
  sample.storage.remove(pack_name(packs.back().id));
  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
}

TEST_F(BlobReaderTest, AFalseBaseBesideAnotherThatIsGoneHurtsNobody) {
  const auto [root, base, plain, blob] = publish_chain();
  publish({lie(root, slightly_changed(root, random))});  // false root
  publish({lie(base, random_bytes(random, 20'000))});    // gone base
  sample.storage.remove(pack_name(packs.back().id));
  BlobReader blobs = reader();
  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
  const auto copy = index.find(sample.id_of(plain)).at(0);
  EXPECT_EQ(*blobs.read_copy(copy, VerifyId::yes), plain);
  EXPECT_EQ(*blobs.read_copy(copy, VerifyId::with_base), plain);
}

TEST_F(BlobReaderTest, AMissingBlobIsNotFoundAndAMissingBaseIsDamage) {
  const Bytes base = random_bytes(random, 20'000);
  const Bytes plain = slightly_changed(base, random);
  publish({sample.encode(plain, BlobKind::content,
                         Base{sample.id_of(base), 0, base})});
  BlobReader blobs = reader();
  EXPECT_THROW((void)blobs.read(BlobKind::content, sample.id_of(base)),
               NotFound);
  EXPECT_THROW((void)blobs.read(BlobKind::content, sample.id_of(plain)),
               CorruptionError);
}

TEST_F(BlobReaderTest, AnotherKindUnderTheSameIdIsNotTaken) {
  const Bytes plain = random_bytes(random, 100);
  publish({sample.encode(plain)});
  EXPECT_THROW((void)reader().read(BlobKind::names, sample.id_of(plain)),
               NotFound);
}

TEST_F(BlobReaderTest, BytesAtHandAreDecodedWithoutReading) {
  const Bytes plain = random_bytes(random, 100);
  const auto blob = sample.encode(plain);
  EXPECT_EQ(*reader().decode(blob.row, sample.keys.wrapped(KeyClass::content),
                             blob.stored, VerifyId::yes),
            plain);
}

TEST_F(BlobReaderTest, WhatTheLastChainHoldsIsNotReadAgain) {
  const auto [root, base, plain, blob] = publish_chain();
  const PackId chain_pack = packs.front().id;
  std::vector<Bytes> leaning;  // on the base, and on its base, in turns
  for (int i = 0; i < 3; ++i) {
    leaning.push_back(slightly_changed(base, random));
    leaning.push_back(slightly_changed(root, random));
  }
  for (std::size_t i = 0; i < leaning.size(); ++i) {
    const Base on = i % 2 == 0 ? Base{sample.id_of(base), 1, base}
                               : Base{sample.id_of(root), 0, root};
    publish({sample.encode(leaning[i], BlobKind::content, on)});
  }
  ObservedStorage observed(sample.storage);
  int reads = 0;
  observed.before_read = [&](std::string_view name) {
    if (name == pack_name(chain_pack)) ++reads;
  };
  BlobReader blobs(observed, sample.keyring, index, cached_keys);

  EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
  EXPECT_EQ(reads, 2);
  for (const Bytes& one : leaning) {
    EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(one)), one);
  }
  // The base, once more, after what leans on the root alone.
  EXPECT_EQ(reads, 2);
}

TEST_F(BlobReaderTest, WhatWasDecodedFromBytesAtHandIsTheBaseOfTheNext) {
  const Bytes root = random_bytes(random, 20'000);
  const Bytes base = slightly_changed(root, random);
  const Bytes plain = slightly_changed(base, random);
  const auto wrapped = sample.keys.wrapped(KeyClass::content);
  const std::vector<EncodedBlob> chain = {
      sample.encode(root),
      sample.encode(base, BlobKind::content, Base{sample.id_of(root), 0, root}),
      sample.encode(plain, BlobKind::content,
                    Base{sample.id_of(base), 1, base})};
  BlobReader blobs = reader();  // of an index that knows none of them

  for (const auto& blob : chain) {
    const auto decoded =
        blobs.decode(blob.row, wrapped, blob.stored, VerifyId::with_base);
    EXPECT_EQ(sample.keyring.id_of(BlobKind::content, *decoded), blob.row.id);
  }
  // What leans on a false one is not what its id names.
  const auto lying = lie(base, slightly_changed(root, random));
  BlobReader misled = reader();
  (void)misled.decode(lying.row, wrapped, lying.stored, VerifyId::no);
  EXPECT_THROW((void)misled.decode(chain[2].row, wrapped, chain[2].stored,
                                   VerifyId::with_base),
               CorruptionError);
}

TEST_F(BlobReaderTest, TriesManyAndLeavesOutThoseThatTakeASearch) {
  const auto [root, base, plain, blob] = publish_chain();
  const Bytes missing = random_bytes(random, 3'000);
  const Bytes damaged = random_bytes(random, 3'000);
  publish({sample.encode(damaged)});
  damage(packs.back());
  const Bytes twice = slightly_changed(root, random);
  publish({lie(twice, random_bytes(random, 20'000))});  // shallower
  publish({sample.encode(twice, BlobKind::content,
                         Base{sample.id_of(root), 0, root})});
  const Bytes links = random_bytes(random, 3'000);
  publish({sample.encode(links, BlobKind::links)});
  const std::vector ids = {sample.id_of(plain), sample.id_of(missing),
                           sample.id_of(root),  sample.id_of(damaged),
                           sample.id_of(twice), sample.id_of(base),
                           sample.id_of(links), sample.id_of(plain)};
  BlobReader blobs = reader();

  const auto tried = blobs.try_read(BlobKind::content, ids);

  ASSERT_EQ(tried.size(), ids.size());
  for (const std::size_t i : {1U, 3U, 4U, 6U}) EXPECT_EQ(tried[i], nullptr);
  EXPECT_EQ(*tried.at(0), plain);
  EXPECT_EQ(*tried.at(2), root);
  EXPECT_EQ(*tried.at(5), base);
  EXPECT_EQ(*tried.at(7), plain);
  EXPECT_EQ(*blobs.read(BlobKind::content, ids[4]), twice);
  EXPECT_TRUE(blobs.try_read(BlobKind::content, {}).empty());
}

TEST_F(BlobReaderTest, WhatLeansOnAFalseBaseIsNotTaken) {
  const auto [root, base, plain, blob] = publish_chain();
  publish({lie(base, slightly_changed(base, random))});  // shallower
  const std::vector ids = {sample.id_of(plain)};
  BlobReader blobs = reader();

  EXPECT_EQ(blobs.try_read(BlobKind::content, ids).at(0), nullptr);
  EXPECT_EQ(*blobs.read(BlobKind::content, ids[0]), plain);
}

TEST_F(BlobReaderTest, ReadsFromMorePacksThanItRemembers) {
  std::vector<Bytes> plains;
  for (int i = 0; i < 600; ++i) {
    plains.push_back(random_bytes(random, 100));
    publish({sample.encode(plains.back())});
  }
  BlobReader blobs = reader();
  for (int times = 0; times < 2; ++times) {
    for (const auto& plain : plains) {
      EXPECT_EQ(*blobs.read(BlobKind::content, sample.id_of(plain)), plain);
    }
  }
}

TEST(SessionKeyCache, ServesManyThreads) {
  const Keyring keyring = Keyring::create();
  SessionKeys keys(keyring);
  SessionKeyCache cache(keyring);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 300; ++k) {
        EXPECT_NE(cache.find(keys.wrapped(KeyClass::names)), nullptr);
        (void)keys.next_counter();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(keys.next_counter(), 900U);
}

}  // namespace
}  // namespace cairn::repo
