// How fast are chunks named, and recognised, at the sizes that occur?
//
// Naming bounds a backup of data that is stored but was not seen in this stream
// before, recognising one of data that is as it was.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "crypto/digest.h"
#include "crypto/recognition_mac.h"

namespace {

using namespace cairn;

void set_bytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          state.range(0));
}

void ignore(std::size_t /*number*/, const crypto::Digest& digest) {
  benchmark::DoNotOptimize(&digest);
}

void hmac_sha256(benchmark::State& state) {
  const crypto::Hmac hmac(crypto::Secret::random());
  const std::vector<std::byte> kind(1);
  const std::vector<std::byte> chunk(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(hmac.of(kind, chunk));
  set_bytes(state);
}
BENCHMARK(hmac_sha256)->Arg(0)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

// As many as a batch of the backup pipeline has.
void hmac_sha256_of_32(benchmark::State& state) {
  const crypto::Hmac hmac(crypto::Secret::random());
  const std::vector<std::byte> kind(1);
  const std::vector<std::byte> bytes(32 *
                                     static_cast<std::size_t>(state.range(0)));
  std::vector<std::span<const std::byte>> chunks;
  for (std::size_t i = 0; i < 32; ++i) {
    chunks.push_back(
        std::span(bytes).subspan(i * bytes.size() / 32, bytes.size() / 32));
  }
  for (auto _ : state) hmac.of_each(kind, chunks, ignore);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * 32 *
                          state.range(0));
}
BENCHMARK(hmac_sha256_of_32)->Arg(4 << 10)->Arg(64 << 10);

// A batch as the cutter makes it: of lengths so different that some lanes run
// empty before others. The argument says how many chunks are of the greatest
// length; the others share what they leave of 2 MiB.
void hmac_sha256_of_a_batch(benchmark::State& state) {
  constexpr std::size_t kBatchBytes = 2 << 20;
  constexpr std::size_t kMaxBytes = 256 << 10;
  const auto longest = static_cast<std::size_t>(state.range(0));
  std::mt19937_64 random(1);
  std::vector<std::size_t> sizes(32 - longest);
  for (auto& size : sizes) size = (16 << 10) + random() % (144 << 10);
  const auto sum = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
  for (auto& size : sizes) {
    size = size * (kBatchBytes - longest * kMaxBytes) / sum;
  }
  sizes.insert(sizes.end(), longest, kMaxBytes);
  std::ranges::shuffle(sizes, random);

  const crypto::Hmac hmac(crypto::Secret::random());
  const std::vector<std::byte> kind(1);
  const std::vector<std::byte> bytes(kBatchBytes);
  std::vector<std::span<const std::byte>> chunks;
  auto rest = std::span(bytes);
  for (const std::size_t size : sizes) {
    chunks.push_back(rest.first(size));
    rest = rest.subspan(size);
  }
  for (auto _ : state) hmac.of_each(kind, chunks, ignore);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(kBatchBytes));
}
BENCHMARK(hmac_sha256_of_a_batch)->Arg(0)->Arg(1)->Arg(3);

void sha256(benchmark::State& state) {
  const std::vector<std::byte> chunk(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(crypto::sha256(chunk));
  set_bytes(state);
}
BENCHMARK(sha256)->Arg(0)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

void recognise(benchmark::State& state) {
  crypto::Recogniser recogniser(crypto::Secret::random());
  const std::vector<std::byte> name(crypto::kDigestBytes);
  const std::vector<std::byte> chunk(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(recogniser.mac_of(name, chunk));
  }
  set_bytes(state);
}
BENCHMARK(recognise)->Arg(0)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

}  // namespace
