#include "repo/cbor.h"

#include <cassert>

#include "repo/error.h"

namespace cairn::repo {
namespace {

enum Major : unsigned {
  unsigned_integer = 0,
  negative_integer = 1,
  byte_string = 2,
  text_string = 3,
  array_head = 4,
  map_head = 5,
  simple = 7,
};

constexpr std::uint64_t kFalse = 20;
constexpr std::uint64_t kTrue = 21;
constexpr std::uint64_t kNull = 22;
constexpr int kMaxDepth = 16;

}  // namespace

void CborWriter::head(unsigned major, std::uint64_t argument) {
  const auto put = [&](unsigned info, int width) {
    out_.push_back(static_cast<std::byte>((major << 5) | info));
    for (int i = width - 1; i >= 0; --i) {
      out_.push_back(static_cast<std::byte>(argument >> (8 * i)));
    }
  };
  if (argument < 24) {
    put(static_cast<unsigned>(argument), 0);
  } else if (argument <= 0xff) {
    put(24, 1);
  } else if (argument <= 0xffff) {
    put(25, 2);
  } else if (argument <= 0xffffffff) {
    put(26, 4);
  } else {
    put(27, 8);
  }
}

CborWriter& CborWriter::uint(std::uint64_t value) {
  head(unsigned_integer, value);
  return *this;
}

CborWriter& CborWriter::sint(std::int64_t value) {
  if (value >= 0) {
    head(unsigned_integer, static_cast<std::uint64_t>(value));
  } else {
    head(negative_integer, ~static_cast<std::uint64_t>(value));
  }
  return *this;
}

CborWriter& CborWriter::bytes(std::span<const std::byte> value) {
  head(byte_string, value.size());
  return raw(value);
}

CborWriter& CborWriter::bytes(std::string_view value) {
  return bytes(std::as_bytes(std::span(value)));
}

CborWriter& CborWriter::text(std::string_view value) {
  assert(is_utf8(value));
  head(text_string, value.size());
  return raw(std::as_bytes(std::span(value)));
}

CborWriter& CborWriter::boolean(bool value) {
  head(simple, value ? kTrue : kFalse);
  return *this;
}

CborWriter& CborWriter::null() {
  head(simple, kNull);
  return *this;
}

CborWriter& CborWriter::array(std::size_t items) {
  head(array_head, items);
  return *this;
}

CborWriter& CborWriter::map(std::size_t pairs) {
  head(map_head, pairs);
  return *this;
}

CborWriter& CborWriter::raw(std::span<const std::byte> encoded) {
  out_.insert(out_.end(), encoded.begin(), encoded.end());
  return *this;
}

CborReader::CborReader(std::span<const std::byte> bytes, std::string_view what)
    : bytes_(bytes), what_(what) {}

void CborReader::fail(std::string_view why) const {
  throw CorruptionError(std::string(what_) + ": " + std::string(why) +
                        " at byte " + std::to_string(at_));
}

CborReader::Head CborReader::head() {
  if (at_ >= bytes_.size()) fail("ends too early");
  const auto first = std::to_integer<unsigned>(bytes_[at_]);
  const unsigned major = first >> 5;
  const unsigned info = first & 31;
  if (info < 24) {
    ++at_;
    return {major, info};
  }
  if (info > 27) fail("an indefinite or reserved length");
  const std::size_t width = std::size_t{1} << (info - 24);
  if (bytes_.size() - at_ - 1 < width) fail("ends too early");
  std::uint64_t argument = 0;
  for (std::size_t i = 0; i < width; ++i) {
    argument =
        argument << 8 | std::to_integer<std::uint64_t>(bytes_[at_ + 1 + i]);
  }
  const bool is_shortest =
      info == 24 ? argument >= 24 : argument >> (4 * width) != 0;
  if (!is_shortest) fail("a number that is not spelled in the shortest way");
  if (major == simple) fail("a float or an unknown simple value");
  at_ += 1 + width;
  return {major, argument};
}

std::uint64_t CborReader::expect(unsigned major, std::string_view name) {
  const std::size_t begin = at_;
  const Head h = head();
  if (h.major != major) {
    at_ = begin;
    fail("expected " + std::string(name));
  }
  return h.argument;
}

std::uint64_t CborReader::uint(std::uint64_t max) {
  const std::uint64_t value = expect(unsigned_integer, "an unsigned integer");
  if (value > max) fail("a number above its limit");
  return value;
}

std::int64_t CborReader::sint() {
  const Head h = head();
  if (h.major != unsigned_integer && h.major != negative_integer) {
    fail("expected an integer");
  }
  if (h.argument >> 63 != 0) fail("an integer of more than 64 bits");
  const auto value = static_cast<std::int64_t>(h.argument);
  return h.major == unsigned_integer ? value : -1 - value;
}

std::span<const std::byte> CborReader::bytes(std::size_t max) {
  const std::uint64_t size = expect(byte_string, "a byte string");
  if (size > left()) fail("a byte string that is cut off");
  if (size > max) fail("a byte string above its limit");
  const auto view = bytes_.subspan(at_, static_cast<std::size_t>(size));
  at_ += view.size();
  return view;
}

std::string_view CborReader::byte_text(std::size_t max) {
  const auto view = bytes(max);
  return {reinterpret_cast<const char*>(view.data()), view.size()};
}

std::string_view CborReader::text(std::size_t max) {
  const std::uint64_t size = expect(text_string, "a text string");
  if (size > left()) fail("a text string that is cut off");
  if (size > max) fail("a text string above its limit");
  const std::string_view view(
      reinterpret_cast<const char*>(bytes_.data()) + at_,
      static_cast<std::size_t>(size));
  if (!is_utf8(view)) fail("a text string that is not UTF-8");
  at_ += view.size();
  return view;
}

bool CborReader::boolean() {
  const std::uint64_t value = expect(simple, "a boolean");
  if (value != kFalse && value != kTrue) fail("expected a boolean");
  return value == kTrue;
}

bool CborReader::skip_null() {
  constexpr auto kNullByte = static_cast<std::byte>(simple << 5 | kNull);
  if (at_ >= bytes_.size() || bytes_[at_] != kNullByte) return false;
  ++at_;
  return true;
}

std::size_t CborReader::array(std::size_t max) {
  const std::uint64_t items = expect(array_head, "an array");
  if (items > left()) fail("an array that is cut off");
  if (items > max) fail("an array above its limit");
  return static_cast<std::size_t>(items);
}

void CborReader::array_of(std::size_t items) {
  if (array(items) != items) fail("an array of another length");
}

CborReader::Map CborReader::map() {
  const std::uint64_t pairs = expect(map_head, "a map");
  if (pairs > left() / 2) fail("a map that is cut off");
  return Map(*this, static_cast<std::size_t>(pairs));
}

std::optional<std::uint64_t> CborReader::Map::next() {
  if (left_ == 0) return std::nullopt;
  --left_;
  const std::uint64_t key = reader_.uint();
  if (last_ && key <= *last_) reader_.fail("map keys that do not ascend");
  last_ = key;
  return key;
}

void CborReader::unknown_key(std::uint64_t key, int around) {
  constexpr std::uint64_t kFirstIgnorable = 128;
  if (key >= kFirstIgnorable) {
    skip_inside(around);
    return;
  }
  throw UnsupportedFormat(std::string(what_) + ": field " +
                          std::to_string(key) +
                          " is unknown; a newer cairn wrote this");
}

std::span<const std::byte> CborReader::skip() {
  const std::size_t begin = at_;
  skip_inside(0);
  return bytes_.subspan(begin, at_ - begin);
}

void CborReader::skip_inside(int around) {
  const std::size_t begin = at_;
  const Head h = head();
  const bool nests = h.major == array_head || h.major == map_head;
  if (nests && around >= kMaxDepth) fail("nested too deeply");
  switch (h.major) {
    case unsigned_integer:
      return;
    case negative_integer:
      if (h.argument >> 63 != 0) fail("an integer below -2^63");
      return;
    case byte_string:
      at_ = begin;
      (void)bytes(left());
      return;
    case text_string:
      at_ = begin;
      (void)text(left());
      return;
    case array_head:
      at_ = begin;
      for (std::size_t n = array(left()); n > 0; --n) skip_inside(around + 1);
      return;
    case map_head: {
      at_ = begin;
      Map pairs = map();
      while (pairs.next()) skip_inside(around + 1);
      return;
    }
    case simple:
      if (h.argument < kFalse || h.argument > kNull) {
        fail("an unknown simple value");
      }
      return;
    default:
      fail("a tag");
  }
}

void CborReader::end() const {
  if (left() != 0) fail("bytes after the end");
}

bool is_utf8(std::string_view text) noexcept {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  while (at < end) {
    if (*at < 0x80) {
      ++at;
      continue;
    }
    int more = 0;
    std::uint32_t code = 0;
    std::uint32_t least = 0;
    if ((*at & 0xe0) == 0xc0) {
      more = 1, code = *at & 0x1fU, least = 0x80;
    } else if ((*at & 0xf0) == 0xe0) {
      more = 2, code = *at & 0x0fU, least = 0x800;
    } else if ((*at & 0xf8) == 0xf0) {
      more = 3, code = *at & 0x07U, least = 0x10000;
    } else {
      return false;
    }
    if (end - at <= more) return false;
    for (int i = 1; i <= more; ++i) {
      if ((at[i] & 0xc0) != 0x80) return false;
      code = code << 6 | (at[i] & 0x3fU);
    }
    const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    if (code < least || code > 0x10ffff || is_surrogate) return false;
    at += 1 + more;
  }
  return true;
}

std::string as_utf8(std::string_view text) {
  std::string out(text);
  if (is_utf8(text)) return out;
  for (char& c : out) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return out;
}

}  // namespace cairn::repo
