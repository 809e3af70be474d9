// Questions to a person at the terminal.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cairn::cli {

[[nodiscard]] bool can_ask() noexcept;

// On standard error, made printable: what is asked about has names in it.
void show_question(std::string_view text);

// One line, without its end. Nothing: there is no more.
[[nodiscard]] std::optional<std::string> read_answer();

}  // namespace cairn::cli
