#include "ingest/wal_push.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <tuple>
#include <utility>

#include "crypto/digest.h"
#include "ingest/unique_fd.h"
#include "ingest/wal_digests.h"
#include "ingest/wal_durable.h"
#include "ingest/wal_protocol.h"
#include "ingest/whole_file.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using Kind = WalFileName::Kind;

constexpr std::string_view kPushed = "pushed";
constexpr std::string_view kPartial = ".partial";
constexpr std::size_t kSegmentDigits = 24;
constexpr std::size_t kTimelineDigits = 8;
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::uint64_t kMaxTextBytes = std::uint64_t{1} << 20;
// They are for people alone, and the newest tell most.
constexpr std::size_t kMostBackupFiles = 16;

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw repo::RefusedForSafety(path.string() + ": " + what);
}

[[noreturn]] void refuse_difference(const WalToPush& file,
                                    const std::string& where) {
  refuse(file.path,
         "other bytes are known as " + file.name.text + where +
             "; nothing was stored and nothing overwritten. Two servers "
             "archive as one, such as a copy that was started without "
             "recovery, or this one was set back: give each a series of its "
             "own (--series) and take a base backup");
}

UniqueFd open_to_read(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) repo::throw_system_error(path.string() + ": cannot open", errno);
  return fd;
}

// Answers how many there were.
std::size_t read_some(const UniqueFd& fd, const fs::path& path,
                      std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        ::read(fd.get(), out.data() + done, out.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      repo::throw_system_error(path.string() + ": cannot read", errno);
    }
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

// Calls `use` with the first `bytes` of it, piece by piece.
template <typename Use>
void for_each_piece(const fs::path& path, std::uint64_t bytes, Use use) {
  const UniqueFd fd = open_to_read(path);
  std::vector<std::byte> piece(kPiece);
  while (bytes > 0) {
    const auto part = std::span(piece).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kPiece)));
    if (read_some(fd, path, part) < part.size()) {
      refuse(path, "became shorter while it was read");
    }
    use(std::span<const std::byte>(part));
    bytes -= part.size();
  }
}

crypto::Digest digest_of(const fs::path& path, std::uint64_t bytes) {
  crypto::Sha256 digest;
  for_each_piece(path, bytes, [&](auto piece) { digest.add(piece); });
  return std::move(digest).finish();
}

// Nothing: who drains the spool was quicker.
std::optional<crypto::Digest> digest_if_there(const fs::path& path) {
  try {
    return digest_of_file(path);
  } catch (const repo::IoError&) {
    std::error_code error;
    if (fs::exists(path, error)) throw;
    return std::nullopt;
  }
}

bool means_absent(int error) { return error == ENOENT || error == ENOTDIR; }

// Nothing: it is certainly not there. What cannot be looked at may be.
std::optional<std::uint64_t> size_if_there(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    return static_cast<std::uint64_t>(status.st_size);
  }
  if (!means_absent(errno)) {
    repo::throw_system_error(
        path.string() + ": whether it is there cannot be told", errno);
  }
  return std::nullopt;
}

// Nothing: it is not there, or is too long.
std::optional<std::string> read_text(const fs::path& path) {
  if (!size_if_there(path)) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    if (!size_if_there(path)) return std::nullopt;  // it went
    repo::throw_system_error(path.string() + ": cannot open", EACCES);
  }
  std::string text(kMaxTextBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) repo::throw_system_error(path.string() + ": cannot read", EIO);
  if (text.size() > kMaxTextBytes) return std::nullopt;
  return text;
}

// Where that timeline ended, as a file of a later one says; it lies beside.
std::optional<Lsn> end_of_timeline(const fs::path& folder,
                                   std::uint32_t timeline) {
  std::error_code error;
  std::optional<std::pair<std::uint32_t, Lsn>> nearest;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = parse_wal_file_name(entry.path().filename().string());
    if (!name || name->kind != Kind::history || name->timeline <= timeline ||
        (nearest && nearest->first < name->timeline)) {
      continue;
    }
    const auto text = read_text(entry.path());
    if (!text) continue;
    const auto ends = parse_timeline_history(*text);
    const auto found =
        std::ranges::find(ends, timeline, &TimelineEnd::timeline);
    if (found != ends.end()) nearest = {name->timeline, found->end};
  }
  if (!nearest) return std::nullopt;
  return nearest->second;
}

void inspect_segment(WalToPush& file, std::uint64_t size) {
  const bool is_whole = file.name.kind == Kind::segment;
  std::array<std::byte, kWalSegmentHeadBytes> bytes{};
  const bool has_head =
      read_some(open_to_read(file.path), file.path, bytes) == bytes.size();
  const auto head = has_head ? parse_segment_head(bytes) : std::nullopt;
  if (!head) {
    refuse(file.path,
           "does not begin as a segment of WAL does; it is damaged "
           "or no segment");
  }
  if (size != head->segment_bytes) {
    refuse(file.path, "has " + std::to_string(size) +
                          " bytes, and by what it says of itself a segment "
                          "has " +
                          std::to_string(head->segment_bytes));
  }
  const auto begin = file.name.begin(head->segment_bytes);
  if (!begin || *begin != head->begin) {
    refuse(file.path, "holds the WAL from " + to_string(head->begin) +
                          " on, which is another place than its name says");
  }
  if (head->timeline > file.name.timeline) {
    refuse(file.path, "holds WAL of timeline " +
                          std::to_string(head->timeline) +
                          ", which is later than its name says");
  }
  file.system = head->system;
  file.begin = *begin;
  file.bytes = size;
  file.segment_bytes = head->segment_bytes;
  if (head->major_version) {
    file.server_version = std::to_string(*head->major_version);
  }
  if (is_whole) return;
  // Behind that it may hold anything: of a segment that the server used
  // before, or of WAL that nobody else has.
  const auto end = end_of_timeline(file.path.parent_path(), file.name.timeline);
  if (!end || *end < *begin || end->value > begin->value + size) {
    refuse(file.path,
           "where timeline " + std::to_string(file.name.timeline) +
               " ended is told by the history of a later one, and beside it "
               "lies none that says a place in this segment");
  }
  file.bytes = end->value - begin->value;
}

void inspect_text(WalToPush& file, std::uint64_t size) {
  const auto text = size <= kMaxTextBytes ? read_text(file.path) : std::nullopt;
  if (!text || text->size() != size || text->empty()) {
    refuse(file.path, "is empty, or too long for such a file");
  }
  file.bytes = size;
  if (file.name.kind == Kind::backup) {
    if (!text->starts_with("START WAL LOCATION: ")) {
      refuse(file.path, "does not begin as a backup history file does");
    }
    return;
  }
  const auto ends = parse_timeline_history(*text);
  if (ends.empty() || ends.back().timeline >= file.name.timeline) {
    refuse(file.path, "is no history of that timeline");
  }
}

// What is known of a place by a name in the spool: its first bytes.
struct KnownBytes {
  fs::path path;
  std::uint64_t bytes = 0;
};

std::vector<fs::path> runs_of(const fs::path& spool, std::uint32_t timeline) {
  std::vector<fs::path> runs;
  const std::string beginning =
      history_name(timeline).substr(0, kTimelineDigits) + '-';
  std::error_code error;
  fs::directory_iterator entries(spool, error);
  if (error && !means_absent(error.value())) {
    repo::throw_system_error(spool.string() + ": cannot list", error.value());
  }
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(beginning) && name.find('.') == std::string::npos) {
      runs.push_back(entry.path());
    }
  }
  return runs;
}

void sync_folder_if_there(const fs::path& folder) {
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd && means_absent(errno)) return;
  if (!fd || ::fsync(fd.get()) != 0) {
    repo::throw_system_error(folder.string() + ": cannot sync", errno);
  }
}

std::string segment_part(const WalFileName& name) {
  return name.text.substr(0, kSegmentDigits);
}

// Of the segment, durable or not.
std::vector<KnownBytes> held_in_runs(const fs::path& spool,
                                     const WalFileName& name) {
  std::vector<KnownBytes> held;
  for (const auto& run : runs_of(spool, name.timeline)) {
    std::error_code error;
    const fs::path path = run / segment_part(name);
    const auto size = fs::file_size(path, error);
    if (!error && size > 0) held.push_back({path, size});
  }
  return held;
}

// Whether they agree as far as both go; also when the other one is gone.
bool is_same_beginning(const WalToPush& file, const KnownBytes& other) {
  const auto bytes = std::min(file.bytes, other.bytes);
  try {
    const UniqueFd theirs = open_to_read(other.path);
    std::vector<std::byte> held(kPiece);
    bool is_same = true;
    for_each_piece(file.path, bytes, [&](std::span<const std::byte> piece) {
      const auto part = std::span(held).first(piece.size());
      const auto count = read_some(theirs, other.path, part);
      is_same =
          is_same && std::ranges::equal(piece.first(count), part.first(count));
    });
    return is_same;
  } catch (const repo::IoError&) {
    std::error_code error;
    if (!fs::exists(other.path, error)) return true;
    throw;
  }
}

}  // namespace

WalToPush inspect_wal_to_push(const fs::path& path,
                              const fs::path& data_directory) {
  auto name = parse_wal_file_name(path.filename().string());
  if (!name) {
    refuse(path, "is no name of a file that a server archives");
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    repo::throw_system_error(path.string() + ": cannot look at it", errno);
  }
  if (!S_ISREG(status.st_mode)) refuse(path, "is no file");
  WalToPush file;
  file.path = path;
  file.name = std::move(*name);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const bool is_text =
      file.name.kind == Kind::history || file.name.kind == Kind::backup;
  if (is_text) {
    inspect_text(file, size);
  } else {
    inspect_segment(file, size);
  }
  const auto system = system_of_data_directory(data_directory);
  if (is_text && !system) {
    refuse(path,
           "of which cluster it is cannot be told: there is no "
           "global/pg_control in the current folder, which has to be "
           "the data directory, as it is for an archive_command");
  }
  if (!is_text && system && *system != file.system) {
    refuse(path, "is of cluster " + std::to_string(file.system) +
                     ", and the data directory is that of " +
                     std::to_string(*system));
  }
  if (is_text) file.system = *system;
  return file;
}

PushedWal::PushedWal(fs::path spool)
    : spool_(std::move(spool)), folder_(spool_ / kPushed) {}

PushedWal::Known PushedWal::compare(const WalToPush& file) const {
  const Known known = look_for(file);
  // Who gave it its name may have been killed before that was synced.
  if (known == Known::same) {
    for (const auto& folder : {folder_, spool_}) sync_folder_if_there(folder);
  }
  return known;
}

PushedWal::Known PushedWal::look_for(const WalToPush& file) const {
  const auto& name = file.name;
  const fs::path pushed = folder_ / name.text;
  if (const auto theirs = digest_if_there(pushed)) {
    if (*theirs != digest_of(file.path, file.bytes)) {
      refuse_difference(file, ", which waits for the repository");
    }
    return Known::same;
  }
  if (name.kind == Kind::backup) return Known::next;
  if (name.kind == Kind::history) {
    const auto spooled = find_spooled_history(spool_, name.timeline);
    if (!spooled) return Known::elsewhere;
    if (*spooled != read_text(file.path)) refuse_difference(file, "");
    return Known::same;
  }
  const WalDigests digests(spool_);
  if (const auto known = digests.find(segment_part(name))) {
    // Of a whole one: the last of a timeline may be less, and cannot be told.
    if (file.bytes < file.segment_bytes) return Known::elsewhere;
    if (*known != digest_of(file.path, file.bytes)) {
      refuse_difference(file, ", which is stored");
    }
    return Known::same;
  }
  for (const auto& held : held_in_runs(spool_, name)) {
    if (!is_same_beginning(file, held)) {
      refuse_difference(file, ", which was received");
    }
    const auto durable = read_durable_of(held.path.parent_path());
    if (durable && durable->end.value >= file.begin.value + file.bytes) {
      return Known::same;
    }
  }
  // The end of what is known of the timeline.
  Lsn end;
  const std::string timeline =
      history_name(name.timeline).substr(0, kTimelineDigits);
  if (const auto last = digests.last_with(timeline)) {
    if (const auto begin =
            parse_segment_name(*last, name.timeline, file.segment_bytes)) {
      end = {begin->value + file.segment_bytes};
    }
  }
  for (const auto& one : waiting()) {
    if (one.name.timeline != name.timeline || one.name.kind == Kind::history) {
      continue;
    }
    if (const auto begin = one.name.begin(file.segment_bytes)) {
      end = std::max(end, Lsn{begin->value + one.bytes});
    }
  }
  for (const auto& run : runs_of(spool_, name.timeline)) {
    if (const auto durable = read_durable_of(run)) {
      end = std::max(end, durable->end);
    }
  }
  const bool is_next = end.value > 0 && file.begin <= end &&
                       end.value < file.begin.value + file.segment_bytes;
  return is_next ? Known::next : Known::elsewhere;
}

PushedWal::Added PushedWal::add(const WalToPush& file) {
  if (compare(file) == Known::same) return Added::was_there;
  make_spool_folder(folder_);
  const fs::path path = folder_ / file.name.text;
  WholeFile whole(path, WholeFile::Durability::synced);
  for_each_piece(file.path, file.bytes,
                 [&](auto piece) { whole.append(piece); });
  if (std::move(whole).name_unless_taken()) {
    if (file.name.kind == Kind::backup) {
      std::vector<fs::path> backups;
      for (const auto& entry : fs::directory_iterator(folder_)) {
        const auto name = parse_wal_file_name(entry.path().filename().string());
        if (name && name->kind == Kind::backup) backups.push_back(entry);
      }
      std::ranges::sort(backups);
      std::error_code error;  // another one removes them, too
      for (std::size_t i = kMostBackupFiles; i < backups.size(); ++i) {
        fs::remove(backups[i - kMostBackupFiles], error);
      }
    }
    return Added::added;
  }
  // Another one was quicker: with the same?
  (void)compare(file);
  return Added::was_there;
}

std::vector<PushedWal::Waiting> PushedWal::waiting() const {
  std::vector<Waiting> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    auto name = parse_wal_file_name(entry.path().filename().string());
    if (!name || name->kind == Kind::backup) continue;
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) != 0) continue;  // it went
    all.push_back({entry.path(),
                   std::move(*name),
                   static_cast<std::uint64_t>(status.st_size),
                   {status.st_mtim.tv_sec,
                    static_cast<std::uint32_t>(status.st_mtim.tv_nsec)}});
  }
  // Histories first; a partial one behind the whole one of its name.
  std::ranges::sort(all, {}, [](const Waiting& one) {
    return std::tuple(one.name.timeline, one.name.kind != Kind::history,
                      one.name.text);
  });
  return all;
}

std::optional<SpooledSegment> find_spooled_segment(
    const fs::path& spool, const WalFileName& name,
    std::uint64_t segment_bytes) {
  std::optional<SpooledSegment> most;
  const auto consider = [&](const fs::path& path, std::uint64_t bytes) {
    const auto size = size_if_there(path);
    if (!size) return;
    const auto count = std::min({bytes, *size, segment_bytes});
    if (count > 0 && (!most || most->bytes < count)) {
      most = SpooledSegment{path, count};
    }
  };
  const std::string segment = segment_part(name);
  consider(spool / kPushed / segment, segment_bytes);
  consider(spool / kPushed / (segment + std::string(kPartial)), segment_bytes);
  const auto begin = name.begin(segment_bytes);
  if (!begin) return most;
  for (const auto& run : runs_of(spool, name.timeline)) {
    const auto durable = read_durable_of(run);
    if (!durable || durable->end <= *begin) continue;
    consider(run / segment, durable->end.value - begin->value);
  }
  return most;
}

std::optional<std::string> find_pushed_text(const fs::path& spool,
                                            const WalFileName& name) {
  return read_text(spool / kPushed / name.text);
}

std::optional<std::string> find_spooled_history(const fs::path& spool,
                                                std::uint32_t timeline) {
  for (const auto& folder : {spool, spool / kPushed}) {
    auto text = read_text(folder / history_name(timeline));
    if (text && !text->empty()) return text;
  }
  return std::nullopt;
}

}  // namespace cairn::ingest
