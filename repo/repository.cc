#include "repo/repository.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>
#include <variant>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/often_read_packs.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kReserveBytes = std::size_t{1} << 20;

constexpr std::string_view kAdvice = "`cairn repair index` makes it anew";

}  // namespace

void give_reserve(Storage& storage) { storage.remove(kReserveName); }

namespace {

bool is_reserve_sound(const Storage& storage) {
  try {
    const auto bytes = get_whole(storage, kReserveName, kReserveBytes);
    if (bytes.size() != kReserveBytes) return false;
    const auto digest = crypto::sha256(
        std::span(bytes).first(kReserveBytes - crypto::kDigestBytes));
    return std::ranges::equal(digest,
                              std::span(bytes).last(crypto::kDigestBytes));
  } catch (const NotFound&) {
    return false;
  } catch (const CorruptionError&) {
    return false;
  }
}

}  // namespace

void take_reserve(Storage& storage) {
  if (is_reserve_sound(storage)) return;
  storage.remove(kReserveName);
  // Random, so that a file system that compresses really allocates it.
  std::vector<std::byte> bytes(kReserveBytes);
  const std::span rest =
      std::span(bytes).first(kReserveBytes - crypto::kDigestBytes);
  crypto::fill_random(rest);
  std::ranges::copy(crypto::sha256(rest), bytes.end() - crypto::kDigestBytes);
  (void)storage.create(kReserveName, bytes);  // another process may be first
}

void initialise(Storage& storage, const Keyring& keyring, const Timestamp& now,
                const std::function<void(Storage&)>& add_keys) {
  for (const auto name : {kConfigName, kSecondConfigName}) {
    if (storage.size(name)) {
      throw RefusedForSafety(storage.description() +
                             ": there is a repository here already");
    }
  }
  Config config;
  config.repository = keyring.repository();
  config.family = keyring.family();
  config.root_key = keyring.root_key();
  set_cut_sizes(config, keyring.cut_sizes());
  config.created = now;
  const auto object = encode(config);
  add_keys(storage);
  take_reserve(storage);
  for (const auto name : {kSecondConfigName, kConfigName}) {
    if (storage.create(name, object) == Created::exists) {
      throw RefusedForSafety(storage.description() +
                             ": another process is making a repository here");
    }
  }
}

struct Repository::State {
  State(std::unique_ptr<Storage> s, Config c, Keyring k, HostFolders f)
      : storage(std::move(s)),
        config(std::move(c)),
        keyring(std::move(k)),
        folders(std::move(f)),
        host_state(folders.state, config.repository),
        session_keys(keyring) {}

  std::unique_ptr<Storage> storage;
  Config config;
  Keyring keyring;
  HostFolders folders;
  HostState host_state;
  std::optional<Signer> signer;
  std::optional<IndexStore> index_store;
  std::optional<BlobIndex> index;
  SessionKeyCache session_keys;
  std::shared_ptr<OftenReadPacks> often_read;  // of the index
  Warn warn;
  Saw saw;

  std::mutex mutex;  // guards what follows, and makes searches take turns
  bool has_searched = false;
  bool has_told_of_packs = false;
  std::set<IndexId> told;

  // Under the mutex.
  void tell_of_index() {
    if (!warn) return;
    for (const auto& [id, why] : index->unreadable()) {
      if (!told.insert(id).second) continue;
      warn(why + "; the index is read without it. " + std::string(kAdvice));
    }
    if (!index->is_incomplete() || has_told_of_packs) return;
    has_told_of_packs = true;
    warn(
        "the index does not name all packs that are needed; their own "
        "directories are read instead. " +
        std::string(kAdvice));
  }

  // Once at most. True: the index has it now. From many threads.
  bool search_further(const BlobId& id) {
    const std::lock_guard lock(mutex);
    if (index->contains(id)) return true;  // another thread was quicker
    if (has_searched) return false;
    // A prune may have moved the blob.
    index->refresh(*storage, keyring);
    if (!index->contains(id)) {
      has_searched = true;
      index->search_packs(*storage, keyring, id);
    }
    tell_of_index();
    if (index->contains(id)) return true;
    require_not_renewed(*storage, keyring);
    return false;
  }
};

Repository::Repository(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
Repository::Repository(Repository&&) noexcept = default;
Repository& Repository::operator=(Repository&&) noexcept = default;
Repository::~Repository() = default;

Repository Repository::open(std::unique_ptr<Storage> storage,
                            const OpenKeys& open_keys, HostFolders folders) {
  Config config = read_config(*storage);
  Keyring keyring = open_keys(*storage, config);
  return Repository(
      std::make_unique<State>(std::move(storage), std::move(config),
                              std::move(keyring), std::move(folders)));
}

Storage& Repository::storage() noexcept { return *state_->storage; }
const Config& Repository::config() const noexcept { return state_->config; }
const Keyring& Repository::keyring() const noexcept { return state_->keyring; }
HostState& Repository::host_state() noexcept { return state_->host_state; }

const Signer& Repository::signer() {
  if (!state_->signer) {
    state_->signer.emplace(state_->host_state.signing_seed(), state_->keyring);
  }
  return *state_->signer;
}

std::filesystem::path Repository::cache_folder() const {
  return state_->folders.cache / state_->config.repository.hex();
}

IndexStore& Repository::index_store() {
  if (!state_->index_store) state_->index_store.emplace(cache_folder());
  return *state_->index_store;
}

BlobIndex& Repository::index() {
  if (!state_->index) {
    try {
      load_index();
    } catch (const DamagedIndexStore&) {
      load_index_anew();
    }
    const std::lock_guard lock(state_->mutex);
    state_->tell_of_index();
  }
  return *state_->index;
}

// The next who opens a damaged store finds an empty one.
void Repository::load_index_anew() {
  state_->index.reset();
  state_->index_store.reset();
  load_index();
}

void Repository::load_index() {
  state_->index.emplace(index_store(), state_->keyring);
  state_->often_read = std::make_shared<OftenReadPacks>();
  state_->index->refresh(*state_->storage, state_->keyring);
  if (!state_->index->unreadable().empty()) {
    state_->index->search_packs(*state_->storage, state_->keyring);
  }
}

BlobIndex& Repository::index_for(const BlobId& needed) {
  (void)index();
  try {
    (void)state_->search_further(needed);
  } catch (const DamagedIndexStore&) {
    load_index_anew();
    (void)state_->search_further(needed);
  }
  return *state_->index;
}

void Repository::set_warn(Warn warn) { state_->warn = std::move(warn); }

void Repository::set_saw(Saw saw) { state_->saw = std::move(saw); }

void Repository::note_seen(const SeenSnapshot& snapshot) const {
  if (state_->saw) state_->saw(snapshot);
}

BlobReader Repository::blobs() {
  return BlobReader(
      *state_->storage, state_->keyring, index(), state_->session_keys,
      [state = state_.get()](const BlobId& id) {
        return state->search_further(id);
      },
      state_->often_read);
}

SessionKeyCache& Repository::session_keys() noexcept {
  return state_->session_keys;
}

namespace {

// Runs `read`; one that came to harm, or does not count, is noted. That it
// needs keys that were renewed just now is no harm.
void read_or_note(const Storage& storage, const Keyring& keyring,
                  const std::function<void()>& read,
                  const NoteDamage& note_damage) {
  try {
    unless_renewed(storage, keyring, read);
  } catch (const NotFound&) {
    // settled by a prune since it was listed
  } catch (const CorruptionError& e) {
    note_damage(e.what());
  } catch (const UnsupportedFormat& e) {
    note_damage(e.what());
  }
}

struct MarkedSlots {
  std::vector<StoredMark> marks;
  std::vector<SessionId> slots;  // but those that are forgotten
};

// Marks before slots: a prune removes a slot before the mark that forgot it, so
// whoever still finds the slot has seen the mark.
MarkedSlots read_marks_and_list_slots(const Storage& storage,
                                      const Keyring& keyring,
                                      const NoteDamage& note_damage) {
  MarkedSlots found;
  for (const auto& id : list_marks(storage)) {
    read_or_note(
        storage, keyring,
        [&] {
          found.marks.push_back({id, read_mark(storage, keyring, id)});
        },
        note_damage);
  }
  std::set<SessionId> forgotten;
  for (const auto& [id, mark] : found.marks) {
    if (mark.action == MarkAction::forget) forgotten.insert(mark.target);
  }
  found.slots = list_slots(storage);
  // Even if they cannot be read.
  std::erase_if(found.slots,
                [&](const auto& id) { return forgotten.contains(id); });
  return found;
}

// After the slots: a doom lists what was there before it.
LastDoom doom_after_slots(const Storage& storage, const Keyring& keyring,
                          const NoteDamage& note_damage) {
  LastDoom doom;
  read_or_note(
      storage, keyring, [&] { doom = read_last_doom(storage, keyring); },
      note_damage);
  return doom;
}

ValidSnapshot with_holds(Snapshot snapshot,
                         const std::vector<StoredMark>& holds) {
  ValidSnapshot valid{std::move(snapshot), {}};
  for (const auto& hold : holds) {
    if (hold.mark.target == valid.snapshot.id) valid.holds.push_back(hold);
  }
  return valid;
}

}  // namespace

SnapshotList Repository::snapshots(const Timestamp& now) const {
  const Storage& storage = *state_->storage;
  const Keyring& keyring = state_->keyring;
  SnapshotList list;
  const NoteDamage note_damage = [&](const std::string& what) {
    list.damage.push_back(what);
  };
  auto [marks, slots] =
      read_marks_and_list_slots(storage, keyring, note_damage);
  list.marks = std::move(marks);
  const auto holds = active_holds(list.marks, now);
  for (const auto& id : slots) {
    read_or_note(
        storage, keyring,
        [&] {
          auto slot = read_slot(storage, keyring, id);
          auto* const snapshot = std::get_if<Snapshot>(&slot);
          if (snapshot == nullptr) return;
          list.snapshots.push_back(with_holds(std::move(*snapshot), holds));
        },
        note_damage);
  }
  const LastDoom doom = doom_after_slots(storage, keyring, note_damage);
  std::erase_if(list.snapshots, [&](const ValidSnapshot& valid) {
    return doom.is_void(valid.snapshot.id, valid.snapshot.header.epoch);
  });
  std::ranges::sort(list.snapshots, [](const auto& a, const auto& b) {
    const auto key = [](const ValidSnapshot& valid) {
      return std::pair(valid.snapshot.header.time, valid.snapshot.id);
    };
    return key(a) < key(b);
  });
  for (const auto& valid : list.snapshots) note_seen(seen(valid.snapshot));
  return list;
}

SnapshotHistory Repository::history(const Timestamp& now,
                                    const NoteDamage& note_damage) const {
  const Storage& storage = *state_->storage;
  const Keyring& keyring = state_->keyring;
  const auto [marks, slots] =
      read_marks_and_list_slots(storage, keyring, note_damage);
  std::vector<SnapshotClaim> claims;
  for (const auto& id : slots) {
    read_or_note(
        storage, keyring,
        [&] {
          if (auto claim = read_claim(storage, keyring, id)) {
            claims.push_back(std::move(*claim));
          } else {
            // A tombstone is the one thing that anybody could write over a
            // snapshot to make it seem as if there had never been one.
            (void)read_slot(storage, keyring, id);
          }
        },
        note_damage);
  }
  const LastDoom doom = doom_after_slots(storage, keyring, note_damage);
  std::erase_if(claims, [&](const SnapshotClaim& claim) {
    return doom.is_void(claim.id, claim.header.epoch);
  });
  const auto verify =
      [&storage, &keyring, state = state_.get(),
       holds = active_holds(marks, now)](const SnapshotClaim& claim) {
        auto slot = read_slot(storage, keyring, claim.id);
        auto* const snapshot = std::get_if<Snapshot>(&slot);
        if (snapshot == nullptr || snapshot->header != claim.header) {
          throw CorruptionError(snapshot_name(claim.id) +
                                ": has changed since it was listed");
        }
        if (state->saw) state->saw(seen(*snapshot));
        return with_holds(std::move(*snapshot), holds);
      };
  return {std::move(claims), verify, note_damage};
}

}  // namespace cairn::repo
