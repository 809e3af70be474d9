// What the index cache holds, key by key: how BlobIndex and its importer spell
// it. Nothing but they know these.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/digest.h"
#include "repo/blob.h"
#include "repo/cbor.h"
#include "repo/ids.h"
#include "repo/index_object.h"

namespace cairn::repo {

// One place where a blob lies.
struct BlobCopy {
  std::uint32_t pack = 0;    // number of the pack in this index
  std::uint64_t offset = 0;  // from the start of the pack
  BlobRow row;
  bool is_vouched = false;  // BlobIndex says when
};

struct PackInfo {
  PackId id;
  std::uint64_t size = 0;      // bytes
  crypto::Digest directory{};  // SHA-256 of its encoding
  std::vector<WrappedKey> keys;

  bool operator==(const PackInfo&) const = default;
};

[[nodiscard]] PackInfo info_of(const IndexedPack& pack);

namespace index_cache {

// Keys of the store, by their first letter:
//   b <first 16 bytes of the id>   copies of that blob
//   p <number>                     a pack, as an index object describes it
//   P <pack id>                    its number; several where index objects
//                                  describe it in several ways, of which one is
//                                  true
//   i <index id>                   its assurance, and the numbers of its packs
//   d <pack id>                    its number, as no index object names it: it
//                                  came by its own directory
//   l                              there if a blob was missed that one of
//                                  those has
//   g                              how many packs went since rows were swept
//   n                              the next number
//   e                              the era
// Those with c, f, s, t and w are ingest's.
inline constexpr char kBlob = 'b';
inline constexpr char kPack = 'p';
inline constexpr char kPackNumber = 'P';
inline constexpr char kIndex = 'i';
inline constexpr char kUnindexed = 'd';
inline constexpr std::string_view kIncomplete = "l";
inline constexpr std::string_view kGoneCount = "g";
inline constexpr std::string_view kNextNumber = "n";
inline constexpr std::string_view kEra = "e";

[[nodiscard]] inline std::string_view as_text(
    std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] inline std::span<const std::byte> as_bytes(
    std::string_view text) {
  return std::as_bytes(std::span(text));
}

[[nodiscard]] std::string key_of(char kind, std::span<const std::byte> bytes);
[[nodiscard]] std::string blob_key(const BlobId& id);
[[nodiscard]] std::string pack_key(std::uint32_t number);
[[nodiscard]] std::uint32_t number_in(std::string_view pack_key);

template <typename AnId>
[[nodiscard]] AnId id_in(std::string_view key) {
  AnId id;
  std::ranges::copy(as_bytes(key.substr(1)), id.bytes.begin());
  return id;
}

void write(CborWriter& out, const BlobCopy& copy);
[[nodiscard]] BlobCopy read_copy(CborReader& in);

template <typename Visit>
void for_each_copy(std::string_view value, Visit visit) {
  CborReader in(as_bytes(value), "index cache");
  while (in.left() > 0) visit(read_copy(in));
}

[[nodiscard]] std::string encode(const PackInfo& pack);
[[nodiscard]] PackInfo decode_pack(std::string_view value);

[[nodiscard]] std::string encode_numbers(
    const std::vector<std::uint32_t>& numbers);
[[nodiscard]] std::vector<std::uint32_t> decode_numbers(std::string_view value);

// Of an index object, what it says and for whom.
struct NamedPacks {
  Assurance assurance;
  std::vector<std::uint32_t> numbers;
};
[[nodiscard]] std::string encode(const NamedPacks& named);
[[nodiscard]] NamedPacks decode_named(std::string_view value);

}  // namespace index_cache
}  // namespace cairn::repo
