#include "ingest/known_stream.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "ingest/file_error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

// The last byte is the version.
constexpr std::array<std::byte, 8> kMagic = {
    std::byte{'c'}, std::byte{'a'}, std::byte{'i'}, std::byte{'r'},
    std::byte{'n'}, std::byte{'k'}, std::byte{'s'}, std::byte{3}};

// Of a record's length.
constexpr std::uint32_t kCutByBorder = 0x80000000;

constexpr std::size_t kRecordBytes =
    4 + 4 + crypto::kRecognitionMacBytes + repo::BlobId::kBytes;

// How far ahead and behind a chunk is looked for: some 64 MiB of a stream in
// which so much was deleted or inserted.
constexpr std::size_t kWindow = 1024;

constexpr std::size_t kHeadBytes = 64;

// When everything has changed a little, computing a MAC each time is for
// nothing.
constexpr unsigned kPatience = 8;
constexpr unsigned kAskOneIn = 4;

// Where many chunks begin alike, as rows of a table may do, trying all of them
// would cost a hundred times what it saves.
constexpr unsigned kMaxTries = 2;

std::uint32_t le32(std::span<const std::byte, 4> bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value |= std::to_integer<std::uint32_t>(bytes[i]) << (8 * i);
  }
  return value;
}

void put_le32(std::uint32_t value, std::vector<std::byte>& out) {
  for (unsigned i = 0; i < 4; ++i) {
    out.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
  }
}

void put(const KnownChunk& chunk, std::vector<std::byte>& out) {
  put_le32(chunk.length | (chunk.cut_by == CutBy::border ? kCutByBorder : 0),
           out);
  put_le32(chunk.head, out);
  out.insert(out.end(), chunk.mac.begin(), chunk.mac.end());
  out.insert(out.end(), chunk.id.bytes.begin(), chunk.id.bytes.end());
}

KnownChunk get(std::span<const std::byte, kRecordBytes> record) {
  KnownChunk chunk;
  const std::uint32_t length = le32(record.first<4>());
  chunk.length = length & ~kCutByBorder;
  chunk.cut_by = (length & kCutByBorder) != 0 ? CutBy::border : CutBy::content;
  chunk.head = le32(record.subspan<4, 4>());
  std::ranges::copy(record.subspan<8, crypto::kRecognitionMacBytes>(),
                    chunk.mac.begin());
  std::ranges::copy(record.last<repo::BlobId::kBytes>(),
                    chunk.id.bytes.begin());
  return chunk;
}

std::size_t read_fully(int fd, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto size = uninterrupted(
        [&] { return ::read(fd, out.data() + done, out.size() - done); });
    if (size <= 0) break;
    done += static_cast<std::size_t>(size);
  }
  return done;
}

bool write_fully(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto size =
        uninterrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (size <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
  return true;
}

// Streams whose names never come back would leave their files for ever, and so
// would processes that were killed: theirs have a suffix, and nobody writes to
// one for a day who still lives. Names come back within a month, and where
// there are many, in turns: the oldest may be the next.
void sweep(const fs::path& folder) {
  constexpr std::size_t kFewFiles = 256;
  constexpr std::chrono::hours kLongEnough{24};
  constexpr std::chrono::hours kMonth{24 * 32};
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (const auto& file : fs::directory_iterator(folder, error)) {
    const auto written = file.last_write_time(error);
    if (!file.path().has_extension()) {
      files.emplace_back(written, file.path());
    } else if (fs::file_time_type::clock::now() - written > kLongEnough) {
      fs::remove(file.path(), error);
    }
  }
  if (files.size() <= kFewFiles) return;
  std::ranges::sort(files);
  files.resize(files.size() - kFewFiles);
  for (const auto& [time, path] : files) {
    if (fs::file_time_type::clock::now() - time > kMonth) {
      fs::remove(path, error);
    }
  }
}

}  // namespace

std::uint32_t head_of(std::span<const std::byte> chunk) noexcept {
  std::uint32_t hash = 2166136261U;  // FNV-1a, eight bytes at a time
  const std::size_t size = std::min(chunk.size(), kHeadBytes);
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, &chunk[i], sizeof word);
    hash = (hash ^ static_cast<std::uint32_t>(word ^ word >> 32)) * 16777619U;
    hash ^= hash >> 15;
  }
  return hash;
}

fs::path known_stream_file(const repo::Repository& repository,
                           std::string_view series, std::string_view name) {
  std::string text(series);
  text += '\0';
  text += name;
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  constexpr std::size_t kNameBytes = 16;
  return repository.cache_folder() / "streams" /
         crypto::to_hex(std::span(digest).first(kNameBytes));
}

crypto::Secret known_stream_key(const repo::Keyring& keyring) {
  return crypto::derive(keyring.cutter_key(), "cairn known stream");
}

KnownStream::KnownStream(const fs::path& file, const crypto::Secret& key)
    : recogniser_(key), fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
  std::array<std::byte, kMagic.size()> magic{};
  if (!fd_ || read_fully(fd_.get(), magic) != magic.size() || magic != kMagic) {
    is_at_end_ = true;
  }
}

// Afterwards a whole window lies ahead, or all there is, and one behind.
void KnownStream::read_ahead() {
  if (is_at_end_ || records_.size() - next_ >= kWindow) return;
  if (next_ > kWindow) {
    records_.erase(
        records_.begin(),
        records_.begin() + static_cast<std::ptrdiff_t>(next_ - kWindow));
    next_ = kWindow;
  }
  std::vector<std::byte> bytes(kWindow * kRecordBytes);
  const std::size_t size = read_fully(fd_.get(), bytes);
  is_at_end_ = size < bytes.size();
  for (std::size_t at = 0; at + kRecordBytes <= size; at += kRecordBytes) {
    records_.push_back(get(std::span(bytes).subspan(at).first<kRecordBytes>()));
  }
}

bool KnownStream::is_at(const KnownChunk& known,
                        std::span<const std::byte> bytes) {
  return known.length != 0 && known.length <= bytes.size() &&
         recogniser_.mac_of(known.id.bytes, bytes.first(known.length)) ==
             known.mac;
}

std::optional<KnownChunk> KnownStream::recognise(
    std::span<const std::byte> bytes, End end) {
  read_ahead();
  if (records_.empty()) return std::nullopt;
  const bool may_ask = misses_ <= kPatience || misses_ % kAskOneIn == 0;
  const std::uint32_t head = head_of(bytes);
  unsigned tries = may_ask ? kMaxTries : 0;
  const auto find = [&](std::size_t from,
                        std::size_t to) -> std::optional<std::size_t> {
    for (std::size_t i = from; i < to && tries > 0; ++i) {
      if (records_[i].head != head) continue;
      if (records_[i].cut_by == CutBy::border &&
          (end == End::open || records_[i].length != bytes.size())) {
        continue;
      }
      --tries;
      if (is_at(records_[i], bytes)) return i;
    }
    return std::nullopt;
  };
  auto found = find(next_, records_.size());
  if (!found) found = find(0, next_);
  if (found) {
    misses_ = 0;
    next_ = *found + 1;
    return records_[*found];
  }
  // Changed in its place, mostly: the next one is expected then.
  ++misses_;
  next_ = std::min(next_ + 1, records_.size());
  return std::nullopt;
}

KnownStreamWriter::KnownStreamWriter(fs::path file) : file_(std::move(file)) {
  std::error_code error;
  fs::create_directory(file_.parent_path(), error);
  unfinished_ = file_;
  unfinished_ += "." + crypto::to_hex(crypto::random_array<8>());
  fd_ = UniqueFd(::open(unfinished_.c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  pending_.assign(kMagic.begin(), kMagic.end());
}

KnownStreamWriter::~KnownStreamWriter() {
  if (!fd_) return;
  std::error_code ignored;
  fs::remove(unfinished_, ignored);
}

KnownStreamWriter::KnownStreamWriter(KnownStreamWriter&&) noexcept = default;

void KnownStreamWriter::write_pending() {
  if (fd_ && !write_fully(fd_.get(), pending_)) {
    std::error_code ignored;
    fs::remove(unfinished_, ignored);
    fd_ = {};
  }
  pending_.clear();
}

void KnownStreamWriter::add(const KnownChunk& chunk) {
  constexpr std::size_t kPendingBytes = std::size_t{64} << 10;
  if (last_) put(*last_, pending_);
  last_ = chunk;
  if (pending_.size() >= kPendingBytes) write_pending();
}

void KnownStreamWriter::finish() && {
  write_pending();
  if (!fd_) return;
  std::error_code error;
  fs::rename(unfinished_, file_, error);
  if (error) return;  // the destructor removes it
  fd_ = {};
  sweep(file_.parent_path());
}

}  // namespace cairn::ingest
