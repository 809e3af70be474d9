#include "ingest/tar_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "ingest/byte_stream.h"
#include "tests/support/bytes.h"
#include "tests/support/tar.h"

namespace cairn::ingest {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::tar_header;
using Member = testing_support::TarMember;

std::string padded(std::string content) {
  content.resize((content.size() + 511) / 512 * 512);
  return content;
}

std::string member(const Member& header, const std::string& content) {
  return tar_header(header, content.size()) + padded(content);
}

// Path -> content; folders end with a slash, symlinks hold their target.
using Read = std::map<std::string, std::string>;

Read read(const std::string& archive, std::size_t step) {
  const Bytes bytes = bytes_of(archive);
  std::size_t at = 0;
  TarReader reader("test", [&] {
    const auto size = std::min(step, bytes.size() - at);
    at += size;
    return std::span(bytes).subspan(at - size, size);
  });
  Read all;
  while (const auto found = reader.next()) {
    if (found->entry.type == repo::EntryType::folder) {
      all[found->path + "/"];
    } else if (found->entry.type == repo::EntryType::symlink) {
      all[found->path] = found->entry.symlink_target;
    } else {
      auto& content = all[found->path];
      std::array<std::byte, 100> piece{};
      while (const auto size = reader.read(piece)) {
        content.append(reinterpret_cast<const char*>(piece.data()), size);
      }
      EXPECT_EQ(content.size(), found->entry.size);
    }
  }
  EXPECT_FALSE(reader.next()) << "after the end";
  return all;
}

std::string sample() {
  return member({"backup_label"}, "label\n") + member({"base/", '5'}, "") +
         member({"base/1"}, std::string(1500, 'x')) + member({"empty"}, "") +
         member({"exact"}, std::string(512, 'e'));
}

const Read kSample{{"backup_label", "label\n"},
                   {"base/", ""},
                   {"base/1", std::string(1500, 'x')},
                   {"empty", ""},
                   {"exact", std::string(512, 'e')}};

TEST(TarReader, GivesMembersHoweverTheBytesCome) {
  const std::string end(1024, '\0');
  for (const std::size_t step : {1U, 7U, 512U, 513U, 100'000U}) {
    EXPECT_EQ(read(sample() + end, step), kSample) << step;
    // Until version 14 the server leaves the end to who receives it.
    EXPECT_EQ(read(sample(), step), kSample) << step;
  }
}

TEST(TarReader, PassesOverWhatIsNotRead) {
  const Bytes bytes = bytes_of(sample());
  bool is_given = false;
  TarReader reader("test", [&] {
    return std::exchange(is_given, true) ? std::span<const std::byte>()
                                         : std::span<const std::byte>(bytes);
  });
  std::vector<std::string> paths;
  while (const auto found = reader.next()) paths.push_back(found->path);
  EXPECT_EQ(paths, (std::vector<std::string>{"backup_label", "base", "base/1",
                                             "empty", "exact"}));
}

TEST(TarReader, TellsWhatTheHeaderSays) {
  const Bytes bytes = bytes_of(member({"a/b"}, "x"));
  bool is_given = false;
  TarReader reader("test", [&] {
    return std::exchange(is_given, true) ? std::span<const std::byte>()
                                         : std::span<const std::byte>(bytes);
  });
  const auto found = reader.next();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->entry.name, "b");
  EXPECT_EQ(found->entry.mode, 0644U);
  EXPECT_EQ(found->entry.uid, 01750U);
  EXPECT_EQ(found->entry.modified.seconds, 1'700'000'000);
}

TEST(TarReader, KnowsSymlinksAsPostgresNamesThem) {
  auto header = tar_header({"pg_tblspc/16384/", '2'}, 0);
  const std::string target = "/srv/side";
  std::copy(target.begin(), target.end(), header.begin() + 157);
  unsigned sum = 8 * ' ';
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (i < 148 || i >= 156) sum += static_cast<unsigned char>(header[i]);
  }
  const auto digits = testing_support::octal(sum, 6);
  std::copy(digits.begin(), digits.end(), header.begin() + 148);
  EXPECT_EQ(read(header, 512), (Read{{"pg_tblspc/16384", "/srv/side"}}));
}

TEST(TarReader, RefusesWhatItDoesNotUnderstand) {
  auto broken = sample();
  broken[3] = 'X';  // against the checksum
  const std::vector<std::string> archives{
      broken,
      sample().substr(0, 2000),  // ends inside a file
      sample() + "x",            // and inside a header
      sample() + std::string(1024, '\0') + sample(),
      member({"/etc/passwd"}, "x"),
      member({"a/../b"}, "x"),
      member({"a//b"}, "x"),
      member({"./."}, "x"),
      member({""}, "x"),
      member({"fifo", '6'}, ""),
      member({"pax", 'x'}, "30 path=other\n"),
      member({"size", '0', 0, "99999999x"}, "x"),
      std::string(512, 'z'),
  };
  for (std::size_t i = 0; i < archives.size(); ++i) {
    EXPECT_THROW((void)read(archives[i], 300), ProducerFailed) << i;
  }
}

}  // namespace
}  // namespace cairn::ingest
