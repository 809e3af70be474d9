// Blobs by their ids, wherever they lie and however many differences have to be
// undone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "repo/blob.h"
#include "repo/blob_index.h"
#include "repo/keyring.h"
#include "repo/raw_bytes.h"
#include "repo/session_keys.h"
#include "repo/storage.h"

namespace cairn::repo {

class OftenReadPacks;

// Plain bytes. Shared between those who work on them; the last frees them.
// Never null, but where it says so.
using PlainBlob = std::shared_ptr<const RawBytes>;

// Whether what was decoded is compared with its id. The seal already binds the
// id to the bytes; only a wrong writer or a wrong base can be found this way.
// If it is, and was a difference, the bases are compared too, and other copies
// of them tried: a write key may have stored a false one.
//
// with_base      the base of a difference is compared too, so that the blob is
//                what its id names whichever copy of its base is left one day.
enum class VerifyId { no, yes, with_base };

// What to do when the index knows no copy of a blob. True: it may know one now.
// Called by many threads.
using SearchFurther = std::function<bool(const BlobId& id)>;

// Bases are decoded into buffers that are used again, so that a chain costs
// little memory and no time to get it. The last chain stays, level by level:
// neighbours in a stream may lean on the same, and who has many to decode can
// put them in an order in which they do (base_order.h).
//
// Threads        one thread at a time; each worker has its own. What it borrows
//                is shared.
class BlobReader {
 public:
  // Borrows the first four. `often_read`: what other readers of the same index
  // know; null: nothing.
  BlobReader(const Storage& storage, const Keyring& keyring,
             const BlobIndex& index, SessionKeyCache& keys,
             SearchFurther search_further = {},
             std::shared_ptr<OftenReadPacks> often_read = nullptr);
  ~BlobReader();
  BlobReader(BlobReader&&) noexcept;

  // The blob's plain bytes, always compared with its id. Tries every copy
  // before it gives up. Throws NotFound when the index knows no copy,
  // CorruptionError when none can be read, WrongKey when this role may not.
  [[nodiscard]] PlainBlob read(BlobKind kind, const BlobId& id);

  // Those of many blobs, in the order of their ids, as far as the first copy of
  // each gives what its id names. Null: ask read(), which finds another copy or
  // says what is wrong. Comparing many at once takes less time than one by one,
  // and as much memory as they have bytes.
  [[nodiscard]] std::vector<PlainBlob> try_read(BlobKind kind,
                                                std::span<const BlobId> ids);

  // One particular copy. Its base, if it has one, is resolved only to copies of
  // strictly smaller depth.
  [[nodiscard]] PlainBlob read_copy(const BlobCopy& copy, VerifyId verify);

  // The first of a chain, as chain_of() gives it, into `plain`, which becomes
  // as large as it. Nothing is looked up again, and the bytes are not compared
  // with the id.
  void read_chain(std::span<const BlobCopy> chain, RawBytes& plain);

  // As read_copy(), with the stored bytes at hand (a pack read whole). It stays
  // as the last level of the chain, so that what comes next may lean on it.
  [[nodiscard]] PlainBlob decode(const BlobRow& row, const WrappedKey& key,
                                 std::span<const std::byte> stored,
                                 VerifyId verify);

  // The base of a difference as it would be decoded: of its copies the first
  // of smaller depth. Nothing: the index knows none.
  [[nodiscard]] std::optional<BlobRow> base_of(const BlobRow& row);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
