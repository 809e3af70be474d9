#include "repo/index_table.h"

#include <xxhash.h>

#include <string_view>

namespace cairn::repo {
namespace {

// Footer: type of checksum (1), two handles and zeros (40), version (4), magic
// number (8).
constexpr std::size_t kFooterBytes = 53;
constexpr std::size_t kHandlesAt = 1;
constexpr std::size_t kVersionAt = 41;
constexpr std::size_t kMagicAt = 45;
constexpr char kXxh3 = 4;
constexpr std::uint32_t kVersion = 5;
constexpr std::uint64_t kMagic = 0x88e241b785f4cff7;
// After each block: how it is compressed (1), checksum (4).
constexpr std::size_t kTrailerBytes = 5;
// Far more than any table of ours has there.
constexpr std::uint64_t kMaxMetaBlockBytes = std::uint64_t{1} << 20;
constexpr std::string_view kProperties = "rocksdb.properties";

struct BlockHandle {
  std::uint64_t offset;
  std::uint64_t size;  // without trailer
};

// Takes what it reads off the front.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}

  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<std::string_view> take(std::uint64_t size) {
    if (size > bytes_.size()) return std::nullopt;
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  std::optional<BlockHandle> handle() {
    const auto offset = varint();
    const auto size = varint();
    if (!offset || !size) return std::nullopt;
    return BlockHandle{*offset, *size};
  }

 private:
  std::string_view bytes_;
};

std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (auto at = bytes.rbegin(); at != bytes.rend(); ++at) {
    value = value << 8 | static_cast<unsigned char>(*at);
  }
  return value;
}

bool lies_within(const BlockHandle& block, std::uint64_t table_size) {
  return block.offset <= table_size && block.size <= table_size &&
         block.offset + block.size + kTrailerBytes <= table_size;
}

// The content of a block that is not compressed, with the checksum that it
// should have.
std::optional<std::string> sound_block(const BlockHandle& block,
                                       std::uint64_t table_size,
                                       const ReadTable& read) {
  if (!lies_within(block, table_size)) return std::nullopt;
  if (block.size == 0 || block.size > kMaxMetaBlockBytes) return std::nullopt;
  auto bytes = read(block.offset, block.size + kTrailerBytes);
  if (!bytes || bytes->size() != block.size + kTrailerBytes) {
    return std::nullopt;
  }
  const auto trailer = std::string_view(*bytes).substr(block.size);
  // The byte before the sum goes into it, too, and is zero here.
  const auto sum =
      static_cast<std::uint32_t>(XXH3_64bits(bytes->data(), block.size));
  if (trailer[0] != 0 || little_endian(trailer.substr(1)) != sum) {
    return std::nullopt;
  }
  bytes->resize(block.size);
  return bytes;
}

// Where the properties are, by the block that names what describes the table.
std::optional<BlockHandle> find_properties(std::string_view meta_index) {
  constexpr std::size_t kWord = 4;
  if (meta_index.size() < kWord) return std::nullopt;
  const auto restarts =
      little_endian(meta_index.substr(meta_index.size() - kWord));
  if (restarts > meta_index.size() / kWord - 1) return std::nullopt;
  Cursor entries(
      meta_index.substr(0, meta_index.size() - kWord * (restarts + 1)));
  std::string key;
  while (true) {
    const auto shared = entries.varint();
    const auto more = entries.varint();
    const auto value_size = entries.varint();
    if (!shared || !more || !value_size || *shared > key.size()) {
      return std::nullopt;
    }
    const auto rest = entries.take(*more);
    const auto value = rest ? entries.take(*value_size) : std::nullopt;
    if (!value) return std::nullopt;
    key.resize(*shared);
    key += *rest;
    if (key == kProperties) return Cursor(*value).handle();
  }
}

}  // namespace

bool is_sound_table(std::uint64_t size, const ReadTable& read) {
  if (size < kFooterBytes) return false;
  const auto bytes = read(size - kFooterBytes, kFooterBytes);
  if (!bytes || bytes->size() != kFooterBytes) return false;
  const std::string_view footer = *bytes;
  if (footer[0] != kXxh3 ||
      little_endian(footer.substr(kVersionAt, kMagicAt - kVersionAt)) !=
          kVersion ||
      little_endian(footer.substr(kMagicAt)) != kMagic) {
    return false;
  }
  Cursor handles(footer.substr(kHandlesAt, kVersionAt - kHandlesAt));
  const auto meta_index = handles.handle();
  const auto index = handles.handle();
  if (!meta_index || !index || !lies_within(*index, size)) return false;
  const auto named = sound_block(*meta_index, size, read);
  if (!named) return false;
  const auto properties = find_properties(*named);
  return properties && sound_block(*properties, size, read);
}

}  // namespace cairn::repo
