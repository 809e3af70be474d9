#include "cli/config/schema.h"

#include <span>
#include <string_view>

#include "cli/config/grammar.h"

namespace cairn::cli::config {
namespace {

// Written by hand, since all of it is ours and plain: no package, and an order
// that stays.
class Writer {
 public:
  [[nodiscard]] std::string take() && { return std::move(text_) + "\n"; }

  void open(std::string_view bracket) {
    text_ += bracket;
    ++depth_;
    is_first_ = true;
  }
  void close(std::string_view bracket) {
    --depth_;
    if (!is_first_) new_line();
    text_ += bracket;
    is_first_ = false;
  }
  void key(std::string_view name) {
    item();
    string(name);
    text_ += ": ";
  }
  void item() {
    if (!is_first_) text_ += ",";
    new_line();
    is_first_ = false;
  }
  void string(std::string_view value) {
    text_ += '"';
    for (const char c : value) {
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += c;
    }
    text_ += '"';
  }
  void raw(std::string_view value) { text_ += value; }
  void field(std::string_view name, std::string_view value) {
    key(name);
    string(value);
  }

 private:
  void new_line() { text_ += "\n" + std::string(depth_ * 2, ' '); }

  std::string text_;
  std::size_t depth_ = 0;
  bool is_first_ = true;
};

void write_shape(const Shape& shape, std::string_view type, Writer& out);
void write_type(const Key& key, Writer& out);

void write_words(std::span<const std::string_view> words, Writer& out) {
  out.key("enum");
  out.open("[");
  for (const auto word : words) {
    out.item();
    out.string(word);
  }
  out.close("]");
}

void write_text_list(std::string_view pattern, Writer& out) {
  out.field("type", "array");
  out.key("minItems");
  out.raw("1");
  out.key("items");
  out.open("{");
  out.field("type", "string");
  if (!pattern.empty()) out.field("pattern", pattern);
  out.close("}");
}

void write_places(std::span<const std::string_view> kinds, Writer& out) {
  out.field("type", "object");
  out.key("additionalProperties");
  out.raw("false");
  out.key("minProperties");
  out.raw("1");
  out.key("maxProperties");
  out.raw("1");
  out.key("properties");
  out.open("{");
  for (const auto kind : kinds) {
    out.key(kind);
    out.open("{");
    out.field("type", "string");
    if (kind == "file") out.field("pattern", "^/");
    out.close("}");
  }
  out.close("}");
}

// The alternatives of something that is one of several shapes.
void write_shapes(std::span<const Shape> shapes, Writer& out) {
  if (shapes.size() == 1) {
    write_shape(shapes.front(), "", out);
    return;
  }
  out.key("oneOf");
  out.open("[");
  for (const auto& shape : shapes) {
    out.item();
    out.open("{");
    write_shape(shape, shape.name, out);
    out.close("}");
  }
  out.close("]");
}

// A word that YAML may take for a number.
void write_number_or_text(std::string_view pattern, Writer& out) {
  out.field("type", "string");
  out.field("pattern", pattern);
}

void write_type(const Key& key, Writer& out) {
  constexpr std::string_view kAllSecrets[] = {"file", "env", "command"};
  constexpr std::string_view kKeyFile[] = {"file"};
  switch (key.type) {
    case Type::version:
      out.key("const");
      out.raw("1");
      return;
    case Type::text:
      out.field("type", "string");
      out.key("minLength");
      out.raw("1");
      return;
    case Type::any_text:
    case Type::zone:
      out.field("type", "string");
      return;
    case Type::path:
      out.field("type", "string");
      out.field("pattern", "^/");
      return;
    case Type::word:
      write_words(key.words, out);
      return;
    case Type::count:
      out.key("anyOf");
      out.raw(
          R"([{"type": "integer", "minimum": 0, "maximum": 1000000}, {"const": "unlimited"}])");
      return;
    case Type::flag:
      out.field("type", "boolean");
      return;
    case Type::size:
      write_number_or_text("^[0-9]+(\\.[0-9]+)? ?([KMGT](i?B)?|B)$", out);
      return;
    case Type::share:
      write_number_or_text("^[0-9]+(\\.[0-9]+)? ?%$", out);
      return;
    case Type::duration:
      write_number_or_text("^[0-9]+(\\.[0-9]+)? ?[smhdw]$", out);
      return;
    case Type::span:
      write_number_or_text("^([0-9]+[ymdh])+$", out);
      return;
    case Type::cron:
      out.field("type", "string");
      out.field("pattern",
                "^(hourly|daily|weekly|monthly|@[a-z]+|[^ ]+( +[^ ]+){4})$");
      return;
    case Type::clock:
      out.field("type", "string");
      out.field("pattern", "^([01][0-9]|2[0-3]):[0-5][0-9]$");
      return;
    case Type::schedule:
      out.key("anyOf");
      out.open("[");
      out.item();
      out.open("{");
      write_type(key.shapes.front().keys.front(), out);
      out.close("}");
      out.item();
      out.open("{");
      write_shapes(key.shapes, out);
      out.close("}");
      out.close("]");
      return;
    case Type::weekday: {
      out.field("type", "string");
      out.field("pattern",
                "^(sun(day)?|mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|"
                "fri(day)?|sat(urday)?)$");
      return;
    }
    case Type::texts:
      write_text_list("", out);
      return;
    case Type::paths:
      write_text_list("^/", out);
      return;
    case Type::arguments:
      out.field("type", "array");
      out.key("minItems");
      out.raw("1");
      out.key("items");
      out.raw(R"({"type": ["string", "number", "boolean"]})");
      return;
    case Type::names:
      out.key("anyOf");
      out.raw(
          R"([{"const": "all"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}])");
      return;
    case Type::secret:
      write_places(kAllSecrets, out);
      return;
    case Type::key_file:
      write_places(kKeyFile, out);
      return;
    case Type::text_or_secret:
      out.key("anyOf");
      out.open("[");
      out.item();
      out.raw(R"({"type": "string", "minLength": 1})");
      out.item();
      out.open("{");
      write_places(kAllSecrets, out);
      out.close("}");
      out.close("]");
      return;
    case Type::mapping:
      write_shapes(key.shapes, out);
      return;
    case Type::named:
      out.field("type", "object");
      out.key("minProperties");
      out.raw("1");
      out.key("propertyNames");
      out.raw(
          R"({"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "maxLength": 64})");
      out.key("additionalProperties");
      out.open("{");
      write_shapes(key.shapes, out);
      out.close("}");
      return;
    case Type::steps:
      out.field("type", "array");
      out.key("items");
      out.open("{");
      write_shapes(key.shapes, out);
      out.close("}");
      return;
  }
}

void write_default(const Key& key, Writer& out) {
  if (key.fallback.empty()) return;
  out.key("default");
  if (key.type == Type::flag) {
    out.raw(key.fallback);
  } else {
    out.string(key.fallback);
  }
}

// The fields of an object's schema, into an object that is open. `type`: what
// the key `type` has to say; empty: there is no such key.
void write_shape(const Shape& shape, std::string_view type, Writer& out) {
  out.field("type", "object");
  out.key("additionalProperties");
  out.raw("false");
  bool requires_any = false;
  for (const auto& key : shape.keys) {
    requires_any = requires_any || key.need == Need::required;
  }
  if (requires_any) {
    out.key("required");
    out.open("[");
    for (const auto& key : shape.keys) {
      if (key.need != Need::required) continue;
      out.item();
      out.string(key.name);
    }
    out.close("]");
  }
  out.key("properties");
  out.open("{");
  for (const auto& key : shape.keys) {
    out.key(key.name);
    out.open("{");
    out.field("description", key.help);
    if (key.name == "type" && !type.empty()) {
      out.field("const", type);
    } else {
      write_type(key, out);
      write_default(key, out);
    }
    out.close("}");
  }
  out.close("}");
}

}  // namespace

std::string json_schema() {
  Writer out;
  out.open("{");
  out.field("$schema", "http://json-schema.org/draft-07/schema#");
  out.field("title", "cairn.yaml");
  out.field("description",
            "What cairn backs up, where to, and what it keeps. Made from the "
            "program's own grammar.");
  write_shape(grammar(), "", out);
  out.close("}");
  return std::move(out).take();
}

}  // namespace cairn::cli::config
