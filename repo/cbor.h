// Deterministic CBOR, the part of it that FORMAT.md section 4 allows: one
// spelling for every value, so that what decodes encodes back to the very same
// bytes.
//
// Written here and not taken from a library because the libraries of the field
// accept every spelling and build trees of whatever size the input claims; what
// we need is a cursor that refuses.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::repo {

// Appends values to a growing buffer. Arrays and maps are opened with the
// number of items (of pairs) that the caller then writes; map keys are written
// with key() and ascend.
//
// Threads        one thread at a time.
class CborWriter {
 public:
  CborWriter& uint(std::uint64_t value);
  CborWriter& sint(std::int64_t value);
  CborWriter& bytes(std::span<const std::byte> value);
  CborWriter& bytes(std::string_view value);  // as a byte string
  CborWriter& text(std::string_view value);   // requires valid UTF-8
  CborWriter& boolean(bool value);
  CborWriter& null();
  CborWriter& array(std::size_t items);
  CborWriter& map(std::size_t pairs);
  CborWriter& key(std::uint64_t key) { return uint(key); }

  // An already encoded value.
  CborWriter& raw(std::span<const std::byte> encoded);

  void reserve(std::size_t bytes) { out_.reserve(bytes); }
  [[nodiscard]] std::size_t size() const noexcept { return out_.size(); }
  [[nodiscard]] const std::vector<std::byte>& view() const noexcept {
    return out_;
  }
  [[nodiscard]] std::vector<std::byte> take() && { return std::move(out_); }

 private:
  void head(unsigned major, std::uint64_t argument);
  std::vector<std::byte> out_;
};

// Reads values in order from bytes that may be hostile. Every member throws
// CorruptionError, naming `what`, when the next value is of another type, in
// another than the shortest spelling, or cut off. Views returned point into the
// bytes given.
//
// Threads        one thread at a time.
class CborReader {
 public:
  // `what` is for messages: "snapshot 3f9a12c4". Both are borrowed.
  CborReader(std::span<const std::byte> bytes, std::string_view what);

  [[nodiscard]] std::uint64_t uint(std::uint64_t max = ~std::uint64_t{0});
  [[nodiscard]] std::int64_t sint();
  [[nodiscard]] std::span<const std::byte> bytes(std::size_t max);
  [[nodiscard]] std::string_view byte_text(std::size_t max);
  [[nodiscard]] std::string_view text(std::size_t max);
  [[nodiscard]] bool boolean();

  // True, and the null is consumed, if that is what comes next.
  [[nodiscard]] bool skip_null();

  // A byte string of exactly kSize bytes.
  template <std::size_t kSize>
  [[nodiscard]] std::array<std::byte, kSize> fixed() {
    const auto view = bytes(kSize);
    if (view.size() != kSize) fail("a byte string of another length");
    std::array<std::byte, kSize> out;
    std::copy(view.begin(), view.end(), out.begin());
    return out;
  }

  // How many items (pairs) follow. Never more than bytes are left, so that a
  // claimed count cannot make the caller allocate.
  [[nodiscard]] std::size_t array(std::size_t max);
  void array_of(std::size_t items);

  // Goes through a map: `while (auto key = map.next()) switch (*key)`, where
  // each case reads the value and the default calls unknown_key().
  class Map {
   public:
    [[nodiscard]] std::optional<std::uint64_t> next();

   private:
    friend class CborReader;
    Map(CborReader& reader, std::size_t pairs)
        : reader_(reader), left_(pairs) {}
    CborReader& reader_;
    std::size_t left_;
    std::optional<std::uint64_t> last_;
  };
  [[nodiscard]] Map map();

  // For a key the caller does not know: passes over its value when the key is
  // ignorable, refuses with UnsupportedFormat when it is critical. `around` is
  // how many arrays and maps its value lies in, the map itself included.
  void unknown_key(std::uint64_t key, int around = 1);

  // Passes over one value, whatever it is, and answers its bytes.
  std::span<const std::byte> skip();

  // Requires that nothing is left.
  void end() const;

  [[nodiscard]] std::size_t left() const noexcept {
    return bytes_.size() - at_;
  }

  [[noreturn]] void fail(std::string_view why) const;

 private:
  struct Head {
    unsigned major;
    std::uint64_t argument;
  };
  Head head();
  std::uint64_t expect(unsigned major, std::string_view name);
  void skip_inside(int around);

  std::span<const std::byte> bytes_;
  std::string_view what_;
  std::size_t at_ = 0;
};

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

// The text itself if it is UTF-8, else with every byte above 0x7f replaced by
// "?"; for messages, which may quote a path of any bytes.
[[nodiscard]] std::string as_utf8(std::string_view text);

}  // namespace cairn::repo
