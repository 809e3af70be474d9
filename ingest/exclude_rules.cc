#include "ingest/exclude_rules.h"

#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "ingest/glob.h"

namespace cairn::ingest {
namespace {

enum class Effect { leave_out, bring_back };
enum class Scope { whole_path, last_name };
enum class Kinds { all, folders };

struct Rule {
  Effect effect;
  Scope scope;
  Kinds kinds;
  Glob glob;

  bool matches(std::string_view path, PathKind kind) const {
    if (kinds == Kinds::folders && kind != PathKind::folder) return false;
    if (scope == Scope::last_name) path.remove_prefix(path.rfind('/') + 1);
    return glob.matches(path);
  }
};

// Spaces at the end do not count unless a backslash stands before them; nor
// does the carriage return of a file that was written on another system.
std::string_view without_trailing_spaces(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::size_t keep = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == ' ') continue;
    if (line[i] == '\\' && i + 1 < line.size()) ++i;
    keep = i + 1;
  }
  return line.substr(0, keep);
}

[[noreturn]] void refuse(const std::string& line) {
  throw std::invalid_argument("exclude rule '" + line + "' matches nothing");
}

std::optional<Rule> parse(const std::string& line) {
  std::string_view pattern = line;
  if (pattern.starts_with('#')) return std::nullopt;
  pattern = without_trailing_spaces(pattern);
  if (pattern.empty()) return std::nullopt;

  Effect effect = Effect::leave_out;
  if (pattern.front() == '!') {
    effect = Effect::bring_back;
    pattern.remove_prefix(1);
  }
  Kinds kinds = Kinds::all;
  if (pattern.ends_with('/')) {
    kinds = Kinds::folders;
    pattern.remove_suffix(1);
  }
  const Scope scope = pattern.find('/') == std::string_view::npos
                          ? Scope::last_name
                          : Scope::whole_path;
  if (pattern.starts_with('/')) pattern.remove_prefix(1);
  if (pattern.empty()) refuse(line);
  auto glob = Glob::compile(pattern);
  if (!glob) refuse(line);
  return Rule{effect, scope, kinds, *std::move(glob)};
}

}  // namespace

struct ExcludeRules::State {
  std::vector<Rule> rules;
};

ExcludeRules::ExcludeRules(std::span<const std::string> rules)
    : state_(std::make_unique<State>()) {
  for (const std::string& line : rules) {
    if (auto rule = parse(line)) state_->rules.push_back(*std::move(rule));
  }
}

ExcludeRules::~ExcludeRules() = default;
ExcludeRules::ExcludeRules(ExcludeRules&&) noexcept = default;
ExcludeRules& ExcludeRules::operator=(ExcludeRules&&) noexcept = default;

bool ExcludeRules::excludes(std::string_view path, PathKind kind) const {
  const auto& rules = state_->rules;
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    if (rule->matches(path, kind)) return rule->effect == Effect::leave_out;
  }
  return false;
}

}  // namespace cairn::ingest
