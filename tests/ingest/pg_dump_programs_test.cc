#include "ingest/pg_dump_programs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "ingest/byte_stream.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::TempFolder;
using testing_support::write_file;
using Words = std::vector<std::string>;

// Folders with programs that say which version they are.
class Programs : public ::testing::Test {
 protected:
  Programs() { places.versions = folder / "versions"; }

  fs::path install(const std::string& where, const std::string& version,
                   const std::string& help = "") {
    const fs::path bin = folder / where;
    fs::create_directories(bin);
    for (const char* const program : {"pg_dump", "psql"}) {
      write_file(bin / program, "#!/bin/sh\n[ \"$1\" = --help ] && echo '" +
                                    help + "' || echo '" + program + " " +
                                    version + "'\n");
      fs::permissions(bin / program, fs::perms::owner_all);
    }
    return bin;
  }
  fs::path install_major(int major) {
    const std::string number = std::to_string(major);
    return install("versions/" + number + "/bin",
                   "(PostgreSQL) " + number + ".4 (Debian)");
  }

  // The folder of what was found, and its version.
  std::string found(int server_major) {
    const auto programs = find_dump_programs(places, server_major, {});
    return fs::path(programs.programs.call("pg_dump", {}).at(0))
               .parent_path()
               .lexically_relative(folder.path())
               .string() +
           " " + programs.version.text;
  }
  std::string refusal(int server_major) {
    try {
      return "found " + found(server_major);
    } catch (const ProducerFailed& e) {
      return e.what();
    }
  }

  TempFolder folder;
  PgProgramPlaces places;
};

TEST(ProgramVersion, IsReadFromWhatProgramsSay) {
  const auto version =
      program_version("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n");
  ASSERT_TRUE(version);
  EXPECT_EQ(version->major, 15);
  EXPECT_EQ(version->text, "15.18");
  EXPECT_EQ(program_version("pg_dump (PostgreSQL) 18beta1\n")->major, 18);
  EXPECT_EQ(program_version("pg_dump (PostgreSQL) 9.6.24")->major, 9);
  for (const char* const none :
       {"", "pg_dump 15", "(PostgreSQL) ", "15.2", "(PostgreSQL) devel",
        "(PostgreSQL) "
        "99999999999999999999"}) {
    EXPECT_FALSE(program_version(none)) << none;
  }
}

TEST_F(Programs, AreOfTheServersVersionBeforeAnyOther) {
  for (const int major : {13, 15, 16, 17}) install_major(major);
  places.path = install("usr", "(PostgreSQL) 15.9").string();

  EXPECT_EQ(found(15), "versions/15/bin 15.4");
  EXPECT_EQ(found(13), "versions/13/bin 13.4");
}

TEST_F(Programs, AreThoseInPathBeforeTheNearestNewerOnes) {
  install_major(16);
  install_major(17);
  places.path = "/nowhere::" + install("usr", "(PostgreSQL) 15.9").string();

  EXPECT_EQ(found(15), "usr 15.9");
  EXPECT_EQ(found(14), "usr 15.9");
  EXPECT_EQ(found(16), "versions/16/bin 16.4");
  places.path.clear();
  EXPECT_EQ(found(15), "versions/16/bin 16.4");
}

// By asking it, one would run a program of another version than by using it.
TEST_F(Programs, AreNotDebiansWrapper) {
  const auto share = install("share", "(PostgreSQL) 15.9");
  fs::rename(share / "pg_dump", share / "pg_wrapper");
  fs::create_directories(folder / "usr");
  fs::create_symlink(share / "pg_wrapper", folder / "usr/pg_dump");
  places.path = (folder / "usr").string();

  EXPECT_TRUE(program_folders(places, 15).empty());
}

TEST_F(Programs, AreRefusedWhenAllAreOlderThanTheServer) {
  install_major(13);
  install_major(15);

  const std::string said = refusal(17);
  EXPECT_NE(said.find("the server is of version 17"), std::string::npos)
      << said;
  EXPECT_NE(said.find("13.4 ("), std::string::npos) << said;
  EXPECT_NE(said.find("15.4 ("), std::string::npos) << said;
  EXPECT_NE(said.find("postgresql-client-17"), std::string::npos) << said;
  EXPECT_NE(said.find("--docker"), std::string::npos) << said;
}

TEST_F(Programs, ThatLoadADumpMayBeOlderThanTheServerButNotThanTheDump) {
  install_major(13);
  install_major(15);
  const auto found_for = [&](int server, int dump) {
    try {
      return find_restore_programs(places, server, dump, {}).version.text;
    } catch (const ProducerFailed& e) {
      return std::string(e.what());
    }
  };
  EXPECT_EQ(found_for(15, 13), "15.4");
  EXPECT_EQ(found_for(14, 13), "15.4");
  EXPECT_EQ(found_for(13, 15), "15.4");
  EXPECT_EQ(found_for(17, 15), "15.4");
  EXPECT_EQ(found_for(17, 0), "15.4");
  const auto why = found_for(17, 16);
  EXPECT_NE(why.find("made by version 16"), std::string::npos) << why;
  EXPECT_NE(why.find("13.4"), std::string::npos) << why;
  EXPECT_NE(why.find("postgresql-client-17"), std::string::npos) << why;
}

TEST_F(Programs, AreAskedForWhenThereAreNone) {
  fs::create_directories(folder / "versions/not-a-version/bin");

  EXPECT_TRUE(refusal(15).starts_with("no pg_dump found; install"))
      << refusal(15);
  EXPECT_THROW((void)find_psql(places), ProducerFailed);
  places.versions = folder / "absent";
  EXPECT_THROW((void)find_psql(places), ProducerFailed);
}

TEST_F(Programs, AreNowhereElseWhenAFolderIsNamed) {
  install_major(15);
  places.bin_dir = install("mine", "(PostgreSQL) 14.1").string();

  EXPECT_NE(refusal(15).find("14.1 (" + *places.bin_dir + ")"),
            std::string::npos)
      << refusal(15);
  EXPECT_EQ(found(14), "mine 14.1");
  places.bin_dir = (folder / "empty").string();
  EXPECT_NE(refusal(15).find("cannot start"), std::string::npos);
  EXPECT_THROW((void)find_psql(places), ProducerFailed);
}

TEST_F(Programs, HaveTheRestrictKeyWhereTheirHelpSaysSo) {
  places.bin_dir = install("old", "(PostgreSQL) 15.2").string();
  EXPECT_FALSE(find_dump_programs(places, 15, {}).has_restrict_key);
  places.bin_dir =
      install("new", "(PostgreSQL) 15.18", "  --restrict-key=KEY").string();
  EXPECT_TRUE(find_dump_programs(places, 15, {}).has_restrict_key);
}

TEST_F(Programs, AreAskedByTheNewestPsql) {
  for (const int major : {9, 13, 16}) install_major(major);

  EXPECT_EQ(find_psql(places).call("psql", {"-X"}),
            (Words{(folder / "versions/16/bin/psql").string(), "-X"}));
}

TEST_F(Programs, AreThoseOfTheContainerWhenOneIsNamed) {
  install_major(15);
  places.container = PgContainer{"podman", "db", {"PGPASSWORD"}};

  EXPECT_EQ(
      find_psql(places).call("psql", {"-X"}),
      (Words{"podman", "exec", "-i", "-e", "PGPASSWORD", "db", "psql", "-X"}));
  places.container->program = (folder / "no-such-program").string();
  EXPECT_NE(refusal(15).find("cannot start"), std::string::npos);
}

}  // namespace
}  // namespace cairn::ingest
