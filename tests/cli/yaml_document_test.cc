#include "cli/config/yaml_document.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::cli::config {
namespace {

TEST(Yaml, KeepsScalarsAsTheyStand) {
  Mistakes mistakes;
  const auto root = parse_yaml("a: no\nb: 0x10\nc: '1'\nd: 1e3\n", mistakes);

  ASSERT_TRUE(root);
  EXPECT_TRUE(mistakes.empty());
  ASSERT_EQ(root->entries.size(), 4u);
  EXPECT_EQ(root->entries[0].value.text, "no");
  EXPECT_EQ(root->entries[1].value.text, "0x10");
  EXPECT_EQ(root->entries[2].value.text, "1");
  EXPECT_EQ(root->entries[3].value.text, "1e3");
  EXPECT_EQ(root->entries[3].place, (Place{4, 1}));
  EXPECT_EQ(root->entries[3].value.place, (Place{4, 4}));
}

TEST(Yaml, RefusesWhatWouldMakeASmallFileLarge) {
  const auto mistakes_of = [](const std::string& text) {
    Mistakes mistakes;
    (void)parse_yaml(text, mistakes);
    std::string all;
    for (const auto& mistake : mistakes) all += mistake.text + "\n";
    return all;
  };
  std::string laughs = "a: &a [x, x]\n";
  for (char c = 'b'; c < 'z'; ++c) {
    const std::string before = "*" + std::string(1, static_cast<char>(c - 1));
    laughs +=
        std::string(1, c) + ": &" + c + " [" + before + ", " + before + "]\n";
  }
  std::string many = "a: [";
  for (std::size_t i = 0; i < kMaxYamlNodes; ++i) many += "x,";
  many += "]\n";

  EXPECT_NE(mistakes_of(laughs).find("aliases (*name) are not read"),
            std::string::npos);
  EXPECT_NE(mistakes_of(laughs).find("anchors (&name) are not read"),
            std::string::npos);
  EXPECT_NE(mistakes_of(many).find("more than 20000 keys and values"),
            std::string::npos);
  EXPECT_NE(mistakes_of(std::string(10'000, '[')).find("more than 16 levels"),
            std::string::npos);
  EXPECT_NE(
      mistakes_of("a: " + std::string(kMaxYamlBytes, 'x')).find("larger than"),
      std::string::npos);
}

TEST(Yaml, SaysWhatIsNoYamlAndWhere) {
  const auto first = [](const std::string& text) {
    Mistakes mistakes;
    (void)parse_yaml(text, mistakes);
    return mistakes.empty() ? Mistake{} : mistakes.back();
  };

  EXPECT_EQ(first("a:\n  b: [1\nc: 2\n").place.line, 3u);
  EXPECT_NE(first("a:\n\tb: 1\n").text.find("a tab"), std::string::npos);
  EXPECT_EQ(first("").text, "there is nothing in it");
  EXPECT_EQ(first("# nothing\n").text, "there is nothing in it");
  EXPECT_NE(first("a: 1\n---\nb: 2\n").text.find("several documents"),
            std::string::npos);
  EXPECT_EQ(first("a: \xff\n").text, "is not UTF-8");
  EXPECT_EQ(first(std::string("a: 1\nb: \0", 9)).place, (Place{2, 4}));
  EXPECT_NE(first("a: !!binary x\n").text.find("tags"), std::string::npos);
}

}  // namespace
}  // namespace cairn::cli::config
