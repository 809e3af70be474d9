// Git's wildmatch.c is the model, its oddities included:
//   - "**" counts as such only between slashes (or an end); elsewhere it is
//   "*".
//     But git compares what precedes the first special byte by itself and
//     matches the rest alone, so that in "foo**/bar" the stars stand at a start
//     and "foobar" matches.
//   - In brackets, "!" and "^" negate, "]" stands for itself in the first
//   place,
//     a backslash takes the next byte as it is, and no set takes a slash.
#include "ingest/glob.h"

#include <algorithm>
#include <array>
#include <utility>

namespace cairn::ingest {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

unsigned char index_of(char c) { return static_cast<unsigned char>(c); }

// The classes of the C locale, since names are bytes.
std::optional<std::bitset<256>> named_class(std::string_view name) {
  using Member = bool (*)(int);
  static constexpr auto lower = [](int c) { return c >= 'a' && c <= 'z'; };
  static constexpr auto upper = [](int c) { return c >= 'A' && c <= 'Z'; };
  static constexpr auto digit = [](int c) { return c >= '0' && c <= '9'; };
  static constexpr auto alnum = [](int c) {
    return lower(c) || upper(c) || digit(c);
  };
  static constexpr auto graph = [](int c) { return c > ' ' && c < 127; };
  static constexpr std::array<std::pair<std::string_view, Member>, 12> kClasses{
      {{"alnum", alnum},
       {"alpha", [](int c) { return lower(c) || upper(c); }},
       {"blank", [](int c) { return c == ' ' || c == '\t'; }},
       {"cntrl", [](int c) { return c < ' ' || c == 127; }},
       {"digit", digit},
       {"graph", graph},
       {"lower", lower},
       {"print", [](int c) { return c == ' ' || graph(c); }},
       {"punct", [](int c) { return graph(c) && !alnum(c); }},
       {"space", [](int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }},
       {"upper", upper},
       {"xdigit", [](int c) {
          return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        }}}};
  for (const auto& [known, member] : kClasses) {
    if (known != name) continue;
    std::bitset<256> set;
    for (int c = 0; c < 256; ++c) set[static_cast<std::size_t>(c)] = member(c);
    return set;
  }
  return std::nullopt;
}

// Reads what follows "[" and moves `rest` behind the "]". Nothing if it has no
// end or names a class that does not exist.
std::optional<std::bitset<256>> parse_set(std::string_view& rest) {
  std::bitset<256> set;
  std::size_t at = 0;
  const auto more = [&] { return at < rest.size(); };
  const bool negated = more() && (rest[at] == '!' || rest[at] == '^');
  if (negated) ++at;

  // The byte before a "-"; -1 after a range or a class, and at the start.
  int low = -1;
  for (bool first = true; more() && (first || rest[at] != ']'); first = false) {
    char c = rest[at];
    if (c == '-' && low >= 0 && at + 1 < rest.size() && rest[at + 1] != ']') {
      c = rest[++at];
      if (c == '\\') {
        if (++at == rest.size()) return std::nullopt;
        c = rest[at];
      }
      for (int i = low; i <= index_of(c); ++i) {
        set.set(static_cast<std::size_t>(i));
      }
      low = -1;
      ++at;
      continue;
    }
    if (c == '[' && at + 1 < rest.size() && rest[at + 1] == ':') {
      const std::size_t begin = at + 2;
      const std::size_t end = rest.find(']', begin);
      if (end == kNone) return std::nullopt;
      if (end > begin && rest[end - 1] == ':') {
        const auto members = named_class(rest.substr(begin, end - 1 - begin));
        if (!members) return std::nullopt;
        set |= *members;
        low = -1;
        at = end + 1;
        continue;
      }
      // No ":]" follows, so it is an ordinary bracket in a set.
    }
    if (c == '\\') {
      if (++at == rest.size()) return std::nullopt;
      c = rest[at];
    }
    set.set(index_of(c));
    low = index_of(c);
    ++at;
  }
  if (!more()) return std::nullopt;
  rest.remove_prefix(at + 1);
  if (negated) set.flip();
  set.reset(index_of('/'));
  return set;
}

}  // namespace

std::optional<Glob> Glob::compile(std::string_view pattern) {
  Glob glob;
  const std::size_t special = pattern.find_first_of("*?[\\");
  glob.literal_ = pattern.substr(0, special);
  if (special == kNone) return glob;

  const std::string_view whole = pattern.substr(special);
  std::string_view rest = whole;
  while (!rest.empty()) {
    const char c = rest.front();
    if (c == '*') {
      const std::size_t begin = whole.size() - rest.size();
      const bool starts = begin == 0 || whole[begin - 1] == '/';
      const std::size_t stars =
          std::min(rest.find_first_not_of('*'), rest.size());
      rest.remove_prefix(stars);
      const bool ends =
          rest.empty() || rest.front() == '/' || rest.starts_with("\\/");
      if (stars < 2 || !starts || !ends) {
        glob.tokens_.push_back({Kind::star});
      } else if (rest.starts_with('/')) {
        glob.tokens_.push_back({Kind::any_folders});
        rest.remove_prefix(1);
      } else {
        glob.tokens_.push_back({Kind::any_path});
      }
      continue;
    }
    rest.remove_prefix(1);
    if (c == '[') {
      auto set = parse_set(rest);
      if (!set) return std::nullopt;
      glob.tokens_.push_back(
          {Kind::set, 0, static_cast<std::uint32_t>(glob.sets_.size())});
      glob.sets_.push_back(*set);
    } else if (c == '?') {
      glob.tokens_.push_back({Kind::not_slash});
    } else if (c == '\\') {
      if (rest.empty()) return std::nullopt;
      glob.tokens_.push_back({Kind::byte, rest.front()});
      rest.remove_prefix(1);
    } else {
      glob.tokens_.push_back({Kind::byte, c});
    }
  }
  return glob;
}

bool Glob::takes(const Token& token, char byte) const {
  switch (token.kind) {
    case Kind::byte:
      return byte == token.byte;
    case Kind::not_slash:
      return byte != '/';
    case Kind::set:
      return sets_[token.set][index_of(byte)];
    default:
      return false;
  }
}

bool Glob::matches(std::string_view text) const {
  if (!text.starts_with(literal_)) return false;
  text.remove_prefix(literal_.size());

  // Where to go on after a mismatch: a token, and where in the text it was
  // last tried to end.
  struct Retry {
    std::size_t token = kNone;
    std::size_t at = 0;
  };
  Retry star;
  Retry path;  // of any_path or any_folders
  std::size_t token = 0;
  std::size_t at = 0;
  while (at < text.size() || token < tokens_.size()) {
    if (token < tokens_.size()) {
      const Token& current = tokens_[token];
      if (current.kind == Kind::star) {
        star = {token++, at};
        continue;
      }
      if (current.kind == Kind::any_path || current.kind == Kind::any_folders) {
        path = {token++, at};
        star = {};
        continue;
      }
      if (at < text.size() && takes(current, text[at])) {
        ++token;
        ++at;
        continue;
      }
    }
    if (star.token != kNone && star.at < text.size() && text[star.at] != '/') {
      at = ++star.at;
      token = star.token + 1;
      continue;
    }
    if (path.token == kNone) return false;
    if (tokens_[path.token].kind == Kind::any_folders) {
      const std::size_t slash = text.find('/', path.at);
      if (slash == kNone) return false;
      path.at = slash;
    }
    if (path.at == text.size()) return false;
    at = ++path.at;
    token = path.token + 1;
    star = {};
  }
  return true;
}

}  // namespace cairn::ingest
