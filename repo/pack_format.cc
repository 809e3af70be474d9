#include "repo/pack_format.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "crypto/random.h"
#include "crypto/seal.h"
#include "repo/error.h"
#include "repo/wire.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kFolder = "packs/";
constexpr std::uint64_t kWrapSealedBox = 1;
constexpr std::size_t kMaxKeys = 100'000;
constexpr std::array<std::byte, 4> kTrailerMark = {
    std::byte{'d'}, std::byte{'i'}, std::byte{'r'}, std::byte{'\n'}};

crypto::Secret directory_key(const crypto::Secret& index_key,
                             const PackHead& head) {
  return crypto::derive(index_key, "cairn directory",
                        std::span(head).subspan<kPrologueBytes>());
}

std::vector<std::byte> directory_data(const PackHead& head,
                                      std::uint64_t directory_offset) {
  std::vector<std::byte> out(head.begin(), head.end());
  out.resize(head.size() + sizeof(std::uint64_t));
  wire::put_u64(std::span(out).last<sizeof(std::uint64_t)>(), directory_offset);
  return out;
}

void write(CborWriter& out, const WrappedKey& key) {
  out.array(4).uint(static_cast<std::uint64_t>(key.key_class));
  out.uint(key.generation).uint(kWrapSealedBox).bytes(key.wrapped);
}

WrappedKey read_wrapped_key(CborReader& in) {
  WrappedKey key;
  in.array_of(4);
  const auto key_class = in.uint();
  if (key_class > static_cast<std::uint64_t>(KeyClass::names)) {
    throw UnsupportedFormat("a key of a class that this cairn does not know");
  }
  key.key_class = static_cast<KeyClass>(key_class);
  key.generation = static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
  if (in.uint() != kWrapSealedBox) {
    throw UnsupportedFormat(
        "a key is wrapped in a way this cairn does not know");
  }
  key.wrapped = in.fixed<crypto::kWrappedBytes>();
  return key;
}

void write(CborWriter& out, const BlobRow& row) {
  out.array(row.base ? 9 : 7);
  out.uint(static_cast<std::uint64_t>(row.kind));
  out.uint(static_cast<std::uint64_t>(row.codec));
  out.bytes(row.id.bytes).uint(row.plain_size).uint(row.stored_size);
  out.uint(row.key).uint(row.counter);
  if (row.base) out.bytes(row.base->bytes).uint(row.depth);
}

BlobRow read_row(CborReader& in, const std::vector<WrappedKey>& keys) {
  const std::size_t fields = in.array(9);
  BlobRow row;
  const auto kind = in.uint();
  const auto codec = in.uint();
  if (kind > static_cast<std::uint64_t>(BlobKind::names) ||
      codec > static_cast<std::uint64_t>(Codec::patch)) {
    throw UnsupportedFormat(
        "a blob of a kind or codec that this cairn does not know");
  }
  row.kind = static_cast<BlobKind>(kind);
  row.codec = static_cast<Codec>(codec);
  row.id.bytes = in.fixed<BlobId::kBytes>();
  row.plain_size = static_cast<std::uint32_t>(in.uint(kMaxBlobBytes));
  row.stored_size =
      static_cast<std::uint32_t>(in.uint(kMaxBlobBytes + crypto::kTagBytes));
  row.key = static_cast<std::uint32_t>(in.uint(kMaxKeys));
  row.counter = in.uint();
  const bool has_base = is_difference(row.codec);
  if (fields != (has_base ? 9U : 7U)) in.fail("a row of another length");
  if (has_base) {
    row.base = BlobId{in.fixed<BlobId::kBytes>()};
    row.depth = static_cast<std::uint32_t>(in.uint(kMaxDepth));
    if (row.depth == 0) in.fail("a difference of depth 0");
  }
  const bool sizes_fit =
      row.plain_size > 0 && row.stored_size > crypto::kTagBytes &&
      row.stored_size <= row.plain_size + crypto::kTagBytes &&
      (row.codec != Codec::raw ||
       row.stored_size == row.plain_size + crypto::kTagBytes);
  if (!sizes_fit) in.fail("sizes that cannot be");
  if (row.key >= keys.size() || keys[row.key].key_class != class_of(row.kind)) {
    in.fail("a key that does not fit");
  }
  return row;
}

}  // namespace

std::string pack_name(const PackId& id) {
  const std::string hex = id.hex();
  return std::string(kFolder) + hex.substr(0, 2) + "/" + hex;
}

std::optional<PackId> parse_pack_name(std::string_view name) {
  if (!name.starts_with(kFolder)) return std::nullopt;
  name.remove_prefix(kFolder.size());
  if (name.size() < 3 || name[2] != '/') return std::nullopt;
  const auto id = PackId::from_hex(name.substr(3));
  if (!id || !name.substr(3).starts_with(name.substr(0, 2))) {
    return std::nullopt;
  }
  return id;
}

std::uint64_t padme(std::uint64_t size) noexcept {
  if (size < 2) return size;
  const auto e = static_cast<unsigned>(std::bit_width(size) - 1);
  const auto s = static_cast<unsigned>(std::bit_width(e));
  const std::uint64_t step_mask = (std::uint64_t{1} << (e - s)) - 1;
  return (size + step_mask) & ~step_mask;
}

PackHead new_pack_head(std::uint32_t generation) {
  PackHead head;
  std::ranges::copy(encode(Prologue{ObjectType::pack, generation}),
                    head.begin());
  crypto::fill_random(std::span(head).subspan<kPrologueBytes>());
  return head;
}

void write(CborWriter& out, const Directory& directory) {
  out.array(2).array(directory.keys.size());
  for (const auto& key : directory.keys) write(out, key);
  out.array(directory.rows.size());
  for (const auto& row : directory.rows) write(out, row);
}

Directory read_directory(CborReader& in) {
  Directory directory;
  in.array_of(2);
  for (auto n = in.array(kMaxKeys); n > 0; --n) {
    directory.keys.push_back(read_wrapped_key(in));
  }
  const std::size_t rows = in.array(kMaxRows);
  directory.rows.reserve(rows);
  for (std::size_t n = 0; n < rows; ++n) {
    directory.rows.push_back(read_row(in, directory.keys));
  }
  return directory;
}

crypto::Digest digest_of(const Directory& directory) {
  CborWriter out;
  write(out, directory);
  return crypto::sha256(out.view());
}

namespace {

// Of a directory of that many bytes of CBOR, with no more padding than it
// needs.
std::size_t sealed_size(std::size_t cbor_size) {
  const std::size_t used =
      sizeof(std::uint32_t) + cbor_size + crypto::kTagBytes;
  return (used + kDirectoryStep - 1) / kDirectoryStep * kDirectoryStep;
}

std::uint64_t end_of_blobs(const Directory& directory) {
  std::uint64_t end = kPackHeadBytes;
  for (const auto& row : directory.rows) end += row.stored_size;
  return end;
}

}  // namespace

Directory read_directory(CborReader& in, std::uint64_t pack_size) {
  const std::size_t before = in.left();
  Directory directory = read_directory(in);
  const std::uint64_t after_blobs =
      sealed_size(before - in.left()) + kTrailerBytes;
  if (end_of_blobs(directory) + after_blobs > pack_size) {
    in.fail("rows that reach past their pack's blobs");
  }
  return directory;
}

std::vector<std::byte> seal_directory(const crypto::Secret& index_key,
                                      const PackHead& head,
                                      std::uint64_t directory_offset,
                                      const Directory& directory) {
  CborWriter cbor;
  write(cbor, directory);
  const std::size_t size = sealed_size(cbor.size());
  assert(size <= kMaxDirectoryBytes);
  std::vector<std::byte> bytes(size);
  wire::put_u32(std::span(bytes).first<4>(),
                static_cast<std::uint32_t>(cbor.size()));
  std::ranges::copy(cbor.view(), bytes.begin() + sizeof(std::uint32_t));
  const std::span plain = std::span(bytes).first(size - crypto::kTagBytes);
  crypto::seal(directory_key(index_key, head),
               directory_data(head, directory_offset), plain, bytes);
  return bytes;
}

Directory open_directory(const crypto::Secret& index_key, const PackHead& head,
                         std::uint64_t directory_offset,
                         std::span<const std::byte> sealed,
                         std::string_view name) {
  const std::string object(name);
  if (sealed.empty() || sealed.size() % kDirectoryStep != 0) {
    throw CorruptionError(object + ": directory size cannot be");
  }
  std::vector<std::byte> plain(sealed.size() - crypto::kTagBytes);
  if (!crypto::open(directory_key(index_key, head),
                    directory_data(head, directory_offset), sealed, plain)) {
    throw CorruptionError(object + ": directory tag does not verify");
  }
  const std::uint32_t used = wire::get_u32(std::span(plain).first<4>());
  const auto rest = std::span<const std::byte>(plain).subspan(4);
  if (used > rest.size()) {
    throw CorruptionError(object + ": directory is longer than its room");
  }
  const bool is_padded_with_zeros = std::ranges::all_of(
      rest.subspan(used), [](std::byte b) { return b == std::byte{0}; });
  if (!is_padded_with_zeros) {
    throw CorruptionError(object + ": directory padding is not zero");
  }
  CborReader in(rest.first(used), name);
  Directory directory = read_directory(in);
  in.end();
  if (end_of_blobs(directory) > directory_offset) {
    throw CorruptionError(object + ": directory reaches past its blobs");
  }
  return directory;
}

Trailer encode_trailer(std::uint32_t directory_size) {
  Trailer trailer;
  wire::put_u32(std::span(trailer).first<4>(), directory_size);
  std::ranges::copy(kTrailerMark, trailer.begin() + 4);
  return trailer;
}

std::uint32_t decode_trailer(std::span<const std::byte> trailer,
                             std::uint64_t pack_size, std::string_view name) {
  const std::string object(name);
  if (trailer.size() != kTrailerBytes ||
      !std::ranges::equal(trailer.last<4>(), kTrailerMark)) {
    throw CorruptionError(object + ": no trailer at its end");
  }
  const std::uint32_t size = wire::get_u32(trailer.first<4>());
  if (size == 0 || size % kDirectoryStep != 0 || size > kMaxDirectoryBytes ||
      kPackHeadBytes + size + kTrailerBytes > pack_size) {
    throw CorruptionError(object + ": directory size cannot be");
  }
  return size;
}

std::vector<std::byte> associated_data(const FamilyId& family,
                                       std::uint32_t generation,
                                       const BlobRow& row) {
  CborWriter out;
  out.array(11).text("cairn blob").bytes(family.bytes).uint(generation);
  out.uint(static_cast<std::uint64_t>(row.kind));
  out.uint(static_cast<std::uint64_t>(row.codec));
  out.bytes(row.id.bytes).uint(row.plain_size).uint(row.stored_size);
  out.uint(row.counter);
  if (row.base) {
    out.bytes(row.base->bytes);
  } else {
    out.null();
  }
  out.uint(row.depth);
  return std::move(out).take();
}

}  // namespace cairn::repo
