#include "repo/last_seen.h"

#include <algorithm>
#include <sstream>

namespace cairn::repo {
namespace {

constexpr std::string_view kFirstLine = "cairn last seen 1";

// The next word, which must be these bytes in hex.
template <std::size_t kSize>
bool read_hex(std::istream& in, std::array<std::byte, kSize>& bytes) {
  std::string digits;
  return (in >> digits) && crypto::from_hex(digits, bytes);
}

bool read_epoch_line(std::istream& in, SeenEpoch& epoch) {
  return (in >> epoch.number) && read_hex(in, epoch.object) &&
         (in >> epoch.time.seconds);
}

bool read_snapshot_line(std::istream& in, SeenSnapshot& snapshot) {
  return read_hex(in, snapshot.series) && read_hex(in, snapshot.signer) &&
         read_hex(in, snapshot.id.bytes) && (in >> snapshot.sequence) &&
         read_hex(in, snapshot.object) && (in >> snapshot.epoch) &&
         (in >> snapshot.arrival.seconds);
}

}  // namespace

SeenSnapshot seen(const Snapshot& snapshot) {
  return {.series = snapshot.header.series_tag,
          .signer = snapshot.signer.host_key,
          .id = snapshot.id,
          .sequence = snapshot.header.sequence,
          .object = snapshot.object,
          .epoch = snapshot.header.epoch,
          .arrival = {snapshot.header.arrival.seconds, 0}};
}

void LastSeen::note_generation(std::uint32_t newer) {
  generation = std::max(generation, newer);
}

void LastSeen::note(const SeenEpoch& newer) {
  if (newer.number > epoch.number) epoch = newer;
}

void LastSeen::note(const SeenSnapshot& newer) {
  const auto [known, is_new] =
      snapshots.try_emplace({newer.series, newer.signer}, newer);
  if (!is_new && newer.sequence > known->second.sequence) {
    known->second = newer;
  }
}

void LastSeen::note(const LastSeen& newer) {
  note_generation(newer.generation);
  note(newer.epoch);
  for (const auto& [chain, snapshot] : newer.snapshots) note(snapshot);
}

void LastSeen::forget(const SessionId& snapshot) {
  std::erase_if(snapshots,
                [&](const auto& known) { return known.second.id == snapshot; });
}

std::string to_text(const LastSeen& seen) {
  std::ostringstream out;
  out << kFirstLine << '\n';
  out << "generation " << seen.generation << '\n';
  out << "epoch " << seen.epoch.number << ' '
      << crypto::to_hex(seen.epoch.object) << ' ' << seen.epoch.time.seconds
      << '\n';
  for (const auto& [chain, snapshot] : seen.snapshots) {
    out << "snapshot " << crypto::to_hex(snapshot.series) << ' '
        << crypto::to_hex(snapshot.signer) << ' ' << snapshot.id.hex() << ' '
        << snapshot.sequence << ' ' << crypto::to_hex(snapshot.object) << ' '
        << snapshot.epoch << ' ' << snapshot.arrival.seconds << '\n';
  }
  return out.str();
}

std::optional<LastSeen> parse_last_seen(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::string line;
  if (!std::getline(lines, line) || line != kFirstLine) return std::nullopt;
  LastSeen seen;
  while (std::getline(lines, line)) {
    std::istringstream in(line);
    std::string kind;
    in >> kind;
    if (kind == "generation") {
      if (!(in >> seen.generation)) return std::nullopt;
    } else if (kind == "epoch") {
      if (!read_epoch_line(in, seen.epoch)) return std::nullopt;
    } else if (kind == "snapshot") {
      SeenSnapshot snapshot;
      if (!read_snapshot_line(in, snapshot)) return std::nullopt;
      seen.note(snapshot);
    }
  }
  return seen;
}

}  // namespace cairn::repo
