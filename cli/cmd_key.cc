#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/new_key_file.h"
#include "cli/question.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/config.h"
#include "repo/error.h"
#include "repo/key_rotation.h"
#include "repo/key_slot.h"
#include "repo/keyring.h"

namespace cairn::cli {
namespace {

constexpr const char* kNewPasswordFile = "CAIRN_NEW_PASSWORD_FILE";

struct AddOptions {
  repo::Role role = repo::Role::owner;
  std::optional<std::string> key_file_out;
  std::optional<std::string> label;
};

struct RemoveOptions {
  std::string id;
};

repo::Role parse_role(std::string_view text) {
  for (const auto role : {repo::Role::owner, repo::Role::write}) {
    if (repo::name_of(role) == text) return role;
  }
  throw UsageError("'" + std::string(text) + "' is neither owner nor write");
}

SecretText new_passphrase(Context& context) {
  const char* const path = std::getenv(kNewPasswordFile);
  if (path && *path != '\0') {
    return read_password_file(kNewPasswordFile, path, context.output);
  }
  if (!can_ask()) {
    throw UsageError("key add: say --key-file-out FILE, or set " +
                     std::string(kNewPasswordFile));
  }
  return ask_new_passphrase("the new key");
}

ExitCode add(const AddOptions& options, Context& context) {
  auto repository = context.open_as_owner();
  const auto& owner = repository.keyring();
  const auto now = context.now();
  const std::string label = options.label.value_or("");
  std::optional<repo::KeySlotId> id;
  if (options.key_file_out) {
    if (!context.options.is_dry_run) {
      NewKeyFile file(*options.key_file_out);
      id = repo::add_key_file_slot(repository.storage(), owner, options.role,
                                   file.key(), label, now);
      file.keep();
    } else {
      NewKeyFile::require_absent(*options.key_file_out);
    }
  } else {
    const auto passphrase = new_passphrase(context);
    if (!context.options.is_dry_run) {
      id = repo::add_passphrase_slot(repository.storage(), owner, options.role,
                                     passphrase.view(),
                                     crypto::PassphraseCost{}, label, now);
    }
  }
  const std::string role(repo::name_of(options.role));
  if (context.output.is_json()) {
    Json json = Json::line(id ? "key_added" : "dry_run", now);
    if (id) {
      json.set("id", id->hex());
    } else {
      json.set("action", "key add");
    }
    json.set("role", role).set("label", label);
    context.output.json(json);
  } else {
    context.output.note(id ? "added key " + id->brief() + " (" + role + ")"
                           : "would add a key (" + role + ")");
  }
  return ExitCode::ok;
}

// The slots, with a word on each that is damaged.
repo::KeySlotList look_at_slots(const repo::Storage& storage,
                                Context& context) {
  auto list = repo::list_key_slots(storage);
  for (const auto& slot : list.damaged) {
    context.output.warning(slot.what + "; `cairn key remove " +
                           slot.id.brief() + "` removes it");
  }
  return list;
}

ExitCode list(Context& context) {
  const auto storage = context.open_storage();
  const auto config = repo::read_config(*storage);
  const auto list = look_at_slots(*storage, context);
  const auto& slots = list.slots;
  const ExitCode code = list.damaged.empty() ? ExitCode::ok : ExitCode::damage;
  for (const auto& slot : slots) {
    if (repo::is_certified(slot, config.repository, config.root_key)) continue;
    context.output.warning(repo::key_slot_name(slot.id) +
                           ": no owner of this repository made this key");
  }
  if (context.output.is_json()) {
    Json all = Json::array();
    for (const auto& slot : slots) {
      Json json = Json::object();
      json.set("id", slot.id.hex())
          .set("role", repo::name_of(slot.role))
          .set("method", repo::name_of(slot.method))
          .set("label", slot.label)
          .set("created", slot.created);
      all.add(std::move(json));
    }
    context.output.document(all);
    return code;
  }
  Table table({{"ID"}, {"Role"}, {"Opened by"}, {"Label"}, {"Created"}});
  for (const auto& slot : slots) {
    table.add({slot.id.brief(), std::string(repo::name_of(slot.role)),
               std::string(repo::name_of(slot.method)), slot.label,
               local_time_text(slot.created)});
  }
  table.print(context.output);
  return code;
}

using AnySlot = std::variant<repo::KeySlot, repo::DamagedKeySlot>;

AnySlot find_slot(const repo::KeySlotList& list, const std::string& digits) {
  std::vector<AnySlot> found;
  const auto look_in = [&](const auto& slots) {
    for (const auto& slot : slots) {
      if (digits.size() < 4 || !slot.id.hex().starts_with(digits)) continue;
      found.emplace_back(slot);
    }
  };
  look_in(list.slots);
  look_in(list.damaged);
  if (found.size() > 1) {
    throw repo::NotFound("several keys' ids begin with " + digits);
  }
  if (found.empty()) {
    throw repo::NotFound("no key's id begins with '" + digits +
                         "'; 'cairn key list' shows them");
  }
  return std::move(found.front());
}

ExitCode remove(const RemoveOptions& options, Context& context) {
  auto repository = context.open_as_owner();
  const bool is_dry = context.options.is_dry_run;
  const auto slot =
      find_slot(look_at_slots(repository.storage(), context), options.id);
  const repo::KeySlotId id =
      std::visit([](const auto& each) { return each.id; }, slot);
  std::visit(
      [&](const auto& each) {
        repo::must_be_removable(each, repository.keyring());
        if (is_dry) return;
        repo::remove_key_slot(repository.storage(), repository.keyring(), each);
      },
      slot);
  if (context.output.is_json()) {
    Json json = Json::line(is_dry ? "dry_run" : "key_removed", context.now());
    if (is_dry) json.set("action", "key remove");
    json.set("id", id.hex());
    if (const auto* const whole = std::get_if<repo::KeySlot>(&slot)) {
      json.set("role", repo::name_of(whole->role));
    }
    context.output.json(json);
  } else {
    context.output.note(
        (is_dry ? "would remove key " : "removed key ") + id.brief() +
        "; whoever kept a copy of the repository's keys can still read what "
        "it holds");
  }
  return ExitCode::ok;
}

// "1f2e3d4c (owner, laptop), 5a6b7c8d (write)".
std::string text_of(const std::vector<repo::KeySlot>& slots) {
  std::string text;
  for (const auto& slot : slots) {
    if (!text.empty()) text += ", ";
    text += slot.id.brief() + " (" + std::string(repo::name_of(slot.role));
    if (!slot.label.empty()) text += ", " + slot.label;
    text += ")";
  }
  return text;
}

ExitCode rotate(Context& context) {
  auto repository = context.open_as_owner();
  const auto& owner = repository.keyring();
  auto slots = repo::slots_to_grant(repository.storage(), owner);
  std::uint32_t generation = owner.newest().number + 1;
  const bool is_dry = context.options.is_dry_run;
  if (!is_dry) {
    context.confirm("The new keys go to " + text_of(slots) +
                    ", and to nobody else. Renew them?");
    const auto asked_about = text_of(slots);
    slots = repo::slots_to_grant(repository.storage(), owner);
    if (text_of(slots) != asked_about) {
      throw repo::RefusedForSafety(
          "keys were added or removed while you were asked; nothing was done: "
          "run it again");
    }
    generation =
        repo::rotate_keys(repository.storage(), owner, slots, context.now());
    context.saw_generation(generation);
  }
  if (context.output.is_json()) {
    Json granted = Json::array();
    for (const auto& slot : slots) granted.add(slot.id.hex());
    Json json = Json::line(is_dry ? "dry_run" : "keys_rotated", context.now());
    if (is_dry) json.set("action", "key rotate");
    json.set("generation", generation).set("granted_to", std::move(granted));
    context.output.json(json);
  } else {
    context.output.note(
        (is_dry ? "would renew the keys for " : "renewed the keys for ") +
        text_of(slots));
    context.output.note(
        "what was written before stays readable to whoever kept a copy of the "
        "old ones");
  }
  return ExitCode::ok;
}

}  // namespace

Command key_add_command() {
  const auto options = std::make_shared<AddOptions>();
  return {
      .name = "key add",
      .group = CommandGroup::administration,
      .summary = "let another passphrase or key file open the repository",
      .text =
          "Adds a key: a new key file, or a passphrase from "
          "CAIRN_NEW_PASSWORD_FILE or from the terminal. A key of the write "
          "role backs up, and can neither read contents and names nor forget.",
      .examples =
          "cairn key add --role write --key-file-out web1.key --label web1\n"
          "CAIRN_NEW_PASSWORD_FILE=new cairn key add",
      .declare =
          [options](Flags& flags) {
            flags.value(
                "--role", "owner|write",
                [options](std::string_view text) {
                  options->role = parse_role(text);
                },
                "what the key may do (default: owner)");
            flags.value("--key-file-out", "FILE", options->key_file_out,
                        "make a key file, in a new file");
            flags.text("--label", "TEXT", options->label,
                       "who uses it; anybody can read this");
          },
      .run = [options](Context& context) { return add(*options, context); },
  };
}

Command key_list_command() {
  return {
      .name = "key list",
      .group = CommandGroup::administration,
      .summary = "list what opens the repository",
      .text =
          "Lists the keys: their role, and whether a passphrase or a key "
          "file opens them. Needs no key itself.",
      .examples = "cairn key list",
      .declare = [](Flags&) {},
      .run = list,
  };
}

Command key_rotate_command() {
  return {
      .name = "key rotate",
      .group = CommandGroup::administration,
      .summary = "renew the keys that data is sealed with",
      .text =
          "Makes new keys for what is written from now on, and gives them to "
          "every key that `cairn key list` shows, whose passphrases and files "
          "stay as they are. After `cairn key remove` that shuts out who kept "
          "a copy of the removed one: what was written before it can still "
          "read, what comes later it cannot. A backup at work meanwhile ends "
          "as it began, with the old keys; a prune or copy may have to be run "
          "again.",
      .examples =
          "cairn key remove 1f2e3d4c && cairn key rotate\n"
          "cairn key rotate --dry-run",
      .declare = [](Flags&) {},
      .run = rotate,
  };
}

Command key_remove_command() {
  const auto options = std::make_shared<RemoveOptions>();
  return {
      .name = "key remove",
      .group = CommandGroup::administration,
      .summary = "take a key away",
      .text =
          "Removes a key, so that its passphrase or file no longer opens "
          "the repository. An owner's key is removed with another owner's key: "
          "so one is left that is known to open. So is a damaged one.",
      .examples = "cairn key remove 1f2e3d4c",
      .declare = [options](Flags& flags) { flags.argument("ID", options->id); },
      .run = [options](Context& context) { return remove(*options, context); },
  };
}

}  // namespace cairn::cli
