// How fast are cuts found, with each kernel and on each kind of data?
//
// Cutting must stay well above what comes after it: ids at about 2 GB/s.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "chunker/candidate_kernels.h"
#include "chunker/chunker.h"

namespace {

using cairn::chunker::CandidateKernel;
using cairn::chunker::CandidateMarks;
using cairn::chunker::CandidateRule;
using cairn::chunker::ChunkSizes;
using cairn::chunker::ContentDefinedCutter;
using cairn::chunker::CutterKey;
using cairn::chunker::kTileBytes;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kInputBytes = std::size_t{32} << 20;

Bytes noise() {
  std::mt19937_64 random(1);
  Bytes bytes(kInputBytes);
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[i], &word, sizeof word);
  }
  return bytes;
}

Bytes text_rows() {
  std::mt19937_64 random(1);
  std::string text;
  for (int id = 1; text.size() < kInputBytes; ++id) {
    text += std::to_string(id) + "\tuser" + std::to_string(random() % 100'000) +
            "@example.org\t2026-11-20 10:00:00+00\t" +
            std::to_string(random() % 10'000'000) + "\tt\t\\N\n";
  }
  const auto bytes = std::as_bytes(std::span(text)).first(kInputBytes);
  return {bytes.begin(), bytes.end()};
}

CutterKey key_number(std::uint64_t number) {
  CutterKey key{};
  std::memcpy(key.data(), &number, sizeof number);
  return key;
}

void cut_all(benchmark::State& state, const Bytes& input, const CutterKey& key,
             const ChunkSizes& sizes) {
  const ContentDefinedCutter cutter(key, sizes);
  for (auto _ : state) {
    for (std::size_t done = 0; done < input.size();) {
      done += cutter.first_cut(std::span(input).subspan(done));
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(input.size()));
}

void mark_all(benchmark::State& state, const Bytes& input,
              const CandidateKernel& kernel) {
  const CandidateRule rule{.offset = 0x1234,
                           .first_factor = 0x9e37,
                           .last_factor = 0x85eb,
                           .multiplier = 0xca6d,
                           .limit = 128};
  CandidateMarks marks;
  for (auto _ : state) {
    for (std::size_t done = 0; done + kTileBytes <= input.size();
         done += kTileBytes) {
      kernel.mark(rule, std::span(input).subspan(done, kTileBytes), marks);
      benchmark::DoNotOptimize(marks);
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(input.size()));
}

// A key with which every position in a run of zeros is a candidate, as it is
// with one key in 512. Here it shows: SipHash lets zeros pass from normal on.
CutterKey key_with_candidates_in_zeros() {
  const ChunkSizes sizes;
  const Bytes zeros(sizes.max);
  for (std::uint64_t number = 0;; ++number) {
    const ContentDefinedCutter cutter(key_number(number), sizes);
    if (cutter.first_cut(zeros) == sizes.normal) return key_number(number);
  }
}

void cut_noise(benchmark::State& state) {
  cut_all(state, noise(), key_number(1), ChunkSizes{});
}
BENCHMARK(cut_noise);

void cut_noise_at_8_kib(benchmark::State& state) {
  cut_all(state, noise(), key_number(1),
          {.min = 2U << 10, .normal = 8U << 10, .max = 32U << 10});
}
BENCHMARK(cut_noise_at_8_kib);

void cut_text_rows(benchmark::State& state) {
  cut_all(state, text_rows(), key_number(1), ChunkSizes{});
}
BENCHMARK(cut_text_rows);

void cut_zeros(benchmark::State& state) {
  cut_all(state, Bytes(kInputBytes), key_number(1), ChunkSizes{});
}
BENCHMARK(cut_zeros);

void cut_zeros_all_candidates(benchmark::State& state) {
  cut_all(state, Bytes(kInputBytes), key_with_candidates_in_zeros(),
          ChunkSizes{});
}
BENCHMARK(cut_zeros_all_candidates);

// The first stage alone.
const bool kKernelsRegistered = [] {
  for (const CandidateKernel& kernel : cairn::chunker::candidate_kernels()) {
    benchmark::RegisterBenchmark(
        ("mark_noise/" + std::string(kernel.name)).c_str(),
        [kernel](benchmark::State& state) {
          mark_all(state, noise(), kernel);
        });
  }
  return true;
}();

}  // namespace
