// Any bytes are a line of cron or are refused as none: one that is taken reads
// the same when it is read again, and is due again after any moment. Any bytes
// are a crontab: a job of ours is found again in it, and once it is taken out,
// nothing else has changed.
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "repo/error.h"
#include "service/cron_line.h"
#include "service/crontab.h"
#include "service/systemd_units.h"

namespace {

using namespace cairn::service;

void read_as_line(const std::string& text) {
  try {
    const auto line = read_cron_line(text);
    if (read_cron_line(line.text).fields != line.fields) std::abort();
    const Timetable table(text, "Europe/Berlin");
    const Moment some{std::chrono::seconds(1'774'742'400)};  // a change is near
    const auto next = table.next_after(some);
    if (next <= some || table.last_until(next) != next) std::abort();
  } catch (const TimetableError&) {
  }
}

void read_as_crontab(const std::string& text) {
  const std::string file = "/etc/cairn/cairn.yaml";
  try {
    const auto others = with_jobs(text, file, {});
    const CrontabJob job{
        "nightly", "# job nightly: daily\n0 * * * * x\n", {}, {}};
    const auto with = with_jobs(others, file, {job});
    const auto found = jobs_in_crontab(with, file);
    const auto again = with_jobs(with, file, {});
    const bool is_alike = again == others || again == others + "\n";
    // A second block, which only a person can have written, is his.
    const bool has_another =
        others.find("# BEGIN cairn " + file + "\n") != others.npos;
    if (!has_another && (found.size() != 1 || !is_alike)) std::abort();
  } catch (const std::invalid_argument&) {
  } catch (const cairn::repo::RefusedForSafety&) {  // of others, in our block
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  constexpr std::size_t kMostBytes = 4096;
  if (size > kMostBytes) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  read_as_line(text);
  read_as_crontab(text);
  (void)origin_of(text);
  return 0;
}
