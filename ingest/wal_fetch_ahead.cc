#include "ingest/wal_fetch_ahead.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "repo/weave.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::string_view kPlan = "plan";
constexpr std::string_view kMore = "more";
constexpr std::string_view kEnd = "end";

// For a segment that another process is putting there, and to look for it.
constexpr std::chrono::seconds kPatience{10};
constexpr std::chrono::milliseconds kLookInterval{2};
// For that process to end.
constexpr std::chrono::seconds kClearPatience{2};

// Whoever may write to the folder may write to the server's, too: this finds
// mistakes, and costs no more than reading.
using Digest = repo::WeaveDigest;

repo::WeaveDigester digest_for(const WalFileName& name) {
  repo::WeaveDigester digest;
  digest.add(std::as_bytes(std::span(name.text)));
  return digest;
}

bool read_all(const UniqueFd& fd, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t count = ::read(fd.get(), out.data(), out.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

WalFetchAhead::WalFetchAhead(fs::path folder) : folder_(std::move(folder)) {}

fs::path WalFetchAhead::plan_path() const { return folder_ / kPlan; }

std::optional<WalFetchAhead::Plan> WalFetchAhead::read_plan() const {
  std::ifstream in(plan_path());
  std::string word;
  if (!(in >> word)) return std::nullopt;
  Plan plan;
  plan.has_more = word == kMore;
  while (in >> word) plan.names.insert(word);
  return plan;
}

bool WalFetchAhead::is_being_filled() const {
  const UniqueFd file(::open(plan_path().c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  return ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

UniqueFd WalFetchAhead::open_segment(const WalFileName& name) const {
  const fs::path path = folder_ / name.text;
  const auto open = [&path] {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  };
  UniqueFd fd = open();
  if (fd) return fd;
  const auto plan = read_plan();
  if (!plan || !plan->names.contains(name.text)) return fd;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  bool is_coming = true;
  while (!fd && is_coming && std::chrono::steady_clock::now() < deadline) {
    is_coming = is_being_filled();  // asked first: it may be there by its end
    std::this_thread::sleep_for(kLookInterval);
    fd = open();
  }
  return fd;
}

bool WalFetchAhead::take(const WalFileName& name, WholeFile& target) {
  const fs::path path = folder_ / name.text;
  const UniqueFd fd = open_segment(name);
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return false;
  auto left = static_cast<std::uint64_t>(status.st_size);
  if (left <= sizeof(Digest) || !is_segment_size(left - sizeof(Digest))) {
    return false;
  }
  left -= sizeof(Digest);
  auto digest = digest_for(name);
  std::vector<std::byte> piece(kPiece);
  while (left > 0) {
    const auto part = std::span(piece).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(left, kPiece)));
    if (!read_all(fd, part)) return false;
    digest.add(part);
    target.append(part);
    left -= part.size();
  }
  Digest noted{};
  if (!read_all(fd, noted) || noted != digest.finish()) {
    std::error_code error;
    fs::remove(path, error);
    return false;
  }
  // This one may be asked for again.
  remove_unless([&name](const std::string& one) {
    return one >= name.text || one == kPlan;
  });
  return true;
}

bool WalFetchAhead::is_running_low(const WalFileName& name) const {
  const auto plan = read_plan();
  if (!plan || !plan->has_more) return false;
  const auto left = static_cast<std::size_t>(
      std::distance(plan->names.upper_bound(name.text), plan->names.end()));
  return left <= plan->names.size() / 2;
}

bool WalFetchAhead::claim() {
  std::error_code error;
  fs::create_directories(folder_, error);
  UniqueFd file(
      ::open(plan_path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return false;
  claim_ = std::move(file);
  return true;
}

void WalFetchAhead::plan(WalFetch& fetch, const WalFileName& name,
                         std::uint64_t most_bytes) {
  assert(claim_);
  const auto most =
      static_cast<std::size_t>(most_bytes / fetch.segment_bytes());
  planned_ = fetch.following(name, most);
  std::string text(planned_.size() == most ? kMore : kEnd);
  for (const auto& one : planned_) text += '\n' + one.text;
  text += '\n';
  // In place, since it is the lock; who reads half of it waits for less.
  if (::ftruncate(claim_.get(), 0) != 0 ||
      ::pwrite(claim_.get(), text.data(), text.size(), 0) !=
          static_cast<ssize_t>(text.size())) {
    repo::throw_system_error(plan_path().string() + ": cannot write", errno);
  }
}

void WalFetchAhead::fill(WalFetch& fetch) {
  std::set<std::string> names;
  for (const auto& one : planned_) names.insert(one.text);
  remove_unless([&names](const std::string& one) {
    return names.contains(one) || one == kPlan;
  });
  std::error_code error;
  for (const auto& one : planned_) {
    if (!fs::exists(folder_ / one.text, error)) put(fetch, one);
  }
  claim_ = UniqueFd();
}

void WalFetchAhead::put(WalFetch& fetch, const WalFileName& name) {
  const fs::path path = folder_ / name.text;
  WholeFile file(path, WholeFile::Durability::of_the_caller);
  auto digest = digest_for(name);
  fetch.read(name, [&](std::span<const std::byte> part) {
    digest.add(part);
    file.append(part);
  });
  file.append(digest.finish());
  std::move(file).name_or_replace();
}

void WalFetchAhead::clear() {
  const auto deadline = std::chrono::steady_clock::now() + kClearPatience;
  while (is_being_filled() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kLookInterval);
  }
  remove_unless([](const std::string&) { return false; });
}

void WalFetchAhead::remove_unless(
    const std::function<bool(const std::string&)>& keep) {
  std::error_code error;
  std::vector<fs::path> gone;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (!keep(entry.path().filename().string())) gone.push_back(entry.path());
  }
  for (const auto& path : gone) fs::remove(path, error);
}

}  // namespace cairn::ingest
