// Builds packs (FORMAT.md, 6.6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "repo/blob.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

// Builds one pack: add() as often as wanted, then finish() once.
//
// Ownership      borrows `storage` and `generation`; both must outlive the
//                writer.
// Threads        one thread at a time; it may be handed from one to another.
// Failure        IoError, OutOfSpace. The writer is spent then.
// Abandonment    a writer destroyed before finish() leaves nothing behind.
class PackWriter {
 public:
  PackWriter(Storage& storage, const Generation& generation);
  ~PackWriter();
  PackWriter(PackWriter&&) noexcept;
  PackWriter& operator=(PackWriter&&) noexcept;

  // Appends one sealed blob. row.key is replaced by the place that `key` has in
  // this pack. Requires: stored.size() == row.stored_size.
  // Writes what it is told to, even twice: knowing what is already stored is
  // the index's business, not the pack's.
  // `sum` is that of the bytes as they ought to be: what changes in memory from
  // then on makes finish() throw CorruptionError.
  void add(BlobRow row, const WrappedKey& key,
           std::span<const std::byte> stored, const MemorySum& sum);
  void add(BlobRow row, const WrappedKey& key,
           std::span<const std::byte> stored);

  [[nodiscard]] std::size_t blob_count() const noexcept;

  // Bytes of the pack if it were finished now, before padding. Callers start a
  // new pack when this passes their target.
  [[nodiscard]] std::uint64_t size_if_finished() const noexcept;

  // Writes padding, directory and trailer and publishes the pack under its
  // hash. Once this returns, the pack survives a power cut.
  [[nodiscard]] IndexedPack finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
