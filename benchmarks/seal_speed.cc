// How fast are blobs sealed and opened, at the sizes that occur?
//
// Both work on compressed bytes, and each blob is opened once before its pack
// is published.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <vector>

#include "crypto/seal.h"

namespace {

using namespace cairn;

// About what a directory row takes.
constexpr std::size_t kAssociatedBytes = 96;

void set_bytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          state.range(0));
}

void seal(benchmark::State& state) {
  const auto key = crypto::Secret::random();
  const std::vector<std::byte> associated(kAssociatedBytes);
  const std::vector<std::byte> plain(static_cast<std::size_t>(state.range(0)));
  std::vector<std::byte> sealed(plain.size() + crypto::kTagBytes);
  for (auto _ : state) {
    crypto::seal(key, associated, plain, sealed);
    benchmark::DoNotOptimize(sealed.data());
  }
  set_bytes(state);
}
BENCHMARK(seal)->Arg(256)->Arg(4 << 10)->Arg(16 << 10)->Arg(64 << 10);

void open(benchmark::State& state) {
  const auto key = crypto::Secret::random();
  const std::vector<std::byte> associated(kAssociatedBytes);
  std::vector<std::byte> plain(static_cast<std::size_t>(state.range(0)));
  std::vector<std::byte> sealed(plain.size() + crypto::kTagBytes);
  crypto::seal(key, associated, plain, sealed);
  for (auto _ : state) {
    if (!crypto::open(key, associated, sealed, plain)) std::abort();
  }
  set_bytes(state);
}
BENCHMARK(open)->Arg(256)->Arg(4 << 10)->Arg(16 << 10)->Arg(64 << 10);

}  // namespace
