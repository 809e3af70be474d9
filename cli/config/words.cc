#include "cli/config/words.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cli/nearest.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "repo/calendar.h"
#include "service/timetable.h"

namespace cairn::cli::config {
namespace {

constexpr std::uint64_t kMaxCount = 1'000'000;
constexpr std::size_t kMaxText = 4096;  // bytes

// Digits and nothing else, which size and duration do not take: 30 what?
bool is_bare_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return ('0' <= c && c <= '9') || c == '.';
  });
}

constexpr std::pair<std::string_view, std::string_view> kFrequencies[] = {
    {"hourly", "0 * * * *"},
    {"daily", "0 2 * * *"},
    {"weekly", "0 3 * * sun"},
    {"monthly", "0 4 1 * *"}};

bool is_clock(std::string_view text) {
  constexpr std::string_view kPattern = "00:00";
  if (text.size() != kPattern.size() || text[2] != ':') return false;
  const auto digits =
      std::string(text.substr(0, 2)) + std::string(text.substr(3));
  if (!is_bare_number(digits) || digits.find('.') != digits.npos) return false;
  return digits.substr(0, 2) < "24" && digits.substr(2) < "60";
}

std::string wrong_cron(const std::string& text) {
  const bool is_one_word = text.find_first_of(" \t@") == text.npos;
  const auto line = cron_of(text);
  if (is_one_word && line == text) {
    std::vector<std::string> words;
    for (const auto& [word, meaning] : kFrequencies) words.emplace_back(word);
    const auto near = nearest(text, words);
    return quoted(text) + " is none of " + listed(words) +
           (near ? "; did you mean '" + *near + "'?"
                 : ", and no line of cron such as '0 2 * * *'");
  }
  try {
    (void)service::Timetable(line, "UTC");
    return "";
  } catch (const service::TimetableError& e) {
    return e.what();
  }
}

}  // namespace

std::string cron_of(std::string_view text) {
  for (const auto& [word, line] : kFrequencies) {
    if (text == word) return std::string(line);
  }
  return std::string(text);
}

std::string wrong_word(const std::string& text, const Key& key) {
  if (text.size() > kMaxText) {
    return "longer than " + std::to_string(kMaxText) + " bytes";
  }
  const auto refusal_of = [](const auto& parse) -> std::string {
    try {
      parse();
      return "";
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
  };
  switch (key.type) {
    case Type::version:
      if (text == "1") return "";
      return quoted(text) +
             " is no version that this program knows; it reads version 1";
    case Type::any_text:
      return "";
    case Type::path:
    case Type::paths:
      if (text.starts_with('/')) return "";
      return quoted(text) + " is not absolute: it has to begin with a slash" +
             (text.starts_with('~') ? "; ~ is the shell's word" : "");
    case Type::word: {
      if (std::ranges::find(key.words, text) != key.words.end()) return "";
      const std::vector<std::string> words(key.words.begin(), key.words.end());
      const auto near = nearest(text, words);
      return quoted(text) + " is none of " + listed(words) +
             (near ? "; did you mean '" + *near + "'?" : "");
    }
    case Type::count:
      if (text == "unlimited") return "";
      return refusal_of([&] { (void)parse_count(text, kMaxCount); });
    case Type::flag:
      if (text == "true" || text == "false") return "";
      return quoted(text) + " is neither true nor false";
    case Type::size:
      if (is_bare_number(text))
        return "'" + text + "' of what? Write " + text + "MiB, or another unit";
      return refusal_of([&] { (void)parse_size(text); });
    case Type::share:
      return refusal_of([&] { (void)parse_percent(text); });
    case Type::duration:
      if (is_bare_number(text))
        return "'" + text + "' of what? Write " + text +
               "s, or another unit (m, h, d)";
      return refusal_of([&] { (void)parse_duration(text); });
    case Type::span:
      if (const auto span = repo::parse_calendar_span(text);
          span && !span->is_zero()) {
        return "";
      }
      return quoted(text) + " is not a span such as 48h, 30d or 1y6m";
    case Type::zone:
      return refusal_of([&] { (void)repo::TimeZone(text); });
    case Type::cron:
      return text.empty() ? "is empty" : wrong_cron(text);
    case Type::clock:
      if (is_clock(text)) return "";
      return quoted(text) + " is no time of day such as '02:00'";
    case Type::weekday:
      if (repo::parse_weekday(text)) return "";
      return quoted(text) + " is no day of the week";
    default:
      return text.empty() ? "is empty" : "";
  }
}

bool is_name(std::string_view text) {
  constexpr std::size_t kMost = 64;
  const auto is_plain = [](char c) {
    return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') ||
           ('0' <= c && c <= '9') || c == '_' || c == '-' || c == '.';
  };
  return !text.empty() && text.size() <= kMost && text.front() != '-' &&
         text.front() != '.' && std::ranges::all_of(text, is_plain);
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kShown = 60;
  return "'" + shortened(harmless(text), kShown) + "'";
}

std::string listed(std::span<const std::string> words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace cairn::cli::config
