#include "repo/check_packs.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "repo/base_order.h"
#include "repo/blob_reader.h"
#include "repo/object_digest.h"
#include "repo/pack_format.h"
#include "repo/parallel_for.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kMaxBadBlobs = 100'000;

// Of differences that wait, on all threads.
constexpr std::size_t kMostWaitingBytes = std::size_t{32} << 20;

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
  std::size_t waiting_bytes;  // of each
  std::mutex mutex;           // guards result
  PackCheckResult result;
};

// What is known of a pack whose blobs are looked at.
struct Judged {
  PackId id;
  std::vector<WrappedKey> keys = {};
  bool is_verified = true;      // else bases are compared, too
  bool were_all_opened = true;  // blobs that this key may open
  std::vector<BadBlob> bad_blobs = {};
  // Of the directory, once all bytes were read and are what the name says.
  std::optional<crypto::Digest> directory = std::nullopt;
};

// A blob in a pack.
struct PackBlob {
  Judged* pack;
  const BlobRow* row;
  std::uint64_t offset;
};

// Differences that wait, with their stored bytes.
class WaitingDifferences {
 public:
  explicit WaitingDifferences(std::size_t most_bytes)
      : most_bytes_(most_bytes) {}

  void add(Judged& pack, const BlobRow& row, std::uint64_t offset,
           std::span<const std::byte> stored) {
    places_.push_back({&pack, offset, stored_.size()});
    rows_.push_back(row);
    stored_.insert(stored_.end(), stored.begin(), stored.end());
  }
  void clear() {
    places_.clear();
    rows_.clear();
    stored_.clear();
  }

  [[nodiscard]] bool is_empty() const { return rows_.empty(); }
  [[nodiscard]] bool are_many() const {
    return stored_.size() + rows_.size() * (sizeof(BlobRow) + sizeof(Place)) >=
           most_bytes_;
  }

  [[nodiscard]] std::span<const BlobRow> rows() const { return rows_; }
  [[nodiscard]] PackBlob blob(std::size_t i) const {
    return {places_[i].pack, &rows_[i], places_[i].offset};
  }
  [[nodiscard]] std::span<const std::byte> stored(std::size_t i) const {
    return std::span(stored_).subspan(places_[i].begin, rows_[i].stored_size);
  }

 private:
  struct Place {
    Judged* pack;
    std::uint64_t offset;  // in the pack
    std::size_t begin;     // in stored_
  };
  std::size_t most_bytes_;
  std::vector<Place> places_;
  std::vector<BlobRow> rows_;  // beside their places
  std::vector<std::byte> stored_;
};

// One thread's.
class PackCheck {
 public:
  explicit PackCheck(Shared& shared)
      : shared_(shared),
        storage_(shared.repository.storage()),
        keyring_(shared.repository.keyring()),
        blobs_(storage_, keyring_, shared.index,
               shared.repository.session_keys()),
        waiting_(shared.waiting_bytes) {}

  // Its differences may still wait after that.
  void check(const StoredPack& stored_pack) {
    const std::string name = pack_name(stored_pack.id);
    Judged& pack = *judged_.emplace_back(
        std::make_unique<Judged>(Judged{.id = stored_pack.id}));
    pack.is_verified = !shared_.unverified.contains(pack.id);
    look_at(shared_.findings, "damaged-pack", name, [&] {
      if (shared_.unreadable.contains(pack.id)) {
        check_pack_bytes(storage_, stored_pack, shared_.progress);
      } else {
        check_blobs_too(stored_pack, name, pack);
      }
    });
    decoded_.clear();  // a pack that could not be read to its end left some
    {
      std::lock_guard lock(shared_.mutex);
      ++shared_.result.packs;
      shared_.result.bytes += stored_pack.size;
    }
    if (waiting_.is_empty()) tell();
  }

  // All that wait; the packs are judged then.
  void finish() {
    check_waiting();
    tell();
  }

 private:
  struct Decoded {
    PackBlob blob;
    PlainBlob plain;
  };

  void check_blobs_too(const StoredPack& stored_pack, const std::string& name,
                       Judged& pack) {
    const Directory directory =
        read_pack_directory(storage_, keyring_, pack.id).pack.directory;
    pack.keys = directory.keys;
    BlobCutter cutter(directory.rows,
                      [&](const BlobRow& row, std::uint64_t offset,
                          std::span<const std::byte> stored) {
                        if (!keyring_.can_read(class_of(row.kind))) {
                          pack.were_all_opened = false;
                        } else if (row.base) {
                          waiting_.add(pack, row, offset, stored);
                          if (waiting_.are_many()) check_waiting();
                        } else {
                          check_soon({&pack, &row, offset}, stored);
                        }
                      });
    const auto digest =
        digest_of_object(storage_, name, stored_pack.size,
                         [&](std::span<const std::byte> window) {
                           cutter.feed(window);
                           if (shared_.progress != nullptr) {
                             shared_.progress->bytes_done += window.size();
                           }
                         });
    compare_all();  // their rows go now
    if (digest != pack.id.bytes) {
      check_waiting();
      throw CorruptionError(name + ": its SHA-256 is not its name" +
                            (pack.were_all_opened && pack.bad_blobs.empty()
                                 ? "; no blob in it is hurt"
                                 : ""));
    }
    pack.directory = digest_of(directory);
  }

  // In an order in which each base is decoded once, not with each of those that
  // lean on it.
  void check_waiting() {
    const auto order = order_by_bases(
        waiting_.rows(), [this](const BlobRow& row) -> std::optional<BlobRow> {
          try {
            return blobs_.base_of(row);
          } catch (const Error&) {
            return std::nullopt;  // its blob meets the same
          }
        });
    for (const std::size_t i : order) {
      check_soon(waiting_.blob(i), waiting_.stored(i));
    }
    compare_all();
    waiting_.clear();
  }

  // Its bytes are compared with its id together with those of others, which
  // takes less time than one by one.
  void check_soon(const PackBlob& blob, std::span<const std::byte> stored) {
    constexpr std::size_t kTogether = 16;
    if (!blob.pack->is_verified) {
      check_now(blob, stored);
      return;
    }
    PlainBlob plain;
    const auto trouble =
        trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
          plain = blobs_.decode(*blob.row, blob.pack->keys[blob.row->key],
                                stored, VerifyId::no);
        });
    if (trouble) {
      check_now(blob, stored);
      return;
    }
    auto& decoded = decoded_[blob.row->kind];
    decoded.push_back({blob, std::move(plain)});
    if (decoded.size() == kTogether) compare(blob.row->kind, decoded);
  }

  void compare_all() {
    for (auto& [kind, decoded] : decoded_) compare(kind, decoded);
  }

  // One that is not what its id names is looked at once more, by itself: with
  // another copy of its base it may be.
  void compare(BlobKind kind, std::vector<Decoded>& decoded) {
    std::vector<std::span<const std::byte>> plains;
    for (const auto& one : decoded) plains.emplace_back(*one.plain);
    const auto ids = keyring_.ids_of(kind, plains);
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const PackBlob& blob = decoded[i].blob;
      if (ids[i] == blob.row->id) continue;
      judge(blob, [&] {
        std::vector<std::byte> stored(blob.row->stored_size);
        storage_.get(pack_name(blob.pack->id), blob.offset, stored);
        verify(blob, stored);
      });
    }
    decoded.clear();
  }

  void check_now(const PackBlob& blob, std::span<const std::byte> stored) {
    judge(blob, [&] { verify(blob, stored); });
  }

  void verify(const PackBlob& blob, std::span<const std::byte> stored) {
    const auto how =
        blob.pack->is_verified ? VerifyId::yes : VerifyId::with_base;
    (void)blobs_.decode(*blob.row, blob.pack->keys[blob.row->key], stored, how);
  }

  // What keeps `look` from its end is the blob's.
  template <typename Look>
  void judge(const PackBlob& blob, Look look) {
    auto trouble = trouble_of("damaged-blob", "blob " + blob.row->id.brief(),
                              IfGone::it_is_damage, std::move(look));
    auto& bad_blobs = blob.pack->bad_blobs;
    if (trouble && bad_blobs.size() < kMaxBadBlobs) {
      bad_blobs.push_back(
          {blob.pack->id, blob.offset, *blob.row, std::move(trouble->reason)});
    }
  }

  // Requires: none of their blobs waits.
  void tell() {
    std::lock_guard lock(shared_.mutex);
    for (const auto& pack : judged_) {
      if (pack->directory && pack->were_all_opened && pack->bad_blobs.empty()) {
        shared_.result.sound.push_back({pack->id, *pack->directory});
      }
      auto& all = shared_.result.bad_blobs;
      for (auto& bad : pack->bad_blobs) {
        if (all.size() < kMaxBadBlobs) all.push_back(std::move(bad));
      }
    }
    judged_.clear();
  }

  Shared& shared_;
  const Storage& storage_;
  const Keyring& keyring_;
  BlobReader blobs_;
  std::map<BlobKind, std::vector<Decoded>> decoded_;  // not compared yet
  WaitingDifferences waiting_;
  std::vector<std::unique_ptr<Judged>> judged_;  // not told yet
};

}  // namespace

PackCheckResult check_packs(Repository& repository, const BlobIndex& index,
                            std::span<const StoredPack> packs,
                            const std::set<PackId>& unreadable,
                            const std::set<PackId>& unverified,
                            unsigned threads, FindingList& findings,
                            const std::stop_token& stop, Progress* progress) {
  Shared shared{repository,
                index,
                unreadable,
                unverified,
                findings,
                progress,
                kMostWaitingBytes / std::max(threads, 1U),
                {},
                {}};
  std::vector<std::unique_ptr<PackCheck>> workers;
  parallel_for(packs.size(), threads, stop, [&] {
    auto worker = std::make_unique<PackCheck>(shared);
    std::lock_guard lock(shared.mutex);
    workers.push_back(std::move(worker));
    return [&, check = workers.back().get()](std::size_t i) {
      check->check(packs[i]);
      if (progress != nullptr) ++progress->items_done;
    };
  });
  parallel_for(workers.size(), threads, stop,
               [&] { return [&](std::size_t i) { workers[i]->finish(); }; });
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
