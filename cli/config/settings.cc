#include "cli/config/settings.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cctype>
#include <utility>

#include "cli/config/words.h"
#include "cli/nearest.h"
#include "cli/printable.h"
#include "cli/quantity.h"

namespace cairn::cli::config {
namespace {

constexpr std::array<std::string_view, 3> kSecretKinds = {"file", "env",
                                                          "command"};

class Reader {
 public:
  explicit Reader(Mistakes& mistakes) : mistakes_(mistakes) {}

  Setting read_mapping(const YamlNode& node, const Shape& shape,
                       const std::string& path);

 private:
  void complain(const Place& place, const std::string& path, std::string text) {
    mistakes_.push_back({place, path, std::move(text)});
  }

  void refuse_key(const YamlEntry& entry, const Shape& shape,
                  const std::string& path);
  // False: it was complained of.
  bool read_value(const YamlNode& node, const Key& key, const std::string& path,
                  Setting& into);
  bool read_scalar(const YamlNode& node, const Key& key,
                   const std::string& path, Setting& into);
  bool read_list(const YamlNode& node, const Key& key, const std::string& path,
                 Setting& into);
  bool read_secret(const YamlNode& node, const Key& key,
                   const std::string& path, Setting& into);
  bool read_named(const YamlNode& node, const Key& key, const std::string& path,
                  Setting& into);
  bool read_steps(const YamlNode& node, const Key& key, const std::string& path,
                  Setting& into);
  bool read_schedule(const YamlNode& node, const Key& key,
                     const std::string& path, Setting& into);
  const Shape* shape_of(const YamlNode& node, const Place& place,
                        std::span<const Shape> shapes, const std::string& path);
  bool check_item(const YamlNode& item, const Key& key,
                  const std::string& path);

  Mistakes& mistakes_;
};

std::string name_of(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::nothing:
      return "nothing";
    case YamlNode::Kind::scalar:
      return "a word";
    case YamlNode::Kind::sequence:
      return "a list";
    case YamlNode::Kind::mapping:
      return "keys and values";
  }
  return "";
}

// To YAML it is a number, or true or false, which in quotes is another thing:
// to editors that hold the file against the schema, too.
bool is_no_text(std::string_view text, const Key& key) {
  return key.type == Type::version || key.type == Type::flag ||
         (key.type == Type::count && text != "unlimited");
}

Setting Reader::read_mapping(const YamlNode& node, const Shape& shape,
                             const std::string& path) {
  Setting setting;
  setting.shape = &shape;
  setting.origin = Setting::Origin::file;
  setting.place = node.place;
  const auto path_to = [&](std::string_view name) {
    return (path.empty() ? "" : path + ".") + std::string(name);
  };
  if (node.kind != YamlNode::Kind::mapping) {
    complain(
        node.place, path,
        "keys and values are due here (key: value), not " + name_of(node.kind));
    return setting;
  }
  for (const auto& entry : node.entries) {
    const auto known = std::ranges::find(shape.keys, entry.key, &Key::name);
    if (known == shape.keys.end()) refuse_key(entry, shape, path);
  }
  for (const auto& key : shape.keys) {
    const auto entry =
        std::ranges::find(node.entries, key.name, &YamlEntry::key);
    Setting part;
    part.name = key.name;
    part.key = &key;
    if (entry != node.entries.end()) {
      part.origin = Setting::Origin::file;
      part.place = entry->place;
      if (read_value(entry->value, key, path_to(key.name), part)) {
        setting.parts.push_back(std::move(part));
      }
    } else if (key.need == Need::required) {
      complain(node.place, path,
               "'" + std::string(key.name) +
                   "' is missing: " + std::string(key.help));
    } else if (!key.fallback.empty()) {
      part.text = key.fallback;
      setting.parts.push_back(std::move(part));
    }
  }
  return setting;
}

void Reader::refuse_key(const YamlEntry& entry, const Shape& shape,
                        const std::string& path) {
  const auto absent =
      std::ranges::find(shape.absent_keys, entry.key, &Absent::name);
  if (absent != shape.absent_keys.end()) {
    complain(entry.place, path,
             "'" + entry.key + "' is " + std::string(absent->why));
    return;
  }
  if (entry.key == "<<") {
    complain(entry.place, path, "merge keys (<<) are not read; write it out");
    return;
  }
  std::vector<std::string> known;
  for (const auto& key : shape.keys) known.emplace_back(key.name);
  const auto near = nearest(entry.key, known);
  complain(entry.place, path,
           "unknown key " + quoted(entry.key) +
               (near ? "; did you mean '" + *near + "'?"
                     : "; there are " + listed(known)));
}

bool Reader::read_value(const YamlNode& node, const Key& key,
                        const std::string& path, Setting& into) {
  if (node.kind == YamlNode::Kind::nothing) {
    complain(into.place, path, "has no value");
    return false;
  }
  switch (key.type) {
    case Type::texts:
    case Type::paths:
    case Type::arguments:
    case Type::names:
      return read_list(node, key, path, into);
    case Type::text_or_secret:
      if (node.kind == YamlNode::Kind::scalar) {
        return read_scalar(node, key, path, into);
      }
      return read_secret(node, key, path, into);
    case Type::secret:
    case Type::key_file:
      return read_secret(node, key, path, into);
    case Type::mapping: {
      Setting inner = read_mapping(node, key.shapes.front(), path);
      into.shape = inner.shape;
      into.parts = std::move(inner.parts);
      return node.kind == YamlNode::Kind::mapping;
    }
    case Type::named:
      return read_named(node, key, path, into);
    case Type::steps:
      return read_steps(node, key, path, into);
    case Type::schedule:
      return read_schedule(node, key, path, into);
    default:
      return read_scalar(node, key, path, into);
  }
}

bool Reader::read_scalar(const YamlNode& node, const Key& key,
                         const std::string& path, Setting& into) {
  if (node.kind != YamlNode::Kind::scalar) {
    complain(node.place, path,
             "one word is due here, not " + name_of(node.kind));
    return false;
  }
  if (auto wrong = wrong_word(node.text, key); !wrong.empty()) {
    complain(node.place, path, std::move(wrong));
    return false;
  }
  if (node.is_quoted && is_no_text(node.text, key)) {
    complain(
        node.place, path,
        quoted(node.text) + " is text, since it is quoted; write " + node.text);
    return false;
  }
  into.text = node.text;
  return true;
}

bool Reader::check_item(const YamlNode& item, const Key& key,
                        const std::string& path) {
  if (item.kind != YamlNode::Kind::scalar) {
    complain(
        item.place, path,
        "one word is due here, not " + name_of(item.kind) +
            (key.type == Type::arguments && item.kind == YamlNode::Kind::mapping
                 ? "; a word with ': ' in it needs quotes"
                 : ""));
    return false;
  }
  const bool may_be_empty = key.type == Type::arguments;
  auto wrong = wrong_word(item.text, key);
  if (wrong.empty() || (item.text.empty() && may_be_empty)) return true;
  complain(item.place, path, std::move(wrong));
  return false;
}

bool Reader::read_list(const YamlNode& node, const Key& key,
                       const std::string& path, Setting& into) {
  if (node.kind == YamlNode::Kind::scalar) {
    if (key.type == Type::names && node.text == "all") {
      into.text = node.text;
      return true;
    }
    const bool is_program = key.type == Type::arguments;
    complain(node.place, path,
             is_program ? "a list is due here, since no shell reads it: "
                          "[pg_dump, shop]; a shell is [sh, -c, 'a | b']"
             : key.type == Type::names
                 ? "a list is due here, [a, b], or the word all"
                 : "a list is due here: [a, b], or lines that begin with '- '");
    return false;
  }
  if (node.kind != YamlNode::Kind::sequence) {
    complain(node.place, path, "a list is due here, not " + name_of(node.kind));
    return false;
  }
  if (node.items.empty()) {
    complain(node.place, path, "the list is empty");
    return false;
  }
  bool is_right = true;
  for (const auto& item : node.items) {
    if (check_item(item, key, path)) {
      into.texts.push_back(item.text);
    } else {
      is_right = false;
    }
  }
  if (key.type == Type::arguments && !into.texts.empty() &&
      into.texts.front().empty()) {
    complain(node.place, path, "the program has no name");
    is_right = false;
  }
  return is_right;
}

// Nothing of what stands there is repeated: it may be the secret itself.
bool Reader::read_secret(const YamlNode& node, const Key& key,
                         const std::string& path, Setting& into) {
  const bool is_file = key.type == Type::key_file;
  const std::string due =
      is_file ? "write {file: PATH}"
              : "write {file: PATH}, {env: NAME} or {command: COMMAND}";
  if (node.kind != YamlNode::Kind::mapping) {
    complain(
        node.place, path,
        "a secret does not stand in this file, only where it comes from; " +
            due);
    return false;
  }
  const std::vector<std::string> kinds(
      kSecretKinds.begin(),
      is_file ? kSecretKinds.begin() + 1 : kSecretKinds.end());
  bool is_right = true;
  for (const auto& entry : node.entries) {
    if (std::ranges::find(kinds, entry.key) != kinds.end()) continue;
    const auto near = nearest(entry.key, kinds);
    complain(entry.place, path,
             "unknown key " + quoted(entry.key) +
                 (near ? "; did you mean '" + *near + "'?" : "; " + due));
    is_right = false;
  }
  if (!is_right) return false;
  if (node.entries.size() != 1) {
    complain(node.place, path, "one place it comes from is due; " + due);
    return false;
  }
  const auto& [kind, place, value] = node.entries.front();
  if (value.kind != YamlNode::Kind::scalar || value.text.empty()) {
    complain(place, path + "." + kind, "one word is due here");
    return false;
  }
  if (kind == "file" && !value.text.starts_with('/')) {
    complain(value.place, path + "." + kind,
             "the path is not absolute: it has to begin with a slash");
    return false;
  }
  if (kind == "env" && (!is_name(value.text) ||
                        value.text.find_first_of("-.") != std::string::npos)) {
    complain(value.place, path + "." + kind,
             "this is not the name of a variable");
    return false;
  }
  Setting part;
  part.name = kind;
  part.origin = Setting::Origin::file;
  part.place = place;
  part.text = value.text;
  into.parts.push_back(std::move(part));
  return true;
}

const Shape* Reader::shape_of(const YamlNode& node, const Place& place,
                              std::span<const Shape> shapes,
                              const std::string& path) {
  if (shapes.size() == 1) return &shapes.front();
  if (node.kind != YamlNode::Kind::mapping) {
    complain(place, path,
             "keys and values are due here (type: files), not " +
                 name_of(node.kind));
    return nullptr;
  }
  const auto type = std::ranges::find(node.entries, "type", &YamlEntry::key);
  std::vector<std::string> types;
  for (const auto& shape : shapes) types.emplace_back(shape.name);
  if (type == node.entries.end()) {
    complain(place, path, "'type' is missing; there are " + listed(types));
    return nullptr;
  }
  if (type->value.kind != YamlNode::Kind::scalar) {
    complain(type->place, path + ".type",
             "one word is due here, not " + name_of(type->value.kind));
    return nullptr;
  }
  const std::string& text = type->value.text;
  const auto shape = std::ranges::find(shapes, text, &Shape::name);
  if (shape != shapes.end()) return &*shape;
  const auto& absent = shapes.front().absent_types;
  const auto later = std::ranges::find(absent, text, &Absent::name);
  const auto near = nearest(text, types);
  complain(
      type->value.place, path + ".type",
      later != absent.end() ? "'" + text + "' is " + std::string(later->why)
      : near
          ? quoted(text) + " is no type of source; did you mean '" + *near +
                "'?"
          : quoted(text) + " is no type of source; there are " + listed(types));
  return nullptr;
}

bool Reader::read_named(const YamlNode& node, const Key& key,
                        const std::string& path, Setting& into) {
  if (node.kind != YamlNode::Kind::mapping) {
    complain(
        node.place, path,
        "names with keys below them are due here, not " + name_of(node.kind));
    return false;
  }
  if (node.entries.empty()) {
    complain(node.place, path, "there is nothing in it");
    return false;
  }
  for (const auto& [name, place, value] : node.entries) {
    const std::string whole = path + "." + name;
    if (!is_name(name)) {
      complain(place, path,
               quoted(name) +
                   " is no name: letters, digits, '_', '-' and '.', at most "
                   "64 of them");
      continue;
    }
    if (value.kind == YamlNode::Kind::nothing) {
      complain(place, whole, "has no value");
      continue;
    }
    const Shape* const shape = shape_of(value, place, key.shapes, whole);
    if (shape == nullptr) {
      // Known by its name, so that whoever uses it earns no second complaint.
      Setting broken;
      broken.name = name;
      broken.origin = Setting::Origin::file;
      broken.place = place;
      into.parts.push_back(std::move(broken));
      continue;
    }
    Setting one = read_mapping(value, *shape, whole);
    one.name = name;
    one.place = place;
    into.parts.push_back(std::move(one));
  }
  return true;
}

bool Reader::read_steps(const YamlNode& node, const Key& key,
                        const std::string& path, Setting& into) {
  if (node.kind != YamlNode::Kind::sequence) {
    complain(node.place, path,
             "a list is due here: - {run: [PROGRAM, ARGUMENT]}");
    return false;
  }
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    into.parts.push_back(
        read_mapping(node.items[i], key.shapes.front(),
                     path + "[" + std::to_string(i + 1) + "]"));
  }
  return true;
}

// A word alone stands for {cron: WORD}.
bool Reader::read_schedule(const YamlNode& node, const Key& key,
                           const std::string& path, Setting& into) {
  YamlNode whole = node;
  if (node.kind == YamlNode::Kind::scalar) {
    whole = {.kind = YamlNode::Kind::mapping,
             .place = node.place,
             .text = {},
             .items = {},
             .entries = {{"cron", node.place, node}}};
  } else if (node.kind != YamlNode::Kind::mapping) {
    complain(
        node.place, path,
        "a line of cron is due here, '0 2 * * *', or keys and values, not " +
            name_of(node.kind));
    return false;
  }
  Setting inner = read_mapping(whole, key.shapes.front(), path);
  into.shape = inner.shape;
  into.parts = std::move(inner.parts);
  return true;
}

// As a plain scalar of a flow collection, in this grammar.
bool needs_quotes(std::string_view text) {
  constexpr std::string_view kPlain = "_-./@:=+%~";
  if (text.empty() || text.front() == '-' || text.front() == '~' ||
      text.front() == '%' || text.front() == '@' || text.front() == '=' ||
      text.back() == ':' || text == "null") {
    return true;
  }
  return !std::ranges::all_of(text, [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           kPlain.find(c) != std::string_view::npos;
  });
}

std::string scalar_text(std::string_view text) {
  if (!needs_quotes(text)) return std::string(text);
  std::string out = "'";
  for (const char c : printable(text)) {
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

// What follows the host is what many services know their users by.
std::string without_path(std::string_view url) {
  const auto scheme = url.find("://");
  const auto host = scheme == url.npos ? 0 : scheme + 3;
  const auto end = url.find_first_of("/?#\\", host);
  return end == url.npos ? std::string(url)
                         : std::string(url.substr(0, end)) + "/...";
}

}  // namespace

const Setting* Setting::find(std::string_view part) const {
  const auto found = std::ranges::find(parts, part, &Setting::name);
  return found == parts.end() ? nullptr : &*found;
}

std::optional<std::string> Setting::text_of(std::string_view part) const {
  const Setting* const found = find(part);
  return found ? std::optional(found->text) : std::nullopt;
}

std::string Setting::text_or_empty(std::string_view part) const {
  return text_of(part).value_or("");
}

std::vector<std::string> Setting::texts_of(std::string_view part) const {
  const Setting* const found = find(part);
  return found ? found->texts : std::vector<std::string>();
}

bool Setting::is_true(std::string_view part) const {
  return text_or_empty(part) == "true";
}

void Setting::fall_back(std::string_view part, std::string value) {
  if (find(part) != nullptr || shape == nullptr) return;
  const auto known = std::ranges::find(shape->keys, part, &Key::name);
  assert(known != shape->keys.end());
  Setting made;
  made.name = part;
  made.key = &*known;
  made.text = std::move(value);
  // They stay in the grammar's order.
  const auto next = std::ranges::find_if(
      parts, [&](const Setting& other) { return other.key > made.key; });
  parts.insert(next, std::move(made));
}

Setting read_settings(const YamlNode& root, Mistakes& mistakes) {
  return Reader(mistakes).read_mapping(root, grammar(), "");
}

std::chrono::seconds duration_of(const Setting& setting) {
  return parse_duration(setting.text);
}

std::string value_text(const Setting& setting) {
  std::string text;
  if (!setting.texts.empty()) {
    for (const auto& item : setting.texts) {
      text += (text.empty() ? "" : ", ") + scalar_text(item);
    }
    return "[" + text + "]";
  }
  if (!setting.parts.empty()) {
    for (const auto& part : setting.parts) {
      text += (text.empty() ? "" : ", ") + part.name + ": " + value_text(part);
    }
    return "{" + text + "}";
  }
  const bool may_be_secret =
      setting.key != nullptr && setting.key->type == Type::text_or_secret;
  return scalar_text(may_be_secret ? without_path(setting.text) : setting.text);
}

}  // namespace cairn::cli::config
