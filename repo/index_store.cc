#include "repo/index_store.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <shared_mutex>
#include <thread>
#include <utility>
#include <vector>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/error.h"
#include "repo/index_disk.h"
#include "repo/own_folder.h"
#include "repo/pending_changes.h"

namespace cairn::repo {
namespace {

namespace fs = std::filesystem;

// Bounds the memory of the store whatever the number of chunks.
constexpr std::size_t kBlockCacheBytes = std::size_t{24} << 20;
constexpr std::size_t kWriteBufferBytes = std::size_t{8} << 20;
// Of a writer; then they become a table.
constexpr std::size_t kPendingBytes = std::size_t{16} << 20;
constexpr double kFilterBitsPerKey = 10;
// To make the filter of a table takes twice the table's own size.
constexpr std::size_t kTableBytes = std::size_t{8} << 20;

// The version of what lies in a database is part of its name: nobody reads
// another version's.
constexpr int kManyTables = 8;
constexpr std::uint64_t kFirstLevelBytes = std::uint64_t{32} << 20;
constexpr int kLevels = 4;

constexpr std::string_view kDatabasePrefix = "db2-";
constexpr std::string_view kOlderDatabasePrefix = "db-";
constexpr const char* kTableName = "next-table";  // while it is being written
// Where a secondary keeps its log.
constexpr std::string_view kReaderPrefix = "reader-";
// The one database of programs before each had a name of its own.
constexpr std::string_view kOldDatabase = "rocksdb";

// Of the cache, not of the repository: nobody's data is lost.
struct DamagedCache : IoError {
  using IoError::IoError;
};

// The one door through which RocksDB's failures enter ours.
void must(const rocksdb::Status& status, std::string_view doing) {
  if (status.ok()) return;
  const std::string what =
      "index cache: " + std::string(doing) + ": " + status.ToString();
  if (status.IsNoSpace()) throw OutOfSpace(what);
  if (status.IsCorruption() || status.IsPathNotFound()) {
    throw DamagedCache(what);
  }
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
  options.paranoid_file_checks = true;  // of merged tables; see require_written
  options.write_buffer_size = kWriteBufferBytes;
  options.max_write_buffer_number = 2;
  options.target_file_size_base = kTableBytes;
  // Each run adds a table whose keys lie all over the others'; so to merge new
  // ones writes the whole next level anew, which is kept small for that.
  options.level0_file_num_compaction_trigger = kManyTables;
  options.max_bytes_for_level_base = kFirstLevelBytes;
  options.num_levels = kLevels;
  options.max_background_jobs = 1;
  // What failed for want of room would be tried again until an assertion of
  // RocksDB's ends the process.
  options.max_bgerror_resume_count = 0;
  options.max_open_files = -1;  // a secondary has to hold its files
  // A store has few files; starting sixteen threads takes longer than to open
  // them, and their sizes and statistics are of no use here.
  options.max_file_opening_threads = 1;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.keep_log_file_num = 1;
  options.allow_fallocate = false;  // most files are far smaller
  options.max_manifest_file_size = std::uint64_t{16} << 20;
  // Each opening begins one, of a few hundred bytes.
  options.manifest_preallocation_size = std::size_t{16} << 10;
  options.info_log_level = rocksdb::ERROR_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// A database that is open for writing. It goes before the disk under it.
struct Primary {
  IndexDisk disk;
  std::unique_ptr<rocksdb::DB> database;
};

// A lock of the system's on a file or folder, given back when it goes.
class FolderLock {
 public:
  explicit FolderLock(int fd) : fd_(fd) {}
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

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

// Gathers changes and hands them over as one sorted table: most keys are
// hashes, and each would have to find its place in a memtable.
class PrimaryWriter : public IndexStore::Writer {
 public:
  explicit PrimaryWriter(rocksdb::DB& database) : database_(database) {}

  std::optional<std::string> get(std::string_view key) override {
    if (const auto* const change = changes_.find(key)) {
      return std::optional<std::string>(change->value);
    }
    std::string value;
    const auto status = database_.Get({}, slice(key), &value);
    if (status.IsNotFound()) return std::nullopt;
    must(status, "get");
    return value;
  }

  void put(std::string_view key, std::string_view value) override {
    change(key, value);
  }

  void remove(std::string_view key) override { change(key, std::nullopt); }

  void for_each(
      std::string_view prefix,
      const std::function<IndexStore::Next(std::string_view, std::string_view)>&
          visit) override {
    write_changes();
    for_each_in(database_, prefix, visit);
  }

  void finish() { write_changes(); }

 private:
  void change(std::string_view key, std::optional<std::string_view> value) {
    changes_.add(key, value);
    if (changes_.bytes() >= kPendingBytes) write_changes();
  }

  // Durable once it answers.
  void write_changes() {
    if (changes_.empty()) return;
    const std::string path = database_.GetName() + "/" + kTableName;
    // One that a killed writer left may be a table of the database by now: it
    // is taken in by a second name, and only then loses the first.
    std::error_code error;
    fs::remove(path, error);
    if (error) throw_system_error(path, error.value());
    // The next command reads it, soon: it has to stay in the system's cache.
    constexpr bool kInvalidatePageCache = false;
    rocksdb::SstFileWriter table(rocksdb::EnvOptions(), database_.GetOptions(),
                                 nullptr, kInvalidatePageCache);
    must(table.Open(path), "begin a table");
    const auto sorted = changes_.sort();
    for (const auto& [key, value] : sorted) {
      must(value ? table.Put(slice(key), slice(*value))
                 : table.Delete(slice(key)),
           "write a table");
    }
    must(table.Finish(), "write a table");
    require_written(path, sorted);
    rocksdb::IngestExternalFileOptions how;
    how.move_files = true;
    how.write_global_seqno = false;
    must(database_.IngestExternalFile({path}, how), "take in a table");
    changes_.clear();
  }

  // What memory that fails makes of a block before it gets its checksum is
  // bytes that RocksDB trusts, and ends the program with an assertion where
  // they make no sense: this one rather than all that come after it.
  template <typename Changes>
  void require_written(const std::string& path, const Changes& changes) {
    rocksdb::SstFileReader reader(database_.GetOptions());
    must(reader.Open(path), "read back a table");
    const std::unique_ptr<rocksdb::Iterator> at(
        reader.NewIterator(rocksdb::ReadOptions()));
    at->SeekToFirst();
    for (const auto& [key, value] : changes) {
      if (!value) continue;
      if (!at->Valid() || view(at->key()) != std::string_view(key) ||
          view(at->value()) != std::string_view(*value)) {
        throw IoError(path + ": read back, it is not what was written");
      }
      at->Next();
    }
    if (at->Valid()) {
      throw IoError(path + ": read back, it has more than was written");
    }
    must(at->status(), "read back a table");
  }

  rocksdb::DB& database_;
  PendingChanges changes_;
};

}  // namespace

// Layout of the folder:
//   lock         whoever holds it exclusively writes; shared, opens for reading
//   current      the name of the database that counts, replaced by rename
//   db2-<hex>/   a database; each one made has a name of its own, so that none
//                is ever mistaken for another that was there before. Who reads
//                it holds a shared lock of the folder.
//   db2-<hex>.damaged   that it has to be made anew
//   reader-<hex>/       RocksDB's notes about a reader, who has it locked
//   check-<hex>/        the index of a check, who has it locked
struct IndexStore::State {
  fs::path folder;
  std::optional<OwnFolder> reader;
  IndexDisk reader_disk;                   // under the next
  std::unique_ptr<rocksdb::DB> secondary;  // null: there was no database yet
  std::string generation;                  // which database it reads
  std::optional<FolderLock> hold;          // of that
  std::uint64_t generations = 0;           // that were read so far
  mutable std::shared_mutex mutex;         // guards the four above

  [[nodiscard]] fs::path current_file() const { return folder / "current"; }
  [[nodiscard]] fs::path damage_note(const std::string& name) const {
    return folder / (name + ".damaged");
  }

  // Empty: there is none.
  [[nodiscard]] std::string current() const {
    std::ifstream in(current_file());
    std::string name;
    std::getline(in, name);
    const bool is_name =
        name.starts_with(kDatabasePrefix) &&
        name.find_first_not_of("0123456789abcdef", kDatabasePrefix.size()) ==
            std::string::npos;
    if (!is_name || !fs::exists(folder / name / "CURRENT")) return {};
    return name;
  }

  // Under the lock, shared at least: so that no process writes meanwhile.
  void open_secondary() {
    const std::string name = current();
    if (name.empty() || fs::exists(damage_note(name))) {
      throw DamagedCache("index cache: has to be made anew");
    }
    auto new_hold = hold_folder(folder / name);
    auto how = options();
    how.env = &reader_disk.env();
    rocksdb::DB* opened = nullptr;
    must(rocksdb::DB::OpenAsSecondary(how, (folder / name).string(),
                                      reader->path().string(), &opened),
         "open");
    std::unique_lock lock(mutex);
    secondary.reset(opened);
    hold = std::move(new_hold);
    if (name != generation) ++generations;
    generation = name;
  }

  // Nothing is held where the file system has no such locks.
  [[nodiscard]] static std::optional<FolderLock> hold_folder(
      const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) throw DamagedCache(path.string() + ": " + std::strerror(errno));
    FolderLock lock(fd);
    if (::flock(fd, LOCK_SH | LOCK_NB) != 0) return std::nullopt;
    return lock;
  }

  [[nodiscard]] Primary open_primary(const std::string& name) const {
    Primary primary;
    auto how = options();
    how.env = &primary.disk.env();
    rocksdb::DB* opened = nullptr;
    const auto status =
        rocksdb::DB::Open(how, (folder / name).string(), &opened);
    primary.database.reset(opened);
    primary.disk.require_written();
    must(status, "open");
    return primary;
  }

  // Under the lock. What is damaged is noticed when it is read, written, or
  // merged with what is written; it is made anew once.
  void write_as_primary(
      const std::function<void(IndexStore::Writer&)>& change) {
    try {
      write_to(open_or_remake_primary(), change);
    } catch (const DamagedCache&) {
      write_to(begin_database(), change);
    }
    remove_old_databases();
    (void)OwnFolder::sweep(folder, kCheckPrefix);
    // With the lock nobody begins to read; with no reader but us nobody does.
    if (OwnFolder::sweep(folder, kReaderPrefix) == 1) {
      std::error_code ignored;
      fs::remove_all(folder / kOldDatabase, ignored);
    }
  }

  static void write_to(const Primary& primary,
                       const std::function<void(IndexStore::Writer&)>& change) {
    rocksdb::DB& database = *primary.database;
    try {
      PrimaryWriter writer(database);
      change(writer);
      writer.finish();
      let_merge(database);
      must(database.Close(), "close");
    } catch (const IoError&) {
      primary.disk.require_written();  // says what was behind it
      throw;
    }
    primary.disk.require_written();
    remove_empty_logs(database.GetName());
  }

  // RocksDB merges tables once they are many, beside what else goes on; to
  // close it then would break that off, run by run, and in the end a lookup
  // asked dozens of them.
  static void let_merge(rocksdb::DB& primary) {
    constexpr std::chrono::seconds kPatience{30};
    constexpr std::chrono::milliseconds kPause{2};
    const auto until = std::chrono::steady_clock::now() + kPatience;
    const auto is_merging = [&] {
      std::uint64_t pending = 0;
      std::uint64_t running = 0;
      (void)primary.GetIntProperty(rocksdb::DB::Properties::kCompactionPending,
                                   &pending);
      (void)primary.GetIntProperty(
          rocksdb::DB::Properties::kNumRunningCompactions, &running);
      // One that failed, on a full disk say, stays pending.
      std::uint64_t errors = 0;
      (void)primary.GetIntProperty(rocksdb::DB::Properties::kBackgroundErrors,
                                   &errors);
      return errors == 0 && pending + running > 0;
    };
    while (is_merging() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(kPause);
    }
  }

  // Each opening begins a log, and nothing is ever written to it; RocksDB
  // removes logs only when it has written out what was in them.
  static void remove_empty_logs(const fs::path& database) {
    std::error_code ignored;
    for (const auto& file : fs::directory_iterator(database, ignored)) {
      if (file.path().extension() == ".log" && fs::is_empty(file, ignored)) {
        fs::remove(file, ignored);
      }
    }
  }

  // Under the lock.
  [[nodiscard]] Primary open_or_remake_primary() const {
    const std::string name = current();
    if (name.empty() || fs::exists(damage_note(name))) return begin_database();
    try {
      return open_primary(name);
    } catch (const OutOfSpace&) {
      throw;
    } catch (const IoError&) {  // a file of it is missing, say
      return begin_database();
    }
  }

  // Under the lock. An empty one, which counts from now on.
  [[nodiscard]] Primary begin_database() const {
    const std::string name = std::string(kDatabasePrefix) +
                             crypto::to_hex(crypto::random_array<8>());
    auto primary = open_primary(name);
    const fs::path aside = current_file().string() + ".new";
    std::ofstream out(aside, std::ios::trunc);
    out << name << "\n";
    errno = 0;
    out.close();
    if (!out) throw_system_error(aside.string(), errno == 0 ? EIO : errno);
    std::error_code error;
    fs::rename(aside, current_file(), error);
    if (error) throw_system_error(current_file().string(), error.value());
    return primary;
  }

  // Under the lock: those that nobody reads any more.
  void remove_old_databases() const {
    const std::string counts = current();
    std::error_code ignored;
    for (const auto& item : fs::directory_iterator(folder, ignored)) {
      const std::string name = item.path().filename().string();
      const bool is_database = name.starts_with(kDatabasePrefix) ||
                               name.starts_with(kOlderDatabasePrefix);
      if (!is_database || name == counts || !item.is_directory(ignored)) {
        continue;
      }
      const int fd =
          ::open(item.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (fd < 0) continue;
      const FolderLock all_of_it(fd);
      if (::flock(fd, LOCK_EX | LOCK_NB) != 0) continue;
      fs::remove_all(item.path(), ignored);
      fs::remove(damage_note(name), ignored);
    }
  }

  [[noreturn]] void note_damage(const DamagedCache& e) const {
    std::ofstream(damage_note(generation)) << e.what() << "\n";
    throw DamagedIndexStore(std::string(e.what()) +
                            "; only a cache, the next command makes it anew");
  }

  // Sees what was written since. Under the lock.
  void catch_up() {
    if (current() == generation) {
      std::shared_lock reading(mutex);
      if (secondary && secondary->TryCatchUpWithPrimary().ok()) return;
    }
    open_secondary();
  }

  // To write, or to open for reading. Nothing: others have it for longer than
  // that.
  std::optional<FolderLock> lock(int operation,
                                 std::chrono::milliseconds patience) const;
};

std::optional<FolderLock> IndexStore::State::lock(
    int operation, std::chrono::milliseconds patience) const {
  const fs::path path = folder / "lock";
  constexpr std::chrono::milliseconds kPause{5};
  const auto until = std::chrono::steady_clock::now() + patience;
  while (true) {
    // The folder may have been deleted meanwhile, with the lock in it.
    std::error_code error;
    fs::create_directories(folder, error);
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
      throw_system_error(path.string(), errno);
    }
    FolderLock file(fd);
    while (::flock(fd, operation | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        throw_system_error(path.string(), errno);
      }
      if (std::chrono::steady_clock::now() >= until) return std::nullopt;
      std::this_thread::sleep_for(kPause);
    }
    struct stat ours {};
    struct stat named {};
    if (::fstat(fd, &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
        ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
      return file;
    }
  }
}

IndexStore::IndexStore(fs::path folder) : state_(std::make_unique<State>()) {
  state_->folder = std::move(folder);
  std::error_code error;
  fs::create_directories(state_->folder, error);
  if (error) {
    throw_system_error("cache folder " + state_->folder.string() +
                           " (CAIRN_CACHE_DIR names another one)",
                       error.value());
  }
  fs::permissions(state_->folder, fs::perms::owner_all, error);
  state_->reader.emplace(state_->folder, kReaderPrefix);
  constexpr std::chrono::minutes kPatience{2};
  const auto must_have = [](const std::optional<FolderLock>& lock) {
    if (!lock) throw LockedError("index cache: another process holds it");
  };
  try {
    const auto lock = state_->lock(LOCK_SH, kPatience);
    must_have(lock);
    // To make a store costs as much as to back up three megabytes; whoever has
    // something to write makes it.
    if (!fs::exists(state_->current_file())) return;
    state_->open_secondary();
    return;
  } catch (const IoError&) {
    // Damaged.
  }
  const auto lock = state_->lock(LOCK_EX, kPatience);
  must_have(lock);
  try {
    // Another process may have made it meanwhile; and what cannot be read may
    // be whole once its writer's log is.
    (void)state_->open_or_remake_primary();
    state_->open_secondary();
  } catch (const OutOfSpace&) {
    throw;
  } catch (const IoError&) {
    (void)state_->begin_database();
    state_->open_secondary();
  }
}

IndexStore::~IndexStore() { state_->secondary.reset(); }

std::optional<std::string> IndexStore::get(std::string_view key) const {
  std::string value;
  std::shared_lock lock(state_->mutex);
  if (!state_->secondary) return std::nullopt;
  const auto status = state_->secondary->Get({}, slice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  try {
    must(status, "get");
  } catch (const DamagedCache& e) {
    state_->note_damage(e);
  }
  return value;
}

void IndexStore::for_each(
    std::string_view prefix,
    const std::function<Next(std::string_view, std::string_view)>& visit)
    const {
  std::shared_lock lock(state_->mutex);
  if (!state_->secondary) return;
  try {
    for_each_in(*state_->secondary, prefix, visit);
  } catch (const DamagedCache& e) {
    state_->note_damage(e);
  }
}

std::uint64_t IndexStore::generations() const {
  std::shared_lock lock(state_->mutex);
  return state_->generations;
}

IndexStore::Written IndexStore::write(
    std::chrono::milliseconds patience,
    const std::function<void(Writer&)>& change) {
  const auto lock = state_->lock(LOCK_EX, patience);
  if (!lock) return Written::others_are_writing;
  state_->write_as_primary(change);
  // Still under the lock: no other process takes files away meanwhile.
  state_->catch_up();
  return Written::yes;
}

IndexStore::Written IndexStore::write_last(
    std::chrono::milliseconds patience,
    const std::function<void(Writer&)>& change) {
  const auto lock = state_->lock(LOCK_EX, patience);
  if (!lock) return Written::others_are_writing;
  state_->write_as_primary(change);
  return Written::yes;
}

// Other processes go on reading what they have open until they catch up.
IndexStore::Written IndexStore::clear(std::chrono::milliseconds patience) {
  const auto lock = state_->lock(LOCK_EX, patience);
  if (!lock) return Written::others_are_writing;
  (void)state_->begin_database();
  state_->open_secondary();
  state_->remove_old_databases();
  return Written::yes;
}

}  // namespace cairn::repo
