// A job as a pair of systemd's units: cairn-JOB.timer says when, and
// cairn-JOB.service what, shut in as far as a backup allows that.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "service/timetable.h"

namespace cairn::service {

struct UnitJob {
  enum class Manager { system, user };

  std::string name;
  std::string configuration;         // the file, absolute
  std::vector<std::string> command;  // the program, absolute, and so on
  Timetable timetable;
  std::chrono::seconds jitter{0};
  bool catches_up = true;
  std::vector<std::pair<std::string, std::string>> environment = {};
  // Folders it writes to, and no others. Nothing: all but the system's own,
  // since nobody knows what its hooks and commands write.
  std::optional<std::vector<std::string>> writable = {};
  Manager manager = Manager::system;
  // What was said at its installation in place of the file's own words.
  std::optional<std::string> frequency = {};
  std::optional<std::string> retention = {};
};

struct Unit {
  std::string file;  // "cairn-nightly.timer"
  std::string text;
};

// The service, and its timer. Throws std::invalid_argument for a program by a
// path that systemd would not run.
[[nodiscard]] std::vector<Unit> units_of(const UnitJob& job);

// What a unit of ours says of itself. Nothing: it is somebody else's.
struct UnitOrigin {
  std::string job;
  std::string configuration;
  std::optional<std::string> frequency;
  std::optional<std::string> retention;
};
[[nodiscard]] std::optional<UnitOrigin> origin_of(std::string_view text);

}  // namespace cairn::service
