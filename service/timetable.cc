#include "service/timetable.h"

#include <date/tz.h>

namespace cairn::service {

Timetable::Timetable(std::string_view cron, const std::string& zone)
    : text_(cron), zone_(nullptr) {
  try {
    zone_ = date::locate_zone(zone);
  } catch (const std::runtime_error&) {  // all that the library ever says
    throw TimetableError("time zone \"" + zone +
                         "\": the system knows no such zone");
  }
}

}  // namespace cairn::service
