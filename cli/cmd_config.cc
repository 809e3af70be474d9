#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/config/settings.h"
#include "cli/config_file.h"
#include "cli/config_template.h"
#include "cli/context.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/unused_sources.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using config::Setting;

// ---- init

// Where a new file goes when nobody says: that of the machine for root, whose
// jobs are the machine's, and else the user's own.
fs::path file_to_write(const Context& context) {
  const auto& given = context.options.config;
  if (given && given->empty()) throw UsageError("--config: an empty name");
  if (given) return *given;
  if (const char* const named = std::getenv("CAIRN_CONFIG");
      named && *named != '\0') {
    return named;
  }
  const auto usual = usual_configuration_files();
  return ::geteuid() == 0 ? usual.back() : usual.front();
}

void write_new_file(const fs::path& file, const std::string& text) {
  const std::string name = file.string();
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  const ingest::UniqueFd fd(
      ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd && errno == EEXIST) {
    throw repo::RefusedForSafety(name +
                                 ": is there already, and stays as it "
                                 "is; -c names another");
  }
  if (!fd) repo::throw_system_error(name, errno);
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t count = ::write(fd.get(), text.data() + at, text.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int why = errno;
      ::unlink(name.c_str());
      repo::throw_system_error(name, why);
    }
    at += static_cast<std::size_t>(count);
  }
}

ExitCode init(Context& context) {
  const fs::path file = file_to_write(context);
  const std::string text =
      configuration_text(look_around(context.repo_given()));
  if (context.options.is_dry_run) {
    context.output.note("would write " + file.string());
    if (!context.output.is_json()) {
      context.output.bytes(std::as_bytes(std::span(text)));
    }
    return ExitCode::ok;
  }
  write_new_file(file, text);
  if (context.output.is_json()) {
    context.output.json(
        Json::line("config", context.now()).set_bytes("file", file.string()));
  } else {
    context.output.note("wrote " + file.string() +
                        "; look through it, then 'cairn config validate'");
  }
  return ExitCode::ok;
}

// ---- validate

ExitCode validate(Context& context) {
  const auto& read = context.need_configuration();
  if (context.output.is_json()) {
    context.output.json(Json::line("config", context.now())
                            .set_bytes("file", read.file)
                            .set("repositories", read.repositories.size())
                            .set("sources", read.sources.size())
                            .set("jobs", read.jobs.size())
                            .set("policies", read.policies.size()));
  } else {
    context.output.note(read.file + ": no mistakes, " +
                        counted(read.sources.size(), "source") + " in " +
                        counted(read.jobs.size(), "job"));
  }
  for (const auto& notice : notices_of_unused_sources(read)) {
    context.output.warning(notice);
  }
  return ExitCode::ok;
}

// ---- show

bool is_leaf(const Setting& setting) {
  if (setting.key == nullptr) return false;
  switch (setting.key->type) {
    case config::Type::mapping:
    case config::Type::named:
    case config::Type::steps:
      return false;
    default:
      return true;
  }
}

std::string origin_text(const Setting& setting, const std::string& file) {
  switch (setting.origin) {
    case Setting::Origin::file:
      return fs::path(file).filename().string() + ":" +
             std::to_string(setting.place.line);
    case Setting::Origin::fallback:
      return "default";
    case Setting::Origin::environment:
    case Setting::Origin::flag:
      return setting.source;
  }
  return "";
}

Json origin_json(const Setting& setting, const std::string& file) {
  Json json = Json::object();
  switch (setting.origin) {
    case Setting::Origin::file:
      json.set("kind", "file")
          .set_bytes("file", file)
          .set("line", setting.place.line)
          .set("column", setting.place.column);
      break;
    case Setting::Origin::fallback:
      json.set("kind", "default");
      break;
    case Setting::Origin::environment:
      json.set("kind", "environment").set("variable", setting.source);
      break;
    case Setting::Origin::flag:
      json.set("kind", "flag").set("flag", setting.source);
      break;
  }
  return json;
}

struct Shown {
  std::string path;
  const Setting* setting;
};

void gather(const Setting& setting, const std::string& path,
            std::vector<Shown>& all) {
  if (is_leaf(setting)) {
    all.push_back({path, &setting});
    return;
  }
  std::size_t number = 0;
  for (const auto& part : setting.parts) {
    ++number;
    const std::string step = part.name.empty()
                                 ? "[" + std::to_string(number) + "]"
                                 : (path.empty() ? "" : ".") + part.name;
    gather(part, path + step, all);
  }
}

Setting* part_of(Setting& setting, std::string_view name) {
  const auto found = std::ranges::find(setting.parts, name, &Setting::name);
  return found == setting.parts.end() ? nullptr : &*found;
}

// What -r or CAIRN_REPO says goes before what jobs say.
void put_repository(Setting& settings, const Context& context) {
  const auto repo = context.repo_given();
  Setting* const jobs = part_of(settings, "jobs");
  if (!repo || jobs == nullptr) return;
  for (auto& job : jobs->parts) {
    Setting* const to = part_of(job, "to");
    if (to == nullptr) continue;
    const bool is_flag = context.options.repo.has_value();
    to->text = *repo;
    to->origin = is_flag ? Setting::Origin::flag : Setting::Origin::environment;
    to->source = is_flag ? "--repo" : "CAIRN_REPO";
  }
}

// A key of the environment goes before those of the file. Never its value.
void put_key(Setting& settings, const Context& context) {
  struct Variable {
    const char* name;
    std::string_view key;
    const char* kind;
  };
  constexpr std::array kVariables = {
      Variable{"CAIRN_KEY_FILE", "key", "file"},
      Variable{"CAIRN_PASSWORD", "password", "env"},
      Variable{"CAIRN_PASSWORD_FILE", "password", "file"},
      Variable{"CAIRN_PASSWORD_COMMAND", "password", "command"}};
  const auto value_of = [&](const Variable& variable) -> std::string {
    if (std::string_view(variable.kind) == "env") {
      return context.password().text() ? variable.name : "";
    }
    const char* const value = std::getenv(variable.name);
    return value ? value : "";
  };
  const auto set = std::ranges::find_if(
      kVariables,
      [&](const Variable& variable) { return !value_of(variable).empty(); });
  Setting* const repositories = part_of(settings, "repositories");
  if (set == kVariables.end() || repositories == nullptr) return;
  for (auto& repository : repositories->parts) {
    std::erase_if(repository.parts, [](const Setting& part) {
      return part.name == "key" || part.name == "password";
    });
    Setting place;
    place.name = set->kind;
    place.text = value_of(*set);
    Setting key;
    key.name = set->key;
    key.key = &*std::ranges::find(repository.shape->keys, set->key,
                                  &config::Key::name);
    key.origin = Setting::Origin::environment;
    key.source = set->name;
    key.parts.push_back(std::move(place));
    repository.parts.push_back(std::move(key));
  }
}

ExitCode show(Context& context) {
  const auto& read = context.need_configuration();
  Setting settings = read.settings;
  put_repository(settings, context);
  put_key(settings, context);
  std::vector<Shown> all;
  gather(settings, "", all);
  if (context.output.is_json()) {
    Json array = Json::array();
    for (const auto& [path, setting] : all) {
      Json json = Json::object();
      json.set("path", path)
          .set("value", config::value_text(*setting))
          .set("origin", origin_json(*setting, read.file));
      array.add(std::move(json));
    }
    context.output.document(array);
    return ExitCode::ok;
  }
  context.output.note("as " + read.file + " and the environment say");
  Table table({{"Setting"}, {"Value", Table::Align::left, 60}, {"From"}});
  for (const auto& [path, setting] : all) {
    table.add(
        {path, config::value_text(*setting), origin_text(*setting, read.file)});
  }
  table.print(context.output);
  return ExitCode::ok;
}

constexpr const char* kWhere =
    "The file is the one that -c names, else that of CAIRN_CONFIG, else "
    "cairn/cairn.yaml in XDG_CONFIG_HOME (~/.config), else "
    "/etc/cairn/cairn.yaml.";

}  // namespace

Command config_init_command() {
  return {
      .name = "config init",
      .group = CommandGroup::administration,
      .summary = "write a configuration file to begin with",
      .text = std::string(
          "Writes a cairn.yaml with comments: the repository and key "
          "file that are given or set, .env and compose files of this "
          "folder, a PostgreSQL server of this machine. One that is "
          "there is never written over (16). Root's goes to "
          "/etc/cairn, another user's to ~/.config/cairn, unless -c or "
          "CAIRN_CONFIG says otherwise."),
      .examples =
          "cairn config init -r /srv/backups/cairn\n"
          "cairn config init -c ./cairn.yaml\n"
          "cairn config init --dry-run",
      .declare = [](Flags&) {},
      .run = init,
  };
}

Command config_validate_command() {
  return {
      .name = "config validate",
      .group = CommandGroup::administration,
      .summary = "find all mistakes of the configuration file",
      .text = std::string(
                  "Reads the configuration file and tells every mistake in it, "
                  "with its line and column, and what was probably meant. "
                  "Connects to nothing and reads no secret. Ends with 2 when "
                  "there is any. ") +
              kWhere,
      .examples =
          "cairn config validate\ncairn -c ./cairn.yaml config validate",
      .declare = [](Flags&) {},
      .run = validate,
  };
}

Command config_show_command() {
  return {
      .name = "config show",
      .group = CommandGroup::administration,
      .summary = "list what is configured, and where that comes from",
      .text = std::string(
                  "Lists every setting with its value and where that comes "
                  "from: the file's line, a default, a variable of the "
                  "environment or a flag. Of a secret it says where it is, and "
                  "does not read it. ") +
              kWhere,
      .examples = "cairn config show\ncairn config show --json",
      .declare = [](Flags&) {},
      .run = show,
  };
}

}  // namespace cairn::cli
