#include "repo/envelope.h"

#include <algorithm>
#include <string>

#include "crypto/digest.h"
#include "repo/error.h"
#include "repo/wire.h"

namespace cairn::repo {
namespace {

constexpr std::array<unsigned char, 8> kMagic = {0x89, 'c', 'a',  'i',
                                                 'r',  'n', '\r', '\n'};
constexpr unsigned kDraftFlag = 0x80;

}  // namespace

std::array<std::byte, kPrologueBytes> encode(const Prologue& prologue) {
  std::array<std::byte, kPrologueBytes> out{};
  std::ranges::transform(kMagic, out.begin(),
                         [](unsigned char c) { return std::byte{c}; });
  out[8] = static_cast<std::byte>(prologue.type);
  out[9] = static_cast<std::byte>(kDraftFlag | kDraft);
  wire::put_u32(std::span(out).subspan<12, 4>(), prologue.number);
  return out;
}

Prologue decode_prologue(std::span<const std::byte> bytes, ObjectType expected,
                         std::string_view name) {
  const std::string object(name);
  if (bytes.size() < kPrologueBytes) {
    throw CorruptionError(object + ": too short to be a cairn object");
  }
  const bool has_magic = std::equal(
      kMagic.begin(), kMagic.end(), bytes.begin(),
      [](unsigned char c, std::byte b) { return std::byte{c} == b; });
  if (!has_magic) throw CorruptionError(object + ": not a cairn object");
  const auto format = std::to_integer<unsigned>(bytes[9]);
  if (format != (kDraftFlag | kDraft)) {
    const std::string version =
        (format & kDraftFlag) != 0
            ? "draft " + std::to_string(format & ~kDraftFlag)
            : "version " + std::to_string(format);
    throw UnsupportedFormat(object + ": written in format " + version +
                            "; this cairn reads draft " +
                            std::to_string(kDraft) +
                            " only: read it with the cairn that wrote it");
  }
  if (bytes[8] != static_cast<std::byte>(expected)) {
    throw CorruptionError(object + ": an object of another type");
  }
  if (bytes[10] != std::byte{0} || bytes[11] != std::byte{0}) {
    throw CorruptionError(object + ": reserved bytes are not zero");
  }
  return {expected, wire::get_u32(bytes.subspan<12, 4>())};
}

void require_own_digest(std::span<const std::byte> object,
                        std::string_view name) {
  if (object.size() < kPrologueBytes + crypto::kDigestBytes) {
    throw CorruptionError(std::string(name) +
                          ": too short to be a cairn object");
  }
  const auto rest = object.first(object.size() - crypto::kDigestBytes);
  if (!std::ranges::equal(crypto::sha256(rest),
                          object.last<crypto::kDigestBytes>())) {
    throw CorruptionError(std::string(name) +
                          ": its SHA-256 is not that of its bytes");
  }
}

std::vector<std::byte> enclose(ObjectType type,
                               std::span<const std::byte> body) {
  const auto prologue =
      encode(Prologue{type, static_cast<std::uint32_t>(body.size())});
  std::vector<std::byte> out;
  out.reserve(prologue.size() + body.size() + crypto::kDigestBytes);
  out.insert(out.end(), prologue.begin(), prologue.end());
  out.insert(out.end(), body.begin(), body.end());
  const crypto::Digest digest = crypto::sha256(out);
  out.insert(out.end(), digest.begin(), digest.end());
  return out;
}

std::span<const std::byte> disclose(std::span<const std::byte> object,
                                    ObjectType expected,
                                    std::string_view name) {
  const Prologue prologue = decode_prologue(object, expected, name);
  if (object.size() !=
      kPrologueBytes + std::size_t{prologue.number} + crypto::kDigestBytes) {
    throw CorruptionError(std::string(name) + ": has the wrong length");
  }
  require_own_digest(object, name);
  return object.subspan(kPrologueBytes, prologue.number);
}

}  // namespace cairn::repo
