// Which of the installed programs of PostgreSQL dump a server, and how they are
// called: here, or in the container that the server runs in.
//
// A pg_dump refuses servers newer than itself, and what a newer one writes is
// not promised to load into an older server. So it should be of the server's
// own major version, which in the server's own container it always is.
#pragma once

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::ingest {

// "docker exec -i CONTAINER".
struct PgContainer {
  std::string program;  // docker, podman
  std::string name;
  // Variables of our environment that are handed in. Only their names become
  // arguments.
  std::vector<std::string> variables;
};

struct PgProgramPlaces {
  std::optional<PgContainer> container;
  std::optional<std::string> bin_dir;  // nothing else counts then
  // Debian's, with a folder for each major version.
  std::filesystem::path versions = "/usr/lib/postgresql";
  std::string path;  // of the environment, folders with colons between them
};

// "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
struct PgProgramVersion {
  int major = 0;
  std::string text;  // "15.18"
};

// Nothing: it is not what a program of PostgreSQL says.
[[nodiscard]] std::optional<PgProgramVersion> program_version(
    std::string_view said);

// The folders where a pg_dump is, best first, for a server of that version;
// asks no program anything.
[[nodiscard]] std::vector<std::filesystem::path> program_folders(
    const PgProgramPlaces& places, int server_major);

// The words by which one program is called, to be followed by its own.
class PgPrograms {
 public:
  // In a folder of this machine; an empty one: wherever PATH finds them.
  static PgPrograms in_folder(std::filesystem::path folder);
  static PgPrograms in_container(const PgContainer& container);

  [[nodiscard]] std::vector<std::string> call(
      std::string_view program, std::vector<std::string> arguments) const;

 private:
  std::vector<std::string> prefix_;
  std::filesystem::path folder_;
};

// Where psql is, of any version. Throws ProducerFailed when it is nowhere, with
// what to install.
[[nodiscard]] PgPrograms find_psql(const PgProgramPlaces& places);

struct PgDumpPrograms {
  PgPrograms programs;
  PgProgramVersion version;
  // pg_dump --restrict-key, and psql's \restrict.
  bool has_restrict_key = false;
};

// Throws ProducerFailed when every pg_dump there is is older than the server,
// or there is none; it says which were found and what to do. Runs programs.
[[nodiscard]] PgDumpPrograms find_dump_programs(const PgProgramPlaces& places,
                                                int server_major,
                                                const std::stop_token& stop);

// Programs that load into a server of that version what a pg_dump of version
// `dump_major` wrote; 0: nobody knows. An older pg_restore does for a newer
// server, but reads no archive of a newer pg_dump. Throws ProducerFailed
// likewise. Runs programs.
[[nodiscard]] PgDumpPrograms find_restore_programs(
    const PgProgramPlaces& places, int server_major, int dump_major,
    const std::stop_token& stop);

}  // namespace cairn::ingest
