// What does it cost to encode a new chunk, and to decode it again: by itself
// and as a difference?
//
// This bounds a first backup (compress) and a changed state (difference); each
// encoding includes the check that it reads back. Rows of text stand for a
// dump; in the difference one row in a hundred has changed.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "repo/blob_codec.h"
#include "repo/keyring.h"
#include "repo/session_keys.h"
#include "tests/support/one_base.h"

namespace {

using namespace cairn;

constexpr std::size_t kChunkBytes = std::size_t{64} << 10;

std::vector<std::byte> rows(std::uint32_t changed_per_hundred) {
  std::mt19937_64 random(1);
  std::mt19937_64 changes(2);
  std::string text;
  for (std::uint64_t id = 1; text.size() < kChunkBytes; ++id) {
    std::uint64_t balance = random() % 1'000'000;
    if (changes() % 100 < changed_per_hundred) balance += 1;
    text += std::to_string(id) + "\tcustomer-" +
            std::to_string(random() % 5000) + "\t" + std::to_string(balance) +
            "\t2026-11-" + std::to_string(10 + id % 20) + "\tactive\n";
  }
  text.resize(kChunkBytes);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> noise() {
  std::mt19937_64 random(3);
  std::vector<std::byte> bytes(kChunkBytes);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

struct Fixture {
  repo::Keyring keyring = repo::Keyring::create();
  repo::SessionKeys keys{keyring};
  std::vector<std::byte> base = rows(0);
};

enum class Bases { none, one };

void encode(benchmark::State& state, const std::vector<std::byte>& plain,
            Bases bases) {
  Fixture f;
  repo::BlobEncoder encoder(f.keyring, f.keys, {});
  const auto id = f.keyring.id_of(repo::BlobKind::content, plain);
  std::optional<repo::Base> base;
  if (bases == Bases::one) {
    base = {f.keyring.id_of(repo::BlobKind::content, f.base), 0, f.base};
  }
  std::size_t stored = 0;
  for (auto _ : state) {
    const auto blob = encoder.encode(repo::BlobKind::content, id, plain,
                                     testing_support::one_base(base));
    stored = blob.stored.size();
    benchmark::DoNotOptimize(blob.stored.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(plain.size()));
  state.counters["stored"] = static_cast<double>(stored);
}

void encode_text(benchmark::State& state) {
  encode(state, rows(0), Bases::none);
}
BENCHMARK(encode_text);

void encode_difference(benchmark::State& state) {
  encode(state, rows(1), Bases::one);
}
BENCHMARK(encode_difference);

void encode_incompressible(benchmark::State& state) {
  encode(state, noise(), Bases::none);
}
BENCHMARK(encode_incompressible);

void decode(benchmark::State& state, Bases bases) {
  Fixture f;
  repo::BlobEncoder encoder(f.keyring, f.keys, {});
  const auto plain = rows(1);
  std::optional<repo::Base> base;
  if (bases == Bases::one) {
    base = {f.keyring.id_of(repo::BlobKind::content, f.base), 0, f.base};
  }
  const auto blob = encoder.encode(
      repo::BlobKind::content, f.keyring.id_of(repo::BlobKind::content, plain),
      plain, testing_support::one_base(base));
  repo::BlobDecoder decoder;
  std::vector<std::byte> out(blob.row.plain_size);
  const auto prefix = blob.row.base ? std::span<const std::byte>(f.base)
                                    : std::span<const std::byte>();
  for (auto _ : state) {
    decoder.decode(f.keyring.family(), f.keyring.newest().number,
                   f.keys.key(repo::KeyClass::content), blob.row, blob.stored,
                   prefix, out);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(plain.size()));
}

void decode_text(benchmark::State& state) { decode(state, Bases::none); }
BENCHMARK(decode_text);

void decode_difference(benchmark::State& state) { decode(state, Bases::one); }
BENCHMARK(decode_difference);

}  // namespace
