#include "ingest/pg_dump_dsn.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <optional>
#include <stdexcept>

namespace cairn::ingest {
namespace {

constexpr std::array<std::string_view, 2> kUriBeginnings = {"postgresql://",
                                                            "postgres://"};

struct Refused {
  const char* why;
};

[[noreturn]] void refuse(const char* why) { throw Refused{why}; }

[[noreturn]] void refuse_secret() {
  refuse(
      "it holds a password, which every user of this machine could read in the "
      "list of processes. Leave it out and put it into ~/.pgpass (or the file "
      "that passfile= or PGPASSFILE names), a service file (service=NAME or "
      "PGSERVICE), or the variable PGPASSWORD");
}

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)); }

// Single quotes around it, as libpq reads values.
std::string quoted(std::string_view value) {
  std::string text = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

std::string percent_encoded(std::string_view value) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  constexpr unsigned kLowBits = 4;
  std::string text;
  for (const char c : value) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte < 0x80 && std::isalnum(byte)) {
      text += c;
    } else {
      text += {'%', kDigits[byte >> kLowBits], kDigits[byte & 0xfU]};
    }
  }
  return text;
}

std::string percent_decoded(std::string_view text) {
  std::string value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      value += text[i];
      continue;
    }
    const auto digit = [&](std::size_t at) {
      if (at >= text.size() ||
          !std::isxdigit(static_cast<unsigned char>(text[at]))) {
        refuse("a percent sign without two digits behind it");
      }
      return text[at];
    };
    constexpr int kHexadecimal = 16;
    const std::string digits = {digit(i + 1), digit(i + 2)};
    value += static_cast<char>(std::stoi(digits, nullptr, kHexadecimal));
    i += 2;
  }
  return value;
}

}  // namespace

PgDumpDsn::PgDumpDsn(std::string_view text, std::string_view flag,
                     std::string_view usual_database) try
    : text_(text), usual_database_(usual_database) {
  if (text.find('\0') != std::string_view::npos) refuse("a NUL in it");
  is_uri_ = std::ranges::any_of(
      kUriBeginnings,
      [&](std::string_view beginning) { return text.starts_with(beginning); });
  if (is_uri_) {
    read_uri();
  } else if (text.find('=') != std::string_view::npos) {
    read_keywords();
  } else if (!std::ranges::all_of(text, is_space)) {
    // What is no list of keywords is the name of a database.
    text_ = "dbname=" + quoted(text);
    names_database_ = true;
  }
} catch (const Refused& e) {
  throw std::invalid_argument(std::string(flag) + ": " + e.why);
}

void PgDumpDsn::read_keyword(std::string_view key) {
  if (key == "password" || key == "sslpassword" ||
      key == "oauth_client_secret") {
    refuse_secret();
  }
  if (key == "dbname" || key == "service") names_database_ = true;
}

// scheme://[user[:password]@][hosts][/database][?key=value[&...]]
void PgDumpDsn::read_uri() {
  std::string_view rest = std::string_view(text_).substr(text_.find("//") + 2);
  const std::size_t user_end = rest.find_first_of("@/");
  if (user_end != std::string_view::npos && rest[user_end] == '@') {
    if (rest.substr(0, user_end).find(':') != std::string_view::npos) {
      refuse_secret();
    }
    rest.remove_prefix(user_end + 1);
  }
  const std::size_t query = std::min(rest.find('?'), rest.size());
  const std::string_view place = rest.substr(0, query);
  const std::size_t slash = place.find('/');
  names_database_ = slash != std::string_view::npos && slash + 1 < place.size();
  rest.remove_prefix(std::min(query + 1, rest.size()));
  while (!rest.empty()) {
    const std::string_view parameter = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(parameter.size() + 1, rest.size()));
    const std::size_t equals = parameter.find('=');
    if (equals == std::string_view::npos) refuse("a parameter without a value");
    read_keyword(percent_decoded(parameter.substr(0, equals)));
  }
}

// key = value, with quotes around a value that has spaces, and a backslash
// before a quote or another one.
void PgDumpDsn::read_keywords() {
  std::string_view rest = text_;
  const auto skip_spaces = [&] {
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  };
  for (skip_spaces(); !rest.empty(); skip_spaces()) {
    std::size_t end = 0;
    while (end < rest.size() && rest[end] != '=' && !is_space(rest[end])) ++end;
    const std::string_view key = rest.substr(0, end);
    rest.remove_prefix(end);
    skip_spaces();
    if (!rest.starts_with('=')) refuse("a keyword without '=' behind it");
    rest.remove_prefix(1);
    read_keyword(key);
    skip_spaces();
    const bool is_quoted = rest.starts_with('\'');
    if (is_quoted) rest.remove_prefix(1);
    while (!rest.empty() &&
           (is_quoted ? rest.front() != '\'' : !is_space(rest.front()))) {
      if (rest.front() == '\\' && rest.size() > 1) rest.remove_prefix(1);
      rest.remove_prefix(1);
    }
    if (!is_quoted) continue;
    if (rest.empty()) refuse("a quote that is not closed");
    rest.remove_prefix(1);
  }
}

std::string PgDumpDsn::with_database(std::string_view database) const {
  // Of several the last one counts.
  if (is_uri_) {
    return text_ + (text_.find('?') == std::string::npos ? '?' : '&') +
           "dbname=" + percent_encoded(database);
  }
  return text_ + (text_.empty() ? "" : " ") + "dbname=" + quoted(database);
}

std::string PgDumpDsn::with_any_database() const {
  return names_database_ || usual_database_.empty()
             ? text_
             : with_database(usual_database_);
}

}  // namespace cairn::ingest
