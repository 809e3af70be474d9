#include "ingest/wal_durable.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string>

#include "crypto/digest.h"
#include "repo/error.h"
#include "repo/wire.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRecordBytes = 32;
constexpr std::size_t kChecked = 16;
constexpr off_t kRecordSpacing = 4096;
using Record = std::array<std::byte, kRecordBytes>;

Record encode(const WalDurable& durable) {
  Record record{};
  const std::span all(record);
  repo::wire::put_u64(all.subspan<0, 8>(), durable.number);
  repo::wire::put_u64(all.subspan<8, 8>(), durable.end.value);
  const auto digest = crypto::sha256(all.first<kChecked>());
  std::copy_n(digest.begin(), kRecordBytes - kChecked, all.begin() + kChecked);
  return record;
}

[[noreturn]] void fail(const fs::path& path, const char* what, int error) {
  repo::throw_system_error(path.string() + ": " + what, error);
}

}  // namespace

std::optional<WalDurable> read_durable(const UniqueFd& file,
                                       const fs::path& path) {
  std::optional<WalDurable> newest;
  for (const int slot : {0, 1}) {
    Record record{};
    ssize_t count = 0;
    do {
      count = ::pread(file.get(), record.data(), record.size(),
                      slot * kRecordSpacing);
    } while (count < 0 && errno == EINTR);
    if (count < 0) fail(path, "cannot read", errno);
    if (count < static_cast<ssize_t>(record.size())) continue;
    const std::span all(record);
    const WalDurable found{repo::wire::get_u64(all.first<8>()),
                           {repo::wire::get_u64(all.subspan<8, 8>())}};
    if (record != encode(found)) continue;
    if (!newest || newest->number <= found.number) newest = found;
  }
  return newest;
}

std::optional<WalDurable> read_durable_of(const fs::path& run) {
  const fs::path path = run / kDurableFile;
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno != ENOENT && errno != ENOTDIR) fail(path, "cannot open", errno);
    return std::nullopt;
  }
  return read_durable(file, path);
}

void write_durable(const UniqueFd& file, const fs::path& path,
                   const WalDurable& durable) {
  const Record record = encode(durable);
  const off_t offset = durable.number % 2 == 0 ? 0 : kRecordSpacing;
  std::size_t done = 0;
  while (done < record.size()) {
    const ssize_t count =
        ::pwrite(file.get(), record.data() + done, record.size() - done,
                 offset + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(path, "cannot write", count < 0 ? errno : ENOSPC);
    done += static_cast<std::size_t>(count);
  }
  if (::fdatasync(file.get()) != 0) fail(path, "cannot sync", errno);
}

}  // namespace cairn::ingest
