// Names and messages hold any bytes; a terminal obeys some of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cairn::cli {

// How many bytes the UTF-8 character at the front of `text` takes; 0: there is
// none, or it is not well formed.
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

// The text on one line, harmless and without doubt: control characters, those
// that turn the direction of writing and what is no UTF-8 come out as \n, \t or
// \x1b, a backslash as two.
[[nodiscard]] std::string printable(std::string_view text);

// The same, but for the backslash, which stays: what is printable already comes
// out as it is.
[[nodiscard]] std::string harmless(std::string_view text);

// What a terminal may obey, or show others in another order than they stand:
// one UTF-8 character of the kinds that printable() takes the force from.
[[nodiscard]] bool is_control(std::string_view character) noexcept;

// Columns on a screen, roughly: characters, combining ones included.
[[nodiscard]] std::size_t width_of(std::string_view printable_text) noexcept;

// At most `width` columns; what is left out of the middle becomes "...".
[[nodiscard]] std::string shortened(std::string_view printable_text,
                                    std::size_t width);

}  // namespace cairn::cli
