#include "ingest/wal_spool.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "ingest/wal_digests.h"
#include "ingest/wal_durable.h"
#include "ingest/whole_file.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCommitted = "committed";
constexpr std::string_view kCommittedHead = "cairn wal committed 1";
constexpr std::string_view kOwnSnapshots = "snapshots";
constexpr std::string_view kHistorySuffix = ".history";
constexpr std::string_view kGoneSuffix = ".gone";

// The server sends what an administrator can edit.
constexpr std::size_t kMaxHistoryBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxRows = 8;  // FORMAT.md, section 7

constexpr std::string_view kSpoolAdvice =
    "; move the folder away: what the server still keeps is received again";

[[noreturn]] void fail(const fs::path& path, const char* what, int error) {
  repo::throw_system_error(path.string() + ": " + what, error);
}

UniqueFd open_file(const fs::path& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd) fail(path, "cannot open", errno);
  return fd;
}

void sync_data(const UniqueFd& fd, const fs::path& path) {
  if (::fdatasync(fd.get()) != 0) fail(path, "cannot sync", errno);
}

void sync_folder(const fs::path& folder) {
  const auto fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (::fsync(fd.get()) != 0) fail(folder, "cannot sync", errno);
}

// Answers how many were written before the disk was full, or all.
std::size_t write_at(const UniqueFd& fd, const fs::path& path,
                     std::span<const std::byte> bytes, off_t offset) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        ::pwrite(fd.get(), bytes.data() + done, bytes.size() - done,
                 offset + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && done == 0) fail(path, "cannot write", errno);
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

// False: it has not as many.
bool read_at(const UniqueFd& fd, const fs::path& path, std::span<std::byte> out,
             off_t offset) {
  while (!out.empty()) {
    const ssize_t count = ::pread(fd.get(), out.data(), out.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "cannot read", errno);
    if (count == 0) return false;
    out = out.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
  return true;
}

std::optional<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

struct RunPlace {
  std::uint32_t timeline = 0;
  Lsn start;
};

// Of a folder's name, TIMELINE-START.
std::optional<RunPlace> parse_run_name(const std::string& name) {
  const auto dash = name.find('-');
  if (dash == std::string::npos) return std::nullopt;
  const auto timeline = parse_number(name.substr(0, dash), 16);
  const auto start = parse_number(name.substr(dash + 1), 16);
  if (!timeline || *timeline > UINT32_MAX || !start) return std::nullopt;
  return RunPlace{static_cast<std::uint32_t>(*timeline), {*start}};
}

std::string encode(const CommittedWal& committed) {
  std::ostringstream out;
  out << kCommittedHead << '\n'
      << committed.start.value << ' ' << committed.end.value << ' '
      << committed.snapshot.hex() << '\n';
  for (const auto& row : committed.rows) {
    out << (row.kind == repo::BlobKind::links ? "list " : "chunk ")
        << row.id.hex() << ' ' << row.length << '\n';
  }
  return out.str();
}

// Nothing: it is damaged, which costs a stream that begins anew.
std::optional<CommittedWal> decode_committed(const std::string& text) {
  std::istringstream in(text);
  std::string line;
  if (!std::getline(in, line) || line != kCommittedHead) return std::nullopt;
  CommittedWal committed;
  std::string id;
  if (!(in >> committed.start.value >> committed.end.value >> id)) {
    return std::nullopt;
  }
  const auto snapshot = repo::SessionId::from_hex(id);
  if (!snapshot || committed.end <= committed.start) return std::nullopt;
  committed.snapshot = *snapshot;
  std::uint64_t left = committed.end.value - committed.start.value;
  std::string kind;
  while (in >> kind) {
    repo::Link row;
    if (!(in >> id >> row.length)) return std::nullopt;
    const auto blob = repo::BlobId::from_hex(id);
    if (!blob || row.length > left || committed.rows.size() >= kMaxRows) {
      return std::nullopt;
    }
    row.kind = kind == "list" ? repo::BlobKind::links : repo::BlobKind::content;
    row.id = *blob;
    left -= row.length;
    committed.rows.push_back(row);
  }
  if (left != 0) return std::nullopt;
  return committed;
}

// Damage costs snapshots that stay though later ones cover them.
std::vector<repo::SessionId> decode_own_snapshots(const std::string& text) {
  std::vector<repo::SessionId> snapshots;
  std::istringstream in(text);
  std::string line;
  while (std::getline(in, line)) {
    if (const auto id = repo::SessionId::from_hex(line)) {
      snapshots.push_back(*id);
    }
  }
  return snapshots;
}

void remove_if_there(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    fail(path, "cannot remove", errno);
  }
}

}  // namespace

void make_spool_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return;
  const fs::path parent = folder.parent_path();
  if (!parent.empty() && parent != folder) make_spool_folder(parent);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    fail(folder, "cannot create", errno);
  }
  sync_folder(parent.empty() ? fs::path(".") : parent);
}

void replace_spool_file(const fs::path& path, std::string_view text) {
  WholeFile file(path, WholeFile::Durability::synced);
  file.append(std::as_bytes(std::span(text)));
  std::move(file).name_or_replace();
}

WalRun::WalRun(fs::path folder, std::uint32_t timeline, Lsn start,
               std::uint64_t segment_bytes)
    : folder_(std::move(folder)),
      timeline_(timeline),
      segment_bytes_(segment_bytes) {
  make_spool_folder(folder_);
  if (const auto text = read_file(folder_ / kCommitted)) {
    committed_ = decode_committed(*text);
  }
  if (const auto text = read_file(folder_ / kOwnSnapshots)) {
    own_snapshots_ = decode_own_snapshots(*text);
  }
  find_segments(start);
  const fs::path path = folder_ / kDurableFile;
  durable_file_ = open_file(path, O_RDWR | O_CREAT);
  sync_folder(folder_);
  Lsn durable = begin();
  if (const auto record = read_durable(durable_file_, path)) {
    durable_number_ = record->number;
    durable = std::max(begin(), record->end);
  }
  const bool is_whole =
      durable <= end_ && (!committed_ || (begin() <= committed_->end &&
                                          committed_->end <= durable));
  if (!is_whole) {
    throw repo::CorruptionError(folder_.string() +
                                ": WAL that was synced is not there" +
                                std::string(kSpoolAdvice));
  }
  cut_off_behind(durable);
  end_ = durable;
  durable_end_ = durable.value;
  if (committed_) remove_committed_segments(committed_->end);
}

fs::path WalRun::segment_path(Lsn lsn) const {
  return folder_ / segment_name(timeline_, lsn, segment_bytes_);
}

// Sets begin_ and end_ by the files that follow each other.
void WalRun::find_segments(Lsn start) {
  std::map<Lsn, std::uint64_t> sizes;
  for (const auto& file : fs::directory_iterator(folder_)) {
    const auto lsn = parse_segment_name(file.path().filename().string(),
                                        timeline_, segment_bytes_);
    if (lsn) sizes.emplace(*lsn, file.file_size());
  }
  if (sizes.empty()) {
    end_ = committed_ ? segment_begin(committed_->end, segment_bytes_) : start;
    begin_ = end_.value;
    return;
  }
  begin_ = sizes.begin()->first.value;
  end_ = begin();
  for (const auto& [lsn, size] : sizes) {
    if (lsn != end_) break;  // what follows a gap is no part of it
    end_.value += std::min(size, segment_bytes_);
  }
}

void WalRun::cut_off_behind(Lsn end) {
  std::vector<fs::path> behind;
  for (const auto& file : fs::directory_iterator(folder_)) {
    const auto lsn = parse_segment_name(file.path().filename().string(),
                                        timeline_, segment_bytes_);
    if (lsn && *lsn >= end) behind.push_back(file.path());
  }
  for (const auto& path : behind) fs::remove(path);
  const auto within = end.value % segment_bytes_;
  if (within == 0) return;
  const fs::path path = segment_path(end);
  if (::truncate(path.c_str(), static_cast<off_t>(within)) != 0) {
    fail(path, "cannot truncate", errno);
  }
}

void WalRun::open_segment() {
  const fs::path path = segment_path(end_);
  segment_ = open_file(path, O_WRONLY | O_CREAT);
  sync_folder(folder_);
}

void WalRun::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t within = end_.value % segment_bytes_;
    if (!segment_) open_segment();
    const auto part = bytes.first(static_cast<std::size_t>(
        std::min<std::uint64_t>(bytes.size(), segment_bytes_ - within)));
    const std::size_t done = write_at(segment_, segment_path(end_), part,
                                      static_cast<off_t>(within));
    const fs::path path = segment_path(end_);
    end_.value += done;
    bytes = bytes.subspan(done);
    if (end_.value % segment_bytes_ == 0) {
      sync_data(segment_, path);
      segment_ = UniqueFd();
    }
  }
}

bool WalRun::link_segment(const fs::path& file) {
  assert(!segment_ && end_.value % segment_bytes_ == 0);
  const fs::path path = segment_path(end_);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    fail(path, "cannot remove", errno);
  }
  if (::link(file.c_str(), path.c_str()) != 0) {
    if (errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK) return false;
    fail(path, "cannot link", errno);
  }
  sync_folder(folder_);
  end_.value += segment_bytes_;
  return true;
}

void WalRun::sync() {
  if (end_ == durable_end()) return;
  if (segment_) sync_data(segment_, segment_path(end_));
  write_durable(durable_file_, folder_ / kDurableFile,
                {++durable_number_, end_});
  durable_end_ = end_.value;
}

std::optional<Lsn> WalRun::first_difference(
    Lsn at, std::span<const std::byte> bytes) const {
  assert(at.value + bytes.size() <= end_.value);
  if (at < begin()) {
    const std::uint64_t before = begin().value - at.value;
    if (before >= bytes.size()) return std::nullopt;
    bytes = bytes.subspan(static_cast<std::size_t>(before));
    at = begin();
  }
  std::vector<std::byte> held(bytes.size());
  read(at, held);
  const auto [there, here] = std::ranges::mismatch(bytes, held);
  if (there == bytes.end()) return std::nullopt;
  return Lsn{at.value + static_cast<std::uint64_t>(there - bytes.begin())};
}

void WalRun::read(Lsn at, std::span<std::byte> out) const {
  while (!out.empty()) {
    const std::uint64_t within = at.value % segment_bytes_;
    const auto part = out.first(static_cast<std::size_t>(
        std::min<std::uint64_t>(out.size(), segment_bytes_ - within)));
    const fs::path path = segment_path(at);
    const auto fd = open_file(path, O_RDONLY);
    if (!read_at(fd, path, part, static_cast<off_t>(within))) {
      throw repo::CorruptionError(path.string() + ": is shorter than it was" +
                                  std::string(kSpoolAdvice));
    }
    at.value += part.size();
    out = out.subspan(part.size());
  }
}

Lsn WalRun::stream_begin() const {
  const auto committed = this->committed();
  return committed ? std::min(committed->start, begin()) : begin();
}

std::optional<CommittedWal> WalRun::committed() const {
  const std::lock_guard lock(mutex_);
  return committed_;
}

std::uint64_t WalRun::uncommitted_bytes() const {
  const std::lock_guard lock(mutex_);
  const Lsn stored = committed_ ? committed_->end : begin();
  return durable_end().value - std::min(stored, durable_end()).value;
}

void WalRun::note_committed(const CommittedWal& committed) {
  replace_spool_file(folder_ / kCommitted, encode(committed));
  {
    const std::lock_guard lock(mutex_);
    committed_ = committed;
  }
  remove_committed_segments(committed.end);
}

void WalRun::forget_committed() {
  remove_if_there(folder_ / kOwnSnapshots);
  remove_if_there(folder_ / kCommitted);
  sync_folder(folder_);
  const std::lock_guard lock(mutex_);
  committed_.reset();
  own_snapshots_.clear();
}

std::vector<repo::SessionId> WalRun::own_snapshots() const {
  const std::lock_guard lock(mutex_);
  return own_snapshots_;
}

void WalRun::note_own_snapshots(std::vector<repo::SessionId> snapshots) {
  std::string text;
  for (const auto& id : snapshots) text += id.hex() + '\n';
  replace_spool_file(folder_ / kOwnSnapshots, text);
  const std::lock_guard lock(mutex_);
  own_snapshots_ = std::move(snapshots);
}

// What comes again under that name has to be the same. On a full disk it is
// more to let go of the segment.
void WalRun::note_digest(const fs::path& segment) const {
  std::error_code error;
  if (fs::file_size(segment, error) != segment_bytes_ || error) return;
  try {
    WalDigests digests(folder_.parent_path());
    digests.add(segment.filename().string(), digest_of_file(segment));
  } catch (const repo::IoError&) {
    return;
  }
}

// From the first on, so that a crash leaves no gap.
void WalRun::remove_committed_segments(Lsn end) {
  while (begin_ + segment_bytes_ <= end.value) {
    const fs::path path = segment_path(begin());
    note_digest(path);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      fail(path, "cannot remove", errno);
    }
    begin_ += segment_bytes_;
  }
}

std::vector<SpooledWal> look_at_spool(const fs::path& folder) {
  std::vector<SpooledWal> all;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const auto place = parse_run_name(at->path().filename().string());
    if (!place) continue;
    const auto durable = read_durable_of(at->path());
    if (!durable) continue;
    const auto text = read_file(at->path() / kCommitted);
    const auto committed = text ? decode_committed(*text) : std::nullopt;
    all.push_back(
        {place->timeline, place->start, durable->end,
         std::min(durable->end,
                  std::max(place->start, committed ? committed->end : Lsn{}))});
  }
  return all;
}

bool is_spool_in_use(const fs::path& folder) {
  const UniqueFd lock(::open((folder / "lock").c_str(), O_RDONLY | O_CLOEXEC));
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0 &&
         errno == EWOULDBLOCK;
}

WalSpool::WalSpool(fs::path folder, std::uint64_t segment_bytes)
    : folder_(std::move(folder)), segment_bytes_(segment_bytes) {
  assert(is_segment_size(segment_bytes));
  make_spool_folder(folder_);
  const fs::path lock = folder_ / "lock";
  lock_ = open_file(lock, O_RDWR | O_CREAT);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail(lock, "cannot lock", errno);
    throw repo::LockedError(
        folder_.string() +
        ": another process on this host has it, such as a 'cairn pg "
        "wal-receive' that receives WAL of this cluster for this series");
  }
  std::vector<fs::path> gone;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(kGoneSuffix)) gone.push_back(entry.path());
    if (name.ends_with(kHistorySuffix) && entry.is_regular_file()) {
      const auto timeline =
          parse_number(name.substr(0, name.size() - kHistorySuffix.size()), 16);
      auto content = read_file(entry.path());
      if (timeline && content) {
        histories_.emplace(static_cast<std::uint32_t>(*timeline),
                           std::move(*content));
      }
      continue;
    }
    const auto parsed = parse_run_name(name);
    if (!parsed || !entry.is_directory()) continue;
    const Place place{parsed->timeline, parsed->start};
    if (folder_of(place) != entry.path()) continue;
    runs_.emplace(place, std::make_shared<WalRun>(entry.path(), place.timeline,
                                                  place.start, segment_bytes_));
  }
  std::error_code error;
  for (const auto& path : gone) fs::remove_all(path, error);
}

fs::path WalSpool::folder_of(const Place& place) const {
  // As the path in the repository ends: TIMELINE/START.
  std::string name = path_of({0, place.timeline, place.start});
  const auto start = name.rfind('/');
  const auto timeline = name.rfind('/', start - 1);
  name[start] = '-';
  return folder_ / name.substr(timeline + 1);
}

std::vector<std::shared_ptr<WalRun>> WalSpool::runs() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<WalRun>> all;
  for (const auto& [place, run] : runs_) all.push_back(run);
  return all;
}

std::shared_ptr<WalRun> WalSpool::begin_run(std::uint32_t timeline, Lsn start) {
  const Place place{timeline, start};
  {
    const std::lock_guard lock(mutex_);
    const auto known = runs_.find(place);
    if (known != runs_.end()) return known->second;
  }
  auto run = std::make_shared<WalRun>(folder_of(place), timeline, start,
                                      segment_bytes_);
  const std::lock_guard lock(mutex_);
  runs_.insert_or_assign(place, run);
  return run;
}

void WalSpool::use(std::shared_ptr<WalRun> run) {
  const std::lock_guard lock(mutex_);
  in_use_ = std::move(run);
}

std::shared_ptr<WalRun> WalSpool::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

void WalSpool::remove(const WalRun& run) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      runs_, [&](const auto& one) { return one.second.get() == &run; });
  if (found == runs_.end()) return;
  // In one step for who comes after a crash.
  const fs::path folder = folder_of(found->first);
  const fs::path gone = folder.string() + std::string(kGoneSuffix);
  if (::rename(folder.c_str(), gone.c_str()) != 0) {
    fail(folder, "cannot rename", errno);
  }
  runs_.erase(found);
  std::error_code error;  // the next start tries again
  fs::remove_all(gone, error);
}

std::uint64_t WalSpool::uncommitted_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& run : runs()) bytes += run->uncommitted_bytes();
  return bytes;
}

void WalSpool::add_history(std::uint32_t timeline, std::string_view content) {
  if (content.size() > kMaxHistoryBytes) {
    throw repo::CorruptionError(history_name(timeline) +
                                ": the server's timeline history is too long");
  }
  replace_spool_file(folder_ / history_name(timeline), content);
  const std::lock_guard lock(mutex_);
  histories_.insert_or_assign(timeline, std::string(content));
}

std::map<std::uint32_t, std::string> WalSpool::histories(
    std::uint32_t up_to) const {
  const std::lock_guard lock(mutex_);
  return {histories_.begin(), histories_.upper_bound(up_to)};
}

}  // namespace cairn::ingest
