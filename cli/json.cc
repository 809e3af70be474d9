#include "cli/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cli/printable.h"
#include "cli/time_text.h"

namespace cairn::cli {
namespace {

using Package = nlohmann::ordered_json;

// Of a character of at most three bytes of UTF-8.
std::string escaped(std::string_view character) {
  constexpr std::array kFirstBits = {0x7fU, 0x1fU, 0x0fU};
  std::uint32_t code = static_cast<unsigned char>(character[0]) &
                       kFirstBits.at(character.size() - 1);
  for (const char c : character.substr(1)) {
    code = code << 6 | (static_cast<unsigned char>(c) & 0x3fU);
  }
  return fmt::format("\\u{:04x}", code);
}

// JSON goes to terminals too: what they may obey can stand in strings alone,
// and is spelled \u009b there.
std::string dump(const Package& value) {
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false,
                                      Package::error_handler_t::replace);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = std::string_view(text).substr(at);
    const auto character =
        rest.substr(0, std::max<std::size_t>(1, utf8_length(rest)));
    at += character.size();
    if (is_control(character)) {
      out += escaped(character);
    } else {
      out += character;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      const unsigned char byte =
          i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0;
      group = group << 8 | byte;
    }
    for (std::size_t j = 0; j < 4; ++j) {
      const bool is_padding = i + j > bytes.size();
      out += is_padding ? '=' : kDigits[group >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

}  // namespace

struct Json::Value {
  Package package;
};

Json::Json(std::unique_ptr<Value> value) : value_(std::move(value)) {}
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

Json Json::object() {
  return Json(std::make_unique<Value>(Value{Package::object()}));
}

Json Json::array() {
  return Json(std::make_unique<Value>(Value{Package::array()}));
}

Json Json::line(std::string_view type, const repo::Timestamp& now) {
  Json json = object();
  json.set("type", type).set("time", now).set("v", 1);
  return json;
}

Json& Json::set(std::string_view key, std::string_view value) {
  value_->package[std::string(key)] = value;
  return *this;
}

Json& Json::set(std::string_view key, const repo::Timestamp& value) {
  return set(key, rfc3339(value));
}

Json& Json::set(std::string_view key, double value) {
  value_->package[std::string(key)] = value;
  return *this;
}

Json& Json::set(std::string_view key, Json value) {
  value_->package[std::string(key)] = std::move(value.value_->package);
  return *this;
}

Json& Json::set(std::string_view key, std::nullptr_t) {
  value_->package[std::string(key)] = nullptr;
  return *this;
}

Json& Json::set_bool(std::string_view key, bool value) {
  value_->package[std::string(key)] = value;
  return *this;
}

Json& Json::set_uint(std::string_view key, std::uint64_t value) {
  value_->package[std::string(key)] = value;
  return *this;
}

Json& Json::set_int(std::string_view key, std::int64_t value) {
  value_->package[std::string(key)] = value;
  return *this;
}

Json& Json::set_bytes(std::string_view key, std::string_view bytes) {
  set(key, bytes);
  if (!is_utf8(bytes)) set(std::string(key) + "_b64", base64(bytes));
  return *this;
}

Json& Json::set_bytes(std::string_view key,
                      const std::vector<std::string>& texts) {
  Json plain = array();
  Json exact = array();
  for (const auto& text : texts) {
    plain.add(text);
    exact.add(base64(text));
  }
  set(key, std::move(plain));
  if (!std::ranges::all_of(texts, is_utf8)) {
    set(std::string(key) + "_b64", std::move(exact));
  }
  return *this;
}

Json& Json::add(Json value) {
  value_->package.push_back(std::move(value.value_->package));
  return *this;
}

Json& Json::add(std::string_view value) {
  value_->package.push_back(std::string(value));
  return *this;
}

std::string Json::text() const { return dump(value_->package); }

}  // namespace cairn::cli
