#include "repo/index_cache.h"

#include "repo/pack_format.h"

namespace cairn::repo {

PackInfo info_of(const IndexedPack& pack) {
  return {pack.id, pack.size, digest_of(pack.directory), pack.directory.keys};
}

namespace index_cache {
namespace {

constexpr std::size_t kIdPrefixBytes = 16;

void write(CborWriter& out, const std::vector<std::uint32_t>& numbers) {
  for (const auto number : numbers) out.uint(number);
}

std::vector<std::uint32_t> read_numbers(CborReader& in) {
  std::vector<std::uint32_t> numbers;
  while (in.left() > 0) {
    numbers.push_back(static_cast<std::uint32_t>(in.uint()));
  }
  return numbers;
}

}  // namespace

std::string key_of(char kind, std::span<const std::byte> bytes) {
  std::string key(1, kind);
  key += as_text(bytes);
  return key;
}

std::string blob_key(const BlobId& id) {
  return key_of(kBlob, std::span(id.bytes).first(kIdPrefixBytes));
}

std::string pack_key(std::uint32_t number) {
  std::string key(1, kPack);
  for (int shift = 24; shift >= 0; shift -= 8) {
    key += static_cast<char>(number >> shift);
  }
  return key;
}

std::uint32_t number_in(std::string_view pack_key) {
  std::uint32_t number = 0;
  for (const char c : pack_key.substr(1)) {
    number = number << 8 | static_cast<unsigned char>(c);
  }
  return number;
}

void write(CborWriter& out, const BlobCopy& copy) {
  const BlobRow& row = copy.row;
  out.uint(copy.pack).uint(copy.offset);
  out.uint(static_cast<std::uint64_t>(row.kind));
  out.uint(static_cast<std::uint64_t>(row.codec));
  out.bytes(row.id.bytes).uint(row.plain_size).uint(row.stored_size);
  out.uint(row.key).uint(row.counter);
  if (row.base) {
    out.bytes(row.base->bytes);
  } else {
    out.null();
  }
  out.uint(row.depth);
}

BlobCopy read_copy(CborReader& in) {
  BlobCopy copy;
  BlobRow& row = copy.row;
  copy.pack = static_cast<std::uint32_t>(in.uint());
  copy.offset = in.uint();
  row.kind = static_cast<BlobKind>(in.uint());
  row.codec = static_cast<Codec>(in.uint());
  row.id.bytes = in.fixed<BlobId::kBytes>();
  row.plain_size = static_cast<std::uint32_t>(in.uint());
  row.stored_size = static_cast<std::uint32_t>(in.uint());
  row.key = static_cast<std::uint32_t>(in.uint());
  row.counter = in.uint();
  if (!in.skip_null()) row.base = BlobId{in.fixed<BlobId::kBytes>()};
  row.depth = static_cast<std::uint32_t>(in.uint());
  return copy;
}

std::string encode(const PackInfo& pack) {
  CborWriter out;
  out.bytes(pack.id.bytes).uint(pack.size).bytes(pack.directory);
  out.array(pack.keys.size());
  for (const auto& key : pack.keys) {
    out.uint(static_cast<std::uint64_t>(key.key_class));
    out.uint(key.generation).bytes(key.wrapped);
  }
  return std::string(as_text(out.view()));
}

PackInfo decode_pack(std::string_view value) {
  CborReader in(as_bytes(value), "index cache");
  PackInfo pack;
  pack.id.bytes = in.fixed<PackId::kBytes>();
  pack.size = in.uint();
  pack.directory = in.fixed<crypto::kDigestBytes>();
  pack.keys.resize(in.array(value.size()));
  for (auto& key : pack.keys) {
    key.key_class = static_cast<KeyClass>(in.uint());
    key.generation = static_cast<std::uint32_t>(in.uint());
    key.wrapped = in.fixed<crypto::kWrappedBytes>();
  }
  return pack;
}

std::vector<std::uint32_t> decode_numbers(std::string_view value) {
  CborReader in(as_bytes(value), "index cache");
  return read_numbers(in);
}

std::string encode_numbers(const std::vector<std::uint32_t>& numbers) {
  CborWriter out;
  write(out, numbers);
  return std::string(as_text(out.view()));
}

std::string encode(const NamedPacks& named) {
  CborWriter out;
  out.uint(static_cast<std::uint64_t>(named.assurance.reach));
  out.bytes(named.assurance.role_key);
  write(out, named.numbers);
  return std::string(as_text(out.view()));
}

NamedPacks decode_named(std::string_view value) {
  CborReader in(as_bytes(value), "index cache");
  NamedPacks named;
  named.assurance.reach = static_cast<Assurance::Reach>(in.uint());
  named.assurance.role_key = in.fixed<crypto::kVerifyKeyBytes>();
  named.numbers = read_numbers(in);
  return named;
}

}  // namespace index_cache
}  // namespace cairn::repo
