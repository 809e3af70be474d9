// How every object begins, and how those end that are not named by their hash
// (FORMAT.md, 6.1 and 6.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cairn::repo {

enum class ObjectType : char {
  config = 'c',
  key_slot = 'k',
  pack = 'p',
  index = 'x',
  snapshot = 's',
  session = 'n',
  mark = 'm',
  epoch = 'e',
  pin = 'i',
  generation = 'g',
  beat = 'b',
};

inline constexpr std::size_t kPrologueBytes = 16;
inline constexpr unsigned kDraft = 3;

struct Prologue {
  ObjectType type;
  std::uint32_t number;  // the generation, or the length of the body

  bool operator==(const Prologue&) const = default;
};

[[nodiscard]] std::array<std::byte, kPrologueBytes> encode(
    const Prologue& prologue);

// Throws CorruptionError, or UnsupportedFormat for another draft or version;
// `name` is the object's, for the message.
[[nodiscard]] Prologue decode_prologue(std::span<const std::byte> bytes,
                                       ObjectType expected,
                                       std::string_view name);

// That the object ends with the SHA-256 of what precedes, as it does in every
// draft and version. Asked before anything is believed that the bytes say, such
// as a newer format. Throws CorruptionError.
void require_own_digest(std::span<const std::byte> object,
                        std::string_view name);

// prologue || body || SHA-256.
[[nodiscard]] std::vector<std::byte> enclose(ObjectType type,
                                             std::span<const std::byte> body);

// The body, as a view into `object`, with everything around it checked.
[[nodiscard]] std::span<const std::byte> disclose(
    std::span<const std::byte> object, ObjectType expected,
    std::string_view name);

}  // namespace cairn::repo
