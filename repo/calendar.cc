#include "repo/calendar.h"

#include <date/tz.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace cairn::repo {
namespace {

using std::chrono::seconds;

constexpr date::year kFirstYear{0};
constexpr date::year kLastYear{9999};
constexpr date::sys_seconds kEarliest =
    date::sys_days{kFirstYear / date::January / 1};
constexpr date::sys_seconds kLatest =
    date::sys_days{kLastYear / date::December / 31} + std::chrono::hours(24) -
    seconds(1);

date::sys_seconds within_calendar(const Timestamp& instant) {
  return std::clamp(date::sys_seconds(seconds(instant.seconds)), kEarliest,
                    kLatest);
}

// The instant at which the wall clock shows `local`: with the offset that holds
// at `local` read as UTC, if it also holds at the result; else with the one
// that holds there. In a gap or a repeated hour this chooses as Go's time.Date
// does, and restic with it.
date::sys_seconds instant_of(date::sys_seconds local,
                             const date::time_zone& rules) {
  const date::sys_info guess = rules.get_info(local);
  const date::sys_seconds instant = local - guess.offset;
  if (guess.begin <= instant && instant < guess.end) return instant;
  return local - rules.get_info(instant).offset;
}

const date::time_zone* find_zone(const std::string& iana_name) {
  try {
    return date::locate_zone(iana_name);
  } catch (const std::runtime_error&) {  // all that the library ever says
    return nullptr;
  }
}

// What /usr/share/zoneinfo/Europe/Berlin calls itself: Europe/Berlin. Such
// paths stand in TZ and behind /etc/localtime.
std::string zone_of_path(std::string path) {
  for (const std::string_view root : {"zoneinfo/", "posix/", "right/"}) {
    const std::size_t at = path.rfind(root);
    if (at != std::string::npos) path.erase(0, at + root.size());
  }
  return path;
}

constexpr std::string_view kZoneFiles = "/usr/share/zoneinfo/";

// Nothing: there is no such file.
std::optional<std::string> bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool is_file_of(const std::string& zone, const std::string& bytes) {
  const std::filesystem::path path = std::string(kZoneFiles) + zone;
  std::error_code error;
  return std::filesystem::file_size(path, error) == bytes.size() && !error &&
         bytes_of(path) == bytes;
}

// A link into the database names its zone; of a copy that is found by what is
// in it, and by the name that Debian notes down first.
std::optional<std::string> zone_of_file(const std::string& path) {
  std::error_code none;
  const auto link = std::filesystem::read_symlink(path, none);
  std::string linked = zone_of_path(link.string());
  if (!linked.empty() && find_zone(linked)) return linked;

  const auto bytes = bytes_of(path);
  if (!bytes) return "UTC";  // as the C library has it
  std::ifstream file("/etc/timezone");
  std::string noted;
  std::getline(file >> std::ws, noted);
  if (find_zone(noted) && is_file_of(noted, *bytes)) return noted;
  for (const auto& zone : date::get_tzdb().zones) {
    if (is_file_of(zone.name(), *bytes)) return zone.name();
  }
  return std::nullopt;
}

// Of "MSK-3" or "<+03>-3", an offset for ever: "Etc/GMT-3", whose sign says the
// same. Nothing for what has summers, or minutes.
std::optional<std::string> zone_of_offset(std::string_view text) {
  constexpr std::size_t kLeastName = 3;
  if (text.starts_with('<')) {
    text.remove_prefix(std::min(text.find('>'), text.size() - 1) + 1);
  } else {
    const auto end = std::ranges::find_if_not(text, [](char c) {
      return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z');
    });
    const auto size = static_cast<std::size_t>(end - text.begin());
    if (size < kLeastName) return std::nullopt;
    text.remove_prefix(size);
  }
  const bool is_east = text.starts_with('-');
  if (is_east || text.starts_with('+')) text.remove_prefix(1);
  unsigned hours = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, hours);
  if (error != std::errc() || rest != end) return std::nullopt;
  if (hours == 0) return "UTC";
  std::string name =
      std::string("Etc/GMT") + (is_east ? '-' : '+') + std::to_string(hours);
  if (!find_zone(name)) return std::nullopt;
  return name;
}

}  // namespace

std::optional<Weekday> parse_weekday(std::string_view text) {
  constexpr std::array<std::string_view, 7> kNames{
      "sunday",   "monday", "tuesday", "wednesday",
      "thursday", "friday", "saturday"};
  std::string lower(text);
  for (char& c : lower) {
    if ('A' <= c && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  for (std::size_t day = 0; day < kNames.size(); ++day) {
    if (lower == kNames[day] || lower == kNames[day].substr(0, 3)) {
      return static_cast<Weekday>(day);
    }
  }
  return std::nullopt;
}

bool CalendarSpan::is_zero() const noexcept {
  return years == 0 && months == 0 && days == 0 && hours == 0;
}

std::optional<CalendarSpan> parse_calendar_span(std::string_view text) {
  constexpr std::string_view kUnits = "ymdh";
  constexpr int kMostOfAUnit = 9'999'999;  // a thousand years and more of hours
  std::array<std::optional<int>, kUnits.size()> counts;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const bool is_digit = '0' <= text.front() && text.front() <= '9';
    int count = 0;
    const auto [rest, error] =
        std::from_chars(text.data(), text.data() + text.size(), count);
    if (!is_digit || error != std::errc() || count > kMostOfAUnit) {
      return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    if (text.empty()) return std::nullopt;
    const std::size_t unit = kUnits.find(text.front());
    if (unit == kUnits.npos || counts[unit]) return std::nullopt;
    counts[unit] = count;
    text.remove_prefix(1);
  }
  return CalendarSpan{.years = counts[0].value_or(0),
                      .months = counts[1].value_or(0),
                      .days = counts[2].value_or(0),
                      .hours = counts[3].value_or(0)};
}

std::string to_string(const CalendarSpan& span) {
  std::string text;
  if (span.years != 0) text += std::to_string(span.years) + "y";
  if (span.months != 0) text += std::to_string(span.months) + "m";
  if (span.days != 0) text += std::to_string(span.days) + "d";
  if (span.hours != 0) text += std::to_string(span.hours) + "h";
  return text.empty() ? "0h" : text;
}

TimeZone::TimeZone(const std::string& iana_name)
    : rules_(find_zone(iana_name)) {
  if (!rules_) {
    throw std::invalid_argument("time zone \"" + iana_name +
                                "\": the system knows no such zone");
  }
}

LocalTime TimeZone::local_time(const Timestamp& instant) const {
  const date::sys_seconds time = within_calendar(instant);
  const date::sys_seconds local = time + rules_->get_info(time).offset;
  const date::sys_days day = date::floor<date::days>(local);
  const date::year_month_day ymd{day};
  const date::weekday weekday{day};

  const date::sys_days thursday =
      day + date::days(4 - static_cast<int>(weekday.iso_encoding()));
  const date::year week_year = date::year_month_day{thursday}.year();
  const auto days_into_year =
      (thursday - date::sys_days{week_year / date::January / 1}).count();

  return LocalTime{
      .year = static_cast<int>(ymd.year()),
      .month = static_cast<unsigned>(ymd.month()),
      .day = static_cast<unsigned>(ymd.day()),
      .hour = static_cast<unsigned>(
          std::chrono::duration_cast<std::chrono::hours>(local - day).count()),
      .weekday = static_cast<Weekday>(weekday.c_encoding()),
      .week_year = static_cast<int>(week_year),
      .week = static_cast<unsigned>(days_into_year / 7 + 1),
  };
}

Timestamp TimeZone::before(const Timestamp& instant,
                           const CalendarSpan& span) const {
  assert(span.years >= 0 && span.months >= 0 && span.days >= 0 &&
         span.hours >= 0);
  const date::sys_seconds time = within_calendar(instant);
  const date::sys_seconds local = time + rules_->get_info(time).offset;
  const date::sys_days day = date::floor<date::days>(local);
  const date::year_month_day ymd{day};

  // Months since the year 0, then the day of the month as a distance from its
  // first: so a day too many runs over by itself.
  const std::int64_t month =
      12 * (std::int64_t{static_cast<int>(ymd.year())} - span.years) +
      static_cast<int>(static_cast<unsigned>(ymd.month())) - 1 - span.months;
  if (month < 0) return Timestamp{kEarliest.time_since_epoch().count(), 0};
  const date::sys_days first_of_month =
      date::year(static_cast<int>(month / 12)) /
      date::month(static_cast<unsigned>(month % 12 + 1)) / 1;
  const seconds into_month =
      date::days(static_cast<int>(static_cast<unsigned>(ymd.day())) - 1) +
      (local - day);
  const date::sys_seconds moved =
      date::sys_seconds(first_of_month) + into_month - date::days(span.days);

  const date::sys_seconds result =
      instant_of(moved, *rules_) - std::chrono::hours(span.hours);
  return Timestamp{result.time_since_epoch().count(), instant.nanoseconds};
}

std::optional<std::string> local_time_zone(
    const std::optional<std::string>& variable) {
  if (!variable) return zone_of_file("/etc/localtime");
  std::string name = *variable;
  if (name.starts_with(':')) name.erase(0, 1);
  if (name.empty()) return "UTC";
  std::string zone = zone_of_path(name);
  if (find_zone(zone)) return zone;
  return name.starts_with('/') ? zone_of_file(name) : zone_of_offset(name);
}

}  // namespace cairn::repo
