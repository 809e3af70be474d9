// What the program says. Standard output carries data and nothing else;
// progress, messages and questions go to standard error.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/json.h"

namespace cairn::cli {

// Whoever read standard output has gone away. The program ends as SIGPIPE would
// have ended it.
struct OutputClosed {};

enum class Colour { none, bold, faint, red, green, yellow };

struct OutputOptions {
  bool is_json = false;
  bool is_quiet = false;
  int verbosity = 0;
};

// Threads        the messages from many threads; the data from one.
class Output {
 public:
  // Looks at the environment: colours only on a terminal that has them, and
  // never when NO_COLOR is set to something.
  Output();

  void configure(const OutputOptions& options) { options_ = options; }
  [[nodiscard]] bool is_json() const noexcept { return options_.is_json; }
  [[nodiscard]] bool is_quiet() const noexcept { return options_.is_quiet; }
  // A terminal on which a line can be written again.
  [[nodiscard]] bool error_has_cursor() const noexcept {
    return error_has_cursor_;
  }

  // Data, buffered until flush(). They throw OutputClosed, or repo::OutOfSpace
  // or repo::IoError when standard output cannot be written; once that was
  // told, nothing more is. Lines are made harmless here; names in them come
  // printable().
  void line(std::string_view text);
  void line(Colour colour, std::string_view text);
  void line(Colour colour, std::string_view head, std::string_view rest);
  void json(const Json& value);  // and an end of line

  // All that a command has to say, one value.
  void document(const Json& value);
  void bytes(std::span<const std::byte> bytes);
  void flush();

  // What comes now only reports on what is done: that it cannot be written
  // earns a warning, or none where nobody reads it, and is no failure.
  void allow_loss() noexcept { may_be_lost_ = true; }

  // Messages; one line each.
  void note(std::string_view text);    // not with --quiet
  void detail(std::string_view text);  // only with --verbose
  void warning(std::string_view text);
  void error(std::string_view text);

  // The failure that ends the program, for programs that read what it writes:
  // on standard output, unless a document stands there, whose end nothing must
  // follow.
  void failure(const Json& value);

  // A line for programs that follow the progress, on standard error.
  void progress(const Json& value);

  // A line at the bottom of the terminal that is written again and again, and
  // makes room for messages. Empty: none.
  void set_status(std::string_view text);

 private:
  [[nodiscard]] std::string coloured(Colour colour,
                                     std::string_view text) const;
  void must_write(bool is_written);
  void message(std::string_view label, Colour colour, std::string_view text);

  OutputOptions options_;
  bool output_has_colour_ = false;
  bool error_has_colour_ = false;
  bool error_has_cursor_ = false;
  bool has_document_ = false;
  bool has_failed_ = false;
  bool may_be_lost_ = false;
  std::atomic<int> flush_error_ = 0;  // errno of the first message that met one

  std::mutex mutex_;  // guards standard error and status_
  std::string status_;
};

// Columns that line up, the last one ragged.
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
    std::size_t most = 1000;  // columns of the screen; more is shortened
  };

  explicit Table(std::vector<Column> columns);

  // As many cells as there are columns. Made printable here.
  void add(std::vector<std::string> cells);

  // Titles and rows. A column without anything in it is left out.
  void print(Output& output) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cairn::cli
