// What every command starts from: the global flags, the screen, the repository.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/passphrase.h"
#include "cli/progress_display.h"
#include "cli/temporary_folder.h"
#include "repo/entry.h"
#include "repo/repository.h"
#include "repo/storage.h"
#include "repo/witness.h"

namespace cairn::cli {

namespace config {
struct Configuration;
struct Repository;
}  // namespace config

inline constexpr std::string_view kProgram = "cairn " CAIRN_VERSION;

struct GlobalOptions {
  std::optional<std::string> repo;    // as given, else CAIRN_REPO
  std::optional<std::string> config;  // as given
  bool is_json = false;
  bool is_quiet = false;
  int verbosity = 0;
  bool is_dry_run = false;
  bool assume_yes = false;
  bool accept_rollback = false;
  ProgressStyle progress = ProgressStyle::automatic;
};

[[nodiscard]] Flags global_flags(GlobalOptions& options);

class Context {
 public:
  // Takes the passphrase out of the environment.
  Context();
  ~Context();

  GlobalOptions options;
  Output output;

  [[nodiscard]] repo::Timestamp now() const;

  // What the configuration file says, which is read once. Null: none was named,
  // and there is none at the usual places (cli/config_file.h). Throws as
  // load_configuration() does. What its secrets come from is taken out of the
  // environment then, unless it is to be kept there, for programs that we start
  // and that read the file, too.
  [[nodiscard]] const config::Configuration* configuration();
  void keep_secret_variables() noexcept { keeps_secret_variables_ = true; }

  // The same, for a command that is nothing without one: throws UsageError.
  [[nodiscard]] const config::Configuration& need_configuration();

  // What -r or CAIRN_REPO names; nothing: neither does.
  [[nodiscard]] std::optional<std::string> repo_given() const;

  // What they name, else the repository that use_repository() chose, else the
  // only one of the configuration file. Throws UsageError when there is none.
  [[nodiscard]] std::string repo_name();

  // What the configuration file says of the repository in use, once repo_name()
  // was asked; null: that is not one of the file's.
  [[nodiscard]] const config::Repository* configured_repository()
      const noexcept {
    return configured_;
  }

  // Which one this process has to do with, as far as it has asked yet.
  [[nodiscard]] std::optional<std::string> repo_in_use() const;

  // The one to take where neither -r nor CAIRN_REPO says otherwise; of
  // configuration().
  void use_repository(const config::Repository& repository);

  [[nodiscard]] std::unique_ptr<repo::Storage> open_storage();

  // Throws repo::RefusedForSafety when the repository shows less than this host
  // saw of it before, unless --accept-rollback is given.
  [[nodiscard]] repo::Repository open_to_write();

  // The same for what only an owner may. Throws repo::WrongKey for a smaller
  // role, whose marks and key slots would not count.
  [[nodiscard]] repo::Repository open_as_owner();

  // The same where the newest keys cannot be read, for what cures that.
  [[nodiscard]] repo::Repository open_to_repair_keys();

  // For a command that only reads, and that nothing on this machine should keep
  // from a rescue: when the cache folder cannot be written, a temporary one
  // takes its place, with a warning, for as long as this lives. It warns when
  // the repository shows less than before.
  [[nodiscard]] repo::Repository open_to_read();

  // A second repository beside that one. Its key comes from `variables`, or is
  // the same. Both go by the rules of the two above.
  [[nodiscard]] repo::Repository open_other_to_read(
      const std::string& name, const KeyVariables& variables);
  [[nodiscard]] repo::Repository open_other_to_write(
      const std::string& name, const KeyVariables& variables);

  // Throws repo::RefusedForSafety, once open_to_read() has warned of that: the
  // newest snapshot there is may not be the newest there was.
  void require_that_latest_is() const;

  // What open_to_read() has warned of.
  [[nodiscard]] bool shows_less() const noexcept { return less_.has_value(); }
  // In words.
  [[nodiscard]] const std::optional<std::string>& what_is_less()
      const noexcept {
    return less_;
  }

  // For a command that publishes epochs, and one that renews keys.
  void note_newest_epoch(repo::Repository& repository);
  void saw_generation(std::uint32_t number);

  // Stores what was seen of the repository, if any was opened. Once, when all
  // is done.
  void remember();

  // The key of the repository that `storage` holds.
  [[nodiscard]] repo::Keyring open_keyring(const repo::Storage& storage,
                                           const repo::Config& config);

  // Answers with -y, or asks. Throws repo::RefusedForSafety, naming what was
  // asked, when the answer is no or there is nobody to ask.
  void confirm(std::string_view question);

  [[nodiscard]] const PasswordVariable& password() const noexcept {
    return password_;
  }

 private:
  using OpenKeys = repo::Repository::OpenKeys;
  [[nodiscard]] repo::Repository open_with(
      std::unique_ptr<repo::Storage> storage, const OpenKeys& open_keys,
      repo::HostFolders folders);
  [[nodiscard]] OpenKeys own_keys();
  [[nodiscard]] OpenKeys other_keys(const KeyVariables& variables);
  [[nodiscard]] repo::HostFolders folders_to_read();
  [[nodiscard]] repo::Comparison compare_with_before(
      repo::Repository& repository, std::optional<repo::Witness>& witness);
  void require_as_before(repo::Repository& repository,
                         std::optional<repo::Witness>& witness);
  void require_no_less(repo::Repository& repository,
                       std::optional<repo::Witness>& witness);
  // In words what it shows less, if it does.
  std::optional<std::string> warn_unless_as_before(
      repo::Repository& repository, std::optional<repo::Witness>& witness);
  [[nodiscard]] repo::Keyring key_from_somewhere(const repo::Storage& storage,
                                                 const repo::Config& config);

  void find_configured();

  // Where the configuration file has the key from; empty: it says nothing.
  [[nodiscard]] std::string origin_of_configured_key() const;

  PasswordVariable password_;
  std::unique_ptr<const config::Configuration> configuration_;
  bool has_looked_for_configuration_ = false;
  bool keeps_secret_variables_ = false;
  // Of the configuration, once it is the one in use.
  const config::Repository* configured_ = nullptr;
  std::optional<TemporaryFolder> temporary_cache_;
  std::optional<repo::Witness> witness_;
  std::optional<repo::Witness> other_witness_;
  std::optional<std::string> less_;  // nothing: it shows no less
};

// Of a folder that exists. Throws UsageError for a kind of storage that this
// version cannot reach.
[[nodiscard]] std::unique_ptr<repo::Storage> open_storage(
    const std::string& repo);
void require_local(const std::string& repo);

[[nodiscard]] repo::HostFolders host_folders();

// Where the user's own configuration is; it need not be there.
[[nodiscard]] std::filesystem::path config_folder();

// IANA's name of it; nothing: it has none.
[[nodiscard]] std::optional<std::string> local_time_zone();
[[nodiscard]] std::string host_name();
[[nodiscard]] std::string user_name();

}  // namespace cairn::cli
