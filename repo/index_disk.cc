#include "repo/index_disk.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "repo/error.h"
#include "repo/index_table.h"

namespace cairn::repo {
namespace {

using rocksdb::DataVerificationInfo;
using rocksdb::FileOptions;
using rocksdb::FSRandomAccessFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// Of one database.
class FirstFailure {
 public:
  [[nodiscard]] IOStatus get() const {
    std::lock_guard lock(mutex_);
    return status_;
  }

  [[nodiscard]] bool is_there() const { return !get().ok(); }

  void note(const IOStatus& status) {
    if (status.ok()) return;
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
  }

 private:
  mutable std::mutex mutex_;  // guards status_
  IOStatus status_;
};

// RocksDB's threads must not meet our exceptions: none are thrown here.
class File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(std::unique_ptr<FSWritableFile> file,
       std::shared_ptr<FirstFailure> failure)
      : FSWritableFileOwnerWrapper(std::move(file)),
        failure_(std::move(failure)) {}

  IOStatus Append(const Slice& data, const IOOptions& options,
                  IODebugContext* debug) override {
    return attempt([&] { return target()->Append(data, options, debug); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const DataVerificationInfo& sums,
                  IODebugContext* debug) override {
    return attempt(
        [&] { return target()->Append(data, options, sums, debug); });
  }
  IOStatus PositionedAppend(const Slice& data, std::uint64_t offset,
                            const IOOptions& options,
                            IODebugContext* debug) override {
    return attempt([&] {
      return target()->PositionedAppend(data, offset, options, debug);
    });
  }
  IOStatus PositionedAppend(const Slice& data, std::uint64_t offset,
                            const IOOptions& options,
                            const DataVerificationInfo& sums,
                            IODebugContext* debug) override {
    return attempt([&] {
      return target()->PositionedAppend(data, offset, options, sums, debug);
    });
  }
  IOStatus Truncate(std::uint64_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    return attempt([&] { return target()->Truncate(size, options, debug); });
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    return attempt([&] { return target()->Flush(options, debug); });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return attempt([&] { return target()->Sync(options, debug); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return attempt([&] { return target()->Fsync(options, debug); });
  }
  IOStatus RangeSync(std::uint64_t offset, std::uint64_t size,
                     const IOOptions& options, IODebugContext* debug) override {
    return attempt(
        [&] { return target()->RangeSync(offset, size, options, debug); });
  }
  IOStatus Allocate(std::uint64_t offset, std::uint64_t size,
                    const IOOptions& options, IODebugContext* debug) override {
    return attempt(
        [&] { return target()->Allocate(offset, size, options, debug); });
  }
  // Of the system's file in any case.
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    failure_->note(target()->Close(options, debug));
    return IOStatus::OK();
  }

 private:
  template <typename Call>
  IOStatus attempt(Call call) {
    if (!failure_->is_there()) failure_->note(call());
    return IOStatus::OK();
  }

  std::shared_ptr<FirstFailure> failure_;
};

constexpr std::string_view kTableSuffix = ".sst";
constexpr std::string_view kOptionsPrefix = "/OPTIONS-";

std::optional<std::string> read(const FSRandomAccessFile& file,
                                std::uint64_t offset, std::size_t size) {
  std::string buffer(size, '\0');
  Slice bytes;
  if (!file.Read(offset, size, {}, &bytes, buffer.data(), nullptr).ok()) {
    return std::nullopt;
  }
  return bytes.ToString();
}

// What names a file may say that it failed: no file's state hangs on that.
class Disk : public rocksdb::FileSystemWrapper {
 public:
  explicit Disk(std::shared_ptr<FirstFailure> failure)
      : FileSystemWrapper(rocksdb::FileSystem::Default()),
        failure_(std::move(failure)) {}

  const char* Name() const override { return "cairn index disk"; }

  IOStatus NewRandomAccessFile(const std::string& name,
                               const FileOptions& options,
                               std::unique_ptr<FSRandomAccessFile>* file,
                               IODebugContext* debug) override {
    const IOStatus status =
        target()->NewRandomAccessFile(name, options, file, debug);
    if (!status.ok() || !name.ends_with(kTableSuffix)) return status;
    std::uint64_t size = 0;
    const IOStatus measured = target()->GetFileSize(name, {}, &size, debug);
    if (!measured.ok()) return measured;
    if (is_sound_table(size, [&](std::uint64_t offset, std::size_t bytes) {
          return read(**file, offset, bytes);
        })) {
      return status;
    }
    file->reset();
    return IOStatus::Corruption(name + ": damaged table");
  }
  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file,
                           IODebugContext* debug) override {
    // Each opening would write, sync, read and parse its own options, which
    // nobody reads again. RocksDB goes on without.
    if (name.find(kOptionsPrefix) != std::string::npos) {
      return IOStatus::NotSupported(name + ": options are not kept");
    }
    return wrapped(file, [&] {
      return target()->NewWritableFile(name, options, file, debug);
    });
  }
  IOStatus ReopenWritableFile(const std::string& name,
                              const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file,
                              IODebugContext* debug) override {
    return wrapped(file, [&] {
      return target()->ReopenWritableFile(name, options, file, debug);
    });
  }
  IOStatus ReuseWritableFile(const std::string& name,
                             const std::string& old_name,
                             const FileOptions& options,
                             std::unique_ptr<FSWritableFile>* file,
                             IODebugContext* debug) override {
    return wrapped(file, [&] {
      return target()->ReuseWritableFile(name, old_name, options, file, debug);
    });
  }
  IOStatus RenameFile(const std::string& from, const std::string& to,
                      const IOOptions& options,
                      IODebugContext* debug) override {
    if (failure_->is_there()) return failure_->get();
    return target()->RenameFile(from, to, options, debug);
  }

 private:
  template <typename Call>
  IOStatus wrapped(std::unique_ptr<FSWritableFile>* file, Call call) {
    if (failure_->is_there()) return failure_->get();
    const IOStatus status = call();
    if (status.ok()) {
      *file = std::make_unique<File>(std::move(*file), failure_);
    }
    return status;
  }

  std::shared_ptr<FirstFailure> failure_;
};

}  // namespace

struct IndexDisk::State {
  // Shared with the files, the last of which the database may close late.
  std::shared_ptr<FirstFailure> failure = std::make_shared<FirstFailure>();
  std::unique_ptr<rocksdb::Env> env =
      rocksdb::NewCompositeEnv(std::make_shared<Disk>(failure));
};

IndexDisk::IndexDisk() : state_(std::make_unique<State>()) {}
IndexDisk::~IndexDisk() = default;
IndexDisk::IndexDisk(IndexDisk&&) noexcept = default;
IndexDisk& IndexDisk::operator=(IndexDisk&&) noexcept = default;

rocksdb::Env& IndexDisk::env() const { return *state_->env; }

void IndexDisk::require_written() const {
  const IOStatus status = state_->failure->get();
  if (status.ok()) return;
  const std::string what = "index cache: write: " + status.ToString();
  if (status.IsNoSpace()) throw OutOfSpace(what);
  throw IoError(what);
}

}  // namespace cairn::repo
