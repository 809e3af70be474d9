// Single words of a configuration: whether they are what their key wants.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/config/grammar.h"

namespace cairn::cli::config {

// What is wrong with the value of a scalar, or with one of a list; empty:
// nothing.
[[nodiscard]] std::string wrong_word(const std::string& text, const Key& key);

// The line of cron that `text`, which is right for Type::cron, means: that
// itself, or the line of a word such as daily.
[[nodiscard]] std::string cron_of(std::string_view text);

// A name that the user chooses: it becomes part of series, files and messages.
[[nodiscard]] bool is_name(std::string_view text);

// For messages: short, in quotes; "a, b, c".
[[nodiscard]] std::string quoted(std::string_view text);
[[nodiscard]] std::string listed(std::span<const std::string> words);

}  // namespace cairn::cli::config
