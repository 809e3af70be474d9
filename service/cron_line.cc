#include "service/cron_line.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace cairn::service {
namespace {

constexpr std::size_t kMostBytes = 512;

constexpr std::array<std::string_view, 12> kMonths = {
    "jan", "feb", "mar", "apr", "may", "jun",
    "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> kWeekdays = {
    "sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct FieldKind {
  std::string_view name;
  unsigned first = 0;
  unsigned last = 0;
  std::span<const std::string_view> names = {};  // of `first` and what follows
};

constexpr std::array kKinds = {
    FieldKind{"minute", 0, 59}, FieldKind{"hour", 0, 23},
    FieldKind{"day", 1, 31}, FieldKind{"month", 1, 12, kMonths},
    FieldKind{"weekday", 0, 7, kWeekdays}};  // 7 is Sunday, too

constexpr std::pair<std::string_view, std::string_view> kWords[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"},  {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"}};

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) {
    if ('A' <= c && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return made;
}

std::vector<std::string_view> split(std::string_view text,
                                    std::string_view separators) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find_first_of(separators);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string shown(std::string_view text) {
  constexpr std::size_t kMost = 40;
  std::string made = "'";
  for (const char c : text.substr(0, kMost)) {
    made += ' ' <= c && c <= '~' ? c : '?';
  }
  return made + (text.size() > kMost ? "..." : "") + "'";
}

bool is_number(std::string_view text) {
  constexpr std::size_t kMostDigits = 6;
  return !text.empty() && text.size() <= kMostDigits &&
         std::ranges::all_of(text, [](char c) { return '0' <= c && c <= '9'; });
}

unsigned number_of(std::string_view digits) {
  unsigned value = 0;
  for (const char c : digits) value = value * 10 + unsigned(c - '0');
  return value;
}

// One field of a line.
class FieldReader {
 public:
  FieldReader(const FieldKind& kind, std::string_view text)
      : kind_(kind), text_(text) {}

  [[nodiscard]] std::uint64_t read() const {
    std::uint64_t values = 0;
    for (const auto item : split(text_, ",")) values |= read_item(item);
    return values;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw TimetableError(std::string(kind_.name) + " " + shown(text_) + ": " +
                         why);
  }

  [[nodiscard]] std::string bounds() const {
    return std::to_string(kind_.first) + " to " + std::to_string(kind_.last);
  }

  [[nodiscard]] std::uint64_t read_item(std::string_view item) const {
    if (item.empty()) refuse("a list has something before and after each ','");
    const auto parts = split(item, "/");
    if (parts.size() > 2) refuse("one step is enough");
    const bool has_step = parts.size() == 2;
    const auto [first, last] = read_range(parts.front(), has_step);
    const unsigned step = has_step ? read_step(parts.back()) : 1;
    std::uint64_t values = 0;
    for (unsigned value = first; value <= last; value += step) {
      values |= std::uint64_t{1} << value;
    }
    return values;
  }

  [[nodiscard]] unsigned read_step(std::string_view text) const {
    if (!is_number(text)) {
      refuse("a number is due after '/', as in */15, not " + shown(text));
    }
    const unsigned step = number_of(text);
    if (step == 0) refuse("a step of 0 leads nowhere");
    if (step > kind_.last) {
      refuse("the step " + std::to_string(step) + " is more than there are (" +
             bounds() + ")");
    }
    return step;
  }

  [[nodiscard]] std::pair<unsigned, unsigned> read_range(std::string_view text,
                                                         bool has_step) const {
    // Sunday would be there twice.
    const unsigned last_of_all = kind_.last == 7 ? 6 : kind_.last;
    if (text == "*") return {kind_.first, last_of_all};
    const auto ends = split(text, "-");
    if (ends.size() > 2) refuse(shown(text) + " is no range such as 1-5");
    const unsigned first = read_value(ends.front());
    if (ends.size() == 1) {
      if (has_step) {
        refuse("a step follows a range or *; write " + std::string(text) + "-" +
               std::to_string(last_of_all) + "/N");
      }
      return {first, first};
    }
    unsigned last = read_value(ends.back());
    const bool ends_on_sunday = kind_.last == 7 && last == 0 && first > 0;
    if (ends_on_sunday) last = 7;
    if (last < first) {
      refuse(shown(text) + " runs backwards; write " + std::string(ends[0]) +
             "-" + std::to_string(last_of_all) + "," +
             std::to_string(kind_.first) + "-" + std::string(ends[1]));
    }
    return {first, last};
  }

  [[nodiscard]] unsigned read_value(std::string_view text) const {
    if (text.empty()) refuse("a range has two ends, as in 1-5");
    if (is_number(text)) {
      const unsigned value = number_of(text);
      if (kind_.first <= value && value <= kind_.last) return value;
      refuse(std::to_string(value) + " is not within " + bounds() +
             (kind_.name == "hour" && value == 24 ? "; midnight is 0" : ""));
    }
    const auto name = lower(text);
    const auto found = std::ranges::find(kind_.names, name);
    if (found != kind_.names.end()) {
      return kind_.first + unsigned(found - kind_.names.begin());
    }
    refuse_word(name);
  }

  [[noreturn]] void refuse_word(const std::string& word) const {
    if (word.find_first_of("?#lw") != word.npos && word.size() <= 3 &&
        kind_.names.empty()) {
      refuse(shown(word) + " is no number; cron knows no ?, L, W and #");
    }
    if (word.find('*') != word.npos) {
      refuse(shown(word) + " is no number; * stands by itself or before a /");
    }
    if (kind_.names.empty()) {
      refuse(shown(word) + " is no number from " + bounds());
    }
    for (const auto name : kind_.names) {
      if (word.starts_with(name) || name.starts_with(word.substr(0, 2))) {
        refuse(shown(word) + " is no name of cron's; did you mean '" +
               std::string(name) + "'?");
      }
    }
    std::string names;
    for (const auto name : kind_.names) {
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    refuse(shown(word) + " is neither a number from " + bounds() +
           " nor one of " + names);
  }

  const FieldKind& kind_;
  std::string_view text_;
};

bool has(std::uint64_t values, unsigned value) {
  return (values >> value & 1) != 0;
}

// 29 February and a certain day of the week come together in each 28 years, or
// 40 around a century: all that there can be is there in 400.
bool is_ever_due(const CronFields& fields) {
  using namespace std::chrono;
  constexpr sys_days kFirst = 2000y / January / 1;
  constexpr sys_days kEnd = 2400y / January / 1;
  for (sys_days day = kFirst; day < kEnd; day += days(1)) {
    const year_month_day date{day};
    if (!has(fields.months, unsigned(date.month()))) continue;
    const bool is_day = has(fields.days, unsigned(date.day()));
    const bool is_weekday = has(fields.weekdays, weekday(day).c_encoding());
    if (fields.is_either_day ? is_day || is_weekday : is_day && is_weekday) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> fields_of(std::string_view text) {
  std::vector<std::string> fields;
  for (const auto part : split(text, " \t")) {
    if (!part.empty()) fields.push_back(lower(part));
  }
  return fields;
}

void require_five(const std::vector<std::string>& fields) {
  constexpr std::size_t kCount = kKinds.size();
  if (fields.size() == kCount) return;
  std::string why =
      "a line of cron has five fields, minute hour day month "
      "weekday, and not " +
      std::to_string(fields.size());
  if (fields.size() > kCount) {
    why += "; it has no seconds, no year and no command here";
  }
  throw TimetableError(why);
}

}  // namespace

CronLine read_cron_line(std::string_view text) {
  if (text.size() > kMostBytes) {
    throw TimetableError("longer than " + std::to_string(kMostBytes) +
                         " bytes");
  }
  auto parts = fields_of(text);
  if (parts.empty()) throw TimetableError("is empty");
  if (parts.front().starts_with('@')) {
    const auto word = std::ranges::find(
        kWords, std::string_view(parts.front()),
        &std::pair<std::string_view, std::string_view>::first);
    if (word == std::end(kWords) || parts.size() != 1) {
      throw TimetableError(
          shown(text) +
          " is none of @hourly, @daily, @weekly, @monthly and @yearly");
    }
    parts = fields_of(word->second);
  }
  require_five(parts);
  std::array<std::uint64_t, kKinds.size()> values{};
  CronLine line;
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    values[i] = FieldReader(kKinds[i], parts[i]).read();
    line.text += (i == 0 ? "" : " ") + parts[i];
  }
  auto& weekdays = values[4];
  constexpr unsigned kSundayToo = 7;
  if (has(weekdays, kSundayToo)) weekdays |= 1;
  weekdays &= (1U << kSundayToo) - 1;
  line.fields = {.minutes = values[0],
                 .hours = values[1],
                 .days = values[2],
                 .months = values[3],
                 .weekdays = weekdays,
                 .is_either_day =
                     !parts[2].starts_with('*') && !parts[4].starts_with('*')};
  if (!is_ever_due(line.fields)) {
    throw TimetableError(shown(line.text) +
                         " is never due: no year has such a day");
  }
  return line;
}

}  // namespace cairn::service
