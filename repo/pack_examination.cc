#include "repo/pack_examination.h"

#include <algorithm>
#include <bit>
#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "crypto/seal.h"
#include "repo/blob_codec.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/index_object.h"
#include "repo/look_at.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"

namespace cairn::repo {
namespace {

class PackExaminer {
 public:
  PackExaminer(Repository& repository, const BlobIndex& all, BlobReader& blobs,
               const ExaminationOptions& options, std::stop_token stop,
               Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        keyring_(repository.keyring()),
        all_(all),
        blobs_(blobs),
        options_(options),
        stop_(std::move(stop)),
        progress_(progress),
        examination_(repository.cache_folder()) {}

  PackExamination run();

 private:
  [[nodiscard]] std::set<PackId> indexed_packs();
  [[noreturn]] void refuse_what_is_newer(const std::string& object,
                                         const std::string& reason);
  void read_old_directories(const std::set<PackId>& unreadable);
  void examine(const StoredPack& pack);
  void examine_rows(const PackId& id, const Directory& directory);
  std::uint32_t place_of(const WrappedKey& key);
  RowState judge(const PackId& pack, const ExaminedRow& row);

  void step(std::string_view what) {
    if (stop_.stop_requested()) throw Cancelled("repair packs: interrupted");
    if (progress_ != nullptr) progress_->set_current(what);
  }

  Repository& repository_;
  Storage& storage_;
  const Keyring& keyring_;
  const BlobIndex& all_;
  BlobReader& blobs_;
  const ExaminationOptions& options_;
  std::stop_token stop_;
  Progress* progress_;
  std::map<PackId, std::vector<Directory>> old_directories_;
  std::map<WrappedKey, std::uint32_t> places_of_keys_;
  std::vector<std::byte> bytes_;  // is reused
  PackExamination examination_;
};

PackExamination PackExaminer::run() {
  auto packs = list_packs(storage_);
  for (const auto& pack : packs) examination_.existing.insert(pack.id);
  for (const auto& id : options_.packs) {
    if (!examination_.existing.contains(id)) {
      throw std::invalid_argument(pack_name(id) + ": there is no such pack");
    }
  }
  const std::set<PackId> indexed = indexed_packs();
  if (!options_.packs.empty()) {
    // What no index object names serves nobody before it was looked at.
    const std::set<PackId> chosen(options_.packs.begin(), options_.packs.end());
    std::erase_if(packs, [&](const StoredPack& pack) {
      return !chosen.contains(pack.id) && indexed.contains(pack.id);
    });
  }
  std::set<PackId> unreadable;
  std::set<PackId> all;  // bases are compared with their ids
  std::erase_if(packs, [&](const StoredPack& pack) {
    step("reading directories");
    all.insert(pack.id);
    const auto trouble = trouble_with_directory(storage_, pack, [&] {
      (void)read_pack_directory(storage_, keyring_, pack.id);
    });
    if (!trouble) return false;
    if (trouble->severity == Severity::unsupported) {
      refuse_what_is_newer(pack_name(pack.id), trouble->reason);
    }
    if (trouble->severity == Severity::damage) unreadable.insert(pack.id);
    return trouble->severity == Severity::note;  // a prune removed it
  });
  read_old_directories(unreadable);
  step("reading packs");
  if (progress_ != nullptr) {
    for (const auto& pack : packs) progress_->bytes_total += pack.size;
    progress_->items_total = packs.size();
  }
  FindingList findings;  // the rows are looked at one by one below
  const auto result = check_packs(repository_, all_, packs, unreadable, all,
                                  options_.threads, findings, stop_, progress_);
  examination_.packs_read = result.packs;
  std::set<PackId> sound;
  for (const auto& pack : result.sound) {
    sound.insert(pack.id);
    if (!indexed.contains(pack.id)) examination_.unnamed.push_back(pack);
  }
  for (const auto& pack : packs) {
    if (!sound.contains(pack.id)) examine(pack);
  }
  return std::move(examination_);
}

std::set<PackId> PackExaminer::indexed_packs() {
  std::set<PackId> indexed;
  for (const auto& id : list_indexes(storage_)) {
    step("reading the index");
    const std::string name = index_name(id);
    const auto trouble =
        trouble_of("damaged-index", name, IfGone::it_vanished, [&] {
          for (const auto& pack : read_index(storage_, keyring_, id).packs) {
            indexed.insert(pack.id);
          }
        });
    if (trouble && trouble->severity == Severity::unsupported) {
      refuse_what_is_newer(name, trouble->reason);
    }
  }
  return indexed;
}

// What it holds would pass for lost, and what leans on that for damaged.
void PackExaminer::refuse_what_is_newer(const std::string& object,
                                        const std::string& reason) {
  require_not_renewed(storage_, keyring_);
  throw UnsupportedFormat(
      object + ": " + reason +
      "; what it holds, and what leans on that, only a "
      "cairn that knows it can judge: repair with that one. "
      "Nothing was done");
}

// What index objects say of packs that do not say it themselves any more.
void PackExaminer::read_old_directories(const std::set<PackId>& unreadable) {
  if (unreadable.empty()) return;
  for (const auto& id : list_indexes(storage_)) {
    step("reading the index");
    (void)trouble_of("damaged-index", index_name(id), IfGone::it_vanished, [&] {
      for (auto& pack : read_index(storage_, keyring_, id).packs) {
        if (!unreadable.contains(pack.id)) continue;
        auto& known = old_directories_[pack.id];
        if (std::ranges::find(known, pack.directory) == known.end()) {
          known.push_back(std::move(pack.directory));
        }
      }
    });
  }
}

void PackExaminer::examine(const StoredPack& pack) {
  const std::string name = pack_name(pack.id);
  step("looking at " + name);
  ExaminedPack examined{.id = pack.id, .size = pack.size};
  std::vector<Directory> directories;
  const auto trouble =
      trouble_of("damaged-pack", name, IfGone::it_vanished,
                 [&] { check_pack_bytes(storage_, pack, nullptr); });
  if (trouble && trouble->severity == Severity::note) return;  // pruned
  if (trouble) examined.trouble = trouble->reason;
  if (const auto old = old_directories_.find(pack.id);
      old != old_directories_.end()) {
    directories = std::move(old->second);
  } else {
    const auto unread =
        trouble_of("damaged-pack", name, IfGone::it_vanished, [&] {
          directories.push_back(
              read_pack_directory(storage_, keyring_, pack.id).pack.directory);
        });
    if (unread && unread->severity == Severity::note) return;
    if (unread && examined.trouble.empty()) examined.trouble = unread->reason;
  }
  examined.first_row = examination_.rows.size();
  for (const auto& directory : directories) examine_rows(pack.id, directory);
  examined.row_count = examination_.rows.size() - examined.first_row;
  examination_.not_sound.push_back(std::move(examined));
}

void PackExaminer::examine_rows(const PackId& id, const Directory& directory) {
  std::uint64_t offset = kPackHeadBytes;
  for (const auto& row : directory.rows) {
    if (stop_.stop_requested()) throw Cancelled("repair packs: interrupted");
    ExaminedRow examined;
    examined.row = row;
    examined.offset = offset;
    examined.pack = static_cast<std::uint32_t>(examination_.not_sound.size());
    examined.key = place_of(directory.keys[row.key]);
    examined.state = judge(id, examined);
    examination_.rows.push_back(examined);
    offset += row.stored_size;
  }
}

std::uint32_t PackExaminer::place_of(const WrappedKey& key) {
  const auto [entry, is_new] = places_of_keys_.try_emplace(
      key, static_cast<std::uint32_t>(examination_.keys.size()));
  if (is_new) examination_.keys.push_back(key);
  return entry->second;
}

RowState PackExaminer::judge(const PackId& pack, const ExaminedRow& row) {
  const auto& key = examination_.keys[row.key];
  bool is_good = false;
  bool is_there = false;
  (void)trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
    bytes_.resize(row.row.stored_size);
    storage_.get(pack_name(pack), row.offset, bytes_);
    is_there = true;
    (void)blobs_.decode(row.row, key, bytes_, VerifyId::with_base);
    is_good = true;
  });
  if (is_good) return RowState::good;
  if (!is_there || !row.row.base || !opens(repository_, row.row, key, bytes_))
    return RowState::hurt;
  // With its base at hand it does not decode to what it should.
  const auto base =
      trouble_of("damaged-blob", "blob", IfGone::it_is_damage,
                 [&] { (void)blobs_.read(row.row.kind, *row.row.base); });
  return base ? RowState::leans : RowState::hurt;
}

}  // namespace

PackExamination examine_packs(Repository& repository, const BlobIndex& all,
                              BlobReader& blobs,
                              const ExaminationOptions& options,
                              std::stop_token stop, Progress* progress) {
  return PackExaminer(repository, all, blobs, options, std::move(stop),
                      progress)
      .run();
}

const ExaminedPack* PackExamination::find(const PackId& id) const {
  const auto at =
      std::ranges::lower_bound(not_sound, id, {}, &ExaminedPack::id);
  return at != not_sound.end() && at->id == id ? &*at : nullptr;
}

RowsById::RowsById(ScratchArray<ExaminedRow>& rows,
                   const std::filesystem::path& folder)
    : rows_(rows), slots_(folder) {
  slots_.grow_to(std::bit_ceil(2 * rows.size() + 1));
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    auto slot = first_slot(rows[i].row.id);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = i + 1;
  }
}

bool opens(Repository& repository, const BlobRow& row, const WrappedKey& key,
           std::span<const std::byte> stored) {
  std::vector<std::byte> opened(stored.size() - crypto::kTagBytes);
  bool is_open = false;
  (void)trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
    const auto* const secret = repository.session_keys().find(key);
    is_open = secret != nullptr &&
              crypto::open(*secret,
                           associated_data(repository.keyring().family(),
                                           key.generation, row),
                           stored, opened);
  });
  return is_open;
}

}  // namespace cairn::repo
