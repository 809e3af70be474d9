// The part of check that reads packs whole: their bytes against their names,
// and with a key every blob in them.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <vector>

#include "repo/blob.h"
#include "repo/blob_index.h"
#include "repo/finding.h"
#include "repo/look_at.h"
#include "repo/pack_reader.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

// A blob that could not be opened, decoded, or is not what its id names.
struct BadBlob {
  PackId pack;
  std::uint64_t offset = 0;
  BlobRow row;
  std::string reason;
};

// A pack in which every blob was opened, decoded and is what its id names.
struct SoundPack {
  PackId id;
  crypto::Digest directory{};  // that the blobs were found by
};

struct PackCheckResult {
  std::vector<BadBlob> bad_blobs;  // no more than a hundred thousand
  std::vector<SoundPack> sound;
  std::uint64_t packs = 0;
  std::uint64_t bytes = 0;
};

// Reads the packs on `threads` threads, in windows, so that memory does not
// grow with their size. Packs in `unreadable` are known to have no directory.
// Differences are decoded with their bases, which `index` finds; those that
// many share are decoded once for as many as fit into 32 MiB. In packs in
// `unverified` the bases are compared with their ids too: a pack is not sound
// that needs a false one.
[[nodiscard]] PackCheckResult check_packs(
    Repository& repository, const BlobIndex& index,
    std::span<const StoredPack> packs, const std::set<PackId>& unreadable,
    const std::set<PackId>& unverified, unsigned threads, FindingList& findings,
    const std::stop_token& stop, Progress* progress);

// The bytes of one against its name, and its prologue.
void check_pack_bytes(const Storage& storage, const StoredPack& pack,
                      Progress* progress);

// What keeps the directory of a pack from being read. Nothing: `read` came to
// its end. What seems to be a newer program's is damage where the bytes of the
// pack are not what its name says.
[[nodiscard]] std::optional<Trouble> trouble_with_directory(
    const Storage& storage, const StoredPack& pack,
    const std::function<void()>& read);

}  // namespace cairn::repo
