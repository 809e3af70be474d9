// What does a difference cost as a patch and as zstd with the base as prefix:
// to write, to apply, and in bytes?
//
// Without seal and index, which are the same for both. Rows of a dump of which
// one in a hundred changed, and pages that were written to: a few bytes at the
// front of each and some of its rows.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "repo/compression.h"
#include "repo/patch.h"

namespace {

using namespace cairn;

using Bytes = std::vector<std::byte>;

constexpr std::size_t kChunkBytes = std::size_t{64} << 10;

struct Pair {
  Bytes base;
  Bytes plain;
};

Bytes rows(std::uint32_t changed_per_hundred) {
  std::mt19937_64 random(1);
  std::mt19937_64 changes(2);
  std::string text;
  for (std::uint64_t id = 1; text.size() < kChunkBytes; ++id) {
    std::uint64_t balance = random() % 1'000'000;
    if (changes() % 100 < changed_per_hundred) balance += 1 + changes() % 1000;
    text += std::to_string(id) + "\tcustomer-" +
            std::to_string(random() % 5000) + "\t" + std::to_string(balance) +
            "\t2026-11-" + std::to_string(10 + id % 20) + "\tactive\n";
  }
  const auto bytes = std::as_bytes(std::span(text).first(kChunkBytes));
  return {bytes.begin(), bytes.end()};
}

Pair changed_rows() { return {rows(0), rows(1)}; }

Pair changed_pages() {
  constexpr std::size_t kPageBytes = 8192;
  constexpr std::size_t kRowBytes = 128;
  std::mt19937_64 random(1);
  Bytes base(kChunkBytes);
  for (std::size_t at = 0; at < base.size(); ++at) {
    base[at] = static_cast<std::byte>(at % 4 == 0 ? random() : 0);
  }
  Bytes plain = base;
  for (std::size_t page = 0; page < plain.size(); page += kPageBytes) {
    for (std::size_t i = 4; i < 10; ++i) {
      plain[page + i] = static_cast<std::byte>(random());
    }
    for (std::size_t row = kRowBytes; row < kPageBytes; row += kRowBytes) {
      if (random() % 50 != 0) continue;
      plain[page + row + 4] = std::byte{0x11};
      plain[page + row + 20] = std::byte{0x25};
    }
  }
  return {base, plain};
}

class Patch {
 public:
  std::size_t encode(const Pair& pair, std::span<std::byte> out) {
    return encoder_.encode(pair.plain, pair.base, out);
  }
  bool decode(std::span<const std::byte> stored, const Pair& pair,
              std::span<std::byte> out) {
    return decoder_.decode(stored, pair.base, out, decompressor_);
  }

 private:
  repo::PatchEncoder encoder_;
  repo::PatchDecoder decoder_;
  repo::Decompressor decompressor_;
};

class Zstd {
 public:
  std::size_t encode(const Pair& pair, std::span<std::byte> out) {
    return compressor_.compress_difference(pair.plain, pair.base, out);
  }
  bool decode(std::span<const std::byte> stored, const Pair& pair,
              std::span<std::byte> out) {
    return decompressor_.decompress(stored, pair.base, out);
  }

 private:
  repo::Compressor compressor_{1, repo::Compressor::Use::difference};
  repo::Decompressor decompressor_;
};

void count_bytes(benchmark::State& state, std::size_t stored) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(kChunkBytes));
  state.counters["stored"] = static_cast<double>(stored);
}

template <typename Codec>
void encode(benchmark::State& state, const Pair& pair) {
  Codec codec;
  Bytes out(kChunkBytes);
  std::size_t size = 0;
  for (auto _ : state) {
    size = codec.encode(pair, out);
    benchmark::DoNotOptimize(out.data());
  }
  if (size == 0) state.SkipWithError("is no difference");
  count_bytes(state, size);
}

template <typename Codec>
void decode(benchmark::State& state, const Pair& pair) {
  Codec codec;
  Bytes stored(kChunkBytes);
  stored.resize(codec.encode(pair, stored));
  Bytes out(kChunkBytes);
  for (auto _ : state) {
    if (!codec.decode(stored, pair, out)) state.SkipWithError("is damaged");
    benchmark::DoNotOptimize(out.data());
  }
  count_bytes(state, stored.size());
}

void encode_patch_of_rows(benchmark::State& state) {
  encode<Patch>(state, changed_rows());
}
BENCHMARK(encode_patch_of_rows);

void encode_patch_of_pages(benchmark::State& state) {
  encode<Patch>(state, changed_pages());
}
BENCHMARK(encode_patch_of_pages);

void encode_zstd_of_rows(benchmark::State& state) {
  encode<Zstd>(state, changed_rows());
}
BENCHMARK(encode_zstd_of_rows);

void encode_zstd_of_pages(benchmark::State& state) {
  encode<Zstd>(state, changed_pages());
}
BENCHMARK(encode_zstd_of_pages);

void decode_patch_of_rows(benchmark::State& state) {
  decode<Patch>(state, changed_rows());
}
BENCHMARK(decode_patch_of_rows);

void decode_patch_of_pages(benchmark::State& state) {
  decode<Patch>(state, changed_pages());
}
BENCHMARK(decode_patch_of_pages);

void decode_zstd_of_rows(benchmark::State& state) {
  decode<Zstd>(state, changed_rows());
}
BENCHMARK(decode_zstd_of_rows);

void decode_zstd_of_pages(benchmark::State& state) {
  decode<Zstd>(state, changed_pages());
}
BENCHMARK(decode_zstd_of_pages);

}  // namespace
