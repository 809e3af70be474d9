#include "repo/check_graph.h"

#include <algorithm>
#include <string>
#include <utility>

#include "repo/look_at.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"

namespace cairn::repo {
namespace {

std::string name_of(const Link& link) { return "blob " + link.id.brief(); }

// What is kept of numbers of hard links stays small: this is worth a note only.
constexpr std::size_t kMostNumbers = std::size_t{1} << 18;

struct PackTotal {
  std::uint64_t packs = 0;
  std::uint64_t bytes = 0;

  void add(std::uint64_t size) {
    ++packs;
    bytes += size;
  }
};

}  // namespace

GraphCheck::GraphCheck(Repository& repository, const BlobIndex& index,
                       const PackFacts& facts, FindingList& findings)
    : repository_(repository),
      index_(index),
      facts_(facts),
      findings_(findings),
      blobs_(repository.storage(), repository.keyring(), index,
             repository.session_keys()),
      copies_(index, facts.survey, repository.cache_folder()),
      reached_(repository.cache_folder(), facts.survey.row_count()) {
  if (std::ranges::any_of(facts.survey.packs(), &SurveyedPack::is_doomed)) {
    staying_.emplace(index, facts.survey, repository.cache_folder(),
                     ConfirmedCopies::Of::packs_that_stay);
  }
}

void GraphCheck::walk(const Snapshot& snapshot, const std::stop_token& stop) {
  root_ = snapshot.header.root;
  numbers_.clear();
  unequal_ = 0;
  const GraphVisitor visitor{[&](const Link& link) {
                               if (stop.stop_requested())
                                 throw Cancelled("check: interrupted");
                               if (recent_.contains_or_add(link))
                                 return Enter::no;
                               return reach(link);
                             },
                             [&](const Link& link) { return read_node(link); }};
  walk_graph({BlobKind::links, root_, 0}, visitor);
  if (unequal_ == 0) return;
  findings_.add(
      Severity::note, "unequal-links", snapshot_name(snapshot.id),
      "'" + first_unequal_ + "'" +
          (unequal_ > 1 ? " and " + std::to_string(unequal_ - 1) + " more"
                        : "") +
          ": has the number of a hard link, and differs from the file that had "
          "it first, as when files change during a backup; a restore makes a "
          "file of its own of each");
}

Enter GraphCheck::reach(const Link& link) {
  const auto copies = copies_.find(link.kind, link.id);
  if (copies.empty()) {
    if (!without_row_.add(link.id)) return Enter::no;
    miss(link);
    return Enter::yes;
  }
  if (!reached_.mark(copies.front().row)) return Enter::no;
  for (const auto& copy : copies) reached_.mark(copy.row);
  reach_copies(link, copies);
  return Enter::yes;
}

// The index may know where it lay.
void GraphCheck::miss(const Link& link) {
  std::optional<PackId> missing;
  for (const auto& copy : index_.find(link.id)) {
    if (copy.row.kind != link.kind) continue;
    const PackId id = index_.pack(copy.pack).id;
    if (facts_.unreadable.contains(id)) {
      findings_.add_blob(Severity::damage, "damaged-pack", pack_name(id),
                         "snapshots need what lies in it", link.id);
      return;
    }
    if (!facts_.survey.find(id)) missing = id;
  }
  if (missing) missed_packs_.insert(*missing);
  findings_.add_blob(
      Severity::damage, "missing-blob",
      missing ? pack_name(*missing) : name_of(link),
      missing ? name_of(link) + ": lay in this pack, which is missing"
              : "no pack has it",
      link.id);
}

void GraphCheck::reach_copies(const Link& link,
                              const std::vector<ConfirmedCopy>& copies) {
  const auto sound = copies_.find_shallowest(link.kind, link.id);
  const SurveyedPack& pack = facts_.survey.packs()[copies.front().pack];
  if (sound.empty()) {
    findings_.add_blob(Severity::damage, "missing-base", pack_name(pack.id),
                       name_of(link) + ": a base that it needs is missing",
                       link.id);
    return;
  }
  mark_bases(sound.front());
  const bool is_indexed = std::ranges::any_of(copies, [&](const auto& copy) {
    return facts_.is_indexed[copy.pack] &&
           !facts_.survey.packs()[copy.pack].is_doomed;
  });
  if (staying_ && staying_->find_sound(link.kind, link.id).empty()) {
    findings_.add_blob(
        Severity::damage, "doomed-pack",
        pack_name(facts_.survey.packs()[sound.front().pack].id),
        name_of(link) +
            ": lies, or a base that it needs, in packs alone that "
            "prune is about to remove; `cairn repair packs` takes "
            "it out of them",
        link.id);
  } else if (!is_indexed) {
    const auto& found = *std::ranges::find_if(copies, [&](const auto& copy) {
      return !facts_.survey.packs()[copy.pack].is_doomed;
    });
    unindexed_packs_.insert(found.pack);
    findings_.add_blob(Severity::damage, "unindexed-pack",
                       pack_name(facts_.survey.packs()[found.pack].id),
                       "no index object names it, though snapshots need it; "
                       "`cairn repair index` does, unless `cairn repair packs` "
                       "took it out for damage",
                       link.id);
  }
  // Of the copies one may be false, and another whole.
  const bool has_length = link.kind == BlobKind::links ||
                          std::ranges::any_of(copies, [&](const auto& copy) {
                            return copy.copy.row.plain_size == link.length;
                          });
  if (!has_length) {
    findings_.add_blob(Severity::damage, "damaged-node", name_of(link),
                       "is not as long as the node says that names it",
                       link.id);
  }
}

void GraphCheck::mark_bases(const ConfirmedCopy& copy) {
  BlobRow row = copy.copy.row;
  while (row.base) {
    const auto bases = copies_.find_shallowest(row.kind, *row.base);
    if (bases.empty() || !reached_.mark(bases.front().row)) return;
    row = bases.front().copy.row;
  }
}

std::optional<std::vector<Link>> GraphCheck::read_node(const Link& link) {
  std::optional<std::vector<Link>> rows;
  const auto look = [&](const Link& blob, const auto& read) {
    const auto trouble =
        trouble_of("damaged-blob", name_of(blob), IfGone::it_vanished, read);
    // One that is not there was found to be missing when it was reached.
    if (!trouble || trouble->severity == Severity::note) return;
    const auto copies = copies_.find(blob.kind, blob.id);
    if (copies.empty()) return;
    findings_.add_blob(trouble->severity, trouble->code,
                       pack_name(facts_.survey.packs()[copies.front().pack].id),
                       name_of(blob) + ": " + trouble->reason, blob.id);
  };
  look(link, [&] { rows = read_links(link); });
  const bool has_names = rows && !rows->empty() &&
                         rows->front().kind == BlobKind::names &&
                         repository_.keyring().can_read(KeyClass::names);
  if (has_names) {
    look(rows->front(),
         [&] { read_names(rows->front(), std::span(*rows).subspan(1)); });
  }
  return rows;
}

std::vector<Link> GraphCheck::read_links(const Link& link) {
  const std::string name = name_of(link);
  auto rows = decode_links(*blobs_.read(BlobKind::links, link.id), name);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].kind == BlobKind::names) {
      throw CorruptionError(name + ": names where rows should be");
    }
  }
  // A root is named without a length.
  if (link.id != root_ && content_size(rows) != link.length) {
    throw CorruptionError(name + ": lengths do not add up");
  }
  return rows;
}

void GraphCheck::read_names(const Link& names, std::span<const Link> rows) {
  const std::string name = name_of(names);
  const auto plain = blobs_.read(BlobKind::names, names.id);
  bool is_shared = true;
  for (const auto& [entry, count] : decode_names(*plain, name)) {
    is_shared = is_shared && count <= rows.size();
    if (!is_shared) break;
    const auto own = rows.first(static_cast<std::size_t>(count));
    rows = rows.subspan(own.size());
    if (entry.hard_link) look_at_number(entry, own);
  }
  if (!is_shared || !rows.empty()) {
    throw CorruptionError(name + ": its entries do not share the rows");
  }
}

void GraphCheck::look_at_number(const Entry& entry,
                                std::span<const Link> rows) {
  const auto known = numbers_.find(*entry.hard_link);
  if (known == numbers_.end()) {
    if (numbers_.size() < kMostNumbers) {
      numbers_.emplace(*entry.hard_link, linked_file_id(entry, rows));
    }
    return;
  }
  if (known->second == linked_file_id(entry, rows)) return;
  if (unequal_++ == 0) first_unequal_ = entry.name;
}

void GraphCheck::look_at_the_rest(const std::stop_token& stop) {
  PackTotal unneeded;
  for (std::size_t i = 0; i < facts_.survey.packs().size(); ++i) {
    if (stop.stop_requested()) throw Cancelled("check: interrupted");
    const SurveyedPack& pack = facts_.survey.packs()[i];
    std::uint32_t reached = 0;
    for (RowNumber n = 0; n < pack.row_count; ++n) {
      if (reached_.is_marked(pack.first_row + n)) ++reached;
    }
    if (reached == 0) unneeded.add(pack.size);
    if (pack.has_differences && reached < pack.row_count &&
        facts_.is_indexed[i]) {
      look_at_unneeded_rows(pack);
    }
  }
  if (unneeded.packs > 0) {
    findings_.add(Severity::garbage, "unreferenced-packs", "packs",
                  std::to_string(unneeded.packs) + " of them, " +
                      std::to_string(unneeded.bytes) +
                      " bytes, hold nothing that a snapshot needs; prune "
                      "removes them");
  }
}

// Not damage, since nothing was lost that is needed. But a backup that took
// such a row for stored would lose what it stands for.
void GraphCheck::look_at_unneeded_rows(const SurveyedPack& pack) {
  const std::string name = pack_name(pack.id);
  look_at(findings_, "damaged-pack", name, [&] {
    const auto directory = read_pack_directory(repository_.storage(),
                                               repository_.keyring(), pack.id)
                               .pack.directory;
    RowNumber number = pack.first_row;
    for (const auto& row : directory.rows) {
      if (!reached_.is_marked(number) && !copies_.is_sound(row, number)) {
        findings_.add_blob(Severity::garbage, "missing-base", name,
                           "blob " + row.id.brief() +
                               ", which no snapshot needs: its base is "
                               "missing; prune removes it",
                           row.id);
      }
      ++number;
    }
  });
}

}  // namespace cairn::repo
