#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/new_key_file.h"
#include "cli/question.h"
#include "cli/usage_error.h"
#include "repo/error.h"
#include "repo/key_slot.h"
#include "repo/keyring.h"
#include "repo/local_storage.h"
#include "repo/remains.h"
#include "repo/repository.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  bool no_recovery_key = false;
  std::optional<std::string> recovery_key_out;
  std::optional<std::string> like;
};

// Before anything is asked or written: where a repository or other files are,
// none is made.
void refuse_occupied(const fs::path& root) {
  std::error_code error;
  const auto status = fs::status(root, error);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) {
    throw repo::RefusedForSafety(root.string() + ": not a folder");
  }
  if (fs::exists(root / repo::kConfigName, error) ||
      fs::exists(root / repo::kSecondConfigName, error)) {
    throw repo::RefusedForSafety(root.string() +
                                 ": there is a repository here already");
  }
  const bool is_empty = fs::is_empty(root, error);
  if (error) throw repo::IoError(root.string() + ": " + error.message());
  if (is_empty) return;
  const auto storage = repo::LocalStorage::open(root);
  const bool was_cut_short = repo::remains_in(*storage) == repo::Remains::keys;
  throw repo::RefusedForSafety(
      root.string() + ": " +
      (was_cut_short ? std::string(repo::kKeysAlone)
                     : "not empty; a repository gets a folder of its own"));
}

// Nothing: none is wanted.
std::optional<std::string> recovery_key_path(const Options& options,
                                             Context& context) {
  if (options.no_recovery_key && options.recovery_key_out) {
    throw UsageError(
        "init: --no-recovery-key and --recovery-key-out exclude each other");
  }
  if (options.recovery_key_out) {
    if (options.recovery_key_out->empty()) {
      throw UsageError("init: --recovery-key-out: an empty file name");
    }
    return options.recovery_key_out;
  }
  if (options.no_recovery_key) return std::nullopt;
  if (!can_ask()) {
    throw UsageError(
        "init: say --recovery-key-out FILE, for a key that opens the "
        "repository when the passphrase is lost, or --no-recovery-key");
  }
  context.output.note(
      "a recovery key opens the repository when the passphrase is lost; keep "
      "it elsewhere: on paper, on a stick, never beside the backups");
  show_question("File to write it to (empty for none): ");
  const auto path = read_answer();
  if (!path) throw repo::Cancelled("stopped at the prompt");
  if (path->empty()) return std::nullopt;
  return path;
}

// What opens the new repository: all that the environment gives, so that the
// same environment opens it again; else what the configuration file says of it,
// or a person types.
struct NewKeys {
  std::optional<crypto::Secret> key_file;
  std::optional<SecretText> passphrase;
};

bool is_same_file(const std::optional<std::string>& a,
                  const std::optional<std::string>& b) {
  return a && b && fs::absolute(*a) == fs::absolute(*b);
}

NewKeys new_keys(Context& context, const std::string& root,
                 const std::optional<std::string>& recovery_path) {
  NewKeys keys;
  // The key file may be the very one that is about to be written.
  const char* const variable = std::getenv(kKeyVariables.key_file);
  const auto path = variable && *variable != '\0'
                        ? std::optional<std::string>(variable)
                        : std::nullopt;
  bool is_recovery_key = is_same_file(path, recovery_path);
  if (!is_recovery_key) {
    keys.key_file = key_file_from_environment(kKeyVariables, context.output);
  }
  keys.passphrase = passphrase_from_environment(context.password().text(),
                                                kKeyVariables, context.output);
  const auto* const configured = context.configured_repository();
  if (!path && !keys.passphrase && configured != nullptr) {
    is_recovery_key = is_same_file(configured->key_file, recovery_path);
    if (configured->key_file && !is_recovery_key) {
      keys.key_file = read_key_file("repositories." + configured->name + ".key",
                                    *configured->key_file, context.output);
    }
    if (configured->password) {
      keys.passphrase = read_secret(*configured->password, context.output);
    }
  }
  if (!keys.passphrase && !keys.key_file && !is_recovery_key) {
    keys.passphrase = ask_new_passphrase(root);
  }
  return keys;
}

repo::Keyring sister_keys(const std::string& like, Context& context,
                          const NewKeys& keys) {
  const auto storage = open_storage(like);
  const auto config = repo::read_config(*storage);
  auto key = key_file_from_environment(kLikeVariables, context.output);
  if (key) return open_keyring(*storage, config, std::move(*key));
  auto passphrase =
      passphrase_from_environment(std::nullopt, kLikeVariables, context.output);
  if (passphrase) return open_keyring(*storage, config, std::move(*passphrase));
  if (keys.key_file) {
    return open_keyring(*storage, config, keys.key_file->clone());
  }
  if (keys.passphrase) {
    return open_keyring(*storage, config, SecretText(keys.passphrase->view()));
  }
  return open_keyring(*storage, config,
                      ask_passphrase("Passphrase for " + like));
}

using Slots = std::vector<repo::KeySlotId>;

// Says in `made` which there are, also where it fails.
void add_slots(repo::Storage& storage, const repo::Keyring& keyring,
               const NewKeys& keys, const NewKeyFile* recovery,
               const repo::Timestamp& now, Slots& made) {
  if (keys.passphrase) {
    made.push_back(repo::add_passphrase_slot(
        storage, keyring, repo::Role::owner, keys.passphrase->view(),
        crypto::PassphraseCost{}, "passphrase", now));
  }
  if (keys.key_file) {
    made.push_back(repo::add_key_file_slot(storage, keyring, repo::Role::owner,
                                           *keys.key_file, "key file", now));
  }
  if (recovery) {
    made.push_back(repo::add_key_file_slot(storage, keyring, repo::Role::owner,
                                           recovery->key(), "recovery", now));
  }
}

void require_not_stopped() {
  if (Interrupt::received()) {
    throw repo::Cancelled("stopped before there was a repository");
  }
}

// One of the configs may be there when the other one fails.
bool may_be_opened(const repo::Storage& storage, const repo::Keyring& keyring) {
  try {
    return repo::read_config(storage).repository == keyring.repository();
  } catch (const repo::NoRepository&) {
    return false;
  } catch (const repo::Error&) {
    return true;  // nobody can tell
  }
}

// So that the next init finds the folder as this one did. What another process
// makes there stays.
void take_back(const Slots& slots, repo::Storage& storage,
               const fs::path& root) {
  try {
    for (const auto& id : slots) storage.remove(repo::key_slot_name(id));
  } catch (const repo::Error&) {
    return;  // what failed first says why
  }
  std::error_code error;
  const fs::directory_iterator end;
  for (fs::directory_iterator at(root, error); !error && at != end;
       at.increment(error)) {
    std::error_code is_not_empty;
    if (at->is_directory()) fs::remove(at->path(), is_not_empty);
  }
}

void make_repository(const repo::Keyring& keyring, const std::string& root,
                     const NewKeys& keys, NewKeyFile* recovery,
                     const repo::Timestamp& now) {
  const auto storage = repo::LocalStorage::create_folder(root);
  Slots slots;
  try {
    repo::initialise(*storage, keyring, now, [&](repo::Storage& made) {
      add_slots(made, keyring, keys, recovery, now, slots);
      require_not_stopped();  // a passphrase takes its time
    });
  } catch (const repo::Error&) {
    if (!may_be_opened(*storage, keyring)) {
      take_back(slots, *storage, root);
    } else if (recovery) {
      recovery->keep();
    }
    throw;
  }
  if (recovery) recovery->keep();
}

std::string what_opens(const NewKeys& keys) {
  if (!keys.key_file) return "the passphrase";
  return keys.passphrase ? "the passphrase and the key file" : "the key file";
}

void print(const repo::Keyring& keyring, const std::string& root,
           const NewKeys& keys, const NewKeyFile* recovery, Context& context) {
  if (context.output.is_json()) {
    Json json = Json::line("initialized", context.now());
    json.set_bytes("repository", root)
        .set("id", keyring.repository().hex())
        .set("family", keyring.family().hex());
    if (recovery) {
      json.set_bytes("recovery_key", recovery->path());
    } else {
      json.set("recovery_key", nullptr);
    }
    context.output.json(json);
    return;
  }
  context.output.note("made repository " + keyring.repository().brief() +
                      " in " + root);
  if (recovery) {
    context.output.note("its recovery key is in " + recovery->path() +
                        "; keep that away from the backups");
  } else {
    context.output.note("it has no recovery key: whoever loses " +
                        what_opens(keys) + " loses the backups");
  }
}

void print_dry_run(const std::string& root,
                   const std::optional<std::string>& recovery_path,
                   Context& context) {
  if (!context.output.is_json()) {
    context.output.note("would make a repository in " + root);
    return;
  }
  Json json = Json::line("dry_run", context.now());
  json.set("action", "init").set_bytes("repository", root);
  if (recovery_path) json.set_bytes("recovery_key", *recovery_path);
  context.output.json(json);
}

ExitCode run(const Options& options, Context& context) {
  const std::string root = context.repo_name();
  require_local(root);
  refuse_occupied(root);
  const auto recovery_path = recovery_key_path(options, context);
  const NewKeys keys = new_keys(context, root, recovery_path);
  const auto keyring = options.like ? repo::Keyring::create_like(sister_keys(
                                          *options.like, context, keys))
                                    : repo::Keyring::create();
  if (context.options.is_dry_run) {
    if (recovery_path) NewKeyFile::require_absent(*recovery_path);
    print_dry_run(root, recovery_path, context);
    return ExitCode::ok;
  }
  // A signal must not leave a key that opens nothing.
  const Interrupt interrupt;
  std::optional<NewKeyFile> recovery;
  if (recovery_path) recovery.emplace(*recovery_path);
  NewKeyFile* const recovery_file = recovery ? &*recovery : nullptr;
  require_not_stopped();
  make_repository(keyring, root, keys, recovery_file, context.now());
  print(keyring, root, keys, recovery_file, context);
  return ExitCode::ok;
}

}  // namespace

Command init_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "init",
      .group = CommandGroup::administration,
      .summary = "make a new repository",
      .text =
          "Makes a repository in a folder that is empty or not there yet. What "
          "opens it is the passphrase or key file that the environment names; "
          "else a passphrase is asked for. A recovery key opens it too, should "
          "the passphrase be lost. With --like, chunks get the same names and "
          "cuts as in another repository, so that copying between the two is "
          "cheap; its key comes from CAIRN_LIKE_KEY_FILE or "
          "CAIRN_LIKE_PASSWORD_FILE, or is the new one's.",
      .examples =
          "cairn -r /srv/backup init --recovery-key-out /mnt/usb/cairn.key\n"
          "cairn -r /srv/second init --like /srv/backup --no-recovery-key",
      .declare =
          [options](Flags& flags) {
            flags.flag("--no-recovery-key", options->no_recovery_key,
                       "make none");
            flags.value("--recovery-key-out", "FILE", options->recovery_key_out,
                        "write a recovery key to a new file");
            flags.value("--like", "REPO", options->like,
                        "make a sister of that repository");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
