#include "ingest/recovery_files.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "repo/error.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

using testing_support::TempFolder;
using Kind = RecoveryTarget::Kind;

void write(const fs::path& path, std::string_view text) {
  std::ofstream(path) << text;
}

std::string read(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class RecoveryFiles : public ::testing::Test {
 protected:
  RecoveryFiles() { write(data / "PG_VERSION", "15\n"); }

  // As the server runs it.
  int restore(std::string name, const std::string& to = "pg_wal/RECOVERY") {
    std::string command = copying_restore_command();
    for (auto at = command.find("%f"); at != std::string::npos;
         at = command.find("%f")) {
      command.replace(at, 2, name);
    }
    command.replace(command.find("%p"), 2, to);
    write(folder.path() / "script", command);
    const std::string words =
        "cd \"" + data.string() + "\" && sh ../script 2>/dev/null";
    return WEXITSTATUS(std::system(words.c_str()));
  }

  TempFolder folder;
  fs::path data = [this] {
    const fs::path path = folder.path() / "moved here, 100% 'safe'";
    fs::create_directory(path);
    return path;
  }();
};

TEST_F(RecoveryFiles, WalIsCopiedFromBesideAndWhatCannotBeIsNotTakenForAbsent) {
  fs::create_directory(data / "pg_wal");
  fs::create_directory(data / "cairn_wal");
  write(data / "cairn_wal/000000010000000000000007", "wal");
  EXPECT_EQ(restore("000000010000000000000007"), 0);
  EXPECT_EQ(read(data / "pg_wal/RECOVERY"), "wal");
  EXPECT_EQ(restore("000000010000000000000008"), 1);
  EXPECT_EQ(restore("00000002.history"), 1);
  EXPECT_EQ(restore("000000010000000000000007", "no_folder/RECOVERY"), 126);
}

TEST_F(RecoveryFiles, WordsOfACommandKeepWhatTheyAre) {
  const auto command = fetching_restore_command(
      {"printf", "%s\\n", "it's 100% \"$HOME\" \\ `id`"});
  std::string run = command;
  // As the server replaces them.
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"%%", "%"},
                                 {"%f", "F"},
                                 {"%p", "P"}}) {
    std::string done;
    for (std::size_t i = 0; i < run.size(); ++i) {
      if (run.compare(i, 2, from) == 0) {
        done += to;
        ++i;
      } else {
        done += run[i];
      }
    }
    run = done;
  }
  write(folder.path() / "script", run);
  ASSERT_EQ(
      std::system(
          ("cd '" + folder.path().string() + "' && sh script >out").c_str()),
      0);
  EXPECT_EQ(read(folder.path() / "out"), "it's 100% \"$HOME\" \\ `id`\nF\nP\n");
  EXPECT_THROW((void)fetching_restore_command({"two\nlines"}),
               repo::RefusedForSafety);
}

TEST_F(RecoveryFiles, SettingsHaveOneTargetWhateverWasThere) {
  write(data / "postgresql.auto.conf",
        "recovery_target_time = 'yesterday'\nno end of line = 1");
  write(data / "standby.signal", "");
  RecoveryBase base;
  RecoveryPlan plan;
  plan.base = &base;
  plan.timeline = 2;
  plan.target.kind = Kind::name;
  plan.target.name = "it's \\ here";
  write_recovery_signal(data);
  EXPECT_TRUE(fs::exists(data / "recovery.signal"));
  EXPECT_FALSE(fs::exists(data / "standby.signal"));
  write_recovery_settings(plan, "cp 'a' \\b", data);
  const auto text = read(data / "postgresql.auto.conf");
  const auto has = [&](const std::string& line) {
    return text.find("\n" + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("no end of line = 1"));
  EXPECT_TRUE(has("restore_command = 'cp ''a'' \\\\b'"));
  // Behind all others, which must be empty by then.
  EXPECT_TRUE(text.ends_with("recovery_target_name = 'it''s \\\\ here'\n"));
  EXPECT_TRUE(has("recovery_target_time = ''"));
  EXPECT_TRUE(has("recovery_target_lsn = ''"));
  EXPECT_TRUE(has("recovery_target_timeline = '2'"));
  EXPECT_TRUE(has("recovery_target_action = 'promote'"));
  EXPECT_FALSE(fs::exists(data / "recovery.conf"));

  // Restore points have any name that somebody gives them.
  plan.target.name = "two\nlines = 'on'\r";
  write_recovery_settings(plan, "cp", data);
  const auto odd = read(data / "postgresql.auto.conf");
  EXPECT_TRUE(
      odd.ends_with("recovery_target_name = 'two\\nlines = ''on''\\r'\n"));
  EXPECT_EQ(odd.find("\nlines"), std::string::npos);

  plan.target.kind = Kind::time;
  plan.target.time = {1};
  write_recovery_settings(plan, "cp", data);
  EXPECT_NE(read(data / "postgresql.auto.conf")
                .find("recovery_target_time = '2000-01-01 00:00:00.000001+00'"),
            std::string::npos);
}

TEST_F(RecoveryFiles, SettingsThatReachOutAreTold) {
  EXPECT_TRUE(settings_that_reach_out(data).empty());
  write(data / "postgresql.conf",
        "#archive_mode = on\narchive_mode=on  # really\n"
        "archive_command = 'cp %p /live/%f'\narchive_command_x = 'no'\n"
        "synchronous_standby_names = ''\n");
  ASSERT_EQ(settings_that_reach_out(data).size(), 1U);
  EXPECT_NE(settings_that_reach_out(data)[0].find("archive_mode"),
            std::string::npos);
  write(data / "postgresql.auto.conf",
        "archive_command = ''\nsynchronous_standby_names = 'one'\n");
  ASSERT_EQ(settings_that_reach_out(data).size(), 1U);
  EXPECT_NE(settings_that_reach_out(data)[0].find("synchronous"),
            std::string::npos);
}

}  // namespace
}  // namespace cairn::ingest
