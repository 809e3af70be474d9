#include "cli/printable.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::cli {
namespace {

std::string escaped(std::string_view bytes) {
  if (bytes == "\n") return "\\n";
  if (bytes == "\t") return "\\t";
  std::string out;
  for (const char c : bytes) {
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

// Each character that a terminal only shows as `written` has it.
template <typename Written>
std::string rewritten(std::string_view text, const Written& written) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto character = text.substr(0, std::max<std::size_t>(length, 1));
    const bool is_plain = length > 0 && !is_control(character);
    if (is_plain) {
      out += written(character);
    } else {
      out += escaped(character);
    }
    text.remove_prefix(character.size());
  }
  return out;
}

}  // namespace

std::size_t utf8_length(std::string_view text) noexcept {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0   ? 4
                             : first >= 0xe0 ? 3
                             : first >= 0xc2 ? 2
                                             : 0;
  if (length == 0 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Too long a spelling, surrogates, beyond U+10FFFF.
  const bool is_wrong =
      (first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f);
  return is_wrong ? 0 : length;
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool is_control(std::string_view character) noexcept {
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned char>(character[i]);
  };
  switch (character.size()) {
    case 1:
      return byte(0) < 0x20 || byte(0) == 0x7f;
    case 2:  // C1, U+0080 to U+009F: escape sequences to some terminals
      return byte(0) == 0xc2 && byte(1) < 0xa0;
    case 3:  // U+202A to U+202E, U+2066 to U+2069: left and right change places
      return byte(0) == 0xe2 &&
             ((byte(1) == 0x80 && byte(2) >= 0xaa && byte(2) <= 0xae) ||
              (byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9));
    default:
      return false;
  }
}

std::string printable(std::string_view text) {
  return rewritten(text, [](std::string_view character) {
    return character == "\\" ? std::string_view("\\\\") : character;
  });
}

std::string harmless(std::string_view text) {
  return rewritten(text, [](std::string_view character) { return character; });
}

std::size_t width_of(std::string_view printable_text) noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(
      printable_text,
      [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string shortened(std::string_view text, std::size_t width) {
  constexpr std::string_view kGap = "...";
  if (width_of(text) <= width) return std::string(text);
  if (width <= kGap.size()) return std::string(kGap.substr(0, width));
  const std::size_t kept = width - kGap.size();
  const auto first = [](std::string_view all, std::size_t columns) {
    std::size_t end = 0;
    while (columns-- > 0)
      end += std::max<std::size_t>(1, utf8_length(all.substr(end)));
    return end;
  };
  // The end of a path says more than its beginning.
  const std::size_t front = kept / 3;
  const std::size_t skipped = width_of(text) - (kept - front);
  return std::string(text.substr(0, first(text, front))) + std::string(kGap) +
         std::string(text.substr(first(text, skipped)));
}

}  // namespace cairn::cli
