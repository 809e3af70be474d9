// The keys of cairn.yaml: one table, from which files are checked, defaults
// come, and the JSON Schema for editors is made.
#pragma once

#include <span>
#include <string_view>

namespace cairn::cli::config {

enum class Type {
  version,         // 1
  text,            // one word or more; not empty
  any_text,        // may be empty
  path,            // absolute
  word,            // one of Key::words
  count,           // 0 .. 1,000,000, or `unlimited`
  flag,            // true or false
  size,            // 64MiB
  share,           // 80%
  duration,        // 90s
  span,            // 1y6m
  zone,            // Europe/Berlin
  weekday,         // sunday
  cron,            // a line of cron, or hourly, daily, weekly, monthly
  clock,           // 02:00
  texts,           // a list
  paths,           // a list
  arguments,       // a list: a program and its arguments
  names,           // a list, or `all`
  secret,          // {file: F}, {env: N} or {command: C}
  key_file,        // {file: F}
  text_or_secret,  // one word, or a secret
  mapping,         // of the keys of its shape
  named,     // names of the user's choice, each with the keys of its shape
  steps,     // a list of mappings of its shape
  schedule,  // a word of Type::cron, or a mapping of its shape
};

enum class Need { optional, required };

struct Shape;

struct Key {
  std::string_view name;
  Type type = Type::text;
  std::string_view help;  // one sentence, for people at their editor
  Need need = Need::optional;
  std::string_view fallback = {};  // its default as text; empty: none
  std::span<const std::string_view> words = {};
  // Of mappings, named ones and steps. Several: `type` tells which.
  std::span<const Shape> shapes = {};
};

// What users know from elsewhere or from our plans, and this version has not.
// `why` says so, and what to do meanwhile.
struct Absent {
  std::string_view name;
  std::string_view why;
};

struct Shape {
  std::string_view name;  // of a typed one the value of `type`
  std::span<const Key> keys;
  std::span<const Absent> absent_keys = {};
  std::span<const Absent> absent_types = {};  // on the first of several
};

// The whole file.
[[nodiscard]] const Shape& grammar();

}  // namespace cairn::cli::config
