// A configuration file held against the grammar: every value that counts, with
// where it comes from.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/config/grammar.h"
#include "cli/config/mistakes.h"
#include "cli/config/yaml_document.h"

namespace cairn::cli::config {

struct Setting {
  enum class Origin { file, fallback, environment, flag };

  std::string name;          // "nightly", "sources"; empty: an item of a list
  const Key* key = nullptr;  // nothing: one of a named mapping, or an item
  const Shape* shape = nullptr;  // of what is a mapping
  Origin origin = Origin::fallback;
  Place place = {};                     // where its name, or item, stands
  std::string source = {};              // "CAIRN_REPO" of the environment
  std::string text = {};                // of a scalar, as it was written
  std::vector<std::string> texts = {};  // of a list of scalars
  std::vector<Setting> parts = {};      // of a mapping, in the grammar's order

  // Nothing: it is not set, and has no default.
  [[nodiscard]] const Setting* find(std::string_view part) const;

  // Of one of its parts. Nothing, or none: that part is not set.
  [[nodiscard]] std::optional<std::string> text_of(std::string_view part) const;
  [[nodiscard]] std::string text_or_empty(std::string_view part) const;
  [[nodiscard]] std::vector<std::string> texts_of(std::string_view part) const;
  [[nodiscard]] bool is_true(std::string_view part) const;

  // Gives a part that is not set the value that the machine, or the rest of the
  // file, has for it.
  void fall_back(std::string_view part, std::string value);
};

// What is right of the file, complete with the grammar's own defaults; what is
// wrong goes to `mistakes`, and is left out.
[[nodiscard]] Setting read_settings(const YamlNode& root, Mistakes& mistakes);

// Of a value of Type::duration, which has been read_settings().
[[nodiscard]] std::chrono::seconds duration_of(const Setting& setting);

// "{file: /etc/cairn/repo.key}"; "[pg_dump, shop]"; text is quoted where YAML
// would not take it as it is. For secrets, where they come from; of a URL that
// may be one, the host alone: "https://hooks.example.org/...".
[[nodiscard]] std::string value_text(const Setting& setting);

}  // namespace cairn::cli::config
