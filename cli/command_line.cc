#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <utility>

#include "cli/nearest.h"
#include "cli/printable.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kHelpWidth = 80;
constexpr std::size_t kHelpColumn = 26;
constexpr std::size_t kMaxTextBytes = 4096;

struct GroupTitle {
  CommandGroup group;
  std::string_view title;
};
constexpr std::array kGroupTitles = {
    GroupTitle{CommandGroup::backup, "Back up and restore"},
    GroupTitle{CommandGroup::look, "Look"},
    GroupTitle{CommandGroup::space, "Keep, forget, free space"},
    GroupTitle{CommandGroup::administration, "Administration"},
    GroupTitle{CommandGroup::program, "Program"},
};

// Breaks `text` at spaces, each line indented.
std::string wrapped(std::string_view text, std::size_t indent) {
  const std::string margin(indent, ' ');
  std::string out;
  std::string line;
  const auto end_line = [&] {
    if (!out.empty()) out += "\n" + margin;
    out += std::exchange(line, {});
  };
  while (!text.empty()) {
    const auto space = text.find(' ');
    const auto word = text.substr(0, space);
    if (!line.empty() && indent + line.size() + 1 + word.size() > kHelpWidth) {
      end_line();
    }
    line += (line.empty() ? "" : " ") + std::string(word);
    text.remove_prefix(space == std::string_view::npos ? text.size()
                                                       : space + 1);
  }
  end_line();
  return out;
}

// "  name          what it is", the second column where all others begin.
std::string row(std::string_view name, std::string_view what) {
  std::string out = fmt::format("  {:<{}}", name, kHelpColumn - 2);
  if (!out.ends_with(' ')) {
    out += "\n" + std::string(kHelpColumn, ' ');
  }
  return out + wrapped(what, kHelpColumn) + "\n";
}

// A byte that no word can hold. From escaped() to unescaped() it stands where
// CLI11 2.1 would see what nobody meant: a list in "[a,b]", no value in
// "--as=", arguments in "-1" and "---x", "-q --" in "-q-".
constexpr char kMark = '\0';

// What "--" is called meanwhile: CLI11 forgets its own as soon as a command has
// all its arguments. Where "-+" was typed, a mark stands in it.
constexpr std::string_view kOnlyArguments = "-+";

std::string escaped(std::string word) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (word == "--") return std::string(kOnlyArguments);
  if (word.size() < 2 || word[0] != '-') {
    if (word.empty() || !is_letter(word[0])) word.insert(0, 1, kMark);
  } else if (word[1] != '-') {
    const auto end = std::find_if_not(word.begin() + 1, word.end(), is_letter);
    if (end != word.end()) word.insert(end, kMark);
  } else if (!is_letter(word[2])) {
    word.insert(2, 1, kMark);
  } else if (const auto equals = word.find('='); equals != std::string::npos) {
    word.insert(equals + 1, 1, kMark);
  }
  return word;
}

std::string unescaped(std::string word) {
  if (word == kOnlyArguments) return "--";
  std::erase(word, kMark);
  return word;
}

void require_text(std::string_view given) {
  if (!is_utf8(given)) {
    throw UsageError("'" + std::string(given) + "' is not UTF-8");
  }
  if (given.size() > kMaxTextBytes) {
    throw UsageError("longer than " + std::to_string(kMaxTextBytes) + " bytes");
  }
}

std::string see_help(std::string_view command) {
  return fmt::format("; see 'cairn {}--help'",
                     command.empty() ? "" : std::string(command) + " ");
}

}  // namespace

// What a command takes
// ---------------------------------------------------------

void Flags::value(std::string_view names, std::string_view placeholder,
                  Take take, std::string_view help) {
  flags_.push_back({std::string(names), std::string(placeholder),
                    std::move(take), std::string(help)});
}

void Flags::flag(std::string_view names, bool& given, std::string_view help) {
  value(names, "", Take([&given](auto) { given = true; }), help);
}

void Flags::count(std::string_view names, int& times, std::string_view help) {
  value(names, "", Take([&times](auto) { ++times; }), help);
}

void Flags::value(std::string_view names, std::string_view placeholder,
                  std::optional<std::string>& text, std::string_view help) {
  value(names, placeholder, Take([&text](auto given) { text = given; }), help);
}

void Flags::values(std::string_view names, std::string_view placeholder,
                   std::vector<std::string>& texts, std::string_view help) {
  value(names, placeholder,
        Take([&texts](auto given) { texts.emplace_back(given); }), help);
}

void Flags::text(std::string_view names, std::string_view placeholder,
                 std::optional<std::string>& text, std::string_view help) {
  value(names, placeholder, Take([&text](auto given) {
          require_text(given);
          text = given;
        }),
        help);
}

void Flags::texts(std::string_view names, std::string_view placeholder,
                  std::vector<std::string>& texts, std::string_view help) {
  value(names, placeholder, Take([&texts](auto given) {
          if (given.empty()) throw UsageError("an empty word");
          require_text(given);
          texts.emplace_back(given);
        }),
        help);
}

void Flags::argument(std::string_view placeholder, std::string& text) {
  arguments_.push_back({.placeholder = std::string(placeholder),
                        .take = [&text](auto given) { text = given; },
                        .is_required = true});
}

void Flags::optional_argument(std::string_view placeholder,
                              std::optional<std::string>& text) {
  arguments_.push_back({.placeholder = std::string(placeholder),
                        .take = [&text](auto given) { text = given; }});
}

void Flags::arguments(std::string_view placeholder,
                      std::vector<std::string>& texts, Count count) {
  arguments_.push_back(
      {.placeholder = std::string(placeholder),
       .take = [&texts](auto given) { texts.emplace_back(given); },
       .is_required = count == Count::at_least_one,
       .takes_all = true});
}

// Reading the words
// ---------------------------------------------------------------

// One pass of CLI11 over the words. It takes flags as it meets them, so that
// the first mistake is the one that is told, and arguments at the end.
struct CommandLine::Parsing {
  const CommandLine& line;
  Request request = {};
  std::string name = {};  // of the command so far: "", "key", "key add"
  CLI::App app{};
  std::map<std::string, CLI::App*> apps = {{"", &app}};  // by such names

  // What is not read yet, escaped, the next word last, as CLI11 takes it. One
  // more "--" ends it: a flag that gets this one for its value has none.
  std::vector<std::string> rest = {std::string(kOnlyArguments)};

  // CLI11's errors enter ours here and nowhere else.
  void run(std::span<const std::string> words) {
    std::transform(words.rbegin(), words.rend(), std::back_inserter(rest),
                   escaped);
    app.fallthrough()->require_subcommand(0, 1)->set_help_flag();
    add(app, line.globals_);
    on("-h,--help", [this] {
      take_command_that_follows();
      throw CLI::CallForHelp();
    });
    on("--version", [] { throw CLI::CallForVersion(); });
    on(kOnlyArguments, [this] {
      if (!rest.empty()) rest.erase(rest.begin());  // the one that ends it
      for (auto& word : rest) {
        if (word.starts_with('-')) word = kMark + unescaped(word);
      }
    });
    for (const auto& command : line.commands_) {
      Flags flags;
      command.declare(flags);
      add(*app_of(command.name), flags);
    }
    try {
      app.parse(rest);
    } catch (const CLI::CallForHelp&) {
      request.wants_help = true;
      request.help_for = name;
    } catch (const CLI::CallForVersion&) {
      request.wants_version = true;
    } catch (const CLI::Error& e) {
      refuse_leftover();
      refuse_what_is_missing();
      fail(e.what());
    }
  }

  void on(std::string_view names, const std::function<void()>& act) {
    app.add_flag(std::string(names))->trigger_on_parse()->each([=, this](auto) {
      refuse_leftover();
      act();
    });
  }

  // "--help restore" asks for the same as "restore --help".
  void take_command_that_follows() {
    for (auto word = rest.rbegin(); word != rest.rend(); ++word) {
      const std::string longer =
          (name.empty() ? "" : name + " ") + unescaped(*word);
      if (!line.find(longer) && !line.is_group(longer)) break;
      name = longer;
    }
  }

  void add(CLI::App& to, const Flags& flags) {
    for (const auto& flag : flags.flags_) {
      CLI::Option* const option = to.add_option(flag.names);
      option->type_name(flag.placeholder)
          ->expected(flag.placeholder.empty() ? 0 : 1)
          ->trigger_on_parse()
          ->each([=, this, take = flag.take](const std::string& text) {
            give(*option, take, text);
          });
    }
    for (const auto& argument : flags.arguments_) {
      to.add_option(argument.placeholder)
          ->required(argument.is_required)
          ->allow_extra_args(argument.takes_all)
          ->take_all()
          ->each([take = argument.take](const std::string& text) {
            take(unescaped(text));
          });
    }
  }

  void give(const CLI::Option& option, const Flags::Take& take,
            const std::string& text) const {
    refuse_leftover();
    const std::string flag = option.get_name();
    if (option.get_expected_max() == 0) {
      if (text[0] == kMark) fail(flag + " takes no value");
    } else if (rest.empty()) {
      fail(flag + " needs a value: " + option.get_type_name());
    }
    try {
      take(unescaped(text));
    } catch (const std::invalid_argument& e) {
      fail(flag + ": " + e.what());
    }
  }

  // The one for "key add" is below the one for "key".
  CLI::App* app_of(const std::string& command) {
    CLI::App*& known = apps[command];
    if (!known) {
      const auto noun = command.find(' ') + 1;  // 0: there is none
      CLI::App& above = noun == 0 ? app : *app_of(command.substr(0, noun - 1));
      known = above.add_subcommand(command.substr(noun));
      if (line.is_group(command)) known->require_subcommand(1);
      known->preparse_callback([=, this](std::size_t) {
        refuse_leftover();
        name = command;
        request.command = line.find(name);
      });
    }
    return known;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw UsageError((name.empty() ? "" : name + ": ") + what + see_help(name));
  }

  void refuse_leftover() const {
    const auto left = app.remaining();
    if (left.empty()) return;
    const std::string word = unescaped(left.front());
    if (left.front().starts_with("--")) refuse(word.substr(0, word.find('=')));
    if (left.front().starts_with('-')) refuse(word.substr(0, 2));
    if (request.command) fail("unexpected argument '" + word + "'");
    throw UsageError(
        line.unknown_command(name.empty() ? word : name + " " + word));
  }

  void refuse(const std::string& flag) const {
    std::vector<std::string> known;
    for (const CLI::App* at = apps.at(name); at; at = at->get_parent()) {
      for (const auto* option : at->get_options()) {
        known.push_back(option->get_name());
      }
    }
    const auto near = flag.size() > 3 ? nearest(flag, known) : std::nullopt;
    fail("unknown flag " + flag +
         (near ? "; did you mean " + *near + "?" : ""));
  }

  void refuse_what_is_missing() const {
    const CLI::App& here = *apps.at(name);
    for (const auto* option : here.get_options()) {
      if (option->get_required() && option->empty()) {
        fail(option->get_name() + " is missing");
      }
    }
    std::string nouns;
    for (const auto* noun : here.get_subcommands({})) {
      nouns += (nouns.empty() ? "" : ", ") + noun->get_name();
    }
    if (!nouns.empty()) fail("which one? " + nouns);
  }
};

CommandLine::CommandLine(std::span<const Command> commands, Flags globals)
    : commands_(commands), globals_(std::move(globals)) {}

CommandLine::Request CommandLine::parse(
    std::span<const std::string> words) const {
  Parsing parsing{*this};
  parsing.run(words);
  return parsing.request;
}

const Command* CommandLine::named_by(std::span<const std::string> words) const {
  std::string name;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") return nullptr;
    if (words[i].starts_with('-')) {
      if (leaves_value_to_next(words[i])) ++i;
      continue;
    }
    name += (name.empty() ? "" : " ") + words[i];
    if (const auto* const command = find(name)) return command;
    if (!is_group(name)) return nullptr;
  }
  return nullptr;
}

// True for "--repo", "-r" and "-qr", not for "--repo=X", "-rX" and "--json".
bool CommandLine::leaves_value_to_next(std::string_view flag) const {
  const auto takes_value = [&](std::string_view name) {
    return std::ranges::any_of(globals_.flags_, [&](const auto& global) {
      return !global.placeholder.empty() &&
             (", " + global.names + ",").find(" " + std::string(name) + ",") !=
                 std::string::npos;
    });
  };
  if (flag.starts_with("--")) return takes_value(flag);
  const auto letter = std::find_if(flag.begin() + 1, flag.end(), [&](char c) {
    return takes_value(std::string("-") + c);
  });
  return letter != flag.end() && letter + 1 == flag.end();
}

const Command* CommandLine::find(std::string_view name) const {
  const auto found = std::ranges::find(commands_, name, &Command::name);
  return found == commands_.end() ? nullptr : &*found;
}

bool CommandLine::is_group(std::string_view name) const {
  return std::ranges::any_of(commands_, [&](const Command& command) {
    return command.name.starts_with(std::string(name) + " ");
  });
}

std::string CommandLine::unknown_command(std::string_view name) const {
  if (find(name)) {  // in quotes
    return "'" + std::string(name) + "' are two words: cairn " +
           std::string(name);
  }
  std::vector<std::string> candidates;
  for (const auto& command : commands_) {
    candidates.push_back(command.name);
    candidates.push_back(command.name.substr(0, command.name.find(' ')));
  }
  const auto near = nearest(name, candidates);
  const std::string_view group = name.substr(0, name.find(' '));
  if (!near && group != name) {
    std::string nouns;
    for (const auto& command : commands_) {
      if (!command.name.starts_with(std::string(group) + " ")) continue;
      nouns +=
          (nouns.empty() ? "" : ", ") + command.name.substr(group.size() + 1);
    }
    return "unknown command '" + std::string(name) + "'; there are " + nouns;
  }
  return "unknown command '" + std::string(name) + "'" +
         (near ? "; did you mean '" + *near + "'?" : "; see 'cairn help'");
}

// Help
// -------------------------------------------------------------------------

std::string CommandLine::help(std::string_view name) const {
  if (name.empty()) return help_of_all();
  if (const auto* const command = find(name)) return help_of(*command);
  if (is_group(name)) return help_of_group(name);
  throw UsageError(unknown_command(name));
}

std::string CommandLine::help_of_all() const {
  std::string out =
      "cairn keeps deduplicated, encrypted backups.\n\n"
      "Usage: cairn [GLOBAL FLAGS] COMMAND [FLAGS] [ARGUMENTS]\n\n"
      "  cairn -r /srv/backup init --recovery-key-out cairn.key\n"
      "  cairn -r /srv/backup backup /etc /home\n"
      "  cairn -r /srv/backup snapshots\n"
      "  cairn -r /srv/backup restore latest --to /tmp/restored\n";
  for (const auto& [group, title] : kGroupTitles) {
    std::string rows;
    for (const auto& command : commands_) {
      if (command.group == group) rows += row(command.name, command.summary);
    }
    if (!rows.empty()) out += "\n" + std::string(title) + ":\n" + rows;
  }
  out += "\nGlobal flags, before or after the command:\n" + rows_of(globals_);
  out += row("-h, --help", "what a command does, its flags, examples");
  out += row("--version", "the program's version and the format it writes");
  out +=
      "\nEnvironment: CAIRN_REPO, CAIRN_KEY_FILE, CAIRN_PASSWORD_FILE,\n"
      "CAIRN_PASSWORD_COMMAND, CAIRN_PASSWORD, CAIRN_CACHE_DIR, NO_COLOR; of\n"
      "'key add' CAIRN_NEW_PASSWORD_FILE, of 'init --like' "
      "CAIRN_LIKE_KEY_FILE\n"
      "and CAIRN_LIKE_PASSWORD_FILE, of 'copy' CAIRN_TO_..., of 'repair packs "
      "--from'\n"
      "CAIRN_FROM_..., each with KEY_FILE and PASSWORD_FILE.\n";
  return out;
}

std::string CommandLine::help_of_group(std::string_view group) const {
  std::string out =
      "Usage: cairn " + std::string(group) + " COMMAND [FLAGS]\n\n";
  for (const auto& command : commands_) {
    if (command.name.starts_with(std::string(group) + " ")) {
      out += row(command.name, command.summary);
    }
  }
  return out;
}

std::string CommandLine::help_of(const Command& command) const {
  Flags flags;
  command.declare(flags);
  std::string out = "Usage: cairn " + command.name;
  if (!flags.flags_.empty()) out += " [FLAGS]";
  for (const auto& argument : flags.arguments_) {
    const std::string text =
        argument.placeholder + (argument.takes_all ? "..." : "");
    out += argument.is_required ? " " + text : " [" + text + "]";
  }
  out += "\n\n" + wrapped(command.text, 0) + "\n";
  if (!command.examples.empty()) {
    out += "\nExamples:\n";
    std::string_view rest = command.examples;
    while (!rest.empty()) {
      const auto end = rest.find('\n');
      out += "  " + std::string(rest.substr(0, end)) + "\n";
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
  }
  if (!flags.flags_.empty()) out += "\nFlags:\n" + rows_of(flags);
  return out + "\nThe global flags are listed by 'cairn help'.\n";
}

std::string CommandLine::rows_of(const Flags& flags) {
  std::string out;
  for (const auto& flag : flags.flags_) {
    const std::string value =
        flag.placeholder.empty() ? "" : " " + flag.placeholder;
    out += row(flag.names + value, flag.help);
  }
  return out;
}

}  // namespace cairn::cli
