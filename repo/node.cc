#include "repo/node.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/record.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxTargetBytes = 65'535;
constexpr std::size_t kMaxXattrNameBytes = 255;
constexpr std::size_t kMaxXattrValueBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxXattrs = 10'000;
constexpr std::size_t kMaxHoles = 1'000'000;
constexpr std::uint64_t kMaxFileBytes = ~std::uint64_t{0} >> 1;
constexpr std::uint64_t kMaxMode = 07777;

enum Field : std::uint64_t {
  name_field = 1,
  type_field = 2,
  mode_field = 3,
  uid_field = 4,
  gid_field = 5,
  user_field = 6,
  group_field = 7,
  modified_field = 8,
  size_field = 9,
  rows_field = 10,
  profile_field = 11,
  target_field = 12,
  hard_link_field = 13,
  device_field = 14,
  xattrs_field = 15,
  holes_field = 16,
  weave_field = 17,
};

bool is_device(EntryType type) {
  return type == EntryType::char_device || type == EntryType::block_device;
}

void write(CborWriter& out, const NodeEntry& node_entry) {
  const Entry& entry = node_entry.entry;
  assert(is_valid_name(entry.name));
  const bool has_user = !entry.user.empty() && is_utf8(entry.user);
  const bool has_group = !entry.group.empty() && is_utf8(entry.group);
  const bool has_profile = entry.profile != Profile::cdc;
  const bool is_symlink = entry.type == EntryType::symlink;
  const std::size_t pairs =
      6 + std::size_t{has_user} + std::size_t{has_group} +
      std::size_t{entry.size != 0} + std::size_t{node_entry.rows != 0} +
      std::size_t{has_profile} + std::size_t{is_symlink} +
      std::size_t{entry.hard_link.has_value()} +
      std::size_t{entry.device.has_value()} +
      std::size_t{!entry.xattrs.empty()} + std::size_t{!entry.holes.empty()} +
      std::size_t{entry.weave.has_value()};
  out.map(pairs);
  out.key(name_field).bytes(entry.name);
  out.key(type_field).uint(static_cast<std::uint64_t>(entry.type));
  out.key(mode_field).uint(entry.mode);
  out.key(uid_field).uint(entry.uid);
  out.key(gid_field).uint(entry.gid);
  if (has_user) out.key(user_field).text(entry.user);
  if (has_group) out.key(group_field).text(entry.group);
  write_time(out.key(modified_field), entry.modified);
  if (entry.size != 0) out.key(size_field).uint(entry.size);
  if (node_entry.rows != 0) out.key(rows_field).uint(node_entry.rows);
  if (has_profile) {
    out.key(profile_field).uint(static_cast<std::uint64_t>(entry.profile));
  }
  if (is_symlink) out.key(target_field).bytes(entry.symlink_target);
  if (entry.hard_link) {
    out.key(hard_link_field).array(2);
    out.uint(entry.hard_link->device).uint(entry.hard_link->inode);
  }
  if (entry.device) {
    out.key(device_field).array(2);
    out.uint(entry.device->major).uint(entry.device->minor);
  }
  if (!entry.xattrs.empty()) {
    out.key(xattrs_field).array(entry.xattrs.size());
    for (const auto& xattr : entry.xattrs) {
      out.array(2).bytes(xattr.name).bytes(xattr.value);
    }
  }
  if (!entry.holes.empty()) {
    out.key(holes_field).array(entry.holes.size());
    for (const auto& hole : entry.holes) {
      out.array(2).uint(hole.offset).uint(hole.size);
    }
  }
  if (entry.weave) {
    out.key(weave_field).array(1 + entry.weave->parts.size());
    out.bytes(entry.weave->digest);
    for (const auto size : entry.weave->parts) out.uint(size);
  }
}

// The parts beside the recipe make up the stream.
bool is_possible(const Weave& weave, const Entry& entry) {
  if (weave.parts.size() < 2 || weave.parts.size() > kMaxWeaveParts ||
      !entry.holes.empty() || weave.parts[kRecipePart] == 0 ||
      weave.parts[kRecipePart] > kMaxFileBytes ||
      weave.parts[kRecipePart] % kWeaveStepBytes != 0) {
    return false;
  }
  std::uint64_t left = entry.size;
  for (std::size_t i = 1; i < weave.parts.size(); ++i) {
    if (weave.parts[i] > left) return false;
    left -= weave.parts[i];
  }
  return left == 0;
}

// Of what the entry itself does not show: how it was spelled.
void check_fields(const NodeEntry& node_entry, const RequiredFields& seen,
                  const CborReader& in) {
  const Entry& entry = node_entry.entry;
  seen.require({name_field, type_field, mode_field, uid_field, gid_field,
                modified_field},
               in);
  const auto is_given_as_nothing = [&](std::uint64_t field, bool is_nothing) {
    return seen.has(field) && is_nothing;
  };
  if (is_given_as_nothing(user_field, entry.user.empty()) ||
      is_given_as_nothing(group_field, entry.group.empty()) ||
      is_given_as_nothing(size_field, entry.size == 0) ||
      is_given_as_nothing(rows_field, node_entry.rows == 0) ||
      is_given_as_nothing(profile_field, entry.profile == Profile::cdc) ||
      is_given_as_nothing(xattrs_field, entry.xattrs.empty()) ||
      is_given_as_nothing(holes_field, entry.holes.empty())) {
    in.fail("a field that should have been left out");
  }
  if (seen.has(target_field) != (entry.type == EntryType::symlink)) {
    in.fail("a symlink target that may not be");
  }
}

bool are_possible(std::span<const Extent> holes, std::uint64_t size) {
  std::uint64_t end = 0;
  bool is_first = true;
  for (const auto& hole : holes) {
    const bool is_apart = is_first || hole.offset > end;
    if (!is_apart || hole.size == 0 || hole.offset > size ||
        hole.size > size - hole.offset) {
      return false;
    }
    end = hole.offset + hole.size;
    is_first = false;
  }
  return true;
}

bool is_possible(const Xattr& xattr) {
  return !xattr.name.empty() && xattr.name.size() <= kMaxXattrNameBytes &&
         xattr.name.find('\0') == std::string::npos &&
         xattr.value.size() <= kMaxXattrValueBytes;
}

NodeEntry read_entry(CborReader& in) {
  NodeEntry node_entry;
  Entry& entry = node_entry.entry;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case name_field:
        entry.name = in.byte_text(kMaxNameBytes);
        break;
      case type_field: {
        const auto type = in.uint();
        if (type > static_cast<std::uint64_t>(EntryType::stream)) {
          throw UnsupportedFormat("an entry of unknown type");
        }
        entry.type = static_cast<EntryType>(type);
        break;
      }
      case mode_field:
        entry.mode = static_cast<std::uint32_t>(in.uint(kMaxMode));
        break;
      case uid_field:
        entry.uid = static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
        break;
      case gid_field:
        entry.gid = static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
        break;
      case user_field:
        entry.user = in.text(kMaxBlobBytes);
        break;
      case group_field:
        entry.group = in.text(kMaxBlobBytes);
        break;
      case modified_field:
        entry.modified = read_time(in);
        break;
      case size_field:
        entry.size = in.uint(kMaxFileBytes);
        break;
      case rows_field:
        node_entry.rows = in.uint(kMaxNodeRows);
        break;
      case profile_field: {
        const auto profile = in.uint();
        if (profile > static_cast<std::uint64_t>(Profile::page)) {
          throw UnsupportedFormat("an entry of unknown profile");
        }
        entry.profile = static_cast<Profile>(profile);
        break;
      }
      case target_field:
        entry.symlink_target = in.byte_text(kMaxTargetBytes);
        break;
      case hard_link_field: {
        in.array_of(2);
        const auto device = in.uint();
        entry.hard_link = HardLink{device, in.uint()};
        break;
      }
      case device_field: {
        in.array_of(2);
        const auto major = in.uint(~std::uint32_t{0});
        entry.device = DeviceNumber{
            static_cast<std::uint32_t>(major),
            static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}))};
        break;
      }
      case xattrs_field:
        for (auto n = in.array(kMaxXattrs); n > 0; --n) {
          in.array_of(2);
          Xattr xattr;
          xattr.name = in.byte_text(kMaxXattrNameBytes);
          xattr.value = in.byte_text(kMaxXattrValueBytes);
          entry.xattrs.push_back(std::move(xattr));
        }
        break;
      case holes_field:
        for (auto n = in.array(kMaxHoles); n > 0; --n) {
          in.array_of(2);
          const auto offset = in.uint(kMaxFileBytes);
          entry.holes.push_back({offset, in.uint(kMaxFileBytes)});
        }
        break;
      case weave_field: {
        Weave weave;
        const auto items = in.array(1 + kMaxWeaveParts);
        if (items == 0) in.fail("a weave that may not be");
        weave.digest = in.fixed<std::tuple_size_v<WeaveDigest>>();
        for (std::size_t i = 1; i < items; ++i) {
          weave.parts.push_back(in.uint(kMaxFileBytes));
        }
        entry.weave = std::move(weave);
        break;
      }
      default:
        in.unknown_key(*key, 2);
    }
  }
  check_fields(node_entry, seen, in);
  if (const auto fault = fault_in(node_entry)) in.fail(*fault);
  return node_entry;
}

}  // namespace

bool is_valid_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." &&
         name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

std::optional<std::string_view> fault_in(const NodeEntry& node_entry) noexcept {
  const Entry& entry = node_entry.entry;
  if (!is_valid_name(entry.name)) return "a name that may not be";
  if (entry.mode > kMaxMode) return "a mode that may not be";
  if (entry.modified.nanoseconds > kMaxNanoseconds) {
    return "a time that may not be";
  }
  if (entry.size > kMaxFileBytes) return "a size that may not be";
  if (entry.type == EntryType::symlink &&
      (entry.symlink_target.empty() ||
       entry.symlink_target.size() > kMaxTargetBytes ||
       entry.symlink_target.find('\0') != std::string::npos)) {
    return "a symlink target that may not be";
  }
  if (entry.device.has_value() != is_device(entry.type)) {
    return "a device number that does not fit the type";
  }
  if (!has_content(entry.type) &&
      (entry.size != 0 || !entry.holes.empty() ||
       entry.profile != Profile::cdc || entry.weave)) {
    return "content fields of something without content";
  }
  if (entry.hard_link &&
      (entry.type == EntryType::folder || entry.type == EntryType::stream)) {
    return "a hard link of something that has one name";
  }
  const std::uint64_t max_rows = has_content(entry.type) ? kMaxNodeRows
                                 : entry.type == EntryType::folder ? 1
                                                                   : 0;
  if (node_entry.rows > max_rows) return "rows that do not fit the type";
  if (entry.holes.size() > kMaxHoles) return "more holes than may be";
  if (!are_possible(entry.holes, entry.size)) return "a hole that may not be";
  if (entry.xattrs.size() > kMaxXattrs) return "more xattrs than may be";
  if (!std::ranges::all_of(entry.xattrs, [](const Xattr& xattr) {
        return is_possible(xattr);
      })) {
    return "an xattr that may not be";
  }
  const bool names_ascend = std::ranges::adjacent_find(
                                entry.xattrs, [](const auto& a, const auto& b) {
                                  return a.name >= b.name;
                                }) == entry.xattrs.end();
  if (!names_ascend) return "xattrs that do not ascend";
  if (entry.weave && !is_possible(*entry.weave, entry)) {
    return "a weave that may not be";
  }
  return std::nullopt;
}

std::vector<std::byte> encode_links(std::span<const Link> links) {
  CborWriter out;
  out.array(links.size());
  for (const auto& link : links) {
    out.array(3).uint(static_cast<std::uint64_t>(link.kind));
    out.bytes(link.id.bytes).uint(link.length);
  }
  return std::move(out).take();
}

std::uint64_t content_size(std::span<const Link> rows) noexcept {
  std::uint64_t size = 0;
  for (const Link& row : rows) {
    if (row.kind != BlobKind::names) size += row.length;
  }
  return size;
}

bool adds_up(const Entry& entry, std::span<const Link> rows) noexcept {
  std::uint64_t left = entry.size;
  if (entry.weave) left += entry.weave->parts.front();  // both below 2^63
  for (const auto& hole : entry.holes) left -= hole.size;
  for (const auto& row : rows) {
    if (row.length > left) return false;
    left -= row.length;
  }
  return left == 0;
}

std::vector<Link> decode_links(std::span<const std::byte> plain,
                               std::string_view name) {
  CborReader in(plain, name);
  std::vector<Link> links;
  const std::size_t rows = in.array(kMaxNodeRows);
  if (rows == 0) in.fail("a node without rows");
  links.reserve(rows);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    in.array_of(3);
    const auto kind = in.uint();
    if (kind > static_cast<std::uint64_t>(BlobKind::names)) {
      throw UnsupportedFormat(std::string(name) + ": a link of unknown kind");
    }
    Link link;
    link.kind = static_cast<BlobKind>(kind);
    link.id.bytes = in.fixed<BlobId::kBytes>();
    link.length = in.uint(kMaxFileBytes);
    const bool is_leaf = link.kind != BlobKind::links;
    if (is_leaf && (link.length == 0 || link.length > kMaxBlobBytes)) {
      in.fail("a length that may not be");
    }
    if (link.kind == BlobKind::names && i != 0) {
      in.fail("names that do not come first");
    }
    if (link.kind != BlobKind::names) {
      if (link.length > kMaxFileBytes - total) in.fail("lengths that overflow");
      total += link.length;
    }
    links.push_back(link);
  }
  in.end();
  return links;
}

std::vector<std::byte> encode_names(std::span<const NodeEntry> entries) {
  CborWriter out;
  out.array(entries.size());
  for (const auto& entry : entries) write(out, entry);
  return std::move(out).take();
}

std::vector<NodeEntry> decode_names(std::span<const std::byte> plain,
                                    std::string_view name) {
  CborReader in(plain, name);
  std::vector<NodeEntry> entries;
  const std::size_t count = in.array(kMaxNodeEntries);
  for (std::size_t i = 0; i < count; ++i) {
    entries.push_back(read_entry(in));
    if (i > 0 && entries[i - 1].entry.name >= entries[i].entry.name) {
      in.fail("names that do not ascend");
    }
  }
  in.end();
  return entries;
}

}  // namespace cairn::repo
