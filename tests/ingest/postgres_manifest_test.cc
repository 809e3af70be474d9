#include "ingest/postgres_manifest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ingest/byte_stream.h"
#include "tests/support/bytes.h"

namespace cairn::ingest {
namespace {

using testing_support::bytes_of;

const std::string kDigits(64, 'a');

std::string file(const std::string& path) {
  return "{ " + path +
         ", \"Size\": 4, \"Last-Modified\": \"2026-11-20 14:30:00 GMT\", "
         "\"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"" +
         kDigits + "\" }";
}

const std::string kWal =
    "],\n\"WAL-Ranges\": [\n{ \"Timeline\": 2, \"Start-LSN\": \"1/2000028\", "
    "\"End-LSN\": \"1/2000100\" }\n],\n";

// With the checksum that PostgreSQL would write.
std::string whole(const std::string& begin) {
  const auto digest = crypto::sha256(bytes_of(begin));
  return begin + "\"Manifest-Checksum\": \"" + crypto::to_hex(digest) + "\"}\n";
}

std::string sample() {
  return whole(
      "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n"
      "\"System-Identifier\": 7412345678901234567,\n\"Files\": [\n" +
      file("\"Path\": \"base/1/a \\\"b\\\\ \\u00e9\\n\"") + ",\n" +
      file("\"Encoded-Path\": \"62ff\"") + "\n" + kWal);
}

struct Manifest {
  std::vector<ManifestFile> files;
  std::vector<WalRange> wal;
};

Manifest read(const std::string& text, std::size_t step = 1000) {
  Manifest all;
  PostgresManifest manifest(
      [&](ManifestFile found) { all.files.push_back(std::move(found)); });
  const auto bytes = bytes_of(text);
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    manifest.add(
        std::span(bytes).subspan(at, std::min(step, bytes.size() - at)));
  }
  all.wal = std::move(manifest).finish();
  return all;
}

TEST(PostgresManifest, ListsFilesAndWalHoweverItComes) {
  for (const std::size_t step : {1U, 3U, 511U, 100'000U}) {
    const auto manifest = read(sample(), step);
    ASSERT_EQ(manifest.files.size(), 2U);
    EXPECT_EQ(manifest.files[0].path, "base/1/a \"b\\ \xc3\xa9\n");
    EXPECT_EQ(manifest.files[0].size, 4U);
    EXPECT_EQ(crypto::to_hex(manifest.files[0].sha256), kDigits);
    EXPECT_EQ(manifest.files[1].path, "b\xff");
    ASSERT_EQ(manifest.wal.size(), 1U);
    EXPECT_EQ(manifest.wal[0].timeline, 2U);
    EXPECT_EQ(to_string(manifest.wal[0].start), "1/2000028");
    EXPECT_EQ(manifest.wal[0].end.value, (1ULL << 32) + 0x2000100);
  }
}

TEST(PostgresManifest, AnyChangedByteIsRefusedOrShows) {
  const auto good = sample();
  const auto as_it_was = read(good);
  for (std::size_t at = 0; at < good.size(); ++at) {
    auto bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 4);
    EXPECT_THROW((void)read(bad), ProducerFailed) << at << ": " << bad[at];
  }
}

TEST(PostgresManifest, AnyCutIsRefused) {
  const auto good = sample();
  for (std::size_t size = 0; size + 2 < good.size(); ++size) {
    EXPECT_THROW((void)read(good.substr(0, size)), ProducerFailed) << size;
  }
}

TEST(PostgresManifest, RefusesATextThatIsTooLongHoweverItIsSpelled) {
  for (const std::string letter : {"a", "\\n", "\\u0061", "\\u20ac"}) {
    std::string text = "{ \"";
    for (int i = 0; i < 10'000; ++i) text += letter;
    PostgresManifest manifest([](const ManifestFile&) {});
    EXPECT_THROW(manifest.add(bytes_of(text)), ProducerFailed) << letter;
  }
}

TEST(PostgresManifest, RefusesOtherShapes) {
  const std::string begin = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n";
  for (const auto& text : {
           whole(
               "{ \"PostgreSQL-Backup-Manifest-Version\": 3,\n\"Files\": [\n" +
               kWal),
           whole(begin + "\"Files\": [\n{ \"Path\": \"a\", \"Size\": 1 }\n" +
                 kWal),
           whole(begin + "\"Files\": [\n" +
                 file("\"Path\": \"a\", \"Size\": 5") + kWal),
           whole(begin + "\"Files\": [\n{ \"Path\": [ ] }\n" + kWal),
           whole(begin + "\"Files\": [\n" +
                 file("\"Path\": \"" + std::string(20'000, 'x') + "\"") + kWal),
           whole(begin + "\"Files\": [\n" + file("\"Encoded-Path\": \"6\"") +
                 kWal),
           whole(begin + "\"Files\": [\n],\n\"WAL-Ranges\": [\n],\n"),
           sample() + sample(),
       }) {
    EXPECT_THROW((void)read(text), ProducerFailed) << text.substr(0, 200);
  }
}

TEST(LsnIn, RefusesWhatIsNone) {
  EXPECT_EQ(to_string(lsn_in("16/B374D848")), "16/B374D848");
  EXPECT_THROW((void)lsn_in("16"), ProducerFailed);
}

}  // namespace
}  // namespace cairn::ingest
