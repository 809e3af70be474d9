#include "ingest/exclude_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <stdexcept>
#include <vector>

#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::for_each_seed;
using testing_support::read_file;
using testing_support::TempFolder;
using testing_support::write_file;

using Rules = std::vector<std::string>;

bool excludes(const Rules& rules, std::string_view path,
              PathKind kind = PathKind::other) {
  return ExcludeRules(rules).excludes(path, kind);
}

TEST(ExcludeRules, ANameMatchesAtAnyDepth) {
  EXPECT_TRUE(excludes({"core"}, "core"));
  EXPECT_TRUE(excludes({"core"}, "a/b/core"));
  EXPECT_FALSE(excludes({"core"}, "a/b/core.c"));
  EXPECT_FALSE(excludes({"core"}, "score"));
}

TEST(ExcludeRules, ASlashAnchorsToTheTop) {
  EXPECT_TRUE(excludes({"/core"}, "core"));
  EXPECT_FALSE(excludes({"/core"}, "a/core"));
  EXPECT_TRUE(excludes({"a/core"}, "a/core"));
  EXPECT_FALSE(excludes({"a/core"}, "b/a/core"));
}

TEST(ExcludeRules, ASlashAtTheEndMeansFolders) {
  EXPECT_TRUE(excludes({"build/"}, "a/build", PathKind::folder));
  EXPECT_FALSE(excludes({"build/"}, "a/build", PathKind::other));
}

TEST(ExcludeRules, StarsStopAtSlashesAndDoubleStarsDoNot) {
  EXPECT_TRUE(excludes({"*.o"}, "a/b.o"));
  EXPECT_TRUE(excludes({"a/*.o"}, "a/b.o"));
  EXPECT_FALSE(excludes({"a/*.o"}, "a/b/c.o"));
  EXPECT_TRUE(excludes({"a/**/c.o"}, "a/c.o"));
  EXPECT_TRUE(excludes({"a/**/c.o"}, "a/b/b/c.o"));
  EXPECT_TRUE(excludes({"a/**"}, "a/b/c"));
  EXPECT_FALSE(excludes({"a/**"}, "a"));
  EXPECT_TRUE(excludes({"**/c"}, "c"));
  EXPECT_FALSE(excludes({"a?c"}, "a/c"));
}

TEST(ExcludeRules, TheLastRuleThatMatchesDecides) {
  EXPECT_FALSE(excludes({"*.log", "!keep.log"}, "keep.log"));
  EXPECT_TRUE(excludes({"!keep.log", "*.log"}, "keep.log"));
  EXPECT_TRUE(excludes({"*.log", "!keep.log"}, "other.log"));
}

TEST(ExcludeRules, BackslashesTakeTheNextByteAsItIs) {
  EXPECT_TRUE(excludes({"\\!a"}, "!a"));
  EXPECT_TRUE(excludes({"\\#a"}, "#a"));
  EXPECT_TRUE(excludes({"\\*"}, "*"));
  EXPECT_FALSE(excludes({"\\*"}, "a"));
  EXPECT_TRUE(excludes({"a\\ "}, "a "));
  EXPECT_FALSE(excludes({"a\\ "}, "a"));
}

TEST(ExcludeRules, PassesOverCommentsAndSpacesAtTheEnd) {
  EXPECT_FALSE(excludes({"", "#a", "   ", "\r"}, "#a"));
  EXPECT_TRUE(excludes({"a  "}, "a"));
  EXPECT_TRUE(excludes({"a\r"}, "a"));
  EXPECT_TRUE(excludes({"a\t"}, "a\t"));
}

TEST(ExcludeRules, SetsHoldRangesClassesAndTheirOpposite) {
  EXPECT_TRUE(excludes({"[a-c]"}, "b"));
  EXPECT_FALSE(excludes({"[!a-c]"}, "b"));
  EXPECT_TRUE(excludes({"[]]"}, "]"));
  EXPECT_TRUE(excludes({"[[:digit:]x]"}, "7"));
  EXPECT_TRUE(excludes({"[a\\]b]"}, "]"));
  EXPECT_FALSE(excludes({"a[!b]c"}, "a/c"));
  EXPECT_TRUE(excludes({"[\xe0-\xff]"}, "\xf0"));
}

TEST(ExcludeRules, NamesARuleThatCanNeverMatch) {
  for (const char* rule : {"!", "/", "!/", "a[b", "[", "[]", "[[:none:]]",
                           "a\\", "[a-", "[[:alpha:"}) {
    try {
      ExcludeRules rules(Rules{"fine", rule});
      ADD_FAILURE() << rule;
    } catch (const std::invalid_argument& e) {
      EXPECT_NE(std::string(e.what()).find(rule), std::string::npos);
    }
  }
}

TEST(ExcludeRules, HostileRulesTakeNoLongerThanOthers) {
  std::string stars;
  std::string double_stars;
  for (int i = 0; i < 50; ++i) {
    stars += "a*";
    double_stars += "**/a*/";
  }
  const std::string name(255, 'a');
  std::string path;
  for (int i = 0; i < 400; ++i) path += "aaaaaaaaa/";
  const ExcludeRules rules(Rules{stars + "b", double_stars + "b",
                                 "**/" + stars + "b", "x/**/**/**/" + stars});
  const auto began = std::chrono::steady_clock::now();

  EXPECT_FALSE(rules.excludes(name, PathKind::other));
  EXPECT_FALSE(rules.excludes(path + name, PathKind::other));

  // Exponential would be longer than the universe; this takes milliseconds.
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

// A tree of folders and files with awkward names, its paths in no order; those
// of folders end with a slash.
std::vector<std::string> random_tree(std::mt19937_64& random) {
  const std::vector<std::string> names{"a",  "b",  "ab", "aab", "a b",  "[a]",
                                       "a*", "!a", "#a", ".a",  "-",    "a ",
                                       "]",  "\\", "B",  "1",   "a\xff"};
  std::vector<std::string> paths;
  std::vector<std::string> folders{""};
  for (int i = 0; i < 60; ++i) {
    const std::string path =
        folders[random() % folders.size()] + names[random() % names.size()];
    const bool is_folder = random() % 3 == 0;
    if (std::ranges::count(paths, path) +
        std::ranges::count(paths, path + "/")) {
      continue;
    }
    paths.push_back(is_folder ? path + "/" : path);
    if (is_folder) folders.push_back(paths.back());
  }
  return paths;
}

std::string random_rule(std::mt19937_64& random) {
  const std::vector<std::string> parts{
      "a",       "b",    "ab",          "*",    "**",          "?",    "/",
      "/**/",    "**/",  "/**",         "a*",   "[a]",         "[!a]", "[^b-]",
      "[a-b]",   "[]a]", "[[:alpha:]]", "\\a",  "\\*",         "\\ ",  " ",
      "#",       "!",    "\\!",         "[",    "]",           "-",    "***",
      "[[:x:]]", "[[a]", "[a-",         "\\",   "[b-a]",       "\\/",  ".a",
      "[\\]a]",  "[!/]", "[[:]",        "\xff", "[\x80-\xff]", "1"};
  std::string rule;
  if (random() % 4 == 0) rule += "!";
  if (random() % 4 == 0) rule += "/";
  const std::size_t count = 1 + random() % 4;
  for (std::size_t i = 0; i < count; ++i)
    rule += parts[random() % parts.size()];
  if (random() % 5 == 0) rule += "/";
  return rule;
}

// As the walk asks: a path is left out with the first of its folders that is.
bool is_left_out(const ExcludeRules& rules, std::string_view path) {
  for (std::size_t end = 0; end < path.size();) {
    const std::size_t slash = path.find('/', end);
    const bool is_folder = slash != std::string_view::npos;
    const auto part = path.substr(0, is_folder ? slash : path.size());
    const auto kind = is_folder ? PathKind::folder : PathKind::other;
    if (rules.excludes(part, kind)) return true;
    end = part.size() + 1;
  }
  return false;
}

// Whether git leaves out each of the paths, by running the real one. It looks
// at the tree itself for what is a folder.
std::map<std::string, bool> ask_git(const fs::path& tree, const fs::path& rules,
                                    const fs::path& scratch,
                                    const std::vector<std::string>& paths) {
  std::string question;
  for (const auto& path : paths) {
    question += path.substr(0, path.find_last_not_of('/') + 1) + '\0';
  }
  write_file(scratch / "question", question);
  const std::string command =
      "git -C '" + tree.native() + "' -c core.excludesFile='" + rules.native() +
      "' check-ignore -v -n -z --no-index --stdin <'" +
      (scratch / "question").native() + "' >'" + (scratch / "answer").native() +
      "' 2>'" + (scratch / "errors").native() + "'";
  const int result = std::system(command.c_str());
  EXPECT_TRUE(WIFEXITED(result) && WEXITSTATUS(result) <= 1)
      << read_file(scratch / "errors");

  // source NUL line NUL pattern NUL path NUL, empty where nothing matched
  const std::string answer = read_file(scratch / "answer");
  std::vector<std::string> fields;
  for (std::size_t at = 0; at < answer.size();) {
    const std::size_t end = answer.find('\0', at);
    fields.push_back(answer.substr(at, end - at));
    at = end + 1;
  }
  std::map<std::string, bool> left_out;
  for (std::size_t i = 0; i + 3 < fields.size(); i += 4) {
    const std::string& rule = fields[i + 2];
    left_out[fields[i + 3]] = !rule.empty() && rule.front() != '!';
  }
  return left_out;
}

TEST(ExcludeRules, AgreesWithGit) {
  if (std::system("git --version >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "no git here";
  }
  for_each_seed(80, [](auto& random) {
    TempFolder folder;
    const fs::path tree = folder / "tree";
    const auto paths = random_tree(random);
    fs::create_directory(tree);
    for (const auto& path : paths) {
      if (path.ends_with('/')) {
        fs::create_directories(tree / path);
      } else {
        write_file(tree / path, "");
      }
    }
    ASSERT_EQ(std::system(("git init -q --template= '" + tree.native() +
                           "' 2>/dev/null")
                              .c_str()),
              0);
    // Rules that match nothing are refused here and passed over by git.
    Rules rules;
    std::string lines;
    for (int i = 0; i < 10; ++i) {
      const std::string rule = random_rule(random);
      lines += rule + "\n";
      try {
        ExcludeRules only(Rules{rule});
        rules.push_back(rule);
      } catch (const std::invalid_argument&) {
      }
    }
    write_file(folder / "rules", lines);

    const auto git = ask_git(tree, folder / "rules", folder.path(), paths);
    const ExcludeRules ours(rules);

    ASSERT_EQ(git.size(), paths.size());
    for (const auto& path : paths) {
      const auto bare = path.substr(0, path.find_last_not_of('/') + 1);
      EXPECT_EQ(is_left_out(ours, path), git.at(bare)) << path << " by\n"
                                                       << lines;
    }
  });
}

}  // namespace
}  // namespace cairn::ingest
