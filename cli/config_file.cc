#include "cli/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cli/context.h"
#include "cli/printable.h"
#include "cli/secret_variables.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "cairn.yaml";

std::optional<std::string> variable(const char* name) {
  const char* const value = std::getenv(name);
  if (!value || *value == '\0') return std::nullopt;
  return value;
}

// Whoever writes the file has us run what he likes.
void require_ours(const struct stat& status, const std::string& name) {
  if ((status.st_mode & S_IWOTH) != 0) {
    throw repo::RefusedForSafety(
        name +
        ": everybody on this machine may change what it has us run; "
        "chmod o-w it");
  }
  if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
    throw repo::RefusedForSafety(
        name +
        ": belongs to somebody else, who may change what it has us "
        "run; chown it");
  }
}

std::string read_text(const fs::path& file) {
  const std::string name = file.string();
  // A pipe without a writer must not keep us waiting.
  const ingest::UniqueFd fd(
      ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) throw UsageError(name + ": " + std::strerror(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    throw UsageError(name + ": " + std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) throw UsageError(name + ": is no file");
  require_ours(status, name);
  // One byte more than it may have, which the reader will complain of.
  std::string text(config::kMaxYamlBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count =
        ::read(fd.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw UsageError(name + ": " + std::strerror(errno));
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  text.resize(size);
  return text;
}

}  // namespace

ConfigurationError::ConfigurationError(const std::string& what,
                                       std::string of_file,
                                       config::Mistakes all)
    : UsageError(what), file(std::move(of_file)), mistakes(std::move(all)) {}

std::vector<fs::path> usual_configuration_files() {
  return {config_folder() / kFileName, fs::path("/etc/cairn") / kFileName};
}

std::optional<fs::path> configuration_file(
    const std::optional<std::string>& given) {
  if (given) {
    if (given->empty()) throw UsageError("--config: an empty name");
    return *given;
  }
  if (const auto named = variable("CAIRN_CONFIG")) return *named;
  for (const auto& file : usual_configuration_files()) {
    std::error_code error;
    if (fs::exists(file, error)) return file;
  }
  return std::nullopt;
}

config::Configuration load_configuration(const fs::path& file) {
  const std::string name = file.string();
  config::Mistakes mistakes;
  auto made = config::read_configuration(
      read_text(file), name, {host_name(), local_time_zone()}, mistakes);
  if (made) return std::move(*made);
  std::string what;
  for (const auto& mistake : mistakes) {
    what += (what.empty() ? "" : "\n") + config::text_of(mistake, name);
  }
  throw ConfigurationError(what, name, std::move(mistakes));
}

void require_time_zone(const config::Configuration& configuration) {
  if (!configuration.time_zone.empty()) return;
  throw UsageError(configuration.file +
                   ": the machine's time zone has no name in the time zone "
                   "database; say time_zone: there");
}

SecretText read_secret(const config::SecretPlace& place, Output& output) {
  const std::string& origin = place.origin;
  switch (place.kind) {
    case config::SecretPlace::Kind::file:
      return read_password_file(origin.c_str(), place.text, output);
    case config::SecretPlace::Kind::command:
      return run_password_command(origin.c_str(), place.text);
    case config::SecretPlace::Kind::variable:
      break;
  }
  if (const auto* const taken = taken_secret(place.text)) {
    return SecretText(taken->view());
  }
  const auto value = variable(place.text.c_str());
  if (!value) {
    throw repo::WrongKey(origin + ": the variable " + place.text +
                         " is not set, or empty");
  }
  return SecretText(*value);
}

}  // namespace cairn::cli
