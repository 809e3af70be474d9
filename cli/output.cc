#include "cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/printable.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kEraseLine = "\r\x1b[K";

// That moves its cursor and changes colours when told to.
bool is_able_terminal(int fd) {
  const char* const term = std::getenv("TERM");
  return term && *term != '\0' && std::strcmp(term, "dumb") != 0 &&
         ::isatty(fd) == 1;
}

bool has_colours(int fd) {
  const char* const no_color = std::getenv("NO_COLOR");
  return (!no_color || *no_color == '\0') && is_able_terminal(fd);
}

std::string_view code_of(Colour colour) {
  switch (colour) {
    case Colour::none:
      return "";
    case Colour::bold:
      return "\x1b[1m";
    case Colour::faint:
      return "\x1b[2m";
    case Colour::red:
      return "\x1b[31m";
    case Colour::green:
      return "\x1b[32m";
    case Colour::yellow:
      return "\x1b[33m";
  }
  return "";
}

std::string with_colour(Colour colour, std::string_view text) {
  return std::string(code_of(colour)) + std::string(text) + "\x1b[0m";
}

void write_error(std::string_view text) {
  // A message that cannot be written has nowhere else to go.
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
  (void)std::fflush(stderr);
}

}  // namespace

Output::Output()
    : output_has_colour_(has_colours(STDOUT_FILENO)),
      error_has_colour_(has_colours(STDERR_FILENO)),
      error_has_cursor_(is_able_terminal(STDERR_FILENO)) {}

void Output::must_write(bool is_written) {
  if (is_written || has_failed_) return;
  has_failed_ = true;
  const int error = flush_error_ != 0 ? flush_error_.load() : errno;
  const std::string what =
      std::string("standard output: ") + std::strerror(error);
  if (may_be_lost_) {
    if (error != EPIPE) warning(what);
    return;
  }
  if (error == EPIPE) throw OutputClosed();
  if (error == ENOSPC || error == EDQUOT) throw repo::OutOfSpace(what);
  throw repo::IoError(what);
}

void Output::line(std::string_view text) { line(Colour::none, text); }

void Output::line(Colour colour, std::string_view text) {
  line(colour, text, "");
}

void Output::line(Colour colour, std::string_view head, std::string_view rest) {
  const std::string text =
      coloured(colour, harmless(head)) + harmless(rest) + "\n";
  bytes(std::as_bytes(std::span(text)));
}

void Output::json(const Json& value) {
  const std::string text = value.text() + "\n";
  bytes(std::as_bytes(std::span(text)));
}

void Output::document(const Json& value) {
  json(value);
  has_document_ = true;
}

void Output::failure(const Json& value) {
  if (has_document_) {
    progress(value);
  } else {
    json(value);
  }
}

void Output::bytes(std::span<const std::byte> bytes) {
  must_write(std::fwrite(bytes.data(), 1, bytes.size(), stdout) ==
             bytes.size());
}

void Output::flush() {
  must_write(std::fflush(stdout) == 0 && std::ferror(stdout) == 0);
}

std::string Output::coloured(Colour colour, std::string_view text) const {
  return output_has_colour_ && colour != Colour::none
             ? with_colour(colour, text)
             : std::string(text);
}

void Output::message(std::string_view label, Colour colour,
                     std::string_view text) {
  // So that a message stands behind the data that it follows. If that fails,
  // flush() says so: the stream knows then that it failed, and no longer why.
  if (std::fflush(stdout) != 0) {
    int none = 0;
    flush_error_.compare_exchange_strong(none, errno);
  }
  std::string line = "cairn: ";
  if (!label.empty()) {
    const std::string head = std::string(label) + ":";
    line += (error_has_colour_ ? with_colour(colour, head) : head) + " ";
  }
  line += printable(text) + "\n";
  const std::lock_guard lock(mutex_);
  if (!status_.empty()) line = std::string(kEraseLine) + line + status_;
  write_error(line);
}

void Output::note(std::string_view text) {
  if (!options_.is_quiet) message("", Colour::none, text);
}

void Output::detail(std::string_view text) {
  if (options_.verbosity > 0) message("", Colour::none, text);
}

void Output::warning(std::string_view text) {
  message("warning", Colour::yellow, text);
}

void Output::error(std::string_view text) {
  message("error", Colour::red, text);
}

void Output::progress(const Json& value) {
  const std::lock_guard lock(mutex_);
  write_error(value.text() + "\n");
}

void Output::set_status(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (text == status_) return;
  status_ = text;
  write_error(std::string(kEraseLine) + status_);
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (std::size_t i = 0; i < cells.size(); ++i) {
    cells[i] = shortened(printable(cells[i]), columns_[i].most);
  }
  rows_.push_back(std::move(cells));
}

void Table::print(Output& output) const {
  std::vector<std::size_t> widths(columns_.size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  }
  const auto print_row = [&](const auto& text_of, Colour colour) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (widths[i] == 0) continue;
      const std::string& text = text_of(i);
      const std::size_t width = std::max(widths[i], columns_[i].title.size());
      const std::string padding(width - std::min(width, width_of(text)), ' ');
      if (!line.empty()) line += "  ";
      line +=
          columns_[i].align == Align::right ? padding + text : text + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    output.line(colour, line);
  };
  print_row(
      [&](std::size_t i) -> const std::string& { return columns_[i].title; },
      Colour::bold);
  for (const auto& row : rows_) {
    print_row([&](std::size_t i) -> const std::string& { return row[i]; },
              Colour::none);
  }
}

}  // namespace cairn::cli
