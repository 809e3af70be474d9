#include "repo/patch.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <optional>

namespace cairn::repo {
namespace {

constexpr unsigned kPackedBits = 2;

// A step's first byte has two numbers below this; what is not says so with it.
constexpr std::uint64_t kInVarint = 15;
constexpr unsigned kHalfByte = 4;

constexpr int kLevel = 1;

// FORMAT.md, 6.6.1. No number of a patch needs more.
constexpr std::size_t kMaxVarintBytes = 5;
constexpr std::uint64_t kMoreFollows = 0x80;

void put_varint(std::vector<std::byte>& out, std::uint64_t value) {
  for (; value >= kMoreFollows; value >>= 7) {
    out.push_back(static_cast<std::byte>(value | kMoreFollows));
  }
  out.push_back(static_cast<std::byte>(value));
}

// Small whichever its sign.
std::uint64_t zigzag(std::ptrdiff_t value) {
  const auto doubled = static_cast<std::uint64_t>(value) << 1;
  return value < 0 ? ~doubled : doubled;
}

std::int64_t from_zigzag(std::uint64_t value) {
  const auto half = static_cast<std::int64_t>(value >> 1);
  return (value & 1) == 0 ? half : ~half;
}

// Takes fields off the front of bytes that anybody may have written.
class FieldReader {
 public:
  explicit FieldReader(std::span<const std::byte> bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  [[nodiscard]] bool is_at_end() const { return at_ == end_; }
  [[nodiscard]] std::size_t left() const {
    return static_cast<std::size_t>(end_ - at_);
  }

  // Requires: not at the end.
  std::uint64_t byte() { return std::to_integer<std::uint64_t>(*at_++); }

  // False: it ends early, is too long, or not the shortest that says this.
  bool varint(std::uint64_t& value) {
    value = 0;
    for (std::size_t i = 0; i < kMaxVarintBytes && !is_at_end(); ++i) {
      const std::uint64_t next = byte();
      value |= (next & ~kMoreFollows) << (7 * i);
      if (next < kMoreFollows) return next != 0 || i == 0;
    }
    return false;
  }

  // A number of which `first` stands in the step's first byte.
  bool rest_of(std::uint64_t first, std::uint64_t& value) {
    value = first;
    if (first != kInVarint) return true;
    if (!varint(value)) return false;
    value += kInVarint;
    return true;
  }

  // Requires: count <= left().
  std::span<const std::byte> take(std::size_t count) {
    const std::byte* const begin = at_;
    at_ += count;
    return {begin, count};
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
};

// Writes to the front of what is still to be made.
class Maker {
 public:
  explicit Maker(std::span<std::byte> out) : left_(out) {}

  [[nodiscard]] std::size_t left() const { return left_.size(); }

  // Requires: bytes.size() <= left().
  void add(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    std::memcpy(left_.data(), bytes.data(), bytes.size());
    left_ = left_.subspan(bytes.size());
  }

 private:
  std::span<std::byte> left_;
};

// False: they do not make exactly out.size() bytes.
bool carry_out(std::span<const std::byte> step_bytes,
               std::span<const std::byte> literal_bytes,
               std::span<const std::byte> base, std::span<std::byte> out) {
  FieldReader steps(step_bytes);
  FieldReader literals(literal_bytes);
  Maker maker(out);
  std::int64_t end = 0;  // in the base, of the last copy
  while (!steps.is_at_end()) {
    const std::uint64_t both = steps.byte();
    std::uint64_t literal_count = 0;
    std::uint64_t shift = 0;
    std::uint64_t size = 0;
    if (!steps.rest_of(both >> kHalfByte, literal_count) ||
        !steps.rest_of(both & kInVarint, shift) || !steps.varint(size)) {
      return false;
    }
    if (literal_count > literals.left() || literal_count > maker.left()) {
      return false;
    }
    maker.add(literals.take(literal_count));
    if (size == 0) size = maker.left();
    const std::int64_t from =
        end + static_cast<std::int64_t>(literal_count) + from_zigzag(shift);
    if (from < 0 || static_cast<std::uint64_t>(from) > base.size() ||
        size > base.size() - static_cast<std::uint64_t>(from) ||
        size > maker.left() || size == 0) {
      return false;
    }
    maker.add(base.subspan(static_cast<std::size_t>(from), size));
    end = from + static_cast<std::int64_t>(size);
  }
  if (literals.left() != maker.left()) return false;
  maker.add(literals.take(literals.left()));
  return true;
}

// What a patch may take. What is larger than a small share of the blob zstd
// makes smaller, since more of what is new stands elsewhere in the base; but
// not where the same little changes recur, as they do in pages.
std::size_t max_size(std::size_t plain_size, bool recurring) {
  constexpr std::size_t kShare = 64;
  constexpr std::size_t kShareIfRecurring = 32;
  return plain_size / (recurring ? kShareIfRecurring : kShare);
}

}  // namespace

PatchEncoder::PatchEncoder() : compressor_(kLevel, Compressor::Use::whole) {}

void PatchEncoder::write_steps(std::span<const std::byte> plain,
                               std::span<const Copy> copies) {
  bytes_.clear();
  literals_.clear();
  const auto add_literals = [&](std::size_t begin, std::size_t end) {
    const auto bytes = plain.subspan(begin, end - begin);
    literals_.insert(literals_.end(), bytes.begin(), bytes.end());
  };
  Copy last;
  for (const Copy& copy : copies) {
    const std::size_t done = last.at + last.size;
    add_literals(done, copy.at);
    const std::uint64_t literal_count = copy.at - done;
    const std::uint64_t shift = zigzag(
        static_cast<std::ptrdiff_t>(copy.from) -
        static_cast<std::ptrdiff_t>(last.from + last.size + literal_count));
    bytes_.push_back(
        static_cast<std::byte>(std::min(literal_count, kInVarint) << kHalfByte |
                               std::min(shift, kInVarint)));
    if (literal_count >= kInVarint) {
      put_varint(bytes_, literal_count - kInVarint);
    }
    if (shift >= kInVarint) put_varint(bytes_, shift - kInVarint);
    const bool is_last = copy.at + copy.size == plain.size();
    put_varint(bytes_, is_last ? 0 : copy.size);
    last = copy;
  }
  add_literals(last.at + last.size, plain.size());
}

std::size_t PatchEncoder::encode(std::span<const std::byte> plain,
                                 std::span<const std::byte> base,
                                 std::span<std::byte> out) {
  const auto copies = finder_.find(plain, base);
  if (!copies) return 0;
  write_steps(plain, *copies);
  const std::size_t step_bytes = bytes_.size();
  bytes_.insert(bytes_.end(), literals_.begin(), literals_.end());
  if (bytes_.size() > plain.size()) return 0;

  const std::size_t unpacked_size = bytes_.size();
  const Packed packed = pack(step_bytes, looks_like_text(plain));
  std::vector<std::byte> head;
  put_varint(head, step_bytes << kPackedBits | static_cast<unsigned>(packed));
  const std::size_t size = head.size() + bytes_.size();
  const bool recurring =
      packed == Packed::all && bytes_.size() <= unpacked_size / 8 * 7;
  if (size > std::min(out.size(), max_size(plain.size(), recurring))) return 0;
  std::ranges::copy(bytes_, std::ranges::copy(head, out.begin()).out);
  return size;
}

// Of the steps through text hardly two are alike; through pages they recur.
Packed PatchEncoder::pack(std::size_t step_bytes, bool is_text) {
  // Of fewer bytes zstd saves less than its frame takes.
  constexpr std::size_t kWorthPacking = 48;
  if (literals_.size() < kWorthPacking) return Packed::nothing;
  const std::size_t begin = is_text ? step_bytes : 0;
  const auto input = std::span<const std::byte>(bytes_).subspan(begin);
  frame_.resize(input.size() - 1 + kFrameMagic.size());
  const std::size_t size = compressor_.compress(input, frame_);
  if (size == 0) return Packed::nothing;
  bytes_.resize(begin);
  bytes_.insert(bytes_.end(), frame_.begin() + kFrameMagic.size(),
                frame_.begin() + size);
  return is_text ? Packed::literals : Packed::all;
}

bool PatchDecoder::decode(std::span<const std::byte> patch,
                          std::span<const std::byte> base,
                          std::span<std::byte> out,
                          Decompressor& decompressor) {
  FieldReader in(patch);
  std::uint64_t head = 0;
  if (!in.varint(head)) return false;
  const std::uint64_t step_bytes = head >> kPackedBits;
  const auto packed = static_cast<Packed>(head % (1U << kPackedBits));
  std::span<const std::byte> steps;
  std::span<const std::byte> literals;
  switch (packed) {
    case Packed::nothing:
    case Packed::literals:
      if (step_bytes > in.left()) return false;
      steps = in.take(step_bytes);
      literals = in.take(in.left());
      if (packed == Packed::literals) {
        if (!unpack(literals, out.size(), decompressor)) return false;
        literals = unpacked_;
      }
      break;
    case Packed::all:
      if (!unpack(in.take(in.left()), out.size(), decompressor) ||
          step_bytes > unpacked_.size()) {
        return false;
      }
      steps = std::span<const std::byte>(unpacked_).first(step_bytes);
      literals = std::span<const std::byte>(unpacked_).subspan(step_bytes);
      break;
    default:
      return false;
  }
  return carry_out(steps, literals, base, out);
}

bool PatchDecoder::unpack(std::span<const std::byte> packed,
                          std::size_t max_bytes, Decompressor& decompressor) {
  frame_.resize(kFrameMagic.size() + packed.size());
  std::ranges::copy(packed, std::ranges::copy(kFrameMagic, frame_.begin()).out);
  const auto size = claimed_size(frame_);
  if (!size || *size == 0 || *size > max_bytes) return false;
  unpacked_.resize(*size);
  return decompressor.decompress(frame_, {}, unpacked_);
}

}  // namespace cairn::repo
