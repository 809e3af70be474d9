// Which paths a backup leaves out: gitignore's rules.
//
// Order matters, the last rule that matches decides, and "!" brings back; but
// nothing below a folder that is left out can be brought back, since it is not
// visited at all. A rule with a slash at its start or middle is anchored to the
// backed-up path it was given for, others match at any depth; a slash at the
// end means folders only; "*" and "?" stop at slashes, "**" does not; "[...]",
// "\x" and trailing spaces as git has them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace cairn::ingest {

enum class PathKind { folder, other };

// Threads        const members from many threads.
class ExcludeRules {
 public:
  // One rule per string, as a line of a .gitignore. Empty lines and comments
  // are passed over. Throws std::invalid_argument, naming the rule, for one
  // that can never match (an unclosed bracket, a lone "!").
  explicit ExcludeRules(std::span<const std::string> rules);
  ~ExcludeRules();
  ExcludeRules(ExcludeRules&&) noexcept;
  ExcludeRules& operator=(ExcludeRules&&) noexcept;

  // `path` is relative to the backed-up path, without a slash at either end.
  // Requires: its parent folders were asked about and are not excluded.
  [[nodiscard]] bool excludes(std::string_view path, PathKind kind) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
