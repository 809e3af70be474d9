#include "tests/support/backup_site.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <utility>

#include "repo/check.h"
#include "repo/error.h"
#include "repo/index_object.h"
#include "repo/key_slot.h"
#include "repo/pack_reader.h"
#include "repo/session.h"
#include "tests/support/faulty_storage.h"

namespace cairn::testing_support {
namespace {

namespace fs = std::filesystem;

Bytes with_holes(const repo::Entry& entry, const Bytes& content) {
  Bytes whole(static_cast<std::size_t>(entry.size));
  std::size_t from = 0;
  std::size_t to = 0;
  const auto copy_until = [&](std::uint64_t end) {
    const auto size = static_cast<std::size_t>(end) - to;
    if (content.size() - from < size) {
      throw std::runtime_error(entry.name + ": content ends early");
    }
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(from), size,
                whole.begin() + static_cast<std::ptrdiff_t>(to));
    from += size;
    to += size;
  };
  for (const auto& hole : entry.holes) {
    copy_until(hole.offset);
    to += static_cast<std::size_t>(hole.size);
  }
  copy_until(entry.size);
  if (from != content.size()) {
    throw std::runtime_error(entry.name + ": content is too long");
  }
  return whole;
}

class Reading {
 public:
  explicit Reading(repo::Repository& repository)
      : blobs_(repository.blobs()), tree_(blobs_) {}

  void read_folder(const repo::Link& node, const std::string& path) {
    tree_.for_each_entry(node, [&](const repo::TreeEntry& entry) {
      read_entry(entry, path + entry.entry.name);
      return repo::Visit::go_on;
    });
  }

  StoredTree result;

 private:
  void read_entry(const repo::TreeEntry& entry, const std::string& path) {
    StoredEntry stored{entry.entry, {}, {}};
    if (entry.entry.type == repo::EntryType::folder) {
      result[path] = std::move(stored);
      if (!entry.rows.empty()) read_folder(entry.rows.front(), path + "/");
      return;
    }
    Bytes content;
    tree_.for_each_chunk(entry.rows, [&](const repo::Link& chunk) {
      const auto plain = blobs_.read(chunk.kind, chunk.id);
      if (plain->size() != chunk.length) {
        throw std::runtime_error(path + ": a chunk of another length");
      }
      content.insert(content.end(), plain->begin(), plain->end());
      stored.chunks.push_back(chunk);
      return repo::Visit::go_on;
    });
    if (repo::has_content(entry.entry.type)) {
      stored.content = with_holes(entry.entry, content);
    }
    result[path] = std::move(stored);
  }

  repo::BlobReader blobs_;
  repo::TreeReader tree_;
};

}  // namespace

BackupSite::BackupSite(ChunkSizing sizing) : keyring_(repo::Keyring::create()) {
  repo::initialise(disk_, keyring_, {1, 0}, [&](repo::Storage& storage) {
    (void)repo::add_key_file_slot(storage, keyring_, repo::Role::owner,
                                  crypto::Secret::random(), "test", {1, 0});
  });
  if (sizing == ChunkSizing::as_by_default) return;
  auto config = repo::read_config(disk_);
  config.cdc_min = kSmallMin;
  config.cdc_normal = kSmallNormal;
  config.cdc_max = kSmallMax;
  config.page_chunk = kSmallPage;
  disk_.replace(repo::kConfigName, encode(config));
  disk_.replace(repo::kSecondConfigName, encode(config));
}

repo::Repository BackupSite::open_for(repo::Storage& storage, repo::Role role,
                                      const fs::path& cache) {
  return repo::Repository::open(std::make_unique<FaultyStorage>(storage),
                                [&](const repo::Storage&, const repo::Config&) {
                                  return keyring_.for_role(role);
                                },
                                {cache, folder_ / "state"});
}

crypto::Secret BackupSite::add_key(repo::Role role) {
  auto key = crypto::Secret::random();
  (void)repo::add_key_file_slot(disk_, keyring_, role, key, "another", {1, 0});
  return key;
}

repo::Repository BackupSite::open_with(const crypto::Secret& key) {
  return repo::Repository::open(
      std::make_unique<FaultyStorage>(disk_),
      [&](const repo::Storage& stored, repo::Config config) {
        // The small sizes are the test's, and not in the slots.
        repo::set_cut_sizes(config, keyring_.cut_sizes());
        return repo::open_with_key_file(stored, config, key);
      },
      {cache_folder(), folder_ / "state"});
}

repo::Repository BackupSite::open() { return open_through(disk_); }

repo::Repository BackupSite::open_through(repo::Storage& storage) {
  return open_for(storage, repo::Role::owner, cache_folder());
}

repo::Repository BackupSite::open_as(repo::Role role) {
  return open_for(disk_, role, cache_folder());
}

repo::Repository BackupSite::open_elsewhere() {
  const auto cache = folder_ / ("elsewhere-" + std::to_string(elsewhere_++));
  return open_for(disk_, repo::Role::owner, cache);
}

void BackupSite::keep() {
  kept_disk_ = disk_;
  fs::remove_all(folder_ / "kept");
  fs::create_directory(folder_ / "kept");
  for (const char* name : {"cache", "state"}) {
    fs::copy(folder_ / name, folder_ / "kept" / name,
             fs::copy_options::recursive);
  }
}

void BackupSite::go_back() {
  disk_ = kept_disk_;
  for (const char* name : {"cache", "state"}) {
    fs::remove_all(folder_ / name);
    fs::copy(folder_ / "kept" / name, folder_ / name,
             fs::copy_options::recursive);
  }
}

void BackupSite::lose_cache() { fs::remove_all(cache_folder()); }

fs::path BackupSite::cache_folder() const { return folder_ / "cache"; }
fs::path BackupSite::state_folder() const { return folder_ / "state"; }

ingest::BackupOptions backup_options() {
  constexpr std::uint64_t kSmallPack = 256U << 10;
  return {.series = std::string(kSeries),
          .host = "host",
          .user = "user",
          .program = "test",
          .tags = {},
          .now = ingest::file_clock_now(),
          .time = {},
          .levels = {},
          .workers = 2,
          .pack_bytes = kSmallPack};
}

std::size_t MemoryStream::read(std::span<std::byte> out, std::stop_token stop) {
  if (before_read) before_read(position_);
  if (stop.stop_requested()) throw repo::Cancelled("interrupted");
  const std::size_t size =
      std::min({out.size(), bytes_per_read_, bytes_.size() - position_});
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(position_), size,
              out.begin());
  position_ += size;
  return size;
}

ingest::Source source_of(std::string name, Bytes bytes,
                         std::size_t bytes_per_read) {
  return source_of(std::move(name), std::make_unique<MemoryStream>(
                                        std::move(bytes), bytes_per_read));
}

ingest::Source source_of(std::string name,
                         std::unique_ptr<ingest::ByteStream> stream,
                         repo::SourceKind kind) {
  return ingest::StreamToBackUp{std::move(name), kind, std::move(stream)};
}

ingest::Source source_of(const fs::path& path) {
  return ingest::FilesToBackUp{{path.string()}, {}};
}

std::vector<ingest::Source> sources(ingest::Source first) {
  std::vector<ingest::Source> all;
  all.push_back(std::move(first));
  return all;
}

std::vector<ingest::Source> sources(ingest::Source first,
                                    ingest::Source second) {
  auto all = sources(std::move(first));
  all.push_back(std::move(second));
  return all;
}

ingest::BackupReport run_backup(repo::Repository& repository,
                                std::vector<ingest::Source> sources,
                                const ingest::BackupOptions& options) {
  repo::Progress progress;
  return ingest::back_up(repository, std::move(sources), options, progress, {});
}

ingest::BackupReport run_backup(BackupSite& site, ingest::Source source) {
  auto repository = site.open();
  return run_backup(repository, sources(std::move(source)));
}

StoredTree read_tree(repo::Repository& repository, const repo::BlobId& root) {
  Reading reading(repository);
  reading.read_folder({repo::BlobKind::links, root, 0}, "");
  return std::move(reading.result);
}

std::vector<StoredSnapshot> read_all_snapshots(BackupSite& site) {
  auto repository = site.open_elsewhere();
  const auto list = repository.snapshots(ingest::file_clock_now());
  EXPECT_TRUE(list.damage.empty());
  std::vector<StoredSnapshot> all;
  for (const auto& valid : list.snapshots) {
    all.push_back(
        {valid.snapshot, read_tree(repository, valid.snapshot.header.root)});
  }
  return all;
}

std::vector<std::string> damage_in(BackupSite& site) {
  auto repository = site.open_elsewhere();
  repo::CheckOptions options;
  options.level = repo::CheckLevel::data;
  options.now = ingest::file_clock_now();
  std::vector<std::string> damage;
  for (const auto& finding : check(repository, options, {}, nullptr).findings) {
    if (finding.severity != repo::Severity::damage &&
        finding.severity != repo::Severity::unsupported) {
      continue;
    }
    damage.push_back(std::string(finding.code) + ": " + finding.object + ": " +
                     finding.message);
  }
  return damage;
}

std::set<repo::PackId> packs_in(const repo::Storage& storage) {
  std::set<repo::PackId> ids;
  for (const auto& pack : repo::list_packs(storage)) ids.insert(pack.id);
  return ids;
}

std::set<repo::PackId> indexed_packs_in(BackupSite& site) {
  auto repository = site.open_elsewhere();
  std::set<repo::PackId> ids;
  for (const auto& id : repo::list_indexes(repository.storage())) {
    for (const auto& pack :
         repo::read_index(repository.storage(), repository.keyring(), id)
             .packs) {
      ids.insert(pack.id);
    }
  }
  return ids;
}

std::size_t sessions_in(BackupSite& site) {
  auto repository = site.open_elsewhere();
  return repo::read_sessions(repository.storage(), repository.keyring()).size();
}

StoredTree read_newest(BackupSite& site) {
  auto repository = site.open();
  const auto list = repository.snapshots(ingest::file_clock_now());
  return read_tree(repository, list.snapshots.back().snapshot.header.root);
}

repo::BlobId root_of(BackupSite& site, const ingest::BackupReport& report) {
  auto repository = site.open();
  const auto slot = repo::read_slot(repository.storage(), repository.keyring(),
                                    report.snapshot.value());
  return std::get<repo::Snapshot>(slot).header.root;
}

void let_settle(const fs::path& folder) {
  const auto is_settled = [](const fs::path& path) {
    struct stat status;
    if (::lstat(path.c_str(), &status) != 0) return true;  // gone
    const auto time = [](const timespec& t) {
      return repo::Timestamp{t.tv_sec, static_cast<std::uint32_t>(t.tv_nsec)};
    };
    ingest::FileState state;
    state.modified = time(status.st_mtim);
    state.changed = time(status.st_ctim);
    return ingest::is_settled(state, ingest::file_clock_now());
  };
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    while (item.is_regular_file() && !item.is_symlink() &&
           !is_settled(item.path())) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

}  // namespace cairn::testing_support
