#include "cli/question.h"

#include <unistd.h>

#include <array>
#include <cstdio>

#include "cli/printable.h"

namespace cairn::cli {

bool can_ask() noexcept {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
}

void show_question(std::string_view text) {
  const std::string shown = printable(text);
  (void)std::fwrite(shown.data(), 1, shown.size(), stderr);
  (void)std::fflush(stderr);
}

std::optional<std::string> read_answer() {
  // The terminal hands out whole lines.
  std::array<char, 4096> answer{};
  const ssize_t count = ::read(STDIN_FILENO, answer.data(), answer.size());
  if (count <= 0) return std::nullopt;
  std::string line(answer.data(), static_cast<std::size_t>(count));
  line.erase(line.find_last_not_of("\r\n") + 1);
  return line;
}

}  // namespace cairn::cli
