#include "repo/check.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "crypto/random.h"
#include "repo/check_graph.h"
#include "repo/check_objects.h"
#include "repo/check_packs.h"
#include "repo/damage_trace.h"
#include "repo/epoch.h"
#include "repo/generation_object.h"
#include "repo/index_object.h"
#include "repo/look_at.h"
#include "repo/own_folder.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/parallel_for.h"
#include "repo/repair.h"
#include "repo/vouch.h"

namespace cairn::repo {
namespace {

namespace fs = std::filesystem;

// How often damage is looked at again when objects went meanwhile.
constexpr int kAttempts = 3;

// An index of this check's own, from the index objects alone: what a local
// index that is damaged or out of date misses must not pass for damage.
class FreshIndex {
 public:
  explicit FreshIndex(const fs::path& parent)
      : folder_(parent, kCheckPrefix), store_(folder_.path()) {}

  [[nodiscard]] IndexStore& store() { return store_; }

 private:
  OwnFolder folder_;
  IndexStore store_;
};

// A pack that is damaged, and that no index object names: perhaps because
// repair took it out.
struct LeftOutPack {
  PackId id;
  std::string reason;
};

class Check {
 public:
  Check(Repository& repository, const CheckOptions& options,
        std::stop_token stop, Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        keyring_(repository.keyring()),
        options_(options),
        stop_(std::move(stop)),
        progress_(progress),
        listed_epochs_(list_epochs(storage_)),
        facts_(repository.cache_folder()) {}

  CheckReport run() {
    look_at_objects();
    const bool agree = look_at_indexes();
    // Only the graph tells what a disagreement means: garbage, or damage.
    if (options_.level != CheckLevel::index || !agree) look_at_structure();
    if (options_.level == CheckLevel::data) look_at_data();
    look_at_unverified();
    if (findings_.has(kMissingKeys) && !findings_.has("damaged-generation")) {
      findings_.add(Severity::damage, "damaged-generation",
                    std::string(kGenerationsFolder),
                    "has not the keys that other objects are sealed with: "
                    "bring it back from a copy of the repository");
    }
    if (findings_.has(Severity::damage)) trace_damage();
    if (findings_.has("damaged-pack") && findings_.has(Severity::damage)) {
      findings_.add(Severity::note, "advice", "packs",
                    std::string(kDamagedPackAdvice));
    }
    findings_.move_to(report_);
    return std::move(report_);
  }

  // Since they were listed, by a prune, which may have merged index objects and
  // nothing more, or removed what was forgotten meanwhile: then what seemed
  // damage may be none.
  [[nodiscard]] bool objects_have_gone() const {
    if (list_epochs(storage_) != listed_epochs_) return true;
    const auto indexes = list_indexes(storage_);
    if (!std::ranges::includes(indexes, listed_indexes_)) return true;
    return std::ranges::any_of(packs_, [&](const StoredPack& pack) {
      return !storage_.size(pack_name(pack.id));
    });
  }

 private:
  void step(std::string_view what) {
    if (stop_.stop_requested()) throw Cancelled("check: interrupted");
    if (progress_ != nullptr) progress_->set_current(what);
  }

  void look_at_objects();
  bool look_at_indexes();
  void survey();
  void compare_indexes();
  void look_at_structure();
  void open_index(IndexStore& store);
  void walk_graph_with(IndexStore& store);
  void look_at_data();
  PackCheckResult read_packs(std::span<const StoredPack> packs,
                             FindingList& findings);
  void add_left_out(FindingList&& found, std::set<PackId> hurt);
  void add_left_out(const LeftOutPack& pack, bool is_needed);
  void add_bad_blobs(const std::vector<BadBlob>& bad_blobs);
  void look_at_unverified();
  void vouch_for(std::span<const SoundPack> packs);
  void trace_damage();

  Repository& repository_;
  const Storage& storage_;
  const Keyring& keyring_;
  const CheckOptions& options_;
  std::stop_token stop_;
  Progress* progress_;
  const std::vector<std::uint64_t> listed_epochs_;

  FindingList findings_;
  CheckReport report_;
  std::vector<Snapshot> snapshots_;  // valid ones
  std::vector<IndexId> listed_indexes_;
  std::vector<IndexId> indexes_;   // of those that can be read
  std::vector<StoredPack> packs_;  // those that exist, by id
  std::set<PackId> missing_;       // named by an index object
  std::set<PackId> indexed_;
  std::set<PackId> doomed_;            // by the newest epoch
  std::set<PackId> unverified_;        // for everyone
  std::vector<LeftOutPack> left_out_;  // whose directories cannot be read
  std::vector<SoundPack> sound_;       // of the packs that level data read

  // From level structure on.
  PackFacts facts_;
  std::optional<FreshIndex> fresh_;
  std::optional<BlobIndex> index_;
  std::unique_ptr<FindingList> graph_findings_;
  std::optional<GraphCheck> graph_;
};

// Readers go from marks over snapshots and the index to packs, against the
// order of writes: so whatever is read rests on what is read later. Here,
// snapshots go before marks: one that was forgotten in between is forgotten.
void Check::look_at_objects() {
  step("reading small objects");
  check_fixed_objects(storage_, findings_, report_);
  snapshots_ =
      check_small_objects(storage_, keyring_, options_.now, findings_, report_);
}

// True: every pack is named, and every pack named is there.
bool Check::look_at_indexes() {
  step("reading the index");
  // Before the index: what a doomed pack was needed for was moved before, and
  // named. What is wrong with epochs was told.
  (void)trouble_of("damaged-epoch", "epochs", IfGone::it_vanished, [&] {
    doomed_ = doomed_packs(read_epochs(storage_, keyring_).newest);
  });
  std::map<PackId, std::uint64_t> sizes;  // as index objects have them
  std::set<PackId> verified;
  listed_indexes_ = list_indexes(storage_);
  for (const auto& id : listed_indexes_) {
    step("reading the index");
    const std::string name = index_name(id);
    look_at(findings_, "damaged-index", name, [&] {
      report_.bytes_read += storage_.size(name).value_or(0);
      const IndexObject object = read_index(storage_, keyring_, id);
      for (const auto& pack : object.packs) {
        sizes[pack.id] = pack.size;
        indexed_.insert(pack.id);
        if (object.assurance == Assurance::for_everyone()) {
          verified.insert(pack.id);
        }
      }
      indexes_.push_back(id);
      ++report_.index_objects;
    });
  }
  packs_ = list_packs(storage_, [&](const std::string& stranger) {
    findings_.add(Severity::note, "stranger", stranger,
                  "has no name that cairn gives; it is left alone");
  });
  report_.packs = packs_.size();
  bool all_named = true;
  for (const auto& pack : packs_) {
    if (!verified.contains(pack.id) && !doomed_.contains(pack.id)) {
      unverified_.insert(pack.id);
    }
    const auto named = sizes.find(pack.id);
    if (named == sizes.end()) {
      all_named = false;
      continue;
    }
    if (named->second != pack.size) {
      findings_.add(Severity::damage, "damaged-pack", pack_name(pack.id),
                    "has " + std::to_string(pack.size) + " bytes instead of " +
                        std::to_string(named->second));
    }
    sizes.erase(named);
  }
  for (const auto& [id, size] : sizes) missing_.insert(id);
  return all_named && missing_.empty();
}

void Check::survey() {
  for (const auto& pack : packs_) {
    step("reading directories");
    const std::string name = pack_name(pack.id);
    auto trouble = trouble_with_directory(storage_, pack, [&] {
      const auto directory = read_pack_directory(storage_, keyring_, pack.id);
      facts_.survey.add(directory.pack);
      if (doomed_.contains(pack.id)) {
        facts_.survey.set_doomed(facts_.survey.packs().size() - 1);
      }
      facts_.is_indexed.push_back(indexed_.contains(pack.id));
      report_.blobs += directory.pack.directory.rows.size();
      report_.bytes_read += pack.size - directory.directory_offset;
    });
    if (!trouble) continue;
    facts_.unreadable.insert(pack.id);
    if (trouble->severity == Severity::damage && !indexed_.contains(pack.id)) {
      left_out_.push_back({pack.id, std::move(trouble->reason)});
    } else {
      findings_.add(trouble->severity, trouble->code, name,
                    std::move(trouble->reason));
    }
  }
}

void Check::compare_indexes() {
  std::map<PackId, bool> is_sound;  // of those that an index object belies
  for (const auto& id : indexes_) {
    step("comparing the index");
    const std::string name = index_name(id);
    look_at(findings_, "damaged-index", name, [&] {
      for (const auto& pack : read_index(storage_, keyring_, id).packs) {
        const auto place = facts_.survey.find(pack.id);
        if (!place || facts_.survey.packs()[*place].directory ==
                          digest_of(pack.directory)) {
          continue;
        }
        // Which of the two is right: a pack under another's name opens too.
        const auto checked = is_sound.try_emplace(pack.id, true);
        if (checked.second) {
          checked.first->second =
              look_at(findings_, "damaged-pack", pack_name(pack.id), [&] {
                check_pack_bytes(storage_,
                                 {pack.id, facts_.survey.packs()[*place].size},
                                 nullptr);
              });
        }
        if (!checked.first->second) continue;
        findings_.add(Severity::damage, "index-differs", name,
                      "says of " + pack_name(pack.id) +
                          " what its directory does not say; `cairn repair "
                          "index` makes it anew");
      }
    });
  }
}

void Check::open_index(IndexStore& store) {
  graph_.reset();
  index_.emplace(store, keyring_);
  // Which ones are damaged is known already.
  index_->refresh(storage_, keyring_);
  if (std::ranges::count(facts_.is_indexed, false) > 0) {
    index_->search_packs(storage_, keyring_);
  }
}

void Check::walk_graph_with(IndexStore& store) {
  open_index(store);
  graph_findings_ = std::make_unique<FindingList>();
  graph_.emplace(repository_, *index_, facts_, *graph_findings_);
  for (const auto& snapshot : snapshots_) {
    step("following snapshot " + snapshot.id.brief());
    graph_->walk(snapshot, stop_);
    if (progress_ != nullptr) ++progress_->items_done;
  }
}

void Check::look_at_structure() {
  survey();
  compare_indexes();
  bool is_certain = false;
  try {
    walk_graph_with(repository_.index_store());
    is_certain = !graph_findings_->has(Severity::damage);
  } catch (const StorageUnreachable&) {
    throw;
  } catch (const IoError&) {
    // Of the local index: all other trouble became a finding.
  }
  if (!is_certain) {
    fresh_.emplace(repository_.cache_folder());
    walk_graph_with(fresh_->store());
  }
  graph_->look_at_the_rest(stop_);
  // What cannot be found may lie in any of them.
  const bool misses_blobs = graph_findings_->has("missing-blob");
  findings_.append(std::move(*graph_findings_));
  for (const auto& pack : left_out_) add_left_out(pack, misses_blobs);

  for (const auto& id : missing_) {
    const bool is_missed = graph_->missed_packs().contains(id);
    findings_.add(is_missed ? Severity::damage : Severity::garbage,
                  "missing-pack", pack_name(id),
                  is_missed ? "is missing, though snapshots need it"
                            : "is named by an index object and gone, as a "
                              "prune that came no further leaves it");
  }
  const auto unindexed =
      static_cast<std::size_t>(std::ranges::count(facts_.is_indexed, false));
  if (unindexed > graph_->unindexed_packs().size()) {
    findings_.add(
        Severity::garbage, "unindexed-pack", "packs",
        std::to_string(unindexed - graph_->unindexed_packs().size()) +
            " of them are named by no index object, as a session leaves them "
            "that was cut short");
  }
}

void Check::look_at_data() {
  step("reading packs");
  const auto packs = select(packs_, options_.subset, options_.subset_beginning);
  if (progress_ != nullptr) {
    for (const auto& pack : packs) progress_->bytes_total += pack.size;
    progress_->items_done = 0;
    progress_->items_total = packs.size();
  }
  if (!keyring_.can_read(KeyClass::content)) {
    findings_.add(Severity::note, "unread-contents", "packs",
                  "this key cannot open contents: of them only the packs' "
                  "SHA-256 was compared");
  }
  std::vector<StoredPack> named;
  std::vector<StoredPack> left_out;
  for (const auto& pack : packs) {
    (indexed_.contains(pack.id) ? named : left_out).push_back(pack);
  }
  auto bad_blobs = read_packs(named, findings_).bad_blobs;
  FindingList found;
  auto others = read_packs(left_out, found).bad_blobs;
  std::set<PackId> hurt;
  for (const auto& bad : others) hurt.insert(bad.pack);
  std::ranges::move(others, std::back_inserter(bad_blobs));
  add_bad_blobs(bad_blobs);
  add_left_out(std::move(found), std::move(hurt));
}

PackCheckResult Check::read_packs(std::span<const StoredPack> packs,
                                  FindingList& findings) {
  auto result =
      check_packs(repository_, *index_, packs, facts_.unreadable, unverified_,
                  options_.threads, findings, stop_, progress_);
  report_.packs_read += result.packs;
  report_.bytes_read += result.bytes;
  std::ranges::move(result.sound, std::back_inserter(sound_));
  return result;
}

// `found` of packs that no index object names; in those of `hurt` some blobs
// are not what their ids name.
void Check::add_left_out(FindingList&& found, std::set<PackId> hurt) {
  CheckReport report;
  found.move_to(report);
  const auto is_needed = [&](std::size_t place) {
    return graph_->unindexed_packs().contains(place);
  };
  for (auto& finding : report.findings) {
    const auto id = parse_pack_name(finding.object);
    if (finding.severity != Severity::damage || !id) {
      findings_.add(finding.severity, finding.code, finding.object,
                    std::move(finding.message));
      continue;
    }
    hurt.erase(*id);
    // One without a directory was told of before.
    if (const auto place = facts_.survey.find(*id)) {
      add_left_out({*id, std::move(finding.message)}, is_needed(*place));
    }
  }
  for (const auto& id : hurt) {
    if (const auto place = facts_.survey.find(id)) {
      add_left_out({id, "not every blob in it can be read"}, is_needed(*place));
    }
  }
}

void Check::add_left_out(const LeftOutPack& pack, bool is_needed) {
  findings_.add(
      is_needed ? Severity::damage : Severity::garbage, "damaged-pack",
      pack_name(pack.id),
      pack.reason + (is_needed ? ""
                               : "; no index object names it, and no "
                                 "snapshot needs it, so that the next "
                                 "prune removes it"));
}

void Check::look_at_unverified() {
  std::erase_if(sound_, [&](const SoundPack& pack) {
    return !unverified_.contains(pack.id);
  });
  const bool may_vouch =
      options_.vouch == Vouch::yes && keyring_.role() == Role::owner;
  if (may_vouch && !sound_.empty()) vouch_for(sound_);
  // Of those that no index object names, the graph tells.
  std::erase_if(unverified_,
                [&](const PackId& id) { return !indexed_.contains(id); });
  if (!unverified_.empty()) {
    findings_.add(Severity::note, "unverified-packs", "packs",
                  std::to_string(unverified_.size()) +
                      " of them no key that reads has verified, so that not "
                      "every key uses what lies in them; an owner's `cairn "
                      "check --level data` verifies them");
  }
}

// The storage may be full or not to be written to, and a prune may be at work.
void Check::vouch_for(std::span<const SoundPack> packs) {
  try {
    const auto named = repo::vouch_for(
        repository_, {crypto::random_array<SessionId::kBytes>()}, packs);
    for (const PackId& id : named) unverified_.erase(id);
    report_.packs_verified = named.size();
  } catch (const Error& e) {
    report_.verifying_failed =
        std::to_string(packs.size()) +
        " packs were found to be sound, and could not be named as verified: " +
        e.what();
    findings_.add(Severity::note, "unverified-packs", "index",
                  report_.verifying_failed);
  }
}

void Check::add_bad_blobs(const std::vector<BadBlob>& bad_blobs) {
  std::vector<std::optional<RowNumber>> rows;
  std::set<RowNumber> bad_rows;
  for (const auto& bad : bad_blobs) {
    const auto pack = facts_.survey.find(bad.pack);
    rows.push_back(pack ? facts_.survey.find_row(*pack, bad.offset, bad.row)
                        : std::nullopt);
    if (rows.back()) bad_rows.insert(*rows.back());
  }
  for (std::size_t i = 0; i < bad_blobs.size(); ++i) {
    const BadBlob& bad = bad_blobs[i];
    // One whose base is missing was found by the graph.
    if (rows[i] && !graph_->copies().is_sound(bad.row, *rows[i])) continue;
    const bool is_left_out = !indexed_.contains(bad.pack);
    if (is_left_out && rows[i] && !graph_->is_reached(*rows[i])) continue;
    const auto any_is_whole = [&](ConfirmedCopies& of) {
      return std::ranges::any_of(of.find(bad.row.kind, bad.row.id),
                                 [&](const auto& copy) {
                                   return !bad_rows.contains(copy.row) &&
                                          of.is_sound(copy.copy.row, copy.row);
                                 });
    };
    const bool has_other = any_is_whole(graph_->staying_copies());
    if (is_left_out && has_other) continue;
    const bool has_doomed = any_is_whole(graph_->copies());
    findings_.add_blob(
        Severity::damage, "damaged-blob", pack_name(bad.pack),
        "blob " + bad.row.id.brief() + ": " + bad.reason +
            (has_other    ? "; another copy of it is whole"
             : has_doomed ? "; another copy of it is whole, in a pack "
                            "that prune is about to remove: `cairn repair "
                            "packs` takes it out"
                          : ""),
        has_other ? std::nullopt : std::optional(bad.row.id));
  }
}

void Check::trace_damage() {
  if (!index_) return;
  const auto concerned = findings_.concerned();
  if (concerned.empty()) return;
  BlobReader blobs(storage_, keyring_, *index_, repository_.session_keys());
  DamageTrace trace(
      blobs, keyring_, [&](const BlobId& id) { return concerned.contains(id); },
      [&](const BlobId& id, const SessionId& snapshot,
          const std::string& path) {
        findings_.concern(concerned.find(id)->second, snapshot, path);
      });
  for (const auto& snapshot : snapshots_) {
    step("tracing damage to snapshot " + snapshot.id.brief());
    trace.trace(snapshot, stop_);
  }
}

// Without a key -------------------------------------------------------------

// An object and how to look at it.
struct KeylessItem {
  std::string_view code;
  std::string name;
  std::function<void()> look;
};

void check_index_bytes(const Storage& storage, const IndexId& id) {
  const std::string name = index_name(id);
  const auto bytes = get_whole(storage, name, kMaxIndexBytes);
  if (crypto::sha256(bytes) != id.bytes) {
    throw CorruptionError(name + ": its SHA-256 is not its name");
  }
  (void)decode_prologue(bytes, ObjectType::index, name);
}

}  // namespace

CheckReport check(Repository& repository, const CheckOptions& options,
                  std::stop_token stop, Progress* progress) {
  for (int attempt = 1;; ++attempt) {
    Check check(repository, options, stop, progress);
    CheckReport report = check.run();
    // What that needs passes for damage, or for a newer program's.
    if (report.count(Severity::damage) + report.count(Severity::unsupported) >
        0) {
      require_not_renewed(repository.storage(), repository.keyring());
    }
    if (report.count(Severity::damage) == 0 || attempt == kAttempts ||
        !check.objects_have_gone()) {
      return report;
    }
  }
}

void note_rollback(CheckReport& report, const std::string& less) {
  report.findings.insert(
      report.findings.begin(),
      Finding{Severity::damage, "rolled-back", "repository",
              "shows less than this host saw of it: " + less});
  ++report.found[static_cast<std::size_t>(Severity::damage)];
}

CheckReport check_without_key(const Storage& storage,
                              const CheckOptions& options, std::stop_token stop,
                              Progress* progress) {
  FindingList findings;
  CheckReport report;
  check_fixed_objects(storage, findings, report);
  std::vector<KeylessItem> items;
  for (const auto& folder : kEnclosedFolders) {
    for (const auto& object :
         list_enclosed(storage, folder, findings, report)) {
      if (object.type == ObjectType::snapshot) ++report.snapshots;
      items.push_back({folder.code, object.name, [&storage, object] {
                         check_enclosed(storage, object);
                       }});
    }
  }
  storage.list("index", [&](const ListedObject& object) {
    report.bytes_read += object.size;
  });
  for (const auto& id : list_indexes(storage)) {
    items.push_back({"damaged-index", index_name(id),
                     [&storage, id] { check_index_bytes(storage, id); }});
    ++report.index_objects;
  }
  auto packs = list_packs(storage, [&](const std::string& stranger) {
    findings.add(Severity::note, "stranger", stranger,
                 "has no name that cairn gives; it is left alone");
  });
  report.packs = packs.size();
  if (options.level == CheckLevel::index) packs.clear();
  for (const auto& pack :
       select(std::move(packs), options.subset, options.subset_beginning)) {
    items.push_back(
        {"damaged-pack", pack_name(pack.id), [&storage, pack, progress] {
           check_pack_bytes(storage, pack, progress);
         }});
    ++report.packs_read;
    report.bytes_read += pack.size;
    if (progress != nullptr) progress->bytes_total += pack.size;
  }
  if (progress != nullptr) progress->items_total = items.size();
  parallel_for(items.size(), options.threads, stop, [&] {
    return [&](std::size_t i) {
      look_at(findings, items[i].code, items[i].name, items[i].look);
      if (progress != nullptr) ++progress->items_done;
    };
  });
  findings.move_to(report);
  return report;
}

}  // namespace cairn::repo
