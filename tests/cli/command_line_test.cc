#include "cli/command_line.h"

#include <gtest/gtest.h>

#include <utility>

#include "cli/usage_error.h"
#include "tests/support/for_each_seed.h"

namespace cairn::cli {
namespace {

// What the variables behind the flags came to hold.
struct Given {
  std::optional<std::string> repo;
  bool is_json = false;
  bool is_quiet = false;
  int verbosity = 0;
  std::vector<std::string> tags;
  std::optional<std::string> as;
  bool from_command = false;
  std::vector<std::string> words;
  std::string snapshot;
};

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    add("backup", [this](Flags& flags) {
      flags.arguments("PATH", given_.words, Flags::Count::any);
      flags.values("--tag", "T", given_.tags, "");
      flags.value("--as", "NAME", given_.as, "");
      flags.flag("--from-command", given_.from_command, "");
    });
    add("snapshots", [](Flags&) {});
    add("ls",
        [this](Flags& flags) { flags.argument("SNAP", given_.snapshot); });
    add("key add", [](Flags&) {});
    add("key list", [](Flags&) {});
  }

  void add(std::string name, std::function<void(Flags&)> declare) {
    commands_.push_back({.name = std::move(name),
                         .group = CommandGroup::look,
                         .summary = "summary",
                         .text = "A paragraph.",
                         .examples = "cairn example",
                         .declare = std::move(declare),
                         .run = nullptr});
  }

  CommandLine line() {
    Flags globals;
    globals.value("-r, --repo", "REPO", given_.repo, "");
    globals.flag("--json", given_.is_json, "");
    globals.flag("-q, --quiet", given_.is_quiet, "");
    globals.count("-v", given_.verbosity, "");
    return CommandLine(commands_, std::move(globals));
  }

  CommandLine::Request parse(const std::vector<std::string>& words) {
    return line().parse(words);
  }

  std::string failure_of(const std::vector<std::string>& words) {
    try {
      (void)parse(words);
    } catch (const UsageError& e) {
      return e.what();
    }
    return "";
  }

  Given given_;
  std::vector<Command> commands_;
};

using Words = std::vector<std::string>;

TEST_F(CommandLineTest, KnowsTheCommandOfWordsThatItRefuses) {
  const auto named = [this](const Words& words) -> std::string {
    const auto* const command = line().named_by(words);
    return command ? command->name : "";
  };
  for (const auto& words :
       std::vector<Words>{{"key", "add"},
                          {"key", "add", "--nonsense", "x"},
                          {"--nonsense", "key", "add"},
                          {"-r", "/srv", "key", "add"},
                          {"-r/srv", "key", "-q", "add", "x"},
                          {"-qr", "/srv", "key", "add"},
                          {"-rq", "key", "add"},
                          {"--repo", "/srv", "--json", "key", "add"},
                          {"--repo=/srv", "key", "--repo", "ls", "add"}}) {
    EXPECT_EQ(named(words), "key add") << words.back();
  }
  EXPECT_EQ(named({"ls", "--series", "key", "add"}), "ls");
  EXPECT_EQ(named({"-r", "key", "ls", "add"}), "ls");
  EXPECT_EQ(named({"snapshots", "key", "add"}), "snapshots");
  for (const auto& words : std::vector<Words>{{},
                                              {"key"},
                                              {"key", "ad"},
                                              {"add", "key"},
                                              {"-r", "key", "add"},
                                              {"--", "key", "add"},
                                              {"-"}}) {
    EXPECT_EQ(named(words), "") << words.size();
  }
}

TEST_F(CommandLineTest, TakesGlobalFlagsBeforeAndAfterTheVerb) {
  const auto request = parse({"-r", "a", "snapshots", "--json", "-qvv"});

  EXPECT_EQ(request.command->name, "snapshots");
  EXPECT_EQ(given_.repo, "a");
  EXPECT_TRUE(given_.is_json);
  EXPECT_TRUE(given_.is_quiet);
  EXPECT_EQ(given_.verbosity, 2);
}

TEST_F(CommandLineTest, TakesValuesApartFromTheirFlagOrJoinedToIt) {
  for (const Words& words :
       {Words{"-r", "x", "snapshots"}, Words{"-rx", "snapshots"},
        Words{"--repo", "x", "snapshots"}, Words{"snapshots", "--repo=x"}}) {
    given_.repo.reset();
    (void)parse(words);
    EXPECT_EQ(given_.repo, "x");
  }
}

TEST_F(CommandLineTest, TakesAnEmptyValueAsOne) {
  (void)parse({"backup", "--as=", "path"});

  EXPECT_EQ(given_.as, "");
  EXPECT_EQ(given_.words, Words{"path"});
}

TEST_F(CommandLineTest, GathersARepeatedFlagWithoutSwallowingArguments) {
  (void)parse({"backup", "--tag", "a", "path", "--tag", "b", "other"});

  EXPECT_EQ(given_.tags, (Words{"a", "b"}));
  EXPECT_EQ(given_.words, (Words{"path", "other"}));
}

TEST_F(CommandLineTest, TakesTheLastOfSeveralValues) {
  (void)parse({"-r", "a", "snapshots", "-r", "b"});

  EXPECT_EQ(given_.repo, "b");
}

TEST_F(CommandLineTest, LeavesArgumentsAsTheyAre) {
  const Words odd = {"[a,b]", "{}", "snapshots", "key", "-", "\xff\n", ""};
  Words words = {"backup"};
  words.insert(words.end(), odd.begin(), odd.end());

  (void)parse(words);

  EXPECT_EQ(given_.words, odd);
}

TEST_F(CommandLineTest, TakesEverythingBehindTwoDashesAsArguments) {
  (void)parse({"backup", "--as", "n", "--from-command", "--", "pg_dump", "-r",
               "--json", "--help", "--"});

  EXPECT_TRUE(given_.from_command);
  EXPECT_FALSE(given_.is_json);
  EXPECT_EQ(given_.words, (Words{"pg_dump", "-r", "--json", "--help", "--"}));
}

TEST_F(CommandLineTest, TakesTwoDashesWhereverTheyStand) {
  EXPECT_EQ(parse({"--", "snapshots"}).command->name, "snapshots");
  EXPECT_EQ(parse({"key", "--", "add"}).command->name, "key add");
  EXPECT_EQ(failure_of({"snapshots", "--", "--json"}),
            "snapshots: unexpected argument '--json'; see "
            "'cairn snapshots --help'");
  EXPECT_EQ(failure_of({"ls", "a", "--", "--json"}),
            "ls: unexpected argument '--json'; see 'cairn ls --help'");
  EXPECT_FALSE(given_.is_json);

  (void)parse({"backup", "--as", "--", "-q", "--", "-1", "-q"});

  EXPECT_EQ(given_.as, "--");
  EXPECT_TRUE(given_.is_quiet);
  EXPECT_EQ(given_.words, (Words{"-1", "-q"}));
}

TEST_F(CommandLineTest, LeavesValuesAsTheyAre) {
  for (const std::string odd :
       {"[a,b]", "[]", "{}", "%%", "++", "+", "-", "-1", "-q", "-+", "--",
        "--json", "--as=x", "---x", "=", "a=b", "backup", "/x:y", "\xff\n"}) {
    (void)parse({"backup", "--as", odd, "-r" + odd, "--tag", odd});
    EXPECT_EQ(given_.as, odd);
    EXPECT_EQ(given_.repo, odd);
    EXPECT_EQ(std::exchange(given_.tags, {}), Words{odd});

    (void)parse({"--repo=" + odd, "backup", "--as=" + odd, "--tag=" + odd});
    EXPECT_EQ(given_.as, odd);
    EXPECT_EQ(given_.repo, odd);
    EXPECT_EQ(std::exchange(given_.tags, {}), Words{odd});
  }
}

TEST_F(CommandLineTest, TakesAnyBytesForValuesAndArguments) {
  testing_support::for_each_seed(500, [this](auto& random) {
    const auto word = [&random] {
      constexpr std::string_view kOften = "-=[],{}%+! aq";
      std::string out(random() % 6, ' ');
      for (char& byte : out) {
        byte = random() % 2 ? kOften[random() % kOften.size()]
                            : static_cast<char>(1 + random() % 255);
      }
      return out;
    };
    const Words odd = {word(), word(), word()};
    given_ = {};

    (void)parse({"backup", "--as", odd[0], "--repo=" + odd[1], "--tag", odd[2],
                 "--", odd[0], odd[1], odd[2]});

    EXPECT_EQ(given_.as, odd[0]);
    EXPECT_EQ(given_.repo, odd[1]);
    EXPECT_EQ(given_.tags, Words{odd[2]});
    EXPECT_EQ(given_.words, odd);
  });
}

TEST_F(CommandLineTest, TakesArgumentsThatAreNamedLikeCommands) {
  EXPECT_EQ(parse({"-r", "key", "backup", "backup", "key", "add"}).command,
            &commands_.front());

  EXPECT_EQ(given_.repo, "key");
  EXPECT_EQ(given_.words, (Words{"backup", "key", "add"}));
}

TEST_F(CommandLineTest, FindsCommandsOfTwoWords) {
  EXPECT_EQ(parse({"key", "-q", "add"}).command->name, "key add");
}

TEST_F(CommandLineTest, SuggestsTheNearestCommand) {
  EXPECT_EQ(failure_of({"snapshot"}),
            "unknown command 'snapshot'; did you mean 'snapshots'?");
  EXPECT_EQ(failure_of({"bakcup", "/"}),
            "unknown command 'bakcup'; did you mean 'backup'?");
  EXPECT_EQ(failure_of({"key", "lst"}),
            "unknown command 'key lst'; did you mean 'key list'?");
  EXPECT_EQ(failure_of({"zzzzzz"}),
            "unknown command 'zzzzzz'; see 'cairn help'");
}

TEST_F(CommandLineTest, SuggestsTheNearestFlag) {
  EXPECT_EQ(failure_of({"snapshots", "--jason"}),
            "snapshots: unknown flag --jason; did you mean --json?; see "
            "'cairn snapshots --help'");
}

TEST_F(CommandLineTest, SuggestsTheFlagsThatEveryCommandHas) {
  EXPECT_EQ(failure_of({"--hepl"}),
            "unknown flag --hepl; did you mean --help?; see 'cairn --help'");
}

TEST_F(CommandLineTest, RefusesWhatLooksLikeAFlagAndIsNone) {
  for (const auto& [word, flag] :
       std::vector<std::pair<std::string, std::string>>{{"-1", "-1"},
                                                        {"-q1", "-1"},
                                                        {"-!", "-!"},
                                                        {"- x", "- "},
                                                        {"-+", "-+"},
                                                        {"-q+", "-+"},
                                                        {"-q-", "--"},
                                                        {"-q-json", "--"},
                                                        {"---x", "---x"},
                                                        {"--!x", "--!x"},
                                                        {"--+", "--+"},
                                                        {"--=x", "--"}}) {
    EXPECT_EQ(failure_of({"backup", word}),
              "backup: unknown flag " + flag + "; see 'cairn backup --help'");
  }
  EXPECT_EQ(given_.words, Words{});
  EXPECT_FALSE(given_.is_json);
}

TEST_F(CommandLineTest, NamesTheFirstOfSeveralMistakes) {
  EXPECT_EQ(failure_of({"--tag", "t", "backup", "--nonsense"}),
            "unknown flag --tag; see 'cairn --help'");
  EXPECT_EQ(failure_of({"bakcup", "ls"}),
            "unknown command 'bakcup'; did you mean 'backup'?");
  EXPECT_EQ(failure_of({"ls", "--nonsense", "-r"}),
            "ls: unknown flag --nonsense; see 'cairn ls --help'");
  EXPECT_EQ(failure_of({"key", "--nonsense", "--help"}),
            "key: unknown flag --nonsense; see 'cairn key --help'");
  EXPECT_EQ(failure_of({"snapshots", "extra", "--json=yes"}),
            "snapshots: unexpected argument 'extra'; see "
            "'cairn snapshots --help'");
}

TEST_F(CommandLineTest, SaysWhatIsMissing) {
  EXPECT_EQ(failure_of({"ls"}), "ls: SNAP is missing; see 'cairn ls --help'");
  EXPECT_EQ(failure_of({"key"}),
            "key: which one? add, list; see 'cairn key --help'");
  EXPECT_EQ(failure_of({"backup", "p", "--as"}),
            "backup: --as needs a value: NAME; see 'cairn backup --help'");
  EXPECT_EQ(failure_of({"-qr"}),
            "--repo needs a value: REPO; see 'cairn --help'");
}

TEST_F(CommandLineTest, SaysWhichValueWillNotDo) {
  add("prune", [](Flags& flags) {
    const auto refuse = [](std::string_view) { throw UsageError("no time"); };
    flags.value("--wait", "TIME", refuse, "");
  });

  EXPECT_EQ(failure_of({"prune", "--wait=x"}),
            "prune: --wait: no time; see 'cairn prune --help'");
  EXPECT_EQ(failure_of({"snapshots", "--json="}),
            "snapshots: --json takes no value; see 'cairn snapshots --help'");
}

TEST_F(CommandLineTest, RefusesWhatNobodyTakes) {
  EXPECT_NE(failure_of({"snapshots", "extra"}), "");
  EXPECT_NE(failure_of({"ls", "a", "b"}), "");
  EXPECT_NE(failure_of({"ls"}), "");
  EXPECT_NE(failure_of({"key"}), "");
  EXPECT_NE(failure_of({"snapshots", "--json=yes"}), "");
  EXPECT_NE(failure_of({"snapshots", "-r"}), "");
  EXPECT_NE(failure_of({"--tag", "t", "backup"}), "");
}

TEST_F(CommandLineTest, NamesNoCommandWhenNoneWasGiven) {
  EXPECT_EQ(parse({}).command, nullptr);
  EXPECT_EQ(parse({"-q"}).command, nullptr);
}

TEST_F(CommandLineTest, AnswersHelpBeforeItComplainsOfWhatIsMissing) {
  EXPECT_EQ(parse({"ls", "--help"}).help_for, "ls");
  EXPECT_EQ(parse({"key", "-h"}).help_for, "key");
  EXPECT_EQ(parse({"--help"}).help_for, "");
  EXPECT_TRUE(parse({"backup", "--version"}).wants_version);
}

TEST_F(CommandLineTest, ExplainsEveryCommandWithinEightyColumns) {
  for (const std::string name : {"", "backup", "key", "key add"}) {
    const std::string help = line().help(name);
    EXPECT_NE(help, "");
    for (std::size_t begin = 0; begin < help.size();) {
      const auto end = std::min(help.find('\n', begin), help.size());
      EXPECT_LE(end - begin, 80u) << help.substr(begin, end - begin);
      begin = end + 1;
    }
  }
  EXPECT_THROW((void)line().help("nothing"), UsageError);
}

TEST_F(CommandLineTest, KeepsAFlagApartFromItsHelpHoweverLongItIs) {
  add("flags", [](Flags& flags) {
    for (std::size_t size = 1; size < 40; ++size) {
      flags.value(
          "--f", std::string(size, 'X'), [](std::string_view) {}, "its help");
    }
  });
  const std::string help = line().help("flags");
  EXPECT_EQ(help.find("Xits help"), std::string::npos) << help;
}

}  // namespace
}  // namespace cairn::cli
