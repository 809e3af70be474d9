#include "repo/key_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::for_each_seed;

TEST(KeyFile, ItsTextComesBackAsTheSameKey) {
  for_each_seed(50, [](auto& random) {
    const auto key = crypto::Secret::from_bytes(
        testing_support::random_bytes(random, crypto::kSecretBytes));
    const auto parsed = parse_key_file(key_file_text(key));
    ASSERT_TRUE(parsed);
    EXPECT_TRUE(std::ranges::equal(parsed->bytes(), key.bytes()));
  });
}

TEST(KeyFile, CaseAndWhiteSpaceAroundItDoNotMatter) {
  const auto key = crypto::Secret::random();
  std::string text = key_file_text(key);
  std::ranges::transform(text, text.begin(), [](char c) {
    return static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  });
  EXPECT_TRUE(parse_key_file(" \r\n\t" + text + "\r\n  "));
}

TEST(KeyFile, AWrongDigitIsNoticed) {
  const std::string text = key_file_text(crypto::Secret::random());
  for (std::size_t at = 0; at + 1 < text.size(); ++at) {
    std::string wrong = text;
    wrong[at] = wrong[at] == '0' ? '1' : '0';
    EXPECT_FALSE(parse_key_file(wrong)) << at;
  }
}

TEST(KeyFile, GroupsOfAnotherLengthAreRefused) {
  std::string text = key_file_text(crypto::Secret::random());
  std::swap(text[20], text[19]);  // the first dash and a digit
  ASSERT_NE(text[20], '-');
  EXPECT_FALSE(parse_key_file(text));
}

TEST(KeyFile, NothingAndHalfOfItAreRefused) {
  const std::string text = key_file_text(crypto::Secret::random());
  EXPECT_FALSE(parse_key_file(""));
  EXPECT_FALSE(parse_key_file(" \n"));
  EXPECT_FALSE(parse_key_file(text.substr(0, 50)));
}

}  // namespace
}  // namespace cairn::repo
