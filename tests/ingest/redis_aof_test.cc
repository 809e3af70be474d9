#include "ingest/redis_aof.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void write(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::app) << text;
}

std::string all_of(AofFile file) {
  const auto stream = read_aof_file(std::move(file));
  std::string text;
  std::vector<std::byte> some(5);
  while (const auto size = stream->read(some, {})) {
    text.append(reinterpret_cast<const char*>(some.data()), size);
  }
  return text;
}

template <typename Act>
std::string refusal_of(const Act& act) {
  try {
    (void)act();
  } catch (const ProducerFailed& e) {
    return e.what();
  }
  return "none";
}

class RedisAof : public testing::Test {
 protected:
  void SetUp() override {
    write(folder.path() / "a.aof.manifest",
          "file a.aof.1.base.rdb seq 1 type b\n"
          "file a.aof.0.incr.aof seq 1 type h\n"
          "file a.aof.1.incr.aof seq 1 type i\n");
    write(folder.path() / "a.aof.1.base.rdb", "base");
    write(folder.path() / "a.aof.1.incr.aof", "commands");
    write(folder.path() / "temp-rewriteaof-bg-7.aof", "half a rewrite");
  }

  testing_support::TempFolder folder;
};

TEST_F(RedisAof, TakesWhatTheManifestNamesAsLongAsItIsNow) {
  auto taken = open_aof_folder(folder.path());
  write(folder.path() / "a.aof.1.incr.aof", " and more");

  ASSERT_EQ(taken.files.size(), 2U);
  EXPECT_EQ(taken.manifest_name, "a.aof.manifest");
  EXPECT_EQ(taken.manifest,
            "file a.aof.1.base.rdb seq 1 type b\n"
            "file a.aof.1.incr.aof seq 1 type i\n");
  EXPECT_EQ(all_of(std::move(taken.files[0])), "base");
  EXPECT_EQ(all_of(std::move(taken.files[1])), "commands");
}

TEST_F(RedisAof, StillHasThemWhenARewriteRemovesThem) {
  auto taken = open_aof_folder(folder.path());
  fs::remove(folder.path() / "a.aof.1.base.rdb");

  EXPECT_EQ(all_of(std::move(taken.files[0])), "base");
}

TEST_F(RedisAof, SaysWhichFileIsCutWhileItIsRead) {
  auto taken = open_aof_folder(folder.path());
  fs::resize_file(folder.path() / "a.aof.1.incr.aof", 3);

  EXPECT_THAT(refusal_of([&] { return all_of(std::move(taken.files[1])); }),
              HasSubstr("a.aof.1.incr.aof: was cut"));
}

TEST_F(RedisAof, RefusesWhatIsNotThere) {
  fs::remove(folder.path() / "a.aof.1.base.rdb");
  EXPECT_THAT(refusal_of([&] { return open_aof_folder(folder.path()); }),
              HasSubstr("not those that its manifest names"));
  fs::remove(folder.path() / "a.aof.manifest");
  EXPECT_THAT(refusal_of([&] { return open_aof_folder(folder.path()); }),
              HasSubstr("appenddirname"));
  EXPECT_NE(refusal_of([&] { return open_aof_folder("/nonexistent"); }),
            "none");
}

TEST_F(RedisAof, FollowsNoLinkOutOfTheFolder) {
  fs::remove(folder.path() / "a.aof.1.base.rdb");
  fs::create_symlink("/etc/passwd", folder.path() / "a.aof.1.base.rdb");

  EXPECT_THAT(refusal_of([&] { return open_aof_folder(folder.path()); }),
              HasSubstr("a.aof.1.base.rdb"));
}

TEST(AofManifest, ReadsNamesWithSpacesAndWritesThemAgain) {
  const std::string text = "file \"my \\\"aof\\\".1.base.aof\" seq 1 type b\n";

  const auto entries = read_aof_manifest(text + "# comment\n\n");

  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries.front().name, "my \"aof\".1.base.aof");
  EXPECT_EQ(aof_manifest_text(entries), text);
}

TEST(AofManifest, RefusesNamesThatLeadElsewhere) {
  for (const auto* const line :
       {"file ../x seq 1 type b", "file .. seq 1 type b", "file x seq 1 type z",
        "file x seq none type b", "seq 1 type b", "file \"x seq 1 type b"}) {
    EXPECT_NE(refusal_of([&] { return read_aof_manifest(line); }), "none")
        << line;
  }
}

}  // namespace
}  // namespace cairn::ingest
