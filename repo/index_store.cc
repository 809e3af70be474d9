#include "repo/index_store.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/error.h"

namespace cairn::repo {
namespace {

namespace fs = std::filesystem;

// Bounds the memory of the store whatever the number of chunks.
constexpr std::size_t kBlockCacheBytes = std::size_t{24} << 20;
constexpr std::size_t kWriteBufferBytes = std::size_t{8} << 20;
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;
constexpr double kFilterBitsPerKey = 10;

// The one door through which RocksDB's failures enter ours.
void must(const rocksdb::Status& status, std::string_view doing) {
  if (status.ok()) return;
  const std::string what =
      "index cache: " + std::string(doing) + ": " + status.ToString();
  if (status.IsNoSpace()) throw OutOfSpace(what);
  if (status.IsCorruption()) throw CorruptionError(what);
  throw IoError(what);
}

rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}

std::string_view view(const rocksdb::Slice& text) {
  return {text.data(), text.size()};
}

rocksdb::Options options() {
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewRibbonFilterPolicy(kFilterBitsPerKey));
  table.whole_key_filtering = true;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.block_cache = rocksdb::NewLRUCache(kBlockCacheBytes);

  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.paranoid_checks = true;
  options.write_buffer_size = kWriteBufferBytes;
  options.max_write_buffer_number = 2;
  options.max_background_jobs = 1;
  options.max_open_files = -1;  // a secondary has to hold its files
  // A store has few files; starting sixteen threads takes longer than to open
  // them, and their sizes and statistics are of no use here.
  options.max_file_opening_threads = 1;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.keep_log_file_num = 1;
  options.max_manifest_file_size = std::uint64_t{16} << 20;
  options.info_log_level = rocksdb::ERROR_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Held while one writes; given back when it goes.
class FolderLock {
 public:
  explicit FolderLock(int fd) : fd_(fd) {}
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&&) = delete;

 private:
  int fd_;
};

template <typename Database>
void for_each_in(
    Database& database, std::string_view prefix,
    const std::function<IndexStore::Next(std::string_view, std::string_view)>&
        visit) {
  std::unique_ptr<rocksdb::Iterator> at(database.NewIterator({}));
  for (at->Seek(slice(prefix)); at->Valid(); at->Next()) {
    if (!view(at->key()).starts_with(prefix)) break;
    if (visit(view(at->key()), view(at->value())) == IndexStore::Next::stop) {
      break;
    }
  }
  must(at->status(), "read");
}

class PrimaryWriter : public IndexStore::Writer {
 public:
  explicit PrimaryWriter(rocksdb::DB& database) : database_(database) {}

  std::optional<std::string> get(std::string_view key) override {
    write_batch();  // cheaper than a batch that can be searched
    std::string value;
    const auto status = database_.Get({}, slice(key), &value);
    if (status.IsNotFound()) return std::nullopt;
    must(status, "get");
    return value;
  }

  void put(std::string_view key, std::string_view value) override {
    must(batch_.Put(slice(key), slice(value)), "put");
    if (batch_.GetDataSize() >= kBatchBytes) write_batch();
  }

  void remove(std::string_view key) override {
    must(batch_.Delete(slice(key)), "remove");
  }

  void for_each(
      std::string_view prefix,
      const std::function<IndexStore::Next(std::string_view, std::string_view)>&
          visit) override {
    write_batch();
    for_each_in(database_, prefix, visit);
  }

  void finish() {
    write_batch();
    must(database_.Flush({}), "flush");
  }

 private:
  // Without the log: the flush makes it durable, and what a crash takes is made
  // again from the repository.
  void write_batch() {
    if (batch_.Count() == 0) return;
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    must(database_.Write(options, &batch_), "write");
    batch_.Clear();
  }

  rocksdb::DB& database_;
  rocksdb::WriteBatch batch_;
};

}  // namespace

struct IndexStore::State {
  fs::path folder;
  fs::path secondary_folder;
  std::unique_ptr<rocksdb::DB> secondary;
  ino_t secondary_of = 0;           // which database it reads
  mutable std::shared_mutex mutex;  // guards `secondary` while it is replaced

  [[nodiscard]] fs::path database() const { return folder / "rocksdb"; }

  void open_secondary() {
    rocksdb::DB* opened = nullptr;
    must(rocksdb::DB::OpenAsSecondary(options(), database().string(),
                                      secondary_folder.string(), &opened),
         "open");
    std::unique_lock lock(mutex);
    secondary.reset(opened);
    secondary_of = inode();
  }

  // Another one once the database was made anew, by whichever process.
  [[nodiscard]] ino_t inode() const {
    struct stat status {};
    return ::stat(database().c_str(), &status) == 0 ? status.st_ino : 0;
  }

  std::unique_ptr<rocksdb::DB> open_primary() {
    rocksdb::DB* opened = nullptr;
    must(rocksdb::DB::Open(options(), database().string(), &opened), "open");
    return std::unique_ptr<rocksdb::DB>(opened);
  }

  // Under the lock.
  void write_as_primary(
      const std::function<void(IndexStore::Writer&)>& change) {
    const auto primary = open_or_remake_primary();
    PrimaryWriter writer(*primary);
    change(writer);
    writer.finish();
    must(primary->Close(), "close");
  }

  // Throws away what cannot be read. Under the lock.
  std::unique_ptr<rocksdb::DB> open_or_remake_primary() {
    if (fs::exists(damage_note())) remove_database();
    try {
      return open_primary();
    } catch (const CorruptionError&) {
      remove_database();
      return open_primary();
    }
  }

  void remove_database() const {
    std::error_code error;
    fs::remove_all(database(), error);
    if (error) throw IoError(database().string() + ": " + error.message());
    fs::remove(damage_note(), error);
  }

  // That whoever opens the store next has to make it anew.
  [[nodiscard]] fs::path damage_note() const { return folder / "damaged"; }

  [[noreturn]] void note_damage(const CorruptionError& e) const {
    std::ofstream(damage_note()) << e.what() << "\n";
    throw IoError(std::string(e.what()) +
                  "; only a cache, the next command makes it anew");
  }

  // Sees what was written since. Under the lock.
  void catch_up() {
    if (inode() == secondary_of) {
      std::shared_lock reading(mutex);
      if (secondary->TryCatchUpWithPrimary().ok()) return;
    }
    open_secondary();
  }

  // Whoever holds this is the only writer.
  std::optional<FolderLock> lock(std::chrono::milliseconds patience) const;
};

std::optional<FolderLock> IndexStore::State::lock(
    std::chrono::milliseconds patience) const {
  const fs::path path = folder / "lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    throw IoError(path.string() + ": " + std::strerror(errno));
  }
  FolderLock file(fd);
  constexpr std::chrono::milliseconds kPause{5};
  const auto until = std::chrono::steady_clock::now() + patience;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      throw IoError(path.string() + ": " + std::strerror(errno));
    }
    if (std::chrono::steady_clock::now() >= until) return std::nullopt;
    std::this_thread::sleep_for(kPause);
  }
  return file;
}

IndexStore::IndexStore(fs::path folder) : state_(std::make_unique<State>()) {
  state_->folder = std::move(folder);
  std::error_code error;
  fs::create_directories(state_->folder, error);
  if (error) {
    throw IoError(state_->folder.string() + ": " + error.message() +
                  "; set CAIRN_CACHE_DIR to a folder that can be written");
  }
  fs::permissions(state_->folder, fs::perms::owner_all, error);
  state_->secondary_folder =
      state_->folder / ("reader-" + crypto::to_hex(crypto::random_array<8>()));
  try {
    if (fs::exists(state_->damage_note())) {
      throw CorruptionError("index cache: noted as damaged");
    }
    state_->open_secondary();
  } catch (const Error&) {
    // Absent or damaged. Under the lock, since another process may be making
    // it; if it still cannot be read then, it is made anew.
    constexpr std::chrono::minutes kPatience{2};
    const auto lock = state_->lock(kPatience);
    if (!lock) throw LockedError("index cache: another process holds it");
    try {
      state_->open_or_remake_primary();
      state_->open_secondary();
    } catch (const Error&) {
      state_->remove_database();
      state_->open_primary();
      state_->open_secondary();
    }
  }
}

IndexStore::~IndexStore() {
  state_->secondary.reset();
  std::error_code ignored;
  fs::remove_all(state_->secondary_folder, ignored);
}

std::optional<std::string> IndexStore::get(std::string_view key) const {
  std::string value;
  std::shared_lock lock(state_->mutex);
  const auto status = state_->secondary->Get({}, slice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  try {
    must(status, "get");
  } catch (const CorruptionError& e) {
    state_->note_damage(e);
  }
  return value;
}

void IndexStore::for_each(
    std::string_view prefix,
    const std::function<Next(std::string_view, std::string_view)>& visit)
    const {
  std::shared_lock lock(state_->mutex);
  try {
    for_each_in(*state_->secondary, prefix, visit);
  } catch (const CorruptionError& e) {
    state_->note_damage(e);
  }
}

IndexStore::Written IndexStore::write(
    std::chrono::milliseconds patience,
    const std::function<void(Writer&)>& change) {
  const auto lock = state_->lock(patience);
  if (!lock) return Written::others_are_writing;
  state_->write_as_primary(change);
  // Still under the lock: no other process takes files away meanwhile.
  state_->catch_up();
  return Written::yes;
}

IndexStore::Written IndexStore::write_last(
    std::chrono::milliseconds patience,
    const std::function<void(Writer&)>& change) {
  const auto lock = state_->lock(patience);
  if (!lock) return Written::others_are_writing;
  state_->write_as_primary(change);
  return Written::yes;
}

// Files that another process still reads stay with it until it closes them.
IndexStore::Written IndexStore::clear(std::chrono::milliseconds patience) {
  const auto lock = state_->lock(patience);
  if (!lock) return Written::others_are_writing;
  {
    std::unique_lock reading(state_->mutex);
    state_->secondary.reset();
  }
  state_->remove_database();
  state_->open_primary();
  state_->open_secondary();
  return Written::yes;
}

}  // namespace cairn::repo
