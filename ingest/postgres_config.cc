#include "ingest/postgres_config.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "crypto/digest.h"
#include "repo/node.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kMaxFiles = 200;

// Of one file, and of all of them: they are kept in memory meanwhile.
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxAllBytes = std::size_t{8} << 20;

// Throws what loses the connection; else answers what went wrong.
template <typename Step>
std::optional<std::string> refusal_of(Step step) {
  try {
    step();
    return std::nullopt;
  } catch (const PostgresError& e) {
    if (e.has_lost_connection()) throw;
    return e.what();
  }
}

bool is_within(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) &&
         path[folder.size()] == '/';
}

// Absolute, and made of names that the tree can hold.
bool is_valid_path(std::string_view path) {
  if (!path.starts_with('/')) return false;
  while (!path.empty()) {
    path.remove_prefix(1);
    const auto end = std::min(path.find('/'), path.size());
    if (!repo::is_valid_name(path.substr(0, end))) return false;
    path.remove_prefix(end);
  }
  return true;
}

[[noreturn]] void fail_to_read(const std::string& path,
                               const std::string& why) {
  throw PostgresError("PostgreSQL: " + path + " " + why, "",
                      PostgresError::Connection::usable);
}

// One byte more than it may have is asked for, or what is cut would look whole.
OutsideConfig::File read_file(PostgresConnection& connection,
                              const std::string& path,
                              const std::stop_token& stop) {
  const auto quoted = connection.literal(path);
  const auto rows = connection.query(
      "SELECT extract(epoch FROM modification)::bigint, encode("
      "pg_read_binary_file(" +
          quoted + ", 0, " + std::to_string(kMaxFileBytes + 1) +
          "), 'hex') FROM pg_stat_file(" + quoted + ")",
      stop);
  OutsideConfig::File file{path, {}, {}};
  if (rows.size() == 1 && rows[0].size() == 2 && rows[0][0] && rows[0][1]) {
    const auto& seconds = *rows[0][0];
    const auto& hex = *rows[0][1];
    if (hex.size() / 2 > kMaxFileBytes) {
      fail_to_read(path, "is larger than 1 MiB, and no configuration");
    }
    file.content.resize(hex.size() / 2);
    const auto read = std::from_chars(
        seconds.data(), seconds.data() + seconds.size(), file.modified.seconds);
    if (read.ec == std::errc{} &&
        crypto::from_hex(hex,
                         std::as_writable_bytes(std::span(file.content)))) {
      return file;
    }
  }
  fail_to_read(path, "could not be read");
}

}  // namespace

OutsideConfig read_outside_config(PostgresConnection& connection,
                                  const std::stop_token& stop) {
  OutsideConfig config;
  std::set<std::string> paths;
  const auto unseen = refusal_of([&] {
    const auto data = connection.value("SHOW data_directory", stop);
    for (const char* const setting :
         {"config_file", "hba_file", "ident_file"}) {
      paths.insert(connection.value("SHOW " + std::string(setting), stop));
    }
    // Files that postgresql.conf includes; fewer roles may see those.
    (void)refusal_of([&] {
      const auto rows = connection.query(
          "SELECT DISTINCT sourcefile FROM pg_file_settings", stop);
      for (const auto& row : rows) {
        if (row.size() == 1 && row[0]) paths.insert(*row[0]);
      }
    });
    std::erase_if(paths, [&](const std::string& path) {
      return !is_valid_path(path) || is_within(path, data);
    });
  });
  if (unseen) {
    config.notes.push_back(
        "configuration outside the data directory, if there is any, was not "
        "saved: " +
        *unseen + "; GRANT pg_read_all_settings lets the role see where it is");
    return config;
  }
  std::size_t bytes = 0;
  for (const auto& path : paths) {
    if (config.files.size() >= kMaxFiles || bytes >= kMaxAllBytes) {
      config.notes.push_back(
          path + " was not saved, nor what follows it: there are more than " +
          std::to_string(kMaxFiles) +
          " files of configuration outside the data directory, or they are "
          "larger than 8 MiB together");
      break;
    }
    const auto why = refusal_of([&] {
      config.files.push_back(read_file(connection, path, stop));
      bytes += config.files.back().content.size();
    });
    if (why) {
      config.notes.push_back(path + " was not saved: " + *why);
    }
  }
  return config;
}

}  // namespace cairn::ingest
