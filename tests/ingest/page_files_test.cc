#include "ingest/page_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tests/support/bytes.h"

namespace cairn::ingest {
namespace {

using repo::Profile;
using testing_support::Bytes;
using testing_support::bytes_of;

constexpr std::size_t kPage = 8192;

void put_u16(Bytes& page, std::size_t at, unsigned value) {
  page[at] = static_cast<std::byte>(value);
  page[at + 1] = static_cast<std::byte>(value >> 8);
}

// PageHeaderData, as PostgreSQL's bufpage.h has it.
struct PostgresHeader {
  unsigned lower = 24 + 3 * 4;      // behind the line pointers
  unsigned upper = kPage - 3 * 64;  // where the tuples begin
  unsigned special = kPage;
  unsigned size_and_version = kPage | 4;
};

// A page of three tuples of 64 bytes.
Bytes postgres_page(const PostgresHeader& header = {}) {
  Bytes page(kPage);
  std::ranges::copy(bytes_of("\x01\x02\x03\x04\x05\x06\x07\x08"), page.begin());
  put_u16(page, 8, 0xbeef);  // checksum
  put_u16(page, 10, 4);      // flags: all visible
  put_u16(page, 12, header.lower);
  put_u16(page, 14, header.upper);
  put_u16(page, 16, header.special);
  put_u16(page, 18, header.size_and_version);
  for (unsigned i = 0; i < 3; ++i) {  // line pointers: place, normal, length
    const unsigned place = kPage - (i + 1) * 64;
    put_u16(page, 24 + i * 4, place | 1U << 15);
    put_u16(page, 26 + i * 4, 64U << 1);
    std::ranges::copy(bytes_of("a tuple"), page.begin() + place);
  }
  return page;
}

Profile profile_of_page(const PostgresHeader& header) {
  return profile_of(kPage, postgres_page(header));
}

Profile profile_of_text(std::string_view beginning, std::uint64_t file_size) {
  return profile_of(file_size, bytes_of(beginning));
}

TEST(PageFiles, AreThoseOfPostgresTables) {
  const Bytes page = postgres_page();

  EXPECT_EQ(profile_of(kPage, page), Profile::page);
  EXPECT_EQ(profile_of(1ULL << 30, std::span(page).first(kProfilePeekBytes)),
            Profile::page);
}

TEST(PageFiles, AreThoseOfPostgresIndexes) {
  // A B-tree keeps 16 bytes of its own at the end of each page; its meta page
  // has no tuples.
  EXPECT_EQ(profile_of_page(
                {.lower = 72, .upper = kPage - 16, .special = kPage - 16}),
            Profile::page);
}

TEST(PageFiles, AreThoseWithPagesThatAreEmptyOrFull) {
  EXPECT_EQ(profile_of_page({.lower = 24, .upper = kPage}), Profile::page);
  EXPECT_EQ(profile_of_page({.lower = 4000, .upper = 4000}), Profile::page);
  EXPECT_EQ(profile_of_page({.lower = 24, .upper = 24, .special = 24}),
            Profile::page);
}

TEST(PageFiles, AreNotThoseWhosePartsAreOutOfOrder) {
  EXPECT_EQ(profile_of_page({.lower = 23}), Profile::cdc);
  EXPECT_EQ(profile_of_page({.lower = 4001, .upper = 4000}), Profile::cdc);
  EXPECT_EQ(profile_of_page({.upper = 8001, .special = 8000}), Profile::cdc);
  EXPECT_EQ(profile_of_page({.special = kPage + 1}), Profile::cdc);
}

TEST(PageFiles, AreNotThoseOfAnotherPageSizeOrLayout) {
  EXPECT_EQ(profile_of_page({.size_and_version = 16384 | 4}), Profile::cdc);
  EXPECT_EQ(profile_of_page({.size_and_version = kPage | 3}), Profile::cdc);
  EXPECT_EQ(profile_of_page({.size_and_version = 0}), Profile::cdc);
}

// Such a file is none of PostgreSQL's, whatever it begins with.
TEST(PageFiles, AreNotThoseThatEndWithinAPage) {
  for (const std::uint64_t size :
       {1ULL, kPage - 1ULL, kPage + 1ULL, 3ULL * kPage / 2, 0ULL}) {
    EXPECT_EQ(profile_of(size, postgres_page()), Profile::cdc) << size;
  }
}

TEST(PageFiles, AreThoseOfSqliteWhateverTheirSize) {
  const std::string_view magic("SQLite format 3\0", 16);

  EXPECT_EQ(profile_of_text(magic, 16), Profile::page);
  EXPECT_EQ(profile_of_text(std::string(magic) + "\x10 more", 12'345),
            Profile::page);
}

TEST(PageFiles, AreNotThoseThatOnlyLookLikeSqlite) {
  EXPECT_EQ(profile_of_text("SQLite format 3", 15), Profile::cdc);
  EXPECT_EQ(profile_of_text("SQLite format 3 is a file format", 32),
            Profile::cdc);
  EXPECT_EQ(profile_of_text("-- SQLite format 3", 18), Profile::cdc);
}

TEST(PageFiles, AreNotTextOrZeros) {
  EXPECT_EQ(profile_of_text(std::string(kProfilePeekBytes, 'x'), kPage),
            Profile::cdc);
  EXPECT_EQ(profile_of(kPage, Bytes(kProfilePeekBytes)), Profile::cdc);
}

TEST(PageFiles, AreNotThoseOfWhichTooLittleIsSeen) {
  const Bytes page = postgres_page();

  for (const std::size_t seen : {0U, 1U, 15U, 16U, 20U, 23U}) {
    EXPECT_EQ(profile_of(kPage, std::span(page).first(seen)), Profile::cdc)
        << seen;
  }
  EXPECT_EQ(profile_of(kPage, std::span(page).first(24)), Profile::page);
}

}  // namespace
}  // namespace cairn::ingest
