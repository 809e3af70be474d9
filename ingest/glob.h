// One pattern of a .gitignore line, compiled: "*" and "?" stop at slashes,
// "**" between slashes does not.
//
// Matching takes no memory and is never exponential: a mismatch goes back to
// the last "*" only, or to the last "**" once that "*" has met a slash. Any
// earlier one could only offer what the later one has tried already.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::ingest {

// Threads        const members from many threads.
class Glob {
 public:
  // Nothing for a pattern that no text matches: an unclosed or misspelt
  // bracket, a backslash at the end.
  [[nodiscard]] static std::optional<Glob> compile(std::string_view pattern);

  [[nodiscard]] bool matches(std::string_view text) const;

 private:
  enum class Kind : std::uint8_t {
    byte,         // this one
    not_slash,    // ?
    set,          // [...]
    star,         // any bytes but slashes
    any_path,     // any bytes
    any_folders,  // nothing, or any bytes up to and with a slash
  };
  struct Token {
    Kind kind;
    char byte = 0;
    std::uint32_t set = 0;  // index into sets_
  };
  using Set = std::bitset<256>;

  [[nodiscard]] bool takes(const Token& token, char byte) const;

  // What stands before the first special byte, compared at once.
  std::string literal_;
  std::vector<Token> tokens_;
  std::vector<Set> sets_;
};

}  // namespace cairn::ingest
