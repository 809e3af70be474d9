// The words of the command line: what each command takes, and what was given.
//
//   cairn [GLOBAL]... VERB [NOUN] [FLAG | ARGUMENT]... [-- ARGUMENT...]
//
// Flags and arguments come in any order, global flags before or after the verb,
// and a value or an argument may be any bytes. CLI11 reads the words, behind
// this page, because a file that includes it takes seven seconds to compile;
// what help and refusals say is ours.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit_code.h"

namespace cairn::cli {

class Context;

// The flags and arguments of one command, each bound to the variable that takes
// what was given. The variables must outlive the parsing.
class Flags {
 public:
  // Throws UsageError for a text that will not do.
  using Take = std::function<void(std::string_view text)>;
  enum class Count { at_least_one, any };

  // `names` is "--recursive" or "-n, --dry-run".
  void flag(std::string_view names, bool& given, std::string_view help);
  void count(std::string_view names, int& times, std::string_view help);

  // "--tag T" or "--tag=T". A second one replaces the first, except for
  // values(), which gathers all.
  void value(std::string_view names, std::string_view placeholder, Take take,
             std::string_view help);
  void value(std::string_view names, std::string_view placeholder,
             std::optional<std::string>& text, std::string_view help);
  void values(std::string_view names, std::string_view placeholder,
              std::vector<std::string>& texts, std::string_view help);

  // The same for what is stored as text: refused unless it is UTF-8 and at most
  // 4096 bytes. One of several is a word: refused where it is empty, too, as a
  // variable of a script may be that was never set.
  void text(std::string_view names, std::string_view placeholder,
            std::optional<std::string>& text, std::string_view help);
  void texts(std::string_view names, std::string_view placeholder,
             std::vector<std::string>& texts, std::string_view help);

  // In the order in which they are expected.
  void argument(std::string_view placeholder, std::string& text);
  void optional_argument(std::string_view placeholder,
                         std::optional<std::string>& text);
  void arguments(std::string_view placeholder, std::vector<std::string>& texts,
                 Count count);

 private:
  friend class CommandLine;
  struct Flag {
    std::string names;        // "-n, --dry-run"
    std::string placeholder;  // empty: takes no value
    Take take;
    std::string help;
  };
  struct Argument {
    std::string placeholder;
    Take take;
    bool is_required = false;
    bool takes_all = false;
  };

  std::vector<Flag> flags_;
  std::vector<Argument> arguments_;
};

enum class CommandGroup { backup, look, space, administration, program };

struct Command {
  std::string name;  // "snapshots", "key add"
  CommandGroup group = CommandGroup::program;
  std::string summary;   // one line, for the list of commands
  std::string text;      // what it does, one paragraph
  std::string examples;  // one per line
  std::function<void(Flags&)> declare;
  std::function<ExitCode(Context&)> run;
  // What it ends with whenever it fails, words that cannot be read included, in
  // the place of what says why: for a caller to whom other numbers are answers.
  std::optional<ExitCode> any_failure = std::nullopt;
  // It starts others of us that read the same configuration, and have to find
  // there what its secrets come from.
  bool starts_runs = false;
};

// Borrows the commands and the variables behind `globals`.
class CommandLine {
 public:
  CommandLine(std::span<const Command> commands, Flags globals);

  struct Request {
    const Command* command = nullptr;  // null: none was named
    bool wants_help = false;
    bool wants_version = false;
    std::string help_for;  // with wants_help: "", "key", "key add"
  };

  // Fills the variables. Throws UsageError, with the nearest word that would
  // have been right, if there is one.
  [[nodiscard]] Request parse(std::span<const std::string> words) const;

  // The command that the words name, also where parse() refuses them: by the
  // first that is neither a global flag nor its value, and for a group of
  // commands the next such one. Null: none.
  [[nodiscard]] const Command* named_by(
      std::span<const std::string> words) const;

  // The help of everything (""), a group of commands ("key") or one of them.
  // Throws UsageError for an unknown name.
  [[nodiscard]] std::string help(std::string_view name) const;

 private:
  [[nodiscard]] const Command* find(std::string_view name) const;
  [[nodiscard]] bool leaves_value_to_next(std::string_view flag) const;
  [[nodiscard]] bool is_group(std::string_view name) const;
  [[nodiscard]] std::string unknown_command(std::string_view name) const;
  [[nodiscard]] std::string help_of_all() const;
  [[nodiscard]] std::string help_of_group(std::string_view group) const;
  [[nodiscard]] std::string help_of(const Command& command) const;
  [[nodiscard]] static std::string rows_of(const Flags& flags);
  struct Parsing;

  std::span<const Command> commands_;
  Flags globals_;
};

}  // namespace cairn::cli
