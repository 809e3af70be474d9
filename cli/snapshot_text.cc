#include "cli/snapshot_text.h"

#include <algorithm>

#include "cli/time_text.h"
#include "crypto/digest.h"

namespace cairn::cli {

bool SnapshotFilter::lets_through(const repo::Snapshot& snapshot) const {
  if (series && !series->holds(snapshot)) return false;
  if (tags.empty() && !host) return true;
  if (!snapshot.record) return false;
  const auto& record = *snapshot.record;
  const auto has = [&](const std::string& tag) {
    return std::ranges::find(record.tags, tag) != record.tags.end();
  };
  return (!host || record.host == *host) &&
         (tags.empty() || std::ranges::any_of(tags, has));
}

std::string series_text(const repo::Snapshot& snapshot) {
  if (snapshot.record) return snapshot.record->series;
  return "series " + crypto::to_hex(snapshot.header.series_tag).substr(0, 8);
}

bool is_of_the_future(const repo::Snapshot& snapshot) {
  return snapshot.header.arrival < snapshot.header.time;
}

std::string state_text(const repo::Snapshot& snapshot) {
  std::vector<std::string> words;
  if (!snapshot.header.is_complete) words.emplace_back("incomplete");
  if (is_of_the_future(snapshot)) words.emplace_back("future");
  return joined(words);
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) all += (all.empty() ? "" : ", ") + text;
  return all;
}

void set_series(Json& json, const repo::Snapshot& snapshot) {
  if (snapshot.record) {
    json.set("series", snapshot.record->series);
  } else {
    json.set("series", nullptr);
  }
  json.set("series_tag", crypto::to_hex(snapshot.header.series_tag));
}

std::string sources_text(const repo::Snapshot& snapshot) {
  if (!snapshot.record) return "";
  std::vector<std::string> texts;
  const auto add = [&](std::string text, repo::SourceStatus status) {
    if (status != repo::SourceStatus::complete) {
      text += " (" + std::string(name_of(status)) + ")";
    }
    texts.push_back(std::move(text));
  };
  // Of a job, sources of files have names of their own. Of a command line,
  // which has nothing beside them, they are known by their paths, which are
  // those of all of them together.
  constexpr std::string_view kNameless = "files";
  std::optional<repo::SourceStatus> files;
  for (const auto& source : snapshot.record->sources) {
    if (source.kind != repo::SourceKind::files || source.name != kNameless) {
      add(source.name, source.status);
    } else if (!files) {
      files = source.status;
    } else if (*files != source.status) {
      files = repo::SourceStatus::partial;
    }
  }
  if (files) add(joined(snapshot.record->paths), *files);
  return joined(texts);
}

std::string time_and_age(const repo::Timestamp& time,
                         const repo::Timestamp& now) {
  return local_time_text(time) + " (" + relative_time_text(time, now) + ")";
}

Json json_of(const repo::SourceReport& source) {
  Json json = Json::object();
  json.set_bytes("name", source.name)
      .set("kind", name_of(source.kind))
      .set("status", name_of(source.status))
      .set("bytes", source.bytes)
      .set("entries", source.entries)
      .set("message", source.message);
  if (!source.facts.empty()) {
    Json facts = Json::object();
    for (const auto& fact : source.facts) facts.set(fact.name, fact.value);
    json.set("facts", std::move(facts));
  }
  return json;
}

Json json_of(const repo::ValidSnapshot& valid) {
  const auto& [snapshot, holds] = valid;
  const auto& header = snapshot.header;
  const repo::SnapshotRecord record =
      snapshot.record.value_or(repo::SnapshotRecord{});
  Json tags = Json::array();
  for (const auto& tag : record.tags) tags.add(tag);
  Json sources = Json::array();
  for (const auto& source : record.sources) sources.add(json_of(source));
  Json held = Json::array();
  for (const auto& [id, mark] : holds) {
    Json hold = Json::object();
    hold.set("id", id.hex()).set("reason", mark.reason);
    if (mark.until) hold.set("until", *mark.until);
    held.add(std::move(hold));
  }
  Json json = Json::object();
  json.set("id", snapshot.id.hex())
      .set("time", header.time)
      .set("arrival", header.arrival);
  set_series(json, snapshot);
  json.set("host", record.host)
      .set("user", record.user)
      .set("tags", std::move(tags))
      .set_bytes("paths", record.paths)
      .set("sources", std::move(sources))
      .set("logical_bytes", header.logical_bytes)
      .set("stored_bytes", header.stored_bytes)
      .set("entries", header.entries)
      .set("complete", header.is_complete)
      .set("future", is_of_the_future(snapshot))
      .set("holds", std::move(held))
      .set("sequence", header.sequence)
      .set("signer_role", repo::name_of(snapshot.signer.role))
      .set("signer_key", crypto::to_hex(snapshot.signer.host_key))
      .set("program", record.program);
  return json;
}

std::string_view name_of(repo::SourceKind kind) noexcept {
  switch (kind) {
    case repo::SourceKind::files:
      return "files";
    case repo::SourceKind::standard_input:
      return "stdin";
    case repo::SourceKind::command:
      return "command";
    case repo::SourceKind::postgres_base:
      return "postgres_base";
    case repo::SourceKind::postgres_wal:
      return "postgres_wal";
  }
  return "unknown";
}

std::string_view name_of(repo::SourceStatus status) noexcept {
  switch (status) {
    case repo::SourceStatus::complete:
      return "complete";
    case repo::SourceStatus::partial:
      return "partial";
    case repo::SourceStatus::failed:
      return "failed";
  }
  return "unknown";
}

std::string_view name_of(repo::EntryType type) noexcept {
  switch (type) {
    case repo::EntryType::file:
      return "file";
    case repo::EntryType::folder:
      return "folder";
    case repo::EntryType::symlink:
      return "symlink";
    case repo::EntryType::fifo:
      return "fifo";
    case repo::EntryType::char_device:
      return "char_device";
    case repo::EntryType::block_device:
      return "block_device";
    case repo::EntryType::stream:
      return "stream";
  }
  return "unknown";
}

}  // namespace cairn::cli
