#include "repo/finding.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "repo/look_at.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kMaxFindings = 1000;  // of each severity
constexpr std::size_t kMaxBlobs = 100'000;    // whose snapshots are looked for
constexpr std::size_t kMaxPaths = 5;          // of each finding
constexpr std::size_t kMaxPathsCounted = 100'000;

std::string key_of(std::string_view code, std::string_view object) {
  return std::string(code) + " " + std::string(object);
}

}  // namespace

Finding* FindingList::add_locked(Finding finding) {
  auto& count = found_[static_cast<std::size_t>(finding.severity)];
  if (++count > kMaxFindings) return nullptr;
  return &findings_.emplace_back(std::move(finding));
}

void FindingList::add(Severity severity, std::string_view code,
                      std::string object, std::string message) {
  std::lock_guard lock(mutex_);
  add_locked({severity, code, std::move(object), std::move(message)});
}

void FindingList::add_blob(Severity severity, std::string_view code,
                           const std::string& object,
                           const std::string& message,
                           const std::optional<BlobId>& lost) {
  std::lock_guard lock(mutex_);
  const std::string key = key_of(code, object);
  auto found = by_object_.find(key);
  if (found == by_object_.end()) {
    if (add_locked({severity, code, object, message}) == nullptr) return;
    found = by_object_.emplace(key, findings_.size() - 1).first;
  }
  Finding& finding = findings_[found->second];
  if (severity > finding.severity) {
    --found_[static_cast<std::size_t>(finding.severity)];
    ++found_[static_cast<std::size_t>(severity)];
    finding.severity = severity;
  }
  if (lost && concerned_.size() < kMaxBlobs) {
    auto& places = concerned_[*lost];
    if (std::ranges::find(places, found->second) != places.end()) return;
    places.push_back(found->second);
  }
  ++finding.blobs;
}

FindingList::Concerned FindingList::concerned() const {
  std::lock_guard lock(mutex_);
  return concerned_;
}

void FindingList::concern(const std::vector<std::size_t>& findings,
                          const SessionId& snapshot, const std::string& path) {
  std::lock_guard lock(mutex_);
  for (const std::size_t place : findings) {
    Finding& finding = findings_[place];
    if (std::ranges::find(finding.snapshots, snapshot) ==
        finding.snapshots.end()) {
      finding.snapshots.push_back(snapshot);
    }
    if (path.empty()) continue;
    auto& seen = paths_seen_[place];
    if (seen.size() >= kMaxPathsCounted ||
        !seen.insert(std::hash<std::string>()(path)).second) {
      continue;
    }
    finding.paths_total = seen.size();
    if (finding.paths.size() < kMaxPaths) finding.paths.push_back(path);
  }
}

void FindingList::append(FindingList&& other) {
  std::scoped_lock lock(mutex_, other.mutex_);
  const std::size_t first = findings_.size();
  std::ranges::move(other.findings_, std::back_inserter(findings_));
  for (std::size_t i = 0; i < found_.size(); ++i) found_[i] += other.found_[i];
  for (const auto& [key, place] : other.by_object_) {
    by_object_.emplace(key, first + place);
  }
  for (const auto& [blob, places] : other.concerned_) {
    for (const std::size_t place : places) {
      concerned_[blob].push_back(first + place);
    }
  }
}

bool FindingList::has(Severity severity) const {
  std::lock_guard lock(mutex_);
  return found_[static_cast<std::size_t>(severity)] > 0;
}

bool FindingList::has(std::string_view code) const {
  std::lock_guard lock(mutex_);
  return std::ranges::find(findings_, code, &Finding::code) != findings_.end();
}

void FindingList::move_to(CheckReport& report) {
  std::lock_guard lock(mutex_);
  for (auto& finding : findings_) {
    if (finding.blobs > 1) {
      finding.message +=
          " (and " + std::to_string(finding.blobs - 1) + " more blobs)";
    }
  }
  std::ranges::stable_sort(findings_, std::greater<>(), &Finding::severity);
  report.findings = std::move(findings_);
  report.found = found_;
}

std::string reason_of(const Error& error, std::string_view object) {
  std::string_view what = error.what();
  const std::string prefix = std::string(object) + ": ";
  if (what.starts_with(prefix)) what.remove_prefix(prefix.size());
  return std::string(what);
}

}  // namespace cairn::repo
