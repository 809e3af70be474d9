#include "cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kHelpWidth = 80;
constexpr std::size_t kHelpColumn = 26;

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

std::vector<std::string> split_names(std::string_view names) {
  std::vector<std::string> out;
  while (!names.empty()) {
    const auto comma = names.find(", ");
    out.emplace_back(names.substr(0, comma));
    if (comma == std::string_view::npos) break;
    names.remove_prefix(comma + 2);
  }
  return out;
}

// How many letters must be added, dropped, replaced or swapped.
std::size_t distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> table((a.size() + 1) * width);
  const auto at = [&](std::size_t i, std::size_t j) -> std::size_t& {
    return table[i * width + j];
  };
  for (std::size_t i = 0; i <= a.size(); ++i) at(i, 0) = i;
  for (std::size_t j = 0; j <= b.size(); ++j) at(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = a[i - 1] == b[j - 1] ? 0 : 1;
      at(i, j) = std::min(
          {at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
      }
    }
  }
  return table.back();
}

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
  if (out.size() > kHelpColumn) {
    out += "\n" + std::string(kHelpColumn, ' ');
  }
  return out + wrapped(what, kHelpColumn) + "\n";
}

std::string see_help(std::string_view command) {
  return fmt::format("; see 'cairn {}--help'",
                     command.empty() ? "" : std::string(command) + " ");
}

}  // namespace

std::optional<std::string> nearest(std::string_view word,
                                   std::span<const std::string> candidates) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const bool is_beginning = word.size() >= 3 && candidate.starts_with(word);
    const std::size_t d = is_beginning ? 1 : distance(word, candidate);
    if (d < best_distance) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

// What a command takes
// ---------------------------------------------------------

void Flags::value(std::string_view names, std::string_view placeholder,
                  Take take, std::string_view help) {
  flags_.push_back({split_names(names), std::string(placeholder),
                    std::move(take), std::string(help)});
}

void Flags::flag(std::string_view names, bool& given, std::string_view help) {
  value(
      names, "", [&given](std::string_view) { given = true; }, help);
}

void Flags::count(std::string_view names, int& times, std::string_view help) {
  value(
      names, "", [&times](std::string_view) { ++times; }, help);
}

void Flags::value(std::string_view names, std::string_view placeholder,
                  std::optional<std::string>& text, std::string_view help) {
  value(
      names, placeholder,
      [&text](std::string_view given) { text = std::string(given); }, help);
}

void Flags::values(std::string_view names, std::string_view placeholder,
                   std::vector<std::string>& texts, std::string_view help) {
  value(
      names, placeholder,
      [&texts](std::string_view given) { texts.emplace_back(given); }, help);
}

void Flags::argument(std::string_view placeholder, std::string& text) {
  arguments_.push_back({std::string(placeholder),
                        [&text](std::string_view given) { text = given; },
                        /*is_required=*/true, /*takes_all=*/false});
}

void Flags::optional_argument(std::string_view placeholder,
                              std::optional<std::string>& text) {
  arguments_.push_back(
      {std::string(placeholder),
       [&text](std::string_view given) { text = std::string(given); },
       /*is_required=*/false, /*takes_all=*/false});
}

void Flags::arguments(std::string_view placeholder,
                      std::vector<std::string>& texts, Count count) {
  arguments_.push_back(
      {std::string(placeholder),
       [&texts](std::string_view given) { texts.emplace_back(given); },
       count == Count::at_least_one, /*takes_all=*/true});
}

const Flags::Flag* Flags::find(std::string_view name) const {
  for (const auto& flag : flags_) {
    if (std::ranges::find(flag.names, name) != flag.names.end()) return &flag;
  }
  return nullptr;
}

// Parsing
// ----------------------------------------------------------------------

// One pass over the words.
struct CommandLine::Parsing {
  const CommandLine& line;
  std::span<const std::string> words;
  Request request = {};
  std::string group = {};  // "key" while the noun is awaited
  Flags flags = {};        // of the command, once it is known
  std::size_t next = 0;
  std::size_t arguments_taken = 0;  // of the last Argument, if it takes all
  std::size_t argument = 0;

  [[nodiscard]] std::string command_name() const {
    return request.command ? request.command->name : group;
  }

  [[noreturn]] void fail(const std::string& what) const {
    const std::string name = command_name();
    throw UsageError((name.empty() ? "" : name + ": ") + what + see_help(name));
  }

  void run() {
    bool only_arguments = false;
    while (next < words.size() && !request.wants_help &&
           !request.wants_version) {
      const std::string& word = words[next++];
      if (only_arguments || word.size() < 2 || word[0] != '-') {
        take_word(word);
      } else if (word == "--") {
        only_arguments = true;
      } else if (word.starts_with("--")) {
        take_long(word);
      } else {
        take_short(word);
      }
    }
    if (request.wants_help) request.help_for = command_name();
    if (request.wants_help || request.wants_version) return;
    if (!group.empty()) fail("which one? " + nouns());
    if (argument < flags.arguments_.size()) {
      const auto& missing = flags.arguments_[argument];
      if (missing.is_required && arguments_taken == 0) {
        fail(missing.placeholder + " is missing");
      }
    }
  }

  [[nodiscard]] std::string nouns() const {
    std::string list;
    for (const auto& command : line.commands_) {
      if (!command.name.starts_with(group + " ")) continue;
      list +=
          (list.empty() ? "" : ", ") + command.name.substr(group.size() + 1);
    }
    return list;
  }

  void take_word(const std::string& word) {
    if (!request.command) {
      take_verb(word);
      return;
    }
    if (argument == flags.arguments_.size()) {
      fail("unexpected argument '" + word + "'");
    }
    const auto& taker = flags.arguments_[argument];
    taker.take(word);
    ++arguments_taken;
    if (!taker.takes_all) {
      ++argument;
      arguments_taken = 0;
    }
  }

  void take_verb(const std::string& word) {
    const std::string name = group.empty() ? word : group + " " + word;
    request.command = line.find(name);
    if (request.command) {
      group.clear();
      request.command->declare(flags);
    } else if (group.empty() && line.is_group(name)) {
      group = name;
    } else {
      throw UsageError(line.unknown_command(name));
    }
  }

  // The flag of that name, and whether there is none.
  const Flags::Flag& flag_of(const std::string& name) {
    for (const Flags* const known : {&std::as_const(flags), &line.globals_}) {
      if (const auto* const flag = known->find(name)) return *flag;
    }
    std::vector<std::string> candidates;
    for (const Flags* const known : {&std::as_const(flags), &line.globals_}) {
      for (const auto& flag : known->flags_) {
        candidates.insert(candidates.end(), flag.names.begin(),
                          flag.names.end());
      }
    }
    const auto near = name.size() > 3 ? nearest(name, candidates)
                                      : std::optional<std::string>();
    fail("unknown flag " + name +
         (near ? "; did you mean " + *near + "?" : ""));
  }

  void give(const Flags::Flag& flag, const std::string& name,
            std::string_view text) const {
    try {
      flag.take(text);
    } catch (const UsageError& e) {
      fail(name + ": " + e.what());
    }
  }

  bool is_for_program(const std::string& name) {
    if (name == "--help" || name == "-h") request.wants_help = true;
    if (name == "--version") request.wants_version = true;
    return request.wants_help || request.wants_version;
  }

  void take_long(const std::string& word) {
    const auto equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (is_for_program(name)) return;
    const auto& flag = flag_of(name);
    if (flag.placeholder.empty()) {
      if (equals != std::string::npos) fail(name + " takes no value");
      give(flag, name, "");
    } else if (equals != std::string::npos) {
      give(flag, name, std::string_view(word).substr(equals + 1));
    } else {
      give(flag, name, value_of(flag, name));
    }
  }

  // "-n", "-nq", "-rREPO", "-r REPO".
  void take_short(const std::string& word) {
    for (std::size_t i = 1; i < word.size(); ++i) {
      const std::string name = {'-', word[i]};
      if (is_for_program(name)) return;
      const auto& flag = flag_of(name);
      if (flag.placeholder.empty()) {
        give(flag, name, "");
      } else if (i + 1 < word.size()) {
        give(flag, name, std::string_view(word).substr(i + 1));
        return;
      } else {
        give(flag, name, value_of(flag, name));
      }
    }
  }

  const std::string& value_of(const Flags::Flag& flag,
                              const std::string& name) {
    if (next == words.size()) {
      fail(name + " needs a value: " + flag.placeholder);
    }
    return words[next++];
  }
};

CommandLine::CommandLine(std::span<const Command> commands, Flags globals)
    : commands_(commands), globals_(std::move(globals)) {}

CommandLine::Request CommandLine::parse(
    std::span<const std::string> words) const {
  Parsing parsing{*this, words};
  parsing.run();
  return std::move(parsing.request);
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
  std::vector<std::string> candidates;
  for (const auto& command : commands_) {
    candidates.push_back(command.name);
    candidates.push_back(command.name.substr(0, command.name.find(' ')));
  }
  const auto near = nearest(name, candidates);
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
  out += "\nGlobal flags, before or after the command:\n";
  for (const auto& flag : globals_.flags_) {
    std::string names;
    for (const auto& name : flag.names) {
      names += (names.empty() ? "" : ", ") + name;
    }
    if (!flag.placeholder.empty()) names += " " + flag.placeholder;
    out += row(names, flag.help);
  }
  out += row("-h, --help", "what a command does, its flags, examples");
  out += row("--version", "the program's version and the format it writes");
  out +=
      "\nEnvironment: CAIRN_REPO, CAIRN_KEY_FILE, CAIRN_PASSWORD_FILE,\n"
      "CAIRN_PASSWORD_COMMAND, CAIRN_PASSWORD, CAIRN_CONFIG, CAIRN_CACHE_DIR,\n"
      "NO_COLOR.\n";
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
  if (!flags.flags_.empty()) {
    out += "\nFlags:\n";
    for (const auto& flag : flags.flags_) {
      std::string names;
      for (const auto& name : flag.names) {
        names += (names.empty() ? "" : ", ") + name;
      }
      if (!flag.placeholder.empty()) names += " " + flag.placeholder;
      out += row(names, flag.help);
    }
  }
  return out + "\nThe global flags are listed by 'cairn help'.\n";
}

}  // namespace cairn::cli
