#include "cli/entry_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxPathBytes = 65'536;
constexpr std::ptrdiff_t kMaxComponents = 4096;

char letter_of(repo::EntryType type) {
  switch (type) {
    case repo::EntryType::file:
      return '-';
    case repo::EntryType::folder:
      return 'd';
    case repo::EntryType::symlink:
      return 'l';
    case repo::EntryType::fifo:
      return 'p';
    case repo::EntryType::char_device:
      return 'c';
    case repo::EntryType::block_device:
      return 'b';
    case repo::EntryType::stream:
      return 's';
  }
  return '?';
}

std::string owner(const std::string& name, std::uint32_t id) {
  return name.empty() ? std::to_string(id) : printable(name);
}

}  // namespace

std::string path_below(const std::string& folder, const std::string& name) {
  std::string path = folder + "/" + name;
  if (path.size() > kMaxPathBytes ||
      std::ranges::count(path, '/') > kMaxComponents) {
    throw repo::CorruptionError(
        "a folder of the snapshot: deeper than a path "
        "may be");
  }
  return path;
}

std::string mode_text(const repo::Entry& entry) {
  const auto triple = [&](unsigned shift, unsigned special, char letter) {
    const unsigned bits = entry.mode >> shift;
    const bool runs = (bits & 1) != 0;
    std::string text;
    text += (bits & 4) != 0 ? 'r' : '-';
    text += (bits & 2) != 0 ? 'w' : '-';
    if ((entry.mode & special) != 0) {
      text += runs ? letter : static_cast<char>(letter - 'a' + 'A');
    } else {
      text += runs ? 'x' : '-';
    }
    return text;
  };
  return letter_of(entry.type) + triple(6, 04000, 's') + triple(3, 02000, 's') +
         triple(0, 01000, 't');
}

std::string long_prefix(const repo::Entry& entry) {
  return fmt::format("{}  {:<8} {:<8} {:>10}  {}  ", mode_text(entry),
                     owner(entry.user, entry.uid),
                     owner(entry.group, entry.gid), size_text(entry.size),
                     local_time_text(entry.modified));
}

std::string long_suffix(const repo::Entry& entry) {
  if (entry.type != repo::EntryType::symlink) return "";
  return " -> " + printable(entry.symlink_target);
}

Json json_of(const repo::Entry& entry, const std::string& path,
             std::string_view type, const repo::Timestamp& now) {
  Json json = Json::line(type, now);
  json.set_bytes("path", path)
      .set_bytes("name", entry.name)
      .set("kind", name_of(entry.type))
      .set("size", entry.size)
      .set("mode", fmt::format("{:04o}", entry.mode))
      .set("uid", entry.uid)
      .set("gid", entry.gid)
      .set("user", entry.user)
      .set("group", entry.group)
      .set("modified", entry.modified);
  if (entry.type == repo::EntryType::symlink) {
    json.set_bytes("target", entry.symlink_target);
  }
  return json;
}

}  // namespace cairn::cli
