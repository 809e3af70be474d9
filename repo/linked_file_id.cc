#include "repo/linked_file_id.h"

#include "repo/cbor.h"

namespace cairn::repo {

LinkedFileId linked_file_id(const Entry& entry, std::span<const Link> rows) {
  const DeviceNumber device = entry.device.value_or(DeviceNumber{});
  CborWriter out;
  out.array(10 + rows.size());
  out.uint(entry.hard_link->device).uint(entry.hard_link->inode);
  out.uint(static_cast<std::uint64_t>(entry.type)).uint(entry.size);
  out.sint(entry.modified.seconds).uint(entry.modified.nanoseconds);
  out.bytes(entry.symlink_target).uint(device.major).uint(device.minor);
  out.array(2 * entry.holes.size());
  for (const Extent& hole : entry.holes) {
    out.uint(hole.offset).uint(hole.size);
  }
  for (const Link& row : rows) out.bytes(row.id.bytes);
  return crypto::sha256(out.view());
}

}  // namespace cairn::repo
