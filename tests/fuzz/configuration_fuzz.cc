// Any bytes at all are a configuration or have mistakes, each of which stands
// somewhere in them.
#include <algorithm>
#include <string_view>

#include "cli/config/configuration.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn::cli::config;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Mistakes mistakes;
  const auto made =
      read_configuration(text, "fuzzed.yaml", {"vm", "UTC"}, mistakes);
  cairn::fuzzing::require(made.has_value() == mistakes.empty());
  const auto lines = static_cast<unsigned>(std::ranges::count(text, '\n')) + 1;
  for (const auto& mistake : mistakes) {
    cairn::fuzzing::require(mistake.place.line <= lines);
  }
  return 0;
}
