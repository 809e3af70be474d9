#include "cli/printable.h"

#include <gtest/gtest.h>

#include "cli/json.h"

namespace cairn::cli {
namespace {

TEST(Printable, TakesTheForceOutOfControlCharacters) {
  EXPECT_EQ(printable("plain"), "plain");
  EXPECT_EQ(printable("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(printable("\x1b[2J\x7f"), "\\x1b[2J\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");  // one-byte CSI
}

TEST(Printable, TakesTheForceOutOfWhatTurnsTheDirectionOfWriting) {
  EXPECT_EQ(printable("a\xe2\x80\xaetxt.exe"), "a\\xe2\\x80\\xaetxt.exe");
  EXPECT_EQ(printable("\xe2\x81\xa9"), "\\xe2\\x81\\xa9");
  EXPECT_EQ(printable("\xe2\x80\xa6"), "\xe2\x80\xa6");  // an ellipsis
}

TEST(Printable, TellsABackslashFromWhatItWrites) {
  EXPECT_EQ(printable("back\\nslash"), "back\\\\nslash");
  EXPECT_EQ(printable("new\nline"), "new\\nline");
}

TEST(Printable, LeavesAloneWhatIsPrintableAlready) {
  const std::string once = printable("a\\b\n\x1b[2J\xff\xe2\x80\xae");

  EXPECT_EQ(harmless(once), once);
  EXPECT_EQ(harmless("\x1b[2J\n"), "\\x1b[2J\\n");
}

TEST(Printable, KeepsUtf8AndShowsOtherBytes) {
  EXPECT_EQ(printable("d\xc3\xbcnn \xe2\x82\xac \xf0\x9f\x98\x80"),
            "d\xc3\xbcnn \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_FALSE(is_utf8("\xc0\xaf"));          // too long a spelling
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));      // a surrogate
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));  // beyond the last
  EXPECT_FALSE(is_utf8("\xe2\x82"));          // cut off
}

TEST(Printable, ShortensInTheMiddleByCharacters) {
  EXPECT_EQ(shortened("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened("abcdefghij", 9), "ab...ghij");
  EXPECT_EQ(shortened("abcdefghij", 2), "..");
  EXPECT_EQ(shortened("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f"
                      "abcdefgh",
                      9),
            "\xc3\xa4\xc3\xb6...efgh");
  EXPECT_EQ(width_of("\xc3\xa4\xe2\x82\xac"), 2u);
}

TEST(Json, WritesFieldsInTheOrderTheyWereSet) {
  Json json = Json::object();
  json.set("z", 1).set("a", true).set("m", nullptr).set("t", "text");
  json.set("n", std::uint64_t{18'446'744'073'709'551'615U}).set("i", -1);
  json.set("when", repo::Timestamp{0, 0});

  EXPECT_EQ(json.text(),
            R"({"z":1,"a":true,"m":null,"t":"text","n":18446744073709551615,)"
            R"("i":-1,"when":"1970-01-01T00:00:00Z"})");
}

TEST(Json, BeginsEachLineWithTypeTimeAndVersion) {
  EXPECT_EQ(Json::line("summary", {0, 0}).text(),
            R"({"type":"summary","time":"1970-01-01T00:00:00Z","v":1})");
}

TEST(Json, KeepsTheExactBytesOfWhatIsNoUtf8) {
  Json json = Json::object();
  json.set_bytes("good", "\xc3\xa4").set_bytes("bad", "a\xff");

  EXPECT_EQ(json.text(),
            "{\"good\":\"\xc3\xa4\",\"bad\":\"a\xef\xbf\xbd\","
            "\"bad_b64\":\"Yf8=\"}");
}

TEST(Json, KeepsTheExactBytesOfAllWhenOneIsNoUtf8) {
  Json json = Json::object();
  json.set_bytes("good", std::vector<std::string>{"a"})
      .set_bytes("bad", std::vector<std::string>{"a", "\xff"});

  EXPECT_EQ(json.text(),
            "{\"good\":[\"a\"],\"bad\":[\"a\",\"\xef\xbf\xbd\"],"
            "\"bad_b64\":[\"YQ==\",\"/w==\"]}");
}

TEST(Json, SpellsOutWhatATerminalMayObey) {
  Json json = Json::object();
  json.set("c1", "\xc2\x9b").set("del", "\x7f").set("esc", "\x1b");
  json.set("turn", "\xe2\x80\xae").set("good", "\xc3\xa4\xe2\x82\xac");

  EXPECT_EQ(json.text(),
            "{\"c1\":\"\\u009b\",\"del\":\"\\u007f\",\"esc\":\"\\u001b\","
            "\"turn\":\"\\u202e\",\"good\":\"\xc3\xa4\xe2\x82\xac\"}");
}

TEST(Json, NestsObjectsAndArrays) {
  Json inner = Json::array();
  inner.add("x").add(Json::object());
  Json json = Json::object();
  json.set("list", std::move(inner));

  EXPECT_EQ(json.text(), R"({"list":["x",{}]})");
}

}  // namespace
}  // namespace cairn::cli
