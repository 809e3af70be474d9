// Any bytes at all are rules or are refused as such, and matching them ends
// soon. A path whose every byte stands behind a backslash in the last rule is
// left out, whatever the rules before it say.
//
// Input: rules, one a line; a NUL; a path.
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/exclude_rules.h"

namespace {

std::string quoted(std::string_view path) {
  std::string rule = "/";
  for (const char c : path) {
    if (c != '/') rule += '\\';
    rule += c;
  }
  return rule;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn::ingest;
  constexpr std::size_t kMostBytes = 4096;
  if (size > kMostBytes) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t nul = input.find('\0');
  const std::string_view path =
      nul == std::string_view::npos ? "" : input.substr(nul + 1);

  std::vector<std::string> rules;
  std::string_view lines = input.substr(0, nul);
  for (;;) {
    const std::size_t end = lines.find('\n');
    const std::string rule(lines.substr(0, end));
    try {
      ExcludeRules only(std::vector{rule});
      (void)only.excludes(path, PathKind::other);
      rules.push_back(rule);
    } catch (const std::invalid_argument&) {
    }
    if (end == std::string_view::npos) break;
    lines.remove_prefix(end + 1);
  }
  // No rule ends with a slash or a carriage return.
  if (path.empty() || path.ends_with('/') || path.ends_with('\r')) return 0;
  rules.push_back(quoted(path));
  const ExcludeRules all(rules);
  if (!all.excludes(path, PathKind::other)) std::abort();
  if (!all.excludes(path, PathKind::folder)) std::abort();
  return 0;
}
