// A line of cron, read.
#pragma once

#include <string>
#include <string_view>

#include "service/timetable.h"

namespace cairn::service {

struct CronLine {
  CronFields fields;
  std::string text;  // five fields, a space between them
};

// Throws TimetableError for what is no line, and for one that is never due.
[[nodiscard]] CronLine read_cron_line(std::string_view text);

}  // namespace cairn::service
