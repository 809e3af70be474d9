#include "repo/check_packs.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "repo/blob_reader.h"
#include "repo/object_digest.h"
#include "repo/pack_format.h"
#include "repo/parallel_for.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kMaxBadBlobs = 100'000;

// Cuts the bytes of a pack, which come in windows, into its stored blobs.
class BlobCutter {
 public:
  // Borrows `rows`.
  using Visit = std::function<void(const BlobRow& row, std::uint64_t offset,
                                   std::span<const std::byte> stored)>;
  BlobCutter(std::span<const BlobRow> rows, Visit visit)
      : rows_(rows), visit_(std::move(visit)) {}

  void feed(std::span<const std::byte> window) {
    const std::size_t head = std::min(to_skip_, window.size());
    to_skip_ -= head;
    window = window.subspan(head);
    while (!window.empty() && next_ < rows_.size()) {
      const std::size_t size = rows_[next_].stored_size;
      const auto piece =
          window.first(std::min(size - begun_.size(), window.size()));
      window = window.subspan(piece.size());
      if (piece.size() == size) {
        give(piece);
        continue;
      }
      begun_.insert(begun_.end(), piece.begin(), piece.end());
      if (begun_.size() < size) return;
      give(begun_);
      begun_.clear();
    }
  }

 private:
  void give(std::span<const std::byte> stored) {
    const BlobRow& row = rows_[next_++];
    visit_(row, offset_, stored);
    offset_ += stored.size();
  }

  std::span<const BlobRow> rows_;
  Visit visit_;
  std::size_t next_ = 0;
  std::size_t to_skip_ = kPackHeadBytes;
  std::uint64_t offset_ = kPackHeadBytes;
  std::vector<std::byte> begun_;  // of a blob that windows cut apart
};

// What the threads share.
struct Shared {
  Repository& repository;
  const BlobIndex& index;
  const std::set<PackId>& unreadable;
  const std::set<PackId>& unverified;
  FindingList& findings;
  Progress* progress;
  std::mutex mutex;  // guards result
  PackCheckResult result;
};

// One thread's.
class PackCheck {
 public:
  explicit PackCheck(Shared& shared)
      : shared_(shared),
        storage_(shared.repository.storage()),
        keyring_(shared.repository.keyring()),
        blobs_(storage_, keyring_, shared.index,
               shared.repository.session_keys()) {}

  void check(const StoredPack& pack) {
    const std::string name = pack_name(pack.id);
    bad_blobs_.clear();
    sound_.reset();
    look_at(shared_.findings, "damaged-pack", name, [&] {
      if (shared_.unreadable.contains(pack.id)) {
        check_pack_bytes(storage_, pack, shared_.progress);
      } else {
        check_blobs_too(pack, name);
      }
    });
    std::lock_guard lock(shared_.mutex);
    ++shared_.result.packs;
    shared_.result.bytes += pack.size;
    if (sound_) shared_.result.sound.push_back(*sound_);
    auto& all = shared_.result.bad_blobs;
    for (auto& bad : bad_blobs_) {
      if (all.size() < kMaxBadBlobs) all.push_back(std::move(bad));
    }
  }

 private:
  struct Decoded {
    const BlobRow* row = nullptr;  // of the directory of the pack being read
    std::uint64_t offset = 0;
    PlainBlob plain;
  };

  void check_blobs_too(const StoredPack& pack, const std::string& name) {
    const Directory directory =
        read_pack_directory(storage_, keyring_, pack.id).pack.directory;
    bool were_all_opened = true;
    const bool is_verified = !shared_.unverified.contains(pack.id);
    for (auto& [kind, blobs] : decoded_) blobs.clear();
    BlobCutter cutter(directory.rows,
                      [&](const BlobRow& row, std::uint64_t offset,
                          std::span<const std::byte> stored) {
                        if (!keyring_.can_read(class_of(row.kind))) {
                          were_all_opened = false;
                        } else if (is_verified) {
                          check_soon(pack.id, directory, row, offset, stored);
                        } else {
                          check_blob(pack.id, directory, row, offset, stored);
                        }
                      });
    const auto digest = digest_of_object(
        storage_, name, pack.size, [&](std::span<const std::byte> window) {
          cutter.feed(window);
          if (shared_.progress != nullptr) {
            shared_.progress->bytes_done += window.size();
          }
        });
    for (auto& [kind, blobs] : decoded_) {
      compare(pack.id, directory, kind, blobs);
    }
    if (digest != pack.id.bytes) {
      throw CorruptionError(name + ": its SHA-256 is not its name" +
                            (were_all_opened && bad_blobs_.empty()
                                 ? "; no blob in it is hurt"
                                 : ""));
    }
    if (were_all_opened && bad_blobs_.empty()) {
      sound_ = SoundPack{pack.id, digest_of(directory)};
    }
  }

  // Its bytes are compared with its id together with those of others, which
  // takes less time than one by one.
  void check_soon(const PackId& pack, const Directory& directory,
                  const BlobRow& row, std::uint64_t offset,
                  std::span<const std::byte> stored) {
    constexpr std::size_t kTogether = 16;
    PlainBlob plain;
    const auto trouble =
        trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
          plain =
              blobs_.decode(row, directory.keys[row.key], stored, VerifyId::no);
        });
    if (trouble) {
      check_blob(pack, directory, row, offset, stored);
      return;
    }
    auto& blobs = decoded_[row.kind];
    blobs.push_back({&row, offset, std::move(plain)});
    if (blobs.size() == kTogether) compare(pack, directory, row.kind, blobs);
  }

  // One that is not what its id names is looked at once more, by itself: with
  // another copy of its base it may be.
  void compare(const PackId& pack, const Directory& directory, BlobKind kind,
               std::vector<Decoded>& blobs) {
    std::vector<std::span<const std::byte>> plains;
    for (const auto& blob : blobs) plains.emplace_back(*blob.plain);
    const auto ids = keyring_.ids_of(kind, plains);
    for (std::size_t i = 0; i < blobs.size(); ++i) {
      const auto& [row, offset, plain] = blobs[i];
      if (ids[i] == row->id) continue;
      std::vector<std::byte> stored(row->stored_size);
      storage_.get(pack_name(pack), offset, stored);
      check_blob(pack, directory, *row, offset, stored);
    }
    blobs.clear();
  }

  void check_blob(const PackId& pack, const Directory& directory,
                  const BlobRow& row, std::uint64_t offset,
                  std::span<const std::byte> stored) {
    const std::string name = "blob " + row.id.brief();
    auto trouble = trouble_of("damaged-blob", name, IfGone::it_is_damage, [&] {
      (void)blobs_.decode(row, directory.keys[row.key], stored,
                          shared_.unverified.contains(pack)
                              ? VerifyId::with_base
                              : VerifyId::yes);
    });
    if (trouble && bad_blobs_.size() < kMaxBadBlobs) {
      bad_blobs_.push_back({pack, offset, row, std::move(trouble->reason)});
    }
  }

  Shared& shared_;
  const Storage& storage_;
  const Keyring& keyring_;
  BlobReader blobs_;
  std::map<BlobKind, std::vector<Decoded>> decoded_;  // not compared yet
  std::vector<BadBlob> bad_blobs_;                    // of the pack being read
  std::optional<SoundPack> sound_;                    // that pack, if it is
};

}  // namespace

PackCheckResult check_packs(Repository& repository, const BlobIndex& index,
                            std::span<const StoredPack> packs,
                            const std::set<PackId>& unreadable,
                            const std::set<PackId>& unverified,
                            unsigned threads, FindingList& findings,
                            const std::stop_token& stop, Progress* progress) {
  Shared shared{repository, index,    unreadable, unverified,
                findings,   progress, {},         {}};
  parallel_for(packs.size(), threads, stop, [&] {
    auto worker = std::make_shared<PackCheck>(shared);
    return [&, worker](std::size_t i) {
      worker->check(packs[i]);
      if (progress != nullptr) ++progress->items_done;
    };
  });
  return std::move(shared.result);
}

void check_pack_bytes(const Storage& storage, const StoredPack& pack,
                      Progress* progress) {
  const std::string name = pack_name(pack.id);
  std::vector<std::byte> head;
  const auto digest = digest_of_object(
      storage, name, pack.size, [&](std::span<const std::byte> window) {
        if (head.empty()) {
          const auto size = std::min(kPrologueBytes, window.size());
          head.assign(window.begin(),
                      window.begin() + static_cast<std::ptrdiff_t>(size));
        }
        if (progress != nullptr) progress->bytes_done += window.size();
      });
  if (digest != pack.id.bytes) {
    throw CorruptionError(name + ": its SHA-256 is not its name");
  }
  (void)decode_prologue(head, ObjectType::pack, name);
}

std::optional<Trouble> trouble_with_directory(
    const Storage& storage, const StoredPack& pack,
    const std::function<void()>& read) {
  constexpr std::string_view kCode = "damaged-pack";
  const std::string name = pack_name(pack.id);
  auto trouble = trouble_of(kCode, name, IfGone::it_vanished, read);
  if (!trouble || trouble->severity != Severity::unsupported) return trouble;
  // One bit of the prologue makes another version, or other keys.
  const auto damage = trouble_of(kCode, name, IfGone::it_vanished, [&] {
    check_pack_bytes(storage, pack, nullptr);
  });
  return damage && damage->severity != Severity::unsupported ? damage : trouble;
}

}  // namespace cairn::repo
