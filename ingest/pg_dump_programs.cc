#include "ingest/pg_dump_programs.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/program_output.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

// More than any program says of its version or its flags.
constexpr std::size_t kMaxAnswer = std::size_t{1} << 20;

bool has_program(const fs::path& folder, const char* program) {
  return ::access((folder / program).c_str(), X_OK) == 0;
}

// Debian's /usr/bin/pg_dump takes the program of whatever version it thinks
// right; those themselves are among the versions' folders.
bool is_debian_wrapper(const fs::path& program) {
  std::error_code error;
  return fs::canonical(program, error).filename() == "pg_wrapper";
}

std::optional<int> number_of(std::string_view text) {
  int number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

// The majors of which Debian's folder has one, newest first.
std::vector<int> installed_majors(const fs::path& versions) {
  std::vector<int> majors;
  std::error_code error;
  for (fs::directory_iterator at(versions, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    const auto major = number_of(name);
    if (major && std::to_string(*major) == name) majors.push_back(*major);
  }
  std::ranges::sort(majors, std::ranges::greater());
  return majors;
}

fs::path folder_of(const PgProgramPlaces& places, int major) {
  return places.versions / std::to_string(major) / "bin";
}

std::vector<fs::path> folders_in_path(const std::string& path) {
  std::vector<fs::path> folders;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    if (end > at) folders.emplace_back(path.substr(at, end - at));
    at = end + 1;
  }
  return folders;
}

bool has_restrict_key(const PgPrograms& programs, const std::stop_token& stop) {
  return output_of(programs.call("pg_dump", {"--help"}), kMaxAnswer, stop)
             .find("--restrict-key") != std::string::npos;
}

std::optional<PgProgramVersion> version_of(const PgPrograms& programs,
                                           std::stop_token stop) {
  return program_version(output_of(programs.call("pg_dump", {"--version"}),
                                   kMaxAnswer, std::move(stop)));
}

struct Candidate {
  PgPrograms programs;
  std::string where;  // for messages
};

// Best first.
std::vector<Candidate> candidates(const PgProgramPlaces& places,
                                  int server_major) {
  if (places.container) {
    return {{PgPrograms::in_container(*places.container),
             "in container " + places.container->name}};
  }
  std::vector<Candidate> found;
  for (const auto& folder : program_folders(places, server_major)) {
    found.push_back({PgPrograms::in_folder(folder), folder.string()});
  }
  return found;
}

void add_to_list(std::string& list,
                 const std::optional<PgProgramVersion>& version,
                 const std::string& where) {
  list += (list.empty() ? "" : ", ") +
          (version ? version->text : std::string("none that says")) + " (" +
          where + ")";
}

std::string advice(int server_major) {
  const std::string major = std::to_string(server_major);
  return "install the programs of PostgreSQL " + major +
         " (Debian: postgresql-client-" + major +
         "), name the folder where they are by --bin-dir, or use those in the "
         "server's container by --docker";
}

}  // namespace

std::optional<PgProgramVersion> program_version(std::string_view said) {
  constexpr std::string_view kBefore = "(PostgreSQL) ";
  const std::size_t at = said.find(kBefore);
  if (at == std::string_view::npos) return std::nullopt;
  said.remove_prefix(at + kBefore.size());
  const auto major = number_of(said);
  if (!major) return std::nullopt;
  return PgProgramVersion{
      *major, std::string(said.substr(0, said.find_first_of(" \n")))};
}

std::vector<fs::path> program_folders(const PgProgramPlaces& places,
                                      int server_major) {
  if (places.bin_dir) return {*places.bin_dir};
  std::vector<fs::path> folders;
  const auto add = [&](const fs::path& folder) {
    if (has_program(folder, "pg_dump") &&
        std::ranges::find(folders, folder) == folders.end()) {
      folders.push_back(folder);
    }
  };
  add(folder_of(places, server_major));
  for (const auto& folder : folders_in_path(places.path)) {
    if (!is_debian_wrapper(folder / "pg_dump")) add(folder);
  }
  // The nearest newer ones first, then those that are too old, to be named.
  auto majors = installed_majors(places.versions);
  std::ranges::reverse(majors);
  std::stable_partition(majors.begin(), majors.end(),
                        [&](int major) { return major > server_major; });
  for (const int major : majors) add(folder_of(places, major));
  return folders;
}

PgPrograms PgPrograms::in_folder(fs::path folder) {
  PgPrograms programs;
  programs.folder_ = std::move(folder);
  return programs;
}

PgPrograms PgPrograms::in_container(const PgContainer& container) {
  PgPrograms programs;
  programs.prefix_ = {container.program, "exec", "-i"};
  for (const auto& variable : container.variables) {
    programs.prefix_.insert(programs.prefix_.end(), {"-e", variable});
  }
  programs.prefix_.push_back(container.name);
  return programs;
}

std::vector<std::string> PgPrograms::call(
    std::string_view program, std::vector<std::string> arguments) const {
  std::vector<std::string> words = prefix_;
  words.push_back((folder_ / program).string());
  std::ranges::move(arguments, std::back_inserter(words));
  return words;
}

PgPrograms find_psql(const PgProgramPlaces& places) {
  if (places.container) return PgPrograms::in_container(*places.container);
  std::vector<fs::path> folders;
  if (places.bin_dir) {
    folders = {*places.bin_dir};
  } else {
    for (const int major : installed_majors(places.versions)) {
      folders.push_back(folder_of(places, major));
    }
    std::ranges::copy(folders_in_path(places.path),
                      std::back_inserter(folders));
  }
  for (const auto& folder : folders) {
    if (has_program(folder, "psql")) return PgPrograms::in_folder(folder);
  }
  throw ProducerFailed(
      "no psql " +
      (places.bin_dir ? "in " + *places.bin_dir : std::string("found")) +
      ", by which the server is asked what there is to dump; install "
      "PostgreSQL's client programs (Debian: postgresql-client), name the "
      "folder where they are by --bin-dir, or use those in the server's "
      "container by --docker");
}

PgDumpPrograms find_dump_programs(const PgProgramPlaces& places,
                                  int server_major,
                                  const std::stop_token& stop) {
  std::optional<PgDumpPrograms> best;
  std::string too_old;
  for (const auto& [programs, where] : candidates(places, server_major)) {
    const auto version = version_of(programs, stop);
    if (!version || version->major < server_major) {
      add_to_list(too_old, version, where);
    } else if (!best || version->major < best->version.major) {
      best = PgDumpPrograms{programs, *version};
    }
    if (best && best->version.major == server_major) break;
  }
  if (!best) {
    throw ProducerFailed(
        too_old.empty()
            ? "no pg_dump found; " + advice(server_major)
            : "the server is of version " + std::to_string(server_major) +
                  ", and pg_dump is of " + too_old +
                  ", which cannot read newer servers; " + advice(server_major));
  }
  best->has_restrict_key = has_restrict_key(best->programs, stop);
  return *std::move(best);
}

PgDumpPrograms find_restore_programs(const PgProgramPlaces& places,
                                     int server_major, int dump_major,
                                     const std::stop_token& stop) {
  const int wanted = std::max(server_major, dump_major);
  // Of the wanted version, the nearest newer one, the nearest older one.
  const auto rank = [wanted](int major) {
    return std::pair(major < wanted, std::abs(major - wanted));
  };
  std::optional<PgDumpPrograms> best;
  std::string too_old;
  for (const auto& [programs, where] : candidates(places, wanted)) {
    const auto version = version_of(programs, stop);
    if (!version || version->major < dump_major) {
      add_to_list(too_old, version, where);
    } else if (!best || rank(version->major) < rank(best->version.major)) {
      best = PgDumpPrograms{programs, *version};
    }
    if (best && best->version.major == wanted) break;
  }
  if (best) {
    best->has_restrict_key = has_restrict_key(best->programs, stop);
    return *std::move(best);
  }
  throw ProducerFailed(too_old.empty()
                           ? "no pg_restore found; " + advice(wanted)
                           : "the dump was made by version " +
                                 std::to_string(dump_major) +
                                 ", and pg_restore is of " + too_old +
                                 ", which cannot read it; " + advice(wanted));
}

}  // namespace cairn::ingest
