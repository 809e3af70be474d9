// The one door through which the system's errno enters our errors.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include "repo/error.h"

namespace cairn::ingest {

[[nodiscard]] inline std::string words_of(int error) {
  return std::generic_category().message(error);
}

// "path: doing: No space left on device"
[[noreturn]] inline void throw_io_error(std::string_view path,
                                        std::string_view doing, int error) {
  const std::string message =
      std::string(path) + ": " + std::string(doing) + ": " + words_of(error);
  if (error == ENOSPC || error == EDQUOT) throw repo::OutOfSpace(message);
  throw repo::IoError(message);
}

// Calls again what a signal interrupted.
template <typename Call>
[[nodiscard]] auto uninterrupted(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

}  // namespace cairn::ingest
