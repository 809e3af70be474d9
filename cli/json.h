// JSON to be printed. Strings may hold any bytes: what is no UTF-8 comes out as
// U+FFFD, and set_bytes() adds the exact bytes beside it.
//
// Each line for programs is one object that begins with `type`, `time` (when it
// was written, RFC 3339 in UTC) and `v`, the version of its shape; fields are
// only ever added to a version.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repo/entry.h"

namespace cairn::cli {

class Json {
 public:
  static Json object();
  static Json array();

  // An object with `type`, `time` and `v`.
  static Json line(std::string_view type, const repo::Timestamp& now);

  Json(Json&&) noexcept;
  Json& operator=(Json&&) noexcept;
  ~Json();

  // Fields of an object, in the order in which they were set.
  Json& set(std::string_view key, std::string_view value);
  Json& set(std::string_view key, const char* value) {
    return set(key, std::string_view(value));
  }
  Json& set(std::string_view key, const std::string& value) {
    return set(key, std::string_view(value));
  }
  Json& set(std::string_view key, const repo::Timestamp& value);
  Json& set(std::string_view key, double value);
  Json& set(std::string_view key, Json value);
  Json& set(std::string_view key, std::nullptr_t);
  Json& set(std::string_view key, std::same_as<bool> auto value) {
    return set_bool(key, value);
  }
  Json& set(std::string_view key, std::unsigned_integral auto value) requires(
      !std::same_as<decltype(value), bool>) {
    return set_uint(key, value);
  }
  Json& set(std::string_view key, std::signed_integral auto value) {
    return set_int(key, value);
  }

  // `key`, and `key`_b64 when the bytes are not UTF-8.
  Json& set_bytes(std::string_view key, std::string_view bytes);

  // An array of strings; and, when any of them is not UTF-8, `key`_b64, an
  // array of all of them in the same order.
  Json& set_bytes(std::string_view key, const std::vector<std::string>& texts);

  // Elements of an array.
  Json& add(Json value);
  Json& add(std::string_view value);

  // Without spaces or line ends.
  [[nodiscard]] std::string text() const;

 private:
  struct Value;
  explicit Json(std::unique_ptr<Value> value);
  Json& set_bool(std::string_view key, bool value);
  Json& set_uint(std::string_view key, std::uint64_t value);
  Json& set_int(std::string_view key, std::int64_t value);

  std::unique_ptr<Value> value_;
};

}  // namespace cairn::cli
