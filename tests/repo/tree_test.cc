#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "crypto/digest.h"
#include "repo/error.h"
#include "repo/tree_reader.h"
#include "repo/tree_writer.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_id;
using testing_support::SampleRepository;
using testing_support::TempFolder;

Entry entry_of(const std::string& name, EntryType type) {
  Entry entry;
  entry.name = name;
  entry.type = type;
  entry.mode = 0755;
  return entry;
}

class Tree : public ::testing::Test {
 protected:
  // Nodes go into one pack, and each only once.
  StoreNode store_node() {
    return [this](BlobKind kind, std::span<const std::byte> plain) {
      const Bytes bytes(plain.begin(), plain.end());
      const BlobId id = sample.id_of(bytes, kind);
      if (stored.contains(id) || pending.contains(id)) return id;
      pending.emplace(id, sample.encode(bytes, kind));
      return id;
    };
  }

  // Publishes what was stored since; answers how many nodes that were.
  std::size_t publish() {
    std::vector<EncodedBlob> nodes;
    for (auto& [id, blob] : pending) {
      stored.insert(id);
      nodes.push_back(std::move(blob));
    }
    pending.clear();
    if (!nodes.empty()) index.add(sample.store(nodes));
    return nodes.size();
  }

  std::vector<Link> random_chunks(std::mt19937_64& random, std::size_t count) {
    std::vector<Link> chunks;
    for (std::size_t i = 0; i < count; ++i) {
      chunks.push_back({BlobKind::content, random_id<BlobId>(random),
                        1 + random() % 100'000});
    }
    return chunks;
  }

  std::vector<Link> write_list(const std::vector<Link>& chunks) {
    const StoreNode store = store_node();
    ListWriter writer(store);
    for (const auto& chunk : chunks) writer.add(chunk);
    return std::move(writer).finish();
  }

  std::vector<Link> read_list(std::span<const Link> rows) {
    std::vector<Link> chunks;
    reader.for_each_chunk(rows, [&](const Link& chunk) {
      chunks.push_back(chunk);
      return Visit::go_on;
    });
    return chunks;
  }

  TempFolder folder;
  SampleRepository sample;
  IndexStore index_store{folder.path()};
  BlobIndex index{index_store, sample.keyring};
  SessionKeyCache keys{sample.keyring};
  BlobReader blobs{sample.storage, sample.keyring, index, keys};
  TreeReader reader{blobs};
  std::set<BlobId> stored;
  std::map<BlobId, EncodedBlob> pending;
};

std::uint64_t length_of(std::span<const Link> links) {
  std::uint64_t length = 0;
  for (const auto& link : links) length += link.length;
  return length;
}

TEST_F(Tree, ListsOfAnyLengthComeBack) {
  std::mt19937_64 random(1);
  for (const std::size_t count :
       {0U, 1U, 8U, 9U, 10U, 255U, 256U, 257U, 1024U, 1025U, 5000U, 100'000U}) {
    const auto chunks = random_chunks(random, count);
    const auto rows = write_list(chunks);
    (void)publish();
    EXPECT_EQ(rows.size(), count <= 8 ? count : 1U);
    EXPECT_EQ(length_of(rows), length_of(chunks));
    EXPECT_EQ(read_list(rows), chunks) << count;
  }
}

TEST_F(Tree, AListWhoseEveryChunkEndsANodeStaysWithinItsLevels) {
  std::mt19937_64 random(1);
  auto chunks = random_chunks(random, 3000);
  for (auto& chunk : chunks)
    std::fill_n(chunk.id.bytes.begin(), 4, std::byte{});
  const auto rows = write_list(chunks);
  (void)publish();
  EXPECT_EQ(read_list(rows), chunks);
}

TEST_F(Tree, AListOfTheSameChunkOverAndOverComesBack) {
  std::mt19937_64 random(1);
  const std::vector<Link> chunks(5000, random_chunks(random, 1).front());
  const auto rows = write_list(chunks);
  (void)publish();
  EXPECT_EQ(read_list(rows), chunks);
}

TEST_F(Tree, ChangingOneChunkStoresFewNodesAnew) {
  std::mt19937_64 random(1);
  auto chunks = random_chunks(random, 100'000);
  (void)write_list(chunks);
  const std::size_t all = publish();

  chunks[50'000].id = random_id<BlobId>(random);
  (void)write_list(chunks);
  const std::size_t changed = publish();
  chunks.insert(chunks.begin() + 70'000, random_chunks(random, 1).front());
  (void)write_list(chunks);
  const std::size_t inserted = publish();

  EXPECT_GT(all, 300U);
  EXPECT_LE(changed, 8U);
  EXPECT_LE(inserted, 8U);
}

TEST_F(Tree, AListThatGoesOnIsTheListOfAllThatWasAdded) {
  const auto read = [this](const Link& node) {
    return decode_links(*blobs.read(BlobKind::links, node.id), "node");
  };
  for_each_seed(30, [&](auto& random) {
    auto chunks = random_chunks(random, 1 + random() % 4000);
    // Sometimes lists end often, so that there are many levels.
    const std::uint64_t often = random() % 3 == 0 ? 2 : 50;
    for (auto& chunk : chunks) {
      if (random() % often == 0) {
        std::fill_n(chunk.id.bytes.begin(), 4, std::byte{});
      }
    }
    const StoreNode store = store_node();
    std::vector<Link> rows;
    std::size_t done = 0;
    while (done < chunks.size()) {
      ListWriter writer(store, rows, read);
      const std::size_t step = random() % 4 == 0 ? 1 : 1 + random() % 700;
      const auto end = std::min(chunks.size(), done + step);
      for (; done < end; ++done) writer.add(chunks[done]);
      rows = std::move(writer).finish();
      (void)publish();
      const auto last = chunks.begin() + static_cast<std::ptrdiff_t>(done);
      ASSERT_EQ(rows, write_list({chunks.begin(), last}));
    }
    ASSERT_EQ(publish(), 0U);
    ASSERT_EQ(read_list(rows), chunks);
  });
}

// Ids by the hash, a fourth of which end a list, so that lists of every shape
// come within a few chunks: where a root's rows end by themselves, all that was
// before was lost once.
TEST(Lists, GoOnFromEveryShape) {
  std::map<BlobId, std::vector<Link>> nodes;
  const StoreNode store = [&](BlobKind, std::span<const std::byte> plain) {
    BlobId id{crypto::sha256(plain)};
    if ((id.bytes[4] & std::byte{3}) == std::byte{}) {
      std::fill_n(id.bytes.begin(), 4, std::byte{});
    }
    nodes.emplace(id, decode_links(plain, "node"));
    return id;
  };
  const auto read = [&](const Link& node) { return nodes.at(node.id); };
  for_each_seed(100, [&](auto& random) {
    std::vector<Link> rows;
    std::vector<Link> chunks;
    for (int i = 0; i < 200; ++i) {
      Link chunk{BlobKind::content, random_id<BlobId>(random), 1};
      if (random() % 4 == 0)
        std::fill_n(chunk.id.bytes.begin(), 4, std::byte{});
      chunks.push_back(chunk);
      ListWriter writer(store, rows, read);
      writer.add(chunk);
      rows = std::move(writer).finish();
      ListWriter alone(store);
      for (const auto& one : chunks) alone.add(one);
      ASSERT_EQ(rows, std::move(alone).finish()) << i;
    }
  });
}

TEST_F(Tree, AFileWhoseChunksAreNotAllThereIsNotStored) {
  std::mt19937_64 random(1);
  const auto chunks = random_chunks(random, 3);
  Entry file = entry_of("notes", EntryType::file);
  file.size = content_size(chunks);
  TreeWriter tree(store_node());
  tree.begin_folder(entry_of("folder", EntryType::folder));
  tree.add(file, chunks);
  ++file.size;
  file.name = "other";
  EXPECT_THROW(tree.add(file, chunks), Error);
}

TEST_F(Tree, AnEntryThatIsRefusedLeavesNothingInItsFolder) {
  const auto write = [&](const std::function<void(TreeWriter&)>& between) {
    TreeWriter tree(store_node());
    tree.begin_folder(entry_of("folder", EntryType::folder));
    tree.add(entry_of("a", EntryType::fifo), {});
    between(tree);
    tree.add(entry_of("c", EntryType::fifo), {});
    return tree.end_folder();
  };
  Entry refused = entry_of("b", EntryType::fifo);
  refused.xattrs.push_back({"user.large", std::string(kMaxBlobBytes, 'x')});
  const auto rows = write(
      [&](TreeWriter& tree) { EXPECT_THROW(tree.add(refused, {}), Error); });
  EXPECT_EQ(rows, write([](TreeWriter&) {}));
}

// Its whole node would be refused, and with it what else is in the folder.
TEST_F(Tree, AnEntryThatNoReaderWouldTakeIsNotStored) {
  const auto with = [](EntryType type, auto change) {
    Entry entry = entry_of("odd", type);
    change(entry);
    return entry;
  };
  const Entry odd[] = {
      with(EntryType::symlink, [](Entry&) {}),
      with(EntryType::symlink,
           [](Entry& e) { e.symlink_target = std::string("a\0b", 3); }),
      with(EntryType::symlink,
           [](Entry& e) { e.symlink_target = std::string(65'536, 't'); }),
      with(EntryType::fifo, [](Entry& e) { e.name = std::string(256, 'n'); }),
      with(EntryType::fifo, [](Entry& e) { e.name = ".."; }),
      with(EntryType::fifo, [](Entry& e) { e.mode = 010000; }),
      with(EntryType::fifo,
           [](Entry& e) { e.modified.nanoseconds = 1'000'000'000; }),
      with(EntryType::fifo, [](Entry& e) { e.size = 1; }),
      with(EntryType::fifo,
           [](Entry& e) {
             e.device = DeviceNumber{1, 2};
           }),
      with(EntryType::char_device, [](Entry&) {}),
      with(EntryType::folder,
           [](Entry& e) {
             e.hard_link = HardLink{1, 2};
           }),
      with(EntryType::file,
           [](Entry& e) {
             e.holes = {{0, 1}};
           }),
      with(EntryType::fifo,
           [](Entry& e) {
             e.xattrs = {{"user.b", ""}, {"user.a", ""}};
           }),
      with(EntryType::fifo,
           [](Entry& e) {
             e.xattrs = {{"user.a", ""}, {"user.a", "x"}};
           }),
      with(EntryType::fifo,
           [](Entry& e) {
             e.xattrs = {{std::string(256, 'x'), ""}};
           }),
      with(EntryType::fifo,
           [](Entry& e) {
             e.xattrs = {{"user.a", std::string((1 << 20) + 1, 'x')}};
           }),
      with(EntryType::fifo,
           [](Entry& e) {
             for (int i = 10'000; i <= 20'000; ++i) {
               e.xattrs.push_back({"user." + std::to_string(i), ""});
             }
           }),
  };
  TreeWriter tree(store_node());
  tree.begin_folder(entry_of("folder", EntryType::folder));
  for (const Entry& entry : odd) {
    EXPECT_THROW(tree.add(entry, {}), Error) << &entry - odd;
  }
}

TEST_F(Tree, AListThatGoesOnReadsOneNodePerLevel) {
  std::mt19937_64 random(1);
  const auto rows = write_list(random_chunks(random, 100'000));
  (void)publish();
  unsigned reads = 0;
  const StoreNode store = store_node();
  ListWriter writer(store, rows, [&](const Link& node) {
    ++reads;
    return decode_links(*blobs.read(BlobKind::links, node.id), "node");
  });
  writer.add(random_chunks(random, 1).front());
  (void)std::move(writer).finish();
  EXPECT_LE(reads, 3U);
  EXPECT_LE(publish(), 3U);
}

TEST_F(Tree, RowsThatAreNoListAreNotGoneOnWith) {
  const StoreNode store = store_node();
  std::mt19937_64 random(1);
  const Link names{BlobKind::names, random_id<BlobId>(random), 1};
  const Link list{BlobKind::links, random_id<BlobId>(random), 1};
  const auto nine = random_chunks(random, 9);
  const auto refuses = [&](std::vector<Link> rows, std::vector<Link> below) {
    EXPECT_THROW(ListWriter(store, rows, [&](const Link&) { return below; }),
                 CorruptionError);
  };
  refuses({names}, {});
  refuses({list, list}, nine);
  refuses(nine, {});
  refuses({list}, {});
  refuses({list}, {names});
  refuses({list}, {nine.front(), list});
  refuses({list}, {list});  // for ever
}

TEST_F(Tree, ACursorFindsWhatAFlatListHas) {
  for_each_seed(5, [&](auto& random) {
    const auto chunks = random_chunks(random, random() % 6000);
    const auto rows = write_list(chunks);
    (void)publish();
    std::vector<std::uint64_t> begins;
    std::uint64_t end = 0;
    for (const auto& chunk : chunks) {
      begins.push_back(end);
      end += chunk.length;
    }
    StreamCursor cursor(blobs, rows);
    std::uint64_t offset = 0;
    for (int i = 0; i < 500; ++i) {
      // Forward mostly, anywhere sometimes.
      offset = random() % 10 == 0 ? random() % (end + 10)
                                  : offset + random() % 300'000;
      const auto place = cursor.at(offset);
      ASSERT_EQ(place.has_value(), offset < end);
      if (!place) {
        offset = 0;
        continue;
      }
      const auto at = static_cast<std::size_t>(
          std::ranges::upper_bound(begins, offset) - begins.begin() - 1);
      ASSERT_EQ(place->id, chunks[at].id);
      ASSERT_EQ(place->offset, begins[at]);
      ASSERT_EQ(place->length, chunks[at].length);
    }
  });
}

// A folder as it should come back: names to entries, folders to folders.
struct Folder {
  std::map<std::string, TreeEntry> entries;
  std::map<std::string, Folder> folders;
};

class Trees : public Tree {
 protected:
  void write_random(std::mt19937_64& random, TreeWriter& writer, Folder& into,
                    unsigned depth) {
    std::set<std::string> names;
    const auto count = random() % (depth == 1 ? 700 : 12);
    for (std::uint64_t i = 0; i < count; ++i) {
      names.insert("n" + std::to_string(random() % 5000));
    }
    for (const auto& name : names) {
      if (depth < 4 && random() % 5 == 0) {
        const Entry entry = entry_of(name, EntryType::folder);
        writer.begin_folder(entry);
        write_random(random, writer, into.folders[name], depth + 1);
        writer.end_folder();
        into.entries[name] = {entry, {}};
        continue;
      }
      Entry entry = entry_of(name, EntryType::file);
      const auto chunks = random_chunks(random, random() % 5);
      entry.size = length_of(chunks);
      if (random() % 4 == 0) {
        entry.size += 100;
        entry.holes = {{0, 100}};
      }
      writer.add(entry, chunks);
      into.entries[name] = {entry, chunks};
    }
  }

  void expect_folder(const std::optional<Link>& row, const Folder& expected) {
    std::vector<std::string> names;
    std::vector<TreeEntry> found;
    if (row) {
      reader.for_each_entry(*row, [&](const TreeEntry& entry) {
        found.push_back(entry);
        names.push_back(entry.entry.name);
        return Visit::go_on;
      });
    }
    EXPECT_TRUE(std::ranges::is_sorted(names));
    ASSERT_EQ(found.size(), expected.entries.size());
    for (const auto& each : found) {
      const auto& wanted = expected.entries.at(each.entry.name);
      EXPECT_EQ(each.entry, wanted.entry);
      if (each.entry.type == EntryType::folder) {
        expect_folder(
            each.rows.empty() ? std::nullopt : std::optional(each.rows.front()),
            expected.folders.at(each.entry.name));
      } else {
        EXPECT_EQ(each.rows, wanted.rows);
      }
    }
  }
};

TEST_F(Trees, RandomOnesComeBack) {
  for_each_seed(8, [&](auto& random) {
    Folder expected;
    TreeWriter writer(store_node());
    write_random(random, writer, expected, 0);
    const Link root = std::move(writer).finish();
    (void)publish();
    expect_folder(root, expected);
  });
}

TEST_F(Trees, AFolderOfManyEntriesComesBackAndChangesLittle) {
  std::mt19937_64 random(1);
  const auto write = [&](int changed) {
    TreeWriter writer(store_node());
    writer.begin_folder(entry_of("big", EntryType::folder));
    for (int i = 10'000; i < 30'000; ++i) {
      Entry entry = entry_of(std::to_string(i), EntryType::file);
      if (i == changed) entry.mode = 0600;
      writer.add(entry, {});
    }
    writer.end_folder();
    return std::move(writer).finish();
  };
  const Link root = write(0);
  const std::size_t all = publish();
  (void)write(20'000);
  const std::size_t changed = publish();

  const auto big = reader.find(root, "big");
  std::size_t count = 0;
  reader.for_each_entry(big.value().rows.front(), [&](const TreeEntry&) {
    ++count;
    return Visit::go_on;
  });
  EXPECT_EQ(count, 20'000U);
  EXPECT_TRUE(reader.find(root, "/big/29999/"));
  EXPECT_FALSE(reader.find(root, "big/30000"));
  EXPECT_FALSE(reader.find(root, "big/29999/x"));
  EXPECT_GT(all, 50U);
  EXPECT_LE(changed, 10U);
}

TEST_F(Trees, AnEmptyRootIsANodeOfNothing) {
  const Link root = TreeWriter(store_node()).finish();
  (void)publish();
  int count = 0;
  reader.for_each_entry(root, [&](const TreeEntry&) {
    ++count;
    return Visit::go_on;
  });
  EXPECT_EQ(count, 0);
  EXPECT_TRUE(reader.find(root, ""));
  EXPECT_FALSE(reader.find(root, "a"));
}

TEST_F(Trees, AnEmptyFolderHasNoRows) {
  TreeWriter writer(store_node());
  writer.begin_folder(entry_of("empty", EntryType::folder));
  writer.end_folder();
  const Link root = std::move(writer).finish();
  (void)publish();
  EXPECT_TRUE(reader.find(root, "empty").value().rows.empty());
}

TEST_F(Trees, TheRootTakesItsEntriesInAnyOrder) {
  TreeWriter writer(store_node());
  for (const char* const name : {"c", "a", "b"}) {
    writer.add(entry_of(name, EntryType::file), {});
  }
  const Link root = std::move(writer).finish();
  (void)publish();
  std::string names;
  reader.for_each_entry(root, [&](const TreeEntry& entry) {
    names += entry.entry.name;
    return Visit::go_on;
  });
  EXPECT_EQ(names, "abc");
}

TEST_F(Trees, TwoSourcesOfOneNameAreRefused) {
  TreeWriter writer(store_node());
  writer.add(entry_of("same", EntryType::file), {});
  writer.add(entry_of("same", EntryType::file), {});
  EXPECT_THROW((void)std::move(writer).finish(), Error);
}

TEST_F(Trees, MoreMetadataThanANodeHoldsIsRefused) {
  Entry entry = entry_of("a", EntryType::file);
  for (int i = 100; i < 200; ++i) {
    entry.xattrs.push_back(
        {"user." + std::to_string(i), std::string(100'000, 'x')});
  }
  TreeWriter writer(store_node());
  writer.add(entry, {});
  EXPECT_THROW((void)std::move(writer).finish(), Error);
}

// Nodes as only a hostile writer makes them.
class HostileTree : public Tree {
 protected:
  Link node(BlobKind kind, const Bytes& plain) {
    const BlobId id = store_node()(kind, plain);
    return {kind, id, plain.size()};
  }

  Link entry_node(const std::vector<NodeEntry>& entries,
                  std::vector<Link> rows) {
    rows.insert(rows.begin(), node(BlobKind::names, encode_names(entries)));
    return node(BlobKind::links, encode_links(rows));
  }

  void expect_refused(const Link& root) {
    (void)publish();
    EXPECT_THROW(reader.for_each_entry(
                     root, [](const TreeEntry&) { return Visit::go_on; }),
                 CorruptionError);
  }

  std::mt19937_64 random{1};
  Link chunk{BlobKind::content, random_id<BlobId>(random), 10};
};

TEST_F(HostileTree, RowsThatNobodyOwnsOrThatAreNotThereAreRefused) {
  NodeEntry file{entry_of("a", EntryType::file), 1};
  file.entry.size = 10;
  expect_refused(entry_node({file}, {chunk, chunk}));
  expect_refused(entry_node({file}, {}));
}

TEST_F(HostileTree, ASizeThatIsNotThatOfContentAndHolesIsRefused) {
  NodeEntry file{entry_of("a", EntryType::file), 1};
  for (const std::uint64_t size : {9U, 11U}) {
    file.entry.size = size;
    expect_refused(entry_node({file}, {chunk}));
  }
}

TEST_F(HostileTree, NamesThatDoNotAscendFromNodeToNodeAreRefused) {
  const NodeEntry file{entry_of("b", EntryType::file), 0};
  const Link one = entry_node({file}, {});
  const Link list = node(BlobKind::links, encode_links(std::vector{one, one}));
  expect_refused(list);
}

TEST_F(HostileTree, ContentWhereAFolderShouldBeIsRefused) {
  expect_refused(node(BlobKind::links, encode_links(std::vector{chunk})));
  const NodeEntry sub{entry_of("a", EntryType::folder), 1};
  expect_refused(entry_node({sub}, {chunk}));
}

TEST_F(HostileTree, ListsNestedTooDeeplyAreRefused) {
  Link list = entry_node({}, {});
  const auto nest = [&] {
    list = node(BlobKind::links, encode_links(std::vector{list}));
  };
  for (unsigned level = 0; level < kMaxListLevels; ++level) nest();
  (void)publish();
  EXPECT_NO_THROW(reader.for_each_entry(
      list, [](const TreeEntry&) { return Visit::go_on; }));
  nest();
  expect_refused(list);
}

TEST_F(HostileTree, AStreamOfListsNestedTooDeeplyIsRefused) {
  Link list = chunk;
  const auto nest = [&] {
    const std::uint64_t length = list.length;
    list = node(BlobKind::links, encode_links(std::vector{list}));
    list.length = length;
  };
  for (unsigned level = 0; level < kMaxListLevels; ++level) nest();
  (void)publish();
  EXPECT_EQ(read_list(std::vector{list}).size(), 1U);
  EXPECT_TRUE(StreamCursor(blobs, {list}).at(0));
  nest();
  (void)publish();
  EXPECT_THROW((void)read_list(std::vector{list}), CorruptionError);
  EXPECT_THROW((void)StreamCursor(blobs, {list}).at(0), CorruptionError);
}

TEST_F(HostileTree, AStreamWhoseLengthsDoNotAddUpIsRefused) {
  Link list = node(BlobKind::links, encode_links(std::vector{chunk, chunk}));
  (void)publish();
  for (const std::uint64_t length : {19U, 21U}) {
    list.length = length;
    EXPECT_THROW((void)read_list(std::vector{list}), CorruptionError);
    EXPECT_THROW((void)StreamCursor(blobs, {list}).at(0), CorruptionError);
  }
}

TEST_F(HostileTree, AFolderInTheMiddleOfAStreamIsRefused) {
  Link list = entry_node({}, {});
  list.length = sample.encode(encode_names({}), BlobKind::names).row.plain_size;
  (void)publish();
  EXPECT_THROW((void)read_list(std::vector{list}), CorruptionError);
  EXPECT_THROW((void)StreamCursor(blobs, {list}).at(0), CorruptionError);
}

}  // namespace
}  // namespace cairn::repo
