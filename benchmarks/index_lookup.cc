// How long does it take to learn whether a chunk is stored, and where?
//
// Two cores that cut and name 4 GB/s ask 60,000 times a second. A first backup
// asks for what is not there, which the filter answers; later ones mostly for
// what is.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "repo/blob_index.h"
#include "repo/index_store.h"

namespace {

using namespace cairn;

repo::BlobId random_id(std::mt19937_64& random) {
  repo::BlobId id;
  for (auto& byte : id.bytes) byte = static_cast<std::byte>(random());
  return id;
}

// A store with so many keys of the index's shape, made once for all benchmarks.
class Filled {
 public:
  static Filled& instance() {
    static Filled filled;
    return filled;
  }

  repo::IndexStore& store() { return *store_; }
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  static constexpr std::size_t kKeys = 1'000'000;
  static constexpr std::size_t kKeyBytes = 17;
  static constexpr std::size_t kValueBytes = 60;

  Filled()
      : folder_(std::filesystem::temp_directory_path() /
                ("cairn-index-" + std::to_string(std::random_device{}()))),
        store_(std::make_unique<repo::IndexStore>(folder_)) {
    std::mt19937_64 random(1);
    keys_.reserve(kKeys);
    for (std::size_t i = 0; i < kKeys; ++i) {
      std::string key(kKeyBytes, 'b');
      for (std::size_t j = 1; j < kKeyBytes; ++j) {
        key[j] = static_cast<char>(random());
      }
      keys_.push_back(std::move(key));
    }
    const std::string value(kValueBytes, 'v');
    (void)store_->write(std::chrono::minutes(1), [&](auto& writer) {
      for (const auto& key : keys_) writer.put(key, value);
    });
  }

  ~Filled() {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::filesystem::path folder_;
  std::unique_ptr<repo::IndexStore> store_;
  std::vector<std::string> keys_;
};

void known(benchmark::State& state) {
  auto& filled = Filled::instance();
  std::mt19937_64 random(2);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        filled.store().get(filled.keys()[random() % filled.keys().size()]));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(known);

void unknown(benchmark::State& state) {
  auto& filled = Filled::instance();
  std::mt19937_64 random(3);
  std::string key = filled.keys().front();
  for (auto _ : state) {
    for (std::size_t j = 1; j < key.size(); ++j) {
      key[j] = static_cast<char>(random());
    }
    benchmark::DoNotOptimize(filled.store().get(key));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(unknown);

// Rows of this session that no index object names yet.
void in_memory(benchmark::State& state) {
  repo::BlobIndex index(Filled::instance().store(), repo::Keyring::create());
  std::mt19937_64 random(4);
  repo::IndexedPack pack;
  for (int i = 0; i < 50'000; ++i) {
    repo::BlobRow row;
    row.id = random_id(random);
    row.plain_size = row.stored_size = 1;
    pack.directory.rows.push_back(row);
  }
  index.add(pack);
  for (auto _ : state) {
    benchmark::DoNotOptimize(index.find(
        pack.directory.rows[random() % pack.directory.rows.size()].id));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(in_memory);

}  // namespace
