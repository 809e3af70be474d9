#include "ingest/wal_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/support/temp_folder.h"
#include "tests/support/wal_segment.h"

namespace cairn::ingest {
namespace {

using testing_support::Bytes;
using testing_support::TempFolder;
using testing_support::wal_segment;
using Kind = WalFileName::Kind;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;

std::optional<Kind> kind_of(std::string_view name) {
  const auto parsed = parse_wal_file_name(name);
  if (!parsed) return std::nullopt;
  return parsed->kind;
}

TEST(WalFile, NamesAreToldApart) {
  EXPECT_EQ(kind_of("000000010000000200000003"), Kind::segment);
  EXPECT_EQ(kind_of("000000010000000200000003.partial"), Kind::partial);
  EXPECT_EQ(kind_of("0000000A.history"), Kind::history);
  EXPECT_EQ(kind_of("000000010000000200000003.00000028.backup"), Kind::backup);
  const auto segment = parse_wal_file_name("0000000A0000000200000003");
  ASSERT_TRUE(segment);
  EXPECT_EQ(segment->timeline, 10U);
  EXPECT_EQ(segment->begin(kSegment)->value,
            (std::uint64_t{2} << 32) + 3 * kSegment);
  // With segments of 1 GiB there are four to a word.
  EXPECT_FALSE(parse_wal_file_name("000000010000000000000004")
                   ->begin(std::uint64_t{1} << 30));
}

TEST(WalFile, OtherNamesAreNone) {
  for (const auto* const name :
       {"", "1", "00000000.history", "000000000000000000000001",
        "00000001000000020000000", "0000000100000002000000031",
        "00000001000000020000000g", "00000001000000020000000a",
        "000000010000000200000003.Partial", "00000001.histor",
        "000000010000000200000003.0000028.backup",
        "000000010000000200000003.00000028.backup.gz",
        "../000000010000000200000003", "archive_status", "RECOVERYXLOG"}) {
    EXPECT_FALSE(kind_of(name)) << name;
  }
}

TEST(WalFile, AHeadSaysWhatItIsOf) {
  const auto segment = wal_segment(
      {.system = 7412345678901234567, .timeline = 3, .begin = 5 * kSegment});
  const auto head = parse_segment_head(segment);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->system, 7412345678901234567U);
  EXPECT_EQ(head->timeline, 3U);
  EXPECT_EQ(head->begin.value, 5 * kSegment);
  EXPECT_EQ(head->segment_bytes, kSegment);
  EXPECT_EQ(head->major_version, 15);
}

TEST(WalFile, AHeadOfTheOtherOrderOfBytesIsRead) {
  Bytes segment = wal_segment({.timeline = 3, .begin = 5 * kSegment});
  const auto turn = [&segment](std::size_t at, std::size_t size) {
    const auto begin = segment.begin() + static_cast<std::ptrdiff_t>(at);
    std::reverse(begin, begin + static_cast<std::ptrdiff_t>(size));
  };
  for (const auto& [at, size] : {std::pair<std::size_t, std::size_t>{0, 2},
                                 {2, 2},
                                 {4, 4},
                                 {8, 8},
                                 {24, 8},
                                 {32, 4}}) {
    turn(at, size);
  }
  const auto head = parse_segment_head(segment);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->system, 77U);
  EXPECT_EQ(head->begin.value, 5 * kSegment);
}

TEST(WalFile, WhatIsNoHeadIsNone) {
  const Bytes good = wal_segment({.begin = kSegment});
  ASSERT_TRUE(parse_segment_head(good));
  EXPECT_FALSE(parse_segment_head(Bytes(kWalSegmentHeadBytes)));
  for (const std::size_t at : {1U, 2U, 9U, 32U}) {
    Bytes bad = good;
    bad[at] ^= std::byte{0x22};
    EXPECT_FALSE(parse_segment_head(bad)) << at;
  }
}

TEST(WalFile, ADataDirectorySaysOfWhichClusterItIs) {
  const TempFolder folder;
  EXPECT_FALSE(system_of_data_directory(folder.path()));
  std::filesystem::create_directory(folder / "global");
  std::ofstream(folder / "global" / "pg_control") << "short";
  EXPECT_FALSE(system_of_data_directory(folder.path()));
  const std::uint64_t system = 7412345678901234567;
  std::ofstream out(folder / "global" / "pg_control", std::ios::binary);
  out.write(reinterpret_cast<const char*>(&system), sizeof system);
  out << "and more";
  out.close();
  EXPECT_EQ(system_of_data_directory(folder.path()), system);
}

}  // namespace
}  // namespace cairn::ingest
