// The shape that sessions, pins, marks and epochs share: a map, sealed under
// the index key and signed, bound to the name it lies under
// (FORMAT.md, 6.9, 6.10 and 6.15).
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "repo/envelope.h"
#include "repo/keyring.h"
#include "repo/signer.h"

namespace cairn::repo {

// FORMAT.md, section 12.
inline constexpr std::size_t kMaxSealedRecordBytes = std::size_t{64} << 10;

struct SealedRecordKind {
  ObjectType type;
  std::string_view label;                         // of key, seal and signature
  Authority authority;                            // who may sign it
  std::size_t max_bytes = kMaxSealedRecordBytes;  // of the object
};

// `id` are the bytes that name the object. Throws Error when it would be
// larger than a reader takes.
[[nodiscard]] std::vector<std::byte> seal_record(
    const SealedRecordKind& kind, const Keyring& keyring, const Signer& signer,
    std::span<const std::byte> id, std::span<const std::byte> plain);

struct OpenedRecord {
  std::vector<std::byte> plain;
  SignerChain signer;
};

// Throws CorruptionError, also for a signature that does not count.
[[nodiscard]] OpenedRecord open_signed_record(const SealedRecordKind& kind,
                                              const Keyring& keyring,
                                              std::span<const std::byte> id,
                                              std::span<const std::byte> object,
                                              std::string_view name);

// The same for who does not ask who signed it: the plain bytes.
[[nodiscard]] std::vector<std::byte> open_record(
    const SealedRecordKind& kind, const Keyring& keyring,
    std::span<const std::byte> id, std::span<const std::byte> object,
    std::string_view name);

}  // namespace cairn::repo
