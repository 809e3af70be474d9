// A server's data directory, the spool that it pushes to, and a repository.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/wal_archive.h"
#include "ingest/wal_drain.h"
#include "ingest/wal_push.h"
#include "ingest/wal_store.h"
#include "tests/support/backup_site.h"
#include "tests/support/temp_folder.h"
#include "tests/support/wal_segment.h"

namespace cairn::testing_support {

inline constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kSystem = 77;
inline constexpr std::string_view kWalSeries = "host/pg/wal";

class HeardWal : public ingest::WalEvents {
 public:
  void receiving(const ingest::WalStart&) override {}
  void gap(const ingest::WalGap&) override {}
  void note(const std::string&) override {}
  void flushed(const ingest::WalFlush& flush) override {
    flushes.push_back(flush);
  }
  void warning(const std::string& text) override { warnings.push_back(text); }

  std::vector<ingest::WalFlush> flushes;
  std::vector<std::string> warnings;
};

class PushedWalSite : public ::testing::Test {
 protected:
  PushedWalSite() {
    std::filesystem::create_directories(folder / "data/pg_wal");
    std::filesystem::create_directories(folder / "data/global");
    std::ofstream out(folder / "data/global/pg_control", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&kSystem), sizeof kSystem);
  }

  static repo::Timestamp clock() { return {1'800'000'000, 0}; }

  [[nodiscard]] std::filesystem::path data() const { return folder / "data"; }
  [[nodiscard]] std::filesystem::path spools() const {
    return folder / "spools";
  }
  [[nodiscard]] std::filesystem::path spool_path() const {
    return spools() / std::to_string(kSystem);
  }

  std::filesystem::path write(const std::string& name,
                              const Bytes& bytes) const {
    const std::filesystem::path path = data() / "pg_wal" / name;
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  // Segment `number` of a timeline, as the server has it now.
  std::filesystem::path segment(std::uint64_t number, unsigned seed = 1,
                                std::uint32_t timeline = 1,
                                const std::string& suffix = "") const {
    const WalSegmentOf of{.timeline = timeline,
                          .begin = number * kSegment,
                          .seed = seed + static_cast<unsigned>(number)};
    return write(ingest::segment_name(timeline, {of.begin}, kSegment) + suffix,
                 wal_segment(of));
  }

  [[nodiscard]] ingest::WalToPush inspect(
      const std::filesystem::path& path) const {
    return ingest::inspect_wal_to_push(path, data());
  }

  ingest::PushedWal::Added add(const std::filesystem::path& path) const {
    ingest::PushedWal pushed(spool_path());
    const auto added = pushed.add(inspect(path));
    ingest::note_spooled_cluster(spool_path(), {kSystem, kSegment, "15"});
    return added;
  }

  [[nodiscard]] std::size_t waiting() const {
    return ingest::PushedWal(spool_path()).waiting().size();
  }

  static ingest::WalStore store() {
    return ingest::WalStore({kSystem, kSegment, "15"},
                            {.series = std::string(kWalSeries),
                             .host = "host",
                             .user = "user",
                             .program = "test",
                             .clock = clock});
  }

  void drain() {
    auto repository = site.open();
    ingest::WalSpool spool(spool_path(), kSegment);
    auto to = store();
    ingest::flush_spool(spool, to, repository, nullptr, heard, {});
  }

  // What the repository has of a timeline from a place on.
  Bytes stored(std::uint32_t timeline, std::uint64_t from, std::size_t size) {
    auto repository = site.open();
    const auto list = repository.snapshots(clock());
    ingest::WalReader reader(
        repository,
        ingest::find_wal(list.snapshots,
                         repo::series_tag(repository.keyring(), kWalSeries)));
    Bytes bytes(size);
    bytes.resize(reader.read(timeline, {from}, bytes));
    return bytes;
  }

  static Bytes content(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    return bytes_of(text);
  }

  TempFolder folder;
  BackupSite site{ChunkSizing::as_by_default};
  HeardWal heard;
};

}  // namespace cairn::testing_support
