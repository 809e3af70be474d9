#include "service/systemd_units.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_folder.h"

namespace cairn::service {
namespace {

namespace fs = std::filesystem;

UnitJob nightly() {
  return {.name = "nightly",
          .configuration = "/etc/cairn/cairn.yaml",
          .command = {"/usr/bin/cairn", "run", "nightly"},
          .timetable = Timetable("0 2 * * *", "Europe/Berlin")};
}

bool has_line(const Unit& unit, const std::string& line) {
  return ("\n" + unit.text).find("\n" + line + "\n") != std::string::npos;
}

TEST(SystemdUnits, SayWhatRunsAndWhen) {
  auto job = nightly();
  job.jitter = std::chrono::minutes(3);
  const auto units = units_of(job);

  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].file, "cairn-nightly.service");
  EXPECT_TRUE(has_line(units[0], "ExecStart=/usr/bin/cairn run nightly"));
  EXPECT_TRUE(has_line(units[0], "ProtectSystem=full"));
  EXPECT_EQ(units[1].file, "cairn-nightly.timer");
  EXPECT_TRUE(has_line(units[1], "OnCalendar=*-*-* 02:00:00 Europe/Berlin"));
  EXPECT_TRUE(has_line(units[1], "OnCalendar=2027-03-28 01:00:00 UTC"));
  EXPECT_TRUE(has_line(units[1], "RandomizedDelaySec=180s"));
  EXPECT_TRUE(has_line(units[1], "Persistent=true"));
}

TEST(SystemdUnits, MissNothingUnlessAJobDoesNotCatchUp) {
  auto job = nightly();
  job.catches_up = false;

  EXPECT_TRUE(has_line(units_of(job)[1], "Persistent=false"));
}

TEST(SystemdUnits, ShutInAJobWhoseFoldersAreKnown) {
  auto job = nightly();
  job.writable = {"-/srv/back ups", "-/var/cache/cairn"};
  const auto service = units_of(job)[0];

  EXPECT_TRUE(has_line(service, "ProtectSystem=strict"));
  EXPECT_TRUE(
      has_line(service, "ReadWritePaths=\"-/srv/back ups\" -/var/cache/cairn"));
  job.manager = UnitJob::Manager::user;
  EXPECT_EQ(units_of(job)[0].text.find("ProtectSystem"), std::string::npos);
  EXPECT_TRUE(has_line(units_of(job)[0], "NoNewPrivileges=yes"));
  job.writable.reset();  // hooks of a user may need sudo
  EXPECT_EQ(units_of(job)[0].text.find("NoNewPrivileges"), std::string::npos);
}

TEST(SystemdUnits, QuoteWhatSystemdWouldReadOtherwise) {
  auto job = nightly();
  job.command = {"/opt/my cairn", "50%", "$HOME", "a\"b\\c"};
  job.environment = {{"X", "a b%"}};
  const auto service = units_of(job)[0];

  EXPECT_TRUE(has_line(
      service, R"(ExecStart="/opt/my cairn" "50%%" "$$HOME" "a\"b\\c")"));
  EXPECT_TRUE(has_line(service, "Environment=\"X=a b%%\""));
}

TEST(SystemdUnits, TakeNoVariableOutOfTheNameOfTheProgram) {
  auto job = nightly();
  job.command = {"/opt/$HOME 5%/cairn", "$HOME"};

  EXPECT_TRUE(has_line(units_of(job)[0],
                       R"(ExecStart="/opt/$HOME 5%%/cairn" "$$HOME")"));
}

TEST(SystemdUnits, AreNotMadeForAProgramThatSystemdWouldRefuse) {
  for (const char* const path :
       {"/opt/a\"b", "/opt/a'b", "/opt/a\\b", "/opt/a\nb"}) {
    auto job = nightly();
    job.command = {path};
    EXPECT_THROW((void)units_of(job), std::invalid_argument) << path;
  }
}

TEST(SystemdUnits, SayWhoseTheyAre) {
  auto job = nightly();
  job.frequency = "daily";
  job.retention = "30";
  for (const auto& unit : units_of(job)) {
    const auto origin = origin_of(unit.text);
    ASSERT_TRUE(origin);
    EXPECT_EQ(origin->job, "nightly");
    EXPECT_EQ(origin->configuration, "/etc/cairn/cairn.yaml");
    EXPECT_EQ(origin->frequency, "daily");
    EXPECT_EQ(origin->retention, "30");
  }
  EXPECT_FALSE(origin_of("[Unit]\nDescription=something else\n"));
  EXPECT_FALSE(origin_of("[X-Cairn]\nJob=nightly\n"));
  EXPECT_FALSE(origin_of(""));
}

TEST(SystemdUnits, AreSoundToSystemd) {
  if (std::system("systemd-analyze --version >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "not installed: systemd-analyze";
  }
  const testing_support::TempFolder folder;
  auto job = nightly();
  job.command = {"/bin/true", "a b", "50%"};
  job.jitter = std::chrono::minutes(3);
  job.writable = {"-/srv/back ups", "-/tmp"};
  job.environment = {{"HOME", "/root"}};
  std::string files;
  for (const auto& unit : units_of(job)) {
    const auto file = fs::path(folder.path()) / unit.file;
    std::ofstream(file) << unit.text;
    files += " " + file.string();
  }
  const auto said = fs::path(folder.path()) / "said";

  const int code = std::system(
      ("systemd-analyze verify" + files + " >" + said.string() + " 2>&1")
          .c_str());

  std::ifstream in(said);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(code, 0) << text;
  EXPECT_EQ(text.find("cairn-nightly"), std::string::npos) << text;
}

}  // namespace
}  // namespace cairn::service
