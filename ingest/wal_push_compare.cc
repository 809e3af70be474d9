// compare_with_stored(), of wal_push.h.
#include <algorithm>
#include <fstream>
#include <span>
#include <utility>
#include <vector>

#include "ingest/wal_archive.h"
#include "ingest/wal_push.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;

[[noreturn]] void refuse(const WalToPush& file, const std::string& series) {
  throw repo::RefusedForSafety(
      file.path.string() + ": series " + series + " has other bytes as " +
      file.name.text +
      "; nothing was stored and nothing overwritten. Two servers archive as "
      "one, such as a copy that was started without recovery, or this one was "
      "set back: give each a series of its own (--series) and take a base "
      "backup");
}

std::vector<std::byte> read_part(const WalToPush& file, std::uint64_t at,
                                 std::size_t size) {
  std::ifstream in(file.path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(at));
  std::vector<std::byte> part(size);
  if (!in.read(reinterpret_cast<char*>(part.data()),
               static_cast<std::streamsize>(size))) {
    throw repo::IoError(file.path.string() + ": cannot read");
  }
  return part;
}

InRepository compare_segment(WalReader& reader, const WalToPush& file,
                             const std::string& series) {
  std::vector<std::byte> stored(kPiece);
  for (std::uint64_t at = 0; at < file.bytes;) {
    const auto wanted = static_cast<std::size_t>(
        std::min<std::uint64_t>(kPiece, file.bytes - at));
    const auto count = reader.read(file.name.timeline, {file.begin.value + at},
                                   std::span(stored).first(wanted));
    const auto ours = read_part(file, at, count);
    if (!std::equal(ours.begin(), ours.end(), stored.begin())) {
      refuse(file, series);
    }
    if (count < wanted) return InRepository::not_all;
    at += count;
  }
  return InRepository::all;
}

}  // namespace

InRepository compare_with_stored(repo::Repository& repository,
                                 const std::string& series,
                                 const WalToPush& file,
                                 const repo::Timestamp& now) {
  const auto role = repository.keyring().role();
  if (!repo::reads(role, repo::KeyClass::content)) return InRepository::not_all;
  const auto list = repository.snapshots(now);
  auto found =
      find_wal(list.snapshots, repo::series_tag(repository.keyring(), series));
  std::erase_if(found, [&](const StoredWal& one) {
    return one.stream.system != file.system;
  });
  WalReader reader(repository, std::move(found));
  if (file.name.kind == WalFileName::Kind::history) {
    const auto stored = reader.history(file.name.timeline);
    if (!stored) return InRepository::not_all;
    const auto ours = read_part(file, 0, static_cast<std::size_t>(file.bytes));
    if (!std::ranges::equal(std::as_bytes(std::span(*stored)), ours)) {
      refuse(file, series);
    }
    return InRepository::all;
  }
  return compare_segment(reader, file, series);
}

}  // namespace cairn::ingest
