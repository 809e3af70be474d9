#include "repo/damage_trace.h"

#include <utility>

#include "repo/look_at.h"

namespace cairn::repo {

DamageTrace::DamageTrace(BlobReader& blobs, const Keyring& keyring,
                         IsHurt is_hurt, Found found)
    : blobs_(blobs),
      keyring_(keyring),
      is_hurt_(std::move(is_hurt)),
      found_(std::move(found)) {}

void DamageTrace::trace(const Snapshot& snapshot, const std::stop_token& stop) {
  std::vector<Node> way;
  std::string path;
  const auto visit = [&](const Row& row) {
    const std::size_t path_size = path.size();
    if (!row.name.empty()) path += "/" + row.name;
    if (is_hurt_(row.link.id)) {
      found_(row.link.id, snapshot.id, path);
      if (!way.empty()) way.back().is_hurt = true;
    }
    if (row.link.kind == BlobKind::links && !sound_.contains(row.link.id)) {
      way.push_back({row.link.id, rows_of(row.link), 0, path_size, false});
    } else {
      path.resize(path_size);
    }
  };
  visit({{BlobKind::links, snapshot.header.root, 0}, {}});
  while (!way.empty()) {
    if (stop.stop_requested()) throw Cancelled("check: interrupted");
    Node& node = way.back();
    if (node.next < node.rows.size()) {
      const Row row = std::move(node.rows[node.next++]);
      visit(row);
      continue;
    }
    const bool is_hurt = node.is_hurt;
    if (!is_hurt) sound_.add(node.id);
    path.resize(node.path_size);
    way.pop_back();
    if (is_hurt && !way.empty()) way.back().is_hurt = true;
  }
}

// With the names of their entries, where they can be read.
std::vector<DamageTrace::Row> DamageTrace::rows_of(const Link& link) {
  std::vector<Row> rows;
  const std::string name = "node " + link.id.brief();
  (void)trouble_of("damaged-blob", name, IfGone::it_is_damage, [&] {
    for (const auto& row :
         decode_links(*blobs_.read(BlobKind::links, link.id), name)) {
      rows.push_back({row, {}});
    }
  });
  const bool has_names = !rows.empty() &&
                         rows.front().link.kind == BlobKind::names &&
                         keyring_.can_read(KeyClass::names);
  if (!has_names) return rows;
  (void)trouble_of("damaged-blob", name, IfGone::it_is_damage, [&] {
    const auto plain = blobs_.read(BlobKind::names, rows.front().link.id);
    std::size_t next = 1;
    for (const auto& [entry, count] : decode_names(*plain, name)) {
      for (auto n = count; n > 0 && next < rows.size(); --n) {
        rows[next++].name = entry.name;
      }
    }
  });
  return rows;
}

}  // namespace cairn::repo
