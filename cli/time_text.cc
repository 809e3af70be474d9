#include "cli/time_text.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "cli/quantity.h"
#include "repo/calendar.h"

namespace cairn::cli {
namespace {

constexpr std::int64_t kMinute = 60;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kDay = 24 * kHour;
constexpr std::uint32_t kLastNanosecond = 999'999'999;

// Beyond these the year has more than four digits, and not every libc agrees.
constexpr std::int64_t kFirstSecond = -62'167'219'200;  // 0000-01-01
constexpr std::int64_t kLastSecond = 253'402'300'799;   // 9999-12-31

std::int64_t shown_second(const repo::Timestamp& time) {
  return std::clamp(time.seconds, kFirstSecond, kLastSecond);
}

// Reads from the front of a text; once something did not fit, nothing does.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  // Exactly `digits` of them, within [low, high].
  int number(std::size_t digits, int low, int high) {
    int value = 0;
    if (position_ + digits > text_.size()) return fail();
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = text_[position_ + i];
      if (c < '0' || c > '9') return fail();
      value = value * 10 + (c - '0');
    }
    if (value < low || value > high) return fail();
    position_ += digits;
    return value;
  }

  bool take(char c) {
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  void require(char c) {
    if (!take(c)) (void)fail();
  }

  // True if digit, digit and then no third one come next, after `c`.
  [[nodiscard]] bool sees_two_digits_after(char c) const {
    const auto digit = [&](std::size_t at) {
      return at < text_.size() && text_[at] >= '0' && text_[at] <= '9';
    };
    return position_ < text_.size() && text_[position_] == c &&
           digit(position_ + 1) && digit(position_ + 2) &&
           !digit(position_ + 3);
  }

  // True if "+" or "-" and a digit come next, after `c`.
  [[nodiscard]] bool sees_offset_after(char c) const {
    const std::string_view rest = text_.substr(position_);
    return rest.size() > 2 && rest[0] == c &&
           (rest[1] == '+' || rest[1] == '-') && rest[2] >= '0' &&
           rest[2] <= '9';
  }

  // Up to nine digits, as nanoseconds.
  std::uint32_t fraction() {
    std::uint32_t value = 0;
    std::uint32_t unit = 100'000'000;
    const std::size_t begin = position_;
    while (position_ < text_.size() && text_[position_] >= '0' &&
           text_[position_] <= '9') {
      value += static_cast<std::uint32_t>(text_[position_++] - '0') * unit;
      unit /= 10;
    }
    if (position_ == begin) (void)fail();
    return value;
  }

  int fail() {
    has_failed_ = true;
    return 0;
  }
  [[nodiscard]] bool has_failed() const { return has_failed_; }
  [[nodiscard]] std::size_t position() const { return position_; }

 private:
  std::string_view text_;
  std::size_t position_ = 0;
  bool has_failed_ = false;
};

// Nothing: there is no such day.
std::optional<std::int64_t> seconds_of(tm fields, Zone zone) {
  const int day = fields.tm_mday;
  const int month = fields.tm_mon;
  fields.tm_isdst = -1;
  const time_t seconds =
      zone == Zone::local ? ::mktime(&fields) : ::timegm(&fields);
  if (fields.tm_mday != day || fields.tm_mon != month) return std::nullopt;
  return seconds;
}

tm date_fields(Scanner& in) {
  tm fields{};
  fields.tm_year = in.number(4, 1, 9999) - 1900;
  in.require('-');
  fields.tm_mon = in.number(2, 1, 12) - 1;
  in.require('-');
  fields.tm_mday = in.number(2, 1, 31);
  return fields;
}

}  // namespace

repo::Timestamp clock_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<std::uint32_t>(now.tv_nsec)};
}

service::Moment moment_of(const repo::Timestamp& time) {
  return service::Moment(std::chrono::seconds(time.seconds));
}

repo::Timestamp timestamp_of(service::Moment moment) {
  return {moment.time_since_epoch().count(), 0};
}

std::string rfc3339(const repo::Timestamp& time) {
  const time_t seconds = shown_second(time);
  tm fields{};
  ::gmtime_r(&seconds, &fields);
  std::string text =
      fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", fields.tm_year + 1900,
                  fields.tm_mon + 1, fields.tm_mday, fields.tm_hour,
                  fields.tm_min, fields.tm_sec);
  if (time.nanoseconds != 0) text += fmt::format(".{:09}", time.nanoseconds);
  return text + "Z";
}

std::string local_time_text(const repo::Timestamp& time) {
  const time_t seconds = shown_second(time);
  tm fields{};
  ::localtime_r(&seconds, &fields);
  const long minutes = std::abs(fields.tm_gmtoff) / kMinute;
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} {}{:02}:{:02}",
                     fields.tm_year + 1900, fields.tm_mon + 1, fields.tm_mday,
                     fields.tm_hour, fields.tm_min, fields.tm_sec,
                     fields.tm_gmtoff < 0 ? '-' : '+', minutes / 60,
                     minutes % 60);
}

std::string relative_time_text(const repo::Timestamp& time,
                               const repo::Timestamp& now) {
  const std::int64_t difference = shown_second(now) - shown_second(time);
  const auto age = static_cast<std::uint64_t>(std::abs(difference));
  std::string text;
  if (age < kMinute) {
    return difference < -1 ? "in " + counted(age, "second") : "just now";
  }
  if (age < kHour) {
    text = counted(age / kMinute, "minute");
  } else if (age < 2 * kDay) {
    text = counted(age / kHour, "hour");
  } else if (age < 60 * kDay) {
    text = counted(age / kDay, "day");
  } else if (age < 730 * kDay) {
    text = counted(age / (30 * kDay), "month");
  } else {
    text = counted(age / (365 * kDay), "year");
  }
  return difference < 0 ? "in " + text : text + " ago";
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  const auto hours = whole / kHour;
  const auto minutes = whole % kHour / kMinute;
  return hours > 0
             ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % kMinute)
             : fmt::format("{}:{:02}", minutes, whole % kMinute);
}

std::optional<ParsedTime> parse_time_prefix(std::string_view text, Zone zone) {
  Scanner in(text);
  tm fields = date_fields(in);
  if (!in.take('T') && !in.take('t')) in.require(' ');
  fields.tm_hour = in.number(2, 0, 23);
  in.require(':');
  fields.tm_min = in.number(2, 0, 59);
  repo::Timestamp time;
  bool has_fraction = false;
  if (!in.has_failed() && in.sees_two_digits_after(':')) {
    in.require(':');
    fields.tm_sec = in.number(2, 0, 60);
    if (in.take('.')) {
      time.nanoseconds = in.fraction();
      has_fraction = true;
    }
  }
  if (in.sees_offset_after(' ')) in.require(' ');
  std::int64_t offset = 0;
  if (in.take('Z') || in.take('z')) {
    zone = Zone::required;
  } else if (const bool east = in.take('+'); east || in.take('-')) {
    zone = Zone::required;
    offset = in.number(2, 0, 23) * kHour;
    if (in.sees_two_digits_after(':')) {
      in.require(':');
      offset += in.number(2, 0, 59) * kMinute;
    }
    if (!east) offset = -offset;
  } else if (zone == Zone::required) {
    return std::nullopt;
  }
  if (in.has_failed()) return std::nullopt;
  const auto seconds = seconds_of(fields, zone);
  if (!seconds) return std::nullopt;
  time.seconds = *seconds - offset;
  repo::Timestamp end = time;
  if (!has_fraction) end.nanoseconds = kLastNanosecond;
  return ParsedTime{time, end, in.position()};
}

std::optional<repo::Timestamp> parse_time(std::string_view text, Zone zone) {
  const auto parsed = parse_time_prefix(text, zone);
  if (!parsed || parsed->length != text.size()) return std::nullopt;
  return parsed->time;
}

namespace {

// "2026-11-20", and nothing behind it: that day in the local zone, to be
// changed and given to mktime(). Nothing: another text, or no such day.
std::optional<tm> parse_date(std::string_view text) {
  Scanner in(text);
  tm date = date_fields(in);
  if (in.has_failed() || in.position() != text.size() ||
      !seconds_of(date, Zone::local)) {
    return std::nullopt;
  }
  date.tm_isdst = -1;
  return date;
}

enum class Towards { past, future };

repo::Timestamp moved(const repo::Timestamp& now,
                      const repo::CalendarSpan& span, Towards towards) {
  const int sign = towards == Towards::future ? 1 : -1;
  const time_t begin = now.seconds;
  tm fields{};
  ::localtime_r(&begin, &fields);
  fields.tm_year += sign * span.years;
  fields.tm_mon += sign * span.months;
  fields.tm_mday += sign * span.days;
  fields.tm_isdst = -1;
  return {::mktime(&fields) + sign * span.hours * kHour, now.nanoseconds};
}

}  // namespace

std::optional<repo::Timestamp> parse_until(std::string_view text,
                                           const repo::Timestamp& now) {
  if (const auto time = parse_time(text, Zone::local)) return time;
  if (auto next_day = parse_date(text)) {
    ++next_day->tm_mday;
    return repo::Timestamp{::mktime(&*next_day) - 1, 0};
  }
  const auto span = repo::parse_calendar_span(text);
  if (!span) return std::nullopt;
  return moved(now, *span, Towards::future);
}

std::optional<repo::Timestamp> parse_since(std::string_view text,
                                           const repo::Timestamp& now) {
  if (const auto time = parse_time(text, Zone::local)) return time;
  if (auto day = parse_date(text)) {
    return repo::Timestamp{::mktime(&*day), 0};
  }
  const auto span = repo::parse_calendar_span(text);
  if (!span) return std::nullopt;
  return moved(now, *span, Towards::past);
}

}  // namespace cairn::cli
