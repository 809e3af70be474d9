#include "repo/node.h"

#include <gtest/gtest.h>

#include "repo/cbor.h"
#include "repo/error.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_id;
using testing_support::random_text;

Entry file(const std::string& name) {
  Entry entry;
  entry.name = name;
  entry.mode = 0644;
  return entry;
}

Weave random_weave(std::mt19937_64& random, std::uint64_t size) {
  Weave weave;
  for (std::byte& byte : weave.digest) byte = static_cast<std::byte>(random());
  weave.parts = {kWeaveStepBytes * (1 + random() % 1000)};
  for (auto n = random() % (kMaxWeaveParts - 1); n > 0; --n) {
    weave.parts.push_back(random() % (size + 1));
    size -= weave.parts.back();
  }
  weave.parts.push_back(size);
  return weave;
}

NodeEntry random_entry(std::mt19937_64& random, const std::string& name) {
  NodeEntry node;
  Entry& entry = node.entry;
  entry = file(name);
  entry.type = static_cast<EntryType>(random() % 7);
  entry.mode = random() % 010000;
  entry.uid = static_cast<std::uint32_t>(random());
  entry.gid = static_cast<std::uint32_t>(random());
  entry.user = random_text(random, 10);
  entry.group = random_text(random, 300);
  entry.modified = {static_cast<std::int64_t>(random()),
                    static_cast<std::uint32_t>(random() % 1'000'000'000)};
  if (has_content(entry.type)) {
    entry.size = random() >> (2 + random() % 60);
    node.rows = random() % 10;
    entry.profile = static_cast<Profile>(random() % 2);
    if (random() % 2 == 0) {
      entry.weave = random_weave(random, entry.size);
    } else if (entry.size > 100) {
      entry.holes = {{0, 10}, {20, entry.size - 20}};
    }
  } else if (entry.type == EntryType::folder) {
    node.rows = random() % 2;
  } else if (entry.type == EntryType::symlink) {
    entry.symlink_target = "to " + random_text(random, 300) + "\xff";
  } else if (entry.type != EntryType::fifo) {
    entry.device = DeviceNumber{static_cast<std::uint32_t>(random()), 5};
  }
  if (entry.type != EntryType::folder && entry.type != EntryType::stream &&
      random() % 2 == 0) {
    entry.hard_link = HardLink{random(), random()};
  }
  if (random() % 3 == 0) {
    entry.xattrs = {{"user.a", std::string("\0b", 2)}, {"user.b", ""}};
  }
  return node;
}

std::vector<NodeEntry> random_entries(std::mt19937_64& random) {
  std::vector<NodeEntry> entries;
  for (int i = 0; i < static_cast<int>(random() % 10); ++i) {
    entries.push_back(
        random_entry(random, std::string(1, static_cast<char>('a' + i)) +
                                 random_text(random, 20) + "\xfe"));
  }
  return entries;
}

TEST(Names, ComeBackAsTheyWere) {
  for_each_seed(300, [](auto& random) {
    const auto entries = random_entries(random);
    for (const NodeEntry& entry : entries) EXPECT_FALSE(fault_in(entry));
    EXPECT_EQ(decode_names(encode_names(entries), "node"), entries);
  });
}

TEST(Names, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(5000, [](auto& random) {
    Bytes bytes = encode_names(random_entries(random));
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      const auto entries = decode_names(bytes, "node");
      EXPECT_EQ(encode_names(entries), bytes);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

TEST(Names, NamesThatCouldLeadElsewhereAreNoNames) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"),
        std::string("a\0b", 3), std::string(256, 'a')}) {
    EXPECT_FALSE(is_valid_name(name)) << name;
  }
  EXPECT_TRUE(is_valid_name("..."));
  EXPECT_TRUE(is_valid_name(std::string(255, 'a')));
  EXPECT_TRUE(is_valid_name("\xff\n"));
}

// One entry with the six fields that must be there, and others.
template <typename More>
Bytes entry_with(std::uint64_t type, std::size_t more_fields, More more) {
  CborWriter out;
  out.array(1).map(6 + more_fields);
  out.key(1).bytes(std::string_view("name")).key(2).uint(type);
  out.key(3).uint(0644).key(4).uint(0).key(5).uint(0);
  // Fields come in ascending order, 8 among them.
  more(out);
  return std::move(out).take();
}

CborWriter& modified(CborWriter& out) {
  return out.key(8).array(2).sint(0).uint(0);
}

constexpr std::uint64_t kFile = 0;
constexpr std::uint64_t kFolder = 1;
constexpr std::uint64_t kSymlink = 2;
constexpr std::uint64_t kFifo = 3;
constexpr std::uint64_t kDevice = 4;
constexpr std::uint64_t kStream = 6;

TEST(Names, AnEntryWithNothingMoreIsTaken) {
  const Bytes bytes =
      entry_with(kFile, 0, [](CborWriter& out) { modified(out); });
  EXPECT_EQ(decode_names(bytes, "node").at(0).entry, file("name"));
}

TEST(Names, WhatIsAbsentMayNotBeGivenAsNothing) {
  const Bytes nothings[] = {
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out.key(6).text("")); }),
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out.key(7).text("")); }),
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out).key(9).uint(0); }),
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out).key(10).uint(0); }),
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out).key(11).uint(0); }),
      entry_with(kSymlink, 1,
                 [](CborWriter& out) {
                   modified(out).key(12).bytes(std::string_view());
                 }),
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out).key(15).array(0); }),
      entry_with(kFile, 1,
                 [](CborWriter& out) { modified(out).key(16).array(0); }),
  };
  for (const Bytes& bytes : nothings) {
    EXPECT_THROW((void)decode_names(bytes, "node"), CorruptionError);
  }
}

TEST(Names, WhatDoesNotFitTheTypeIsRefused) {
  const auto size = [](CborWriter& out) { modified(out).key(9).uint(5); };
  const auto one_row = [](CborWriter& out) { modified(out).key(10).uint(1); };
  const auto two_rows = [](CborWriter& out) { modified(out).key(10).uint(2); };
  const auto target = [](CborWriter& out) {
    modified(out).key(12).bytes(std::string_view("target"));
  };
  const auto hard_link = [](CborWriter& out) {
    modified(out).key(13).array(2).uint(1).uint(1);
  };
  const auto device = [](CborWriter& out) {
    modified(out).key(14).array(2).uint(1).uint(1);
  };
  const Bytes misfits[] = {
      entry_with(kFolder, 1, size),
      entry_with(kFifo, 1, one_row),
      entry_with(kFolder, 1, two_rows),
      entry_with(kFile, 1, target),
      entry_with(kFolder, 1, hard_link),
      entry_with(kStream, 1, hard_link),
      entry_with(kFile, 1, device),
      entry_with(kSymlink, 0, [](CborWriter& out) { modified(out); }),
      entry_with(kDevice, 0, [](CborWriter& out) { modified(out); }),
  };
  for (const Bytes& bytes : misfits) {
    EXPECT_THROW((void)decode_names(bytes, "node"), CorruptionError);
  }
  EXPECT_NO_THROW((void)decode_names(entry_with(kFifo, 1, hard_link), "node"));
  EXPECT_NO_THROW((void)decode_names(entry_with(kDevice, 1, device), "node"));
}

TEST(Names, AnUnknownTypeOrProfileIsUnsupported) {
  const Bytes type = entry_with(7, 0, [](CborWriter& out) { modified(out); });
  const Bytes profile = entry_with(
      kFile, 1, [](CborWriter& out) { modified(out).key(11).uint(2); });
  EXPECT_THROW((void)decode_names(type, "node"), UnsupportedFormat);
  EXPECT_THROW((void)decode_names(profile, "node"), UnsupportedFormat);
}

TEST(Names, AModeAboveItsBitsIsRefused) {
  NodeEntry entry{file("a"), 0};
  entry.entry.mode = 010000;
  EXPECT_THROW((void)decode_names(encode_names({&entry, 1}), "node"),
               CorruptionError);
}

TEST(Names, HolesOutsideTheFileOrTouchingOrEmptyAreRefused) {
  const std::vector<std::vector<Extent>> wrong = {
      {{0, 0}},
      {{90, 20}},
      {{101, 1}},
      {{10, 5}, {15, 5}},
      {{10, 5}, {12, 5}},
      {{20, 5}, {10, 5}},
      {{1, ~std::uint64_t{0} >> 1}},
  };
  for (const auto& holes : wrong) {
    NodeEntry entry{file("a"), 0};
    entry.entry.size = 100;
    entry.entry.holes = holes;
    EXPECT_THROW((void)decode_names(encode_names({&entry, 1}), "node"),
                 CorruptionError);
  }
  NodeEntry whole{file("a"), 0};
  whole.entry.size = 100;
  whole.entry.holes = {{0, 100}};
  EXPECT_NO_THROW((void)decode_names(encode_names({&whole, 1}), "node"));
}

// Of 100 bytes.
NodeEntry woven(std::vector<std::uint64_t> parts) {
  NodeEntry entry{file("a"), 0};
  entry.entry.size = 100;
  entry.entry.weave = Weave{.digest = {}, .parts = std::move(parts)};
  return entry;
}

TEST(Names, AWeaveComesBack) {
  for (const auto& parts : std::vector<std::vector<std::uint64_t>>{
           {8, 100}, {16, 0, 100}, {800, 1, 2, 3, 4, 5, 6, 79}}) {
    NodeEntry entry = woven(parts);
    for (std::size_t i = 0; i < entry.entry.weave->digest.size(); ++i) {
      entry.entry.weave->digest[i] = static_cast<std::byte>(0xf0 + i);
    }
    for (const auto type : {EntryType::file, EntryType::stream}) {
      entry.entry.type = type;
      EXPECT_EQ(decode_names(encode_names({&entry, 1}), "node").at(0), entry);
    }
  }
}

TEST(Names, AWeaveWhosePartsCannotBeIsRefused) {
  constexpr auto kMost = ~std::uint64_t{0} >> 1;
  const std::vector<std::vector<std::uint64_t>> wrong = {
      {},
      {8},
      {100},
      {8, 1, 1, 1, 1, 1, 1, 1, 93},
      {0, 100},
      {7, 100},
      {12, 100},
      {8, 99},
      {8, 101},
      {8, 50, 51},
      {8, 60, 39},
      {8, kMost, kMost, 102},
      {8, ~std::uint64_t{0}, 101},
      {kMost + 1, 100},
  };
  for (const auto& parts : wrong) {
    const NodeEntry entry = woven(parts);
    EXPECT_THROW((void)decode_names(encode_names({&entry, 1}), "node"),
                 CorruptionError)
        << ::testing::PrintToString(parts);
  }
}

TEST(Names, AWeaveHasNoHoles) {
  NodeEntry entry = woven({8, 100});
  entry.entry.holes = {{10, 5}};
  EXPECT_THROW((void)decode_names(encode_names({&entry, 1}), "node"),
               CorruptionError);
}

TEST(Names, AWeaveOfWhatHasNoContentIsRefused) {
  for (const auto type : {EntryType::folder, EntryType::symlink,
                          EntryType::fifo, EntryType::char_device}) {
    NodeEntry entry = woven({8, 0});
    entry.entry.size = 0;
    entry.entry.type = type;
    if (type == EntryType::symlink) entry.entry.symlink_target = "b";
    if (type == EntryType::char_device) entry.entry.device = DeviceNumber{};
    EXPECT_THROW((void)decode_names(encode_names({&entry, 1}), "node"),
                 CorruptionError);
    entry.entry.weave.reset();
    EXPECT_NO_THROW((void)decode_names(encode_names({&entry, 1}), "node"));
  }
}

TEST(Names, AWeaveWithADigestOfAnotherSizeIsRefused) {
  for (const std::size_t size : {15U, 17U}) {
    const Bytes bytes = entry_with(kFile, 2, [&](CborWriter& out) {
      modified(out).key(9).uint(100).key(17).array(3);
      out.bytes(Bytes(size)).uint(8).uint(100);
    });
    EXPECT_THROW((void)decode_names(bytes, "node"), CorruptionError);
  }
}

TEST(Names, XattrsOutOfOrderTwiceOrWithoutANameAreRefused) {
  const std::vector<std::vector<Xattr>> wrong = {
      {{"b", ""}, {"a", ""}},        {{"a", ""}, {"a", ""}},        {{"", "x"}},
      {{std::string("a\0", 2), ""}}, {{std::string(256, 'a'), ""}},
  };
  for (const auto& xattrs : wrong) {
    NodeEntry entry{file("a"), 0};
    entry.entry.xattrs = xattrs;
    EXPECT_THROW((void)decode_names(encode_names({&entry, 1}), "node"),
                 CorruptionError);
  }
}

TEST(Names, OutOfOrderOrTwiceAreRefused) {
  for (const char* const second : {"a", "b"}) {
    const NodeEntry entries[] = {{file("b"), 0}, {file(second), 0}};
    EXPECT_THROW((void)decode_names(encode_names(entries), "node"),
                 CorruptionError);
  }
}

TEST(Names, BytesAboveAsciiSortBehindIt) {
  const NodeEntry entries[] = {{file("z"), 0}, {file("\xc3\xa9"), 0}};
  EXPECT_NO_THROW((void)decode_names(encode_names(entries), "node"));
}

TEST(Names, ALongNameOfAUserComesBack) {
  NodeEntry entry{file("a"), 0};
  entry.entry.user = std::string(1000, 'u');
  EXPECT_EQ(decode_names(encode_names({&entry, 1}), "node").at(0), entry);
}

TEST(Names, ANameOfAUserThatIsNotUtf8IsLeftOut) {
  NodeEntry entry{file("a"), 0};
  entry.entry.user = "\xff";
  EXPECT_EQ(decode_names(encode_names({&entry, 1}), "node").at(0).entry.user,
            "");
}

std::vector<Link> random_links(std::mt19937_64& random) {
  std::vector<Link> links;
  for (auto n = 1 + random() % 10; n > 0; --n) {
    const auto kind = links.empty() ? static_cast<BlobKind>(random() % 3)
                                    : static_cast<BlobKind>(random() % 2);
    const auto length = kind == BlobKind::links
                            ? random() >> (8 + random() % 50)
                            : 1 + random() % kMaxBlobBytes;
    links.push_back({kind, random_id<BlobId>(random), length});
  }
  return links;
}

TEST(Links, ComeBackAsTheyWere) {
  for_each_seed(300, [](auto& random) {
    const auto links = random_links(random);
    EXPECT_EQ(decode_links(encode_links(links), "node"), links);
  });
}

TEST(Links, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(3000, [](auto& random) {
    Bytes bytes = encode_links(random_links(random));
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      const auto links = decode_links(bytes, "node");
      EXPECT_EQ(encode_links(links), bytes);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

TEST(Links, RowsThatCannotBeAreRefused) {
  const BlobId id;
  constexpr auto kHuge = ~std::uint64_t{0} >> 1;
  const std::vector<std::vector<Link>> wrong = {
      {},
      {{BlobKind::content, id, 0}},
      {{BlobKind::content, id, kMaxBlobBytes + 1}},
      {{BlobKind::names, id, 0}},
      {{BlobKind::content, id, 1}, {BlobKind::names, id, 1}},
      {{BlobKind::names, id, 1}, {BlobKind::names, id, 1}},
      {{BlobKind::links, id, kHuge}, {BlobKind::links, id, kHuge}},
  };
  for (const auto& links : wrong) {
    EXPECT_THROW((void)decode_links(encode_links(links), "node"),
                 CorruptionError);
  }
  const Link unknown[] = {{static_cast<BlobKind>(3), id, 1}};
  EXPECT_THROW((void)decode_links(encode_links(unknown), "node"),
               UnsupportedFormat);
}

}  // namespace
}  // namespace cairn::repo
