#include "cli/context.h"

#include <pwd.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "cli/config_file.h"
#include "cli/nearest.h"
#include "cli/printable.h"
#include "cli/question.h"
#include "cli/rollback_text.h"
#include "cli/secret_variables.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/calendar.h"
#include "repo/error.h"
#include "repo/local_storage.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

const std::array<std::string, 3> kStorageKinds = {"s3", "sftp", "rest"};

std::optional<std::string> variable(const char* name) {
  const char* const value = std::getenv(name);
  if (!value || *value == '\0') return std::nullopt;
  return value;
}

fs::path home() {
  if (const auto path = variable("HOME")) return *path;
  const passwd* const entry = ::getpwuid(::getuid());
  return entry && entry->pw_dir ? fs::path(entry->pw_dir) : fs::path("/");
}

// A folder of ours by the XDG base directory rules, or the one that systemd
// gives a service.
fs::path folder_of(const char* xdg, const char* systemd, const char* in_home) {
  const auto base = variable(xdg);
  if (base && base->starts_with('/')) return fs::path(*base) / "cairn";
  if (const auto given = variable(systemd)) {
    return given->substr(0, given->find(':'));
  }
  return home() / in_home / "cairn";
}

}  // namespace

Flags global_flags(GlobalOptions& options) {
  Flags flags;
  flags.value("-r, --repo", "REPO", options.repo,
              "the repository: a folder (default: $CAIRN_REPO, the only one of "
              "the configuration file)");
  flags.value("-c, --config", "FILE", options.config,
              "the configuration file (default: $CAIRN_CONFIG, "
              "~/.config/cairn/cairn.yaml, /etc/cairn/cairn.yaml)");
  flags.flag("--json", options.is_json, "write JSON for programs");
  flags.flag("-q, --quiet", options.is_quiet, "only data, warnings and errors");
  flags.count("-v, --verbose", options.verbosity, "say more");
  flags.flag("-n, --dry-run", options.is_dry_run,
             "say what would be done, and do nothing");
  flags.flag("-y, --yes", options.assume_yes, "answer every question with yes");
  flags.flag("--accept-rollback", options.accept_rollback,
             "take a repository that shows less than before for the right one");
  flags.value(
      "--progress", "auto|bar|lines|json|none",
      [&options](std::string_view text) {
        options.progress = parse_progress_style(text);
      },
      "how to show progress, on standard error");
  return flags;
}

Context::Context() = default;
Context::~Context() = default;

repo::Timestamp Context::now() const { return clock_now(); }

const config::Configuration* Context::configuration() {
  if (!has_looked_for_configuration_) {
    if (const auto file = configuration_file(options.config)) {
      configuration_ = std::make_unique<const config::Configuration>(
          load_configuration(*file));
      if (!keeps_secret_variables_) take_secret_variables(*configuration_);
    }
    has_looked_for_configuration_ = true;
  }
  return configuration_.get();
}

const config::Configuration& Context::need_configuration() {
  if (const auto* const found = configuration()) return *found;
  std::string places;
  for (const auto& file : usual_configuration_files()) {
    places += (places.empty() ? "" : " nor ") + file.string();
  }
  throw UsageError(
      "no configuration file: neither -c nor CAIRN_CONFIG names "
      "one, and neither " +
      places + " is there; 'cairn config init' writes one");
}

std::optional<std::string> Context::repo_given() const {
  return options.repo ? options.repo : variable("CAIRN_REPO");
}

std::optional<std::string> Context::repo_in_use() const {
  if (auto given = repo_given()) return given;
  return configured_ ? std::optional(configured_->path) : std::nullopt;
}

void Context::use_repository(const config::Repository& repository) {
  if (!repo_given()) configured_ = &repository;
}

std::string Context::repo_name() {
  if (const auto name = repo_given()) {
    if (name->empty()) throw UsageError("--repo: an empty name");
    return *name;
  }
  if (configured_ == nullptr) {
    const auto* const from_file = configuration();
    if (from_file == nullptr) {
      throw UsageError("no repository given: use -r REPO or set CAIRN_REPO");
    }
    if (from_file->repositories.size() != 1) {
      std::string paths;
      for (const auto& one : from_file->repositories) {
        paths += (paths.empty() ? "" : ", ") + one.path;
      }
      throw UsageError("which of the repositories of " + from_file->file +
                       "? Use -r with one of " + paths);
    }
    configured_ = &from_file->repositories.front();
  }
  return configured_->path;
}

std::unique_ptr<repo::Storage> Context::open_storage() {
  return cli::open_storage(repo_name());
}

repo::Repository Context::open_with(std::unique_ptr<repo::Storage> storage,
                                    const OpenKeys& open_keys,
                                    repo::HostFolders folders) {
  auto repository =
      repo::Repository::open(std::move(storage), open_keys, std::move(folders));
  repository.set_warn([this](std::string_view text) { output.warning(text); });
  return repository;
}

Context::OpenKeys Context::own_keys() {
  return [this](const repo::Storage& storage, const repo::Config& config) {
    return open_keyring(storage, config);
  };
}

Context::OpenKeys Context::other_keys(const KeyVariables& variables) {
  return [this, variables](const repo::Storage& storage,
                           const repo::Config& config) {
    if (auto key = key_file_from_environment(variables, output)) {
      return cli::open_keyring(storage, config, std::move(*key));
    }
    if (auto passphrase =
            passphrase_from_environment(std::nullopt, variables, output)) {
      return cli::open_keyring(storage, config, std::move(*passphrase));
    }
    return open_keyring(storage, config);
  };
}

repo::Comparison Context::compare_with_before(
    repo::Repository& repository, std::optional<repo::Witness>& witness) {
  auto& storage = repository.storage();
  const auto& keyring = repository.keyring();
  witness.emplace(repository.host_state(), storage.place());
  // The repository ends before what it calls does.
  repository.set_saw([&witness](const repo::SeenSnapshot& snapshot) {
    witness->saw(snapshot);
  });
  if (const auto other = witness->compare_with_other_places(storage, keyring)) {
    output.warning(
        "this host saw a later state of this repository at another "
        "place: here " +
        text_of(*other));
  }
  auto comparison = witness->compare(storage, keyring);
  if (!options.accept_rollback || !comparison.shows_less()) return comparison;
  output.warning((options.is_dry_run
                      ? "accepted by this dry run, which remembers nothing: "
                      : "accepted, and remembered as the right state: ") +
                 text_of(comparison));
  witness->accept(comparison);
  return {};
}

void Context::require_as_before(repo::Repository& repository,
                                std::optional<repo::Witness>& witness) {
  if (const auto& why = repository.keyring().later_keys_lost()) {
    throw repo::CorruptionError(*why);
  }
  require_no_less(repository, witness);
}

void Context::require_no_less(repo::Repository& repository,
                              std::optional<repo::Witness>& witness) {
  const auto comparison = compare_with_before(repository, witness);
  if (!comparison.shows_less()) return;
  throw repo::RefusedForSafety(
      repository.storage().description() +
      ": shows less than this host saw of it: " + text_of(comparison) +
      ". An older copy may lie there, or somebody took something away; "
      "nothing was done. Find out which, and look for a copy that has it. "
      "--accept-rollback, given once, goes on from this state");
}

std::optional<std::string> Context::warn_unless_as_before(
    repo::Repository& repository, std::optional<repo::Witness>& witness) {
  if (const auto& why = repository.keyring().later_keys_lost()) {
    output.warning(*why);
  }
  const auto comparison = compare_with_before(repository, witness);
  if (!comparison.shows_less()) return std::nullopt;
  auto text = text_of(comparison);
  output.warning(
      repository.storage().description() +
      ": shows less than this host saw of it: " + text +
      ". An older copy may lie there, or somebody took something away; "
      "another copy may have it");
  return text;
}

repo::Repository Context::open_to_write() {
  auto repository = open_with(open_storage(), own_keys(), host_folders());
  require_as_before(repository, witness_);
  return repository;
}

repo::Repository Context::open_other_to_write(const std::string& name,
                                              const KeyVariables& variables) {
  auto repository =
      open_with(cli::open_storage(name), other_keys(variables), host_folders());
  require_as_before(repository, other_witness_);
  return repository;
}

namespace {

void require_owner(const repo::Repository& repository) {
  const repo::Role role = repository.keyring().role();
  if (role == repo::Role::owner) return;
  throw repo::WrongKey("this needs the owner's key; the one given has the " +
                       std::string(name_of(role)) + " role");
}

}  // namespace

repo::Repository Context::open_as_owner() {
  auto repository = open_to_write();
  require_owner(repository);
  return repository;
}

repo::Repository Context::open_to_repair_keys() {
  auto repository = open_with(open_storage(), own_keys(), host_folders());
  require_no_less(repository, witness_);
  require_owner(repository);
  return repository;
}

repo::HostFolders Context::folders_to_read() {
  auto folders = host_folders();
  if (can_be_written(folders.cache)) return folders;
  if (!temporary_cache_) {
    temporary_cache_.emplace();
    output.warning(folders.cache.string() +
                   ": cannot be written; a temporary folder takes its place, " +
                   temporary_cache_->path().string() +
                   ". CAIRN_CACHE_DIR names another");
  }
  folders.cache = temporary_cache_->path();
  return folders;
}

repo::Repository Context::open_to_read() {
  (void)open_storage();  // nothing is made where there is no repository
  auto repository = open_with(open_storage(), own_keys(), folders_to_read());
  less_ = warn_unless_as_before(repository, witness_);
  return repository;
}

repo::Repository Context::open_other_to_read(const std::string& name,
                                             const KeyVariables& variables) {
  (void)cli::open_storage(name);
  auto repository = open_with(cli::open_storage(name), other_keys(variables),
                              folders_to_read());
  (void)warn_unless_as_before(repository, other_witness_);
  return repository;
}

void Context::require_that_latest_is() const {
  if (!less_) return;
  throw repo::RefusedForSafety(
      "'latest' may not be the latest, since the repository shows less than "
      "this host saw of it; name a snapshot by its id, or take this state for "
      "the right one with --accept-rollback");
}

void Context::note_newest_epoch(repo::Repository& repository) {
  if (!witness_) return;
  witness_->saw(repo::newest_epoch(repository.storage(), repository.keyring()));
}

void Context::saw_generation(std::uint32_t number) {
  if (witness_) witness_->saw_generation(number);
}

void Context::remember() {
  // A dry run does nothing, and accepts nothing.
  if (options.is_dry_run) return;
  try {
    for (auto* const witness : {&witness_, &other_witness_}) {
      if (*witness) (*witness)->remember();
    }
  } catch (const repo::Error& e) {
    // It stands in nobody's way: what was to be done is done.
    output.detail(std::string(e.what()) +
                  "; so a rollback of the repository would not be noticed");
  }
}

repo::Keyring Context::open_keyring(const repo::Storage& storage,
                                    const repo::Config& config) {
  try {
    return key_from_somewhere(storage, config);
  } catch (const repo::WrongKey& e) {
    // Whoever tried the slots does not know where the key came from.
    std::string origin = origin_of_key(password_.text(), kKeyVariables);
    if (origin.empty()) origin = origin_of_configured_key();
    const std::string what = e.what();
    if (origin.empty() || what.find(origin) != std::string::npos) throw;
    throw repo::WrongKey(what + "; it came from " + origin);
  }
}

repo::Keyring Context::key_from_somewhere(const repo::Storage& storage,
                                          const repo::Config& config) {
  if (auto key = key_file_from_environment(kKeyVariables, output)) {
    return cli::open_keyring(storage, config, std::move(*key));
  }
  auto passphrase =
      passphrase_from_environment(password_.text(), kKeyVariables, output);
  if (!passphrase) find_configured();
  if (!passphrase && configured_ != nullptr) {
    if (const auto& file = configured_->key_file) {
      return cli::open_keyring(
          storage, config,
          read_key_file(origin_of_configured_key(), *file, output));
    }
    if (configured_->password) {
      passphrase = read_secret(*configured_->password, output);
    }
  }
  if (!passphrase) {
    passphrase = ask_passphrase("Passphrase for " + storage.description());
  }
  return cli::open_keyring(storage, config, std::move(*passphrase));
}

// The repository that -r or CAIRN_REPO names may be one that the file knows the
// key of; but only a file that was asked for, since a mistake in it must not
// stand in the way of a rescue.
void Context::find_configured() {
  const bool is_asked_for =
      configuration_ || options.config || variable("CAIRN_CONFIG");
  const auto given = repo_given();
  if (configured_ != nullptr || !given || !is_asked_for) return;
  const auto* const from_file = configuration();
  if (from_file == nullptr) return;
  const auto whole = [](const std::string& path) {
    std::error_code error;
    return fs::weakly_canonical(path, error);
  };
  for (const auto& one : from_file->repositories) {
    if (whole(one.path) == whole(*given)) configured_ = &one;
  }
}

std::string Context::origin_of_configured_key() const {
  if (configured_ == nullptr) return "";
  if (configured_->key_file) {
    return configuration_->file + ": repositories." + configured_->name +
           ".key";
  }
  return configured_->password ? configured_->password->origin : "";
}

void Context::confirm(std::string_view question) {
  if (options.assume_yes) return;
  if (!can_ask()) {
    throw repo::RefusedForSafety(std::string(question) +
                                 " Say yes with -y; there is no terminal to "
                                 "ask at");
  }
  show_question(std::string(question) + " [y/N] ");
  const auto answer = read_answer();
  if (!answer || (!answer->starts_with('y') && !answer->starts_with('Y'))) {
    throw repo::RefusedForSafety("not confirmed; nothing was done");
  }
}

void require_local(const std::string& repo) {
  // "word:" at the front names a kind of storage. So does a mistyped one, which
  // must not become a folder that nobody looks for.
  const auto end = repo.find_first_of(":/");
  if (end == std::string::npos || repo[end] != ':') return;
  const std::string kind = repo.substr(0, end);
  if (std::ranges::find(kStorageKinds, kind) != std::end(kStorageKinds)) {
    throw UsageError("storage '" + kind +
                     ":' is not available yet: this version reaches folders "
                     "only");
  }
  std::optional<std::string> meant = nearest(kind, kStorageKinds);
  if (kind == "http" || kind == "https") meant = "rest:" + kind;
  if (kind == "ssh" || kind == "scp") meant = "sftp";
  throw UsageError("no storage is called '" + kind + ":'" +
                   (meant ? "; did you mean '" + *meant + ":'?" : "") +
                   (kind == "file"
                        ? "; a folder is given by its path alone"
                        : "; a folder of that name is written ./" + repo));
}

std::unique_ptr<repo::Storage> open_storage(const std::string& repo) {
  require_local(repo);
  return repo::LocalStorage::open(repo);
}

repo::HostFolders host_folders() {
  const auto cache = variable("CAIRN_CACHE_DIR");
  return {
      .cache = cache ? fs::absolute(*cache)
                     : folder_of("XDG_CACHE_HOME", "CACHE_DIRECTORY", ".cache"),
      .state = folder_of("XDG_STATE_HOME", "STATE_DIRECTORY", ".local/state")};
}

fs::path config_folder() {
  return folder_of("XDG_CONFIG_HOME", "CONFIGURATION_DIRECTORY", ".config");
}

std::optional<std::string> local_time_zone() {
  // Empty, unlike with our own variables, means something: UTC.
  const char* const zone = std::getenv("TZ");
  return repo::local_time_zone(zone ? std::optional<std::string>(zone)
                                    : std::nullopt);
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') {
    return "localhost";
  }
  return is_utf8(name.data()) ? name.data() : "localhost";
}

std::string user_name() {
  const passwd* const entry = ::getpwuid(::geteuid());
  return entry && is_utf8(entry->pw_name) ? entry->pw_name
                                          : std::to_string(::geteuid());
}

}  // namespace cairn::cli
