#include <gtest/gtest.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "chunker/chunker.h"
#include "chunker/siphash.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::chunker {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::text_of;

constexpr ChunkSizes kSmall{.min = 64, .normal = 256, .max = 1024};
constexpr ChunkSizes kMedium{.min = 1024, .normal = 4096, .max = 16384};

CutterKey random_key(std::mt19937_64& random) {
  CutterKey key;
  for (std::byte& byte : key) byte = static_cast<std::byte>(random());
  return key;
}

CutterKey example_key() {
  CutterKey key;
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<std::byte>(i);
  }
  return key;
}

// Sizes for which every rate of candidates occurs.
ChunkSizes random_sizes(std::mt19937_64& random) {
  const std::uint32_t normal = 128U << random() % 7;
  const std::uint32_t min =
      64 + static_cast<std::uint32_t>(random() % (normal - 64));
  return {.min = min,
          .normal = normal,
          .max = normal + 1 +
                 static_cast<std::uint32_t>(random() %
                                            (8 * std::uint64_t{normal}))};
}

// Where chunks end.
std::vector<std::size_t> cuts_of(const ContentDefinedCutter& cutter,
                                 std::span<const std::byte> input) {
  std::vector<std::size_t> cuts;
  for (std::size_t done = 0; done < input.size();) {
    done += cutter.first_cut(input.subspan(done));
    cuts.push_back(done);
  }
  return cuts;
}

std::vector<Bytes> chunks_of(const ContentDefinedCutter& cutter,
                             std::span<const std::byte> input) {
  std::vector<Bytes> chunks;
  std::size_t begin = 0;
  for (const std::size_t end : cuts_of(cutter, input)) {
    const auto chunk = input.subspan(begin, end - begin);
    chunks.emplace_back(chunk.begin(), chunk.end());
    begin = end;
  }
  return chunks;
}

// What a COPY of a table looks like.
Bytes text_rows(std::mt19937_64& random, std::size_t size) {
  std::string text;
  for (int id = 1; text.size() < size; ++id) {
    text += std::to_string(id) + "\tuser" + std::to_string(random() % 100'000) +
            "@example.org\t2026-0" + std::to_string(1 + random() % 9) + "-1" +
            std::to_string(random() % 10) + " 10:00:00+00\t" +
            std::to_string(random() % 10'000'000) + "\tt\t\\N\n";
  }
  text.resize(size);
  return bytes_of(text);
}

// Runs, patterns that repeat, few different bytes, and noise, one after
// another.
Bytes patchwork(std::mt19937_64& random, std::size_t size) {
  Bytes bytes;
  while (bytes.size() < size) {
    const std::size_t length = random() % 1'500;
    const std::size_t period = 1 + random() % (random() % 2 ? 4 : 80);
    const Bytes noise = random_bytes(random, length);
    switch (random() % 3) {
      case 0:
        for (std::size_t i = 0; i < length; ++i) {
          bytes.push_back(noise[i % period]);
        }
        break;
      case 1:
        for (const std::byte byte : noise) {
          bytes.push_back(byte & std::byte{1});
        }
        break;
      default:
        bytes.insert(bytes.end(), noise.begin(), noise.end());
    }
  }
  bytes.resize(size);
  return bytes;
}

// FORMAT.md, section 7, word by word, with libsodium's SipHash: slow, obvious.
class ReferenceCutter {
 public:
  ReferenceCutter(const CutterKey& key, const ChunkSizes& sizes)
      : key_(key), sizes_(sizes) {
    const std::uint64_t constants = draw(0);
    offset_ = constants % 65536;
    first_factor_ = (constants >> 16) % 65536 | 1;
    last_factor_ = (constants >> 32) % 65536 | 1;
    multiplier_ = ((constants >> 48) & 0xfff8) | 5;
    append_le64(confirm_key_, draw(1));
    append_le64(confirm_key_, draw(2));
    const int n = std::countr_zero(sizes.normal);
    const int t = std::max(7, 19 - n);
    candidate_limit_ = std::uint32_t{1} << t;
    limit_before_normal_ = std::uint64_t{7} << (76 - n - t);
  }

  [[nodiscard]] std::size_t first_cut(std::span<const std::byte> bytes) const {
    const std::size_t end = std::min<std::size_t>(bytes.size(), sizes_.max);
    for (std::size_t p = sizes_.min; p < end; ++p) {
      if (!is_candidate(bytes.subspan(p - 32, 32))) continue;
      const std::uint64_t limit =
          p < sizes_.normal ? limit_before_normal_ : 16 * limit_before_normal_;
      if (hash(confirm_key_, bytes.subspan(p - 64, 64)) < limit) return p;
    }
    return end;
  }

 private:
  static void append_le64(Bytes& bytes, std::uint64_t value) {
    for (int i = 0; i < 8; ++i) {
      bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
  }

  static std::uint64_t hash(std::span<const std::byte> key,
                            std::span<const std::byte> bytes) {
    std::array<std::byte, crypto_shorthash_BYTES> result;
    crypto_shorthash(reinterpret_cast<unsigned char*>(result.data()),
                     reinterpret_cast<const unsigned char*>(bytes.data()),
                     bytes.size(),
                     reinterpret_cast<const unsigned char*>(key.data()));
    return load_le64(result.data());
  }

  [[nodiscard]] std::uint64_t draw(std::uint64_t number) const {
    Bytes bytes;
    append_le64(bytes, number);
    return hash(std::span(key_).first(16), bytes) ^
           hash(std::span(key_).last(16), bytes);
  }

  [[nodiscard]] bool is_candidate(std::span<const std::byte> window) const {
    std::uint32_t h = 0;
    for (const std::byte byte : window) {
      std::uint32_t t = std::to_integer<std::uint32_t>(byte) + offset_;
      t = t * first_factor_ % 65536;
      t = (t ^ (t >> 8)) * last_factor_ % 65536;
      h = (h * multiplier_ + t) % 65536;
    }
    return h < candidate_limit_;
  }

  CutterKey key_;
  ChunkSizes sizes_;
  std::uint32_t offset_;
  std::uint32_t first_factor_;
  std::uint32_t last_factor_;
  std::uint32_t multiplier_;
  std::uint32_t candidate_limit_;
  std::uint64_t limit_before_normal_;
  Bytes confirm_key_;
};

TEST(ContentDefinedCutter, CutsWhereTheDefinitionSays) {
  for_each_seed(100, [](auto& random) {
    const CutterKey key = random_key(random);
    const ChunkSizes sizes = random_sizes(random);
    const ContentDefinedCutter cutter(key, sizes);
    const ReferenceCutter reference(key, sizes);
    const Bytes input = patchwork(random, random() % 30'000);

    for (std::size_t done = 0; done < input.size();) {
      const auto rest = std::span<const std::byte>(input).subspan(done);
      const std::size_t cut = cutter.first_cut(rest);
      ASSERT_EQ(cut, reference.first_cut(rest))
          << "chunk at " << done << ", sizes " << sizes.min << ' '
          << sizes.normal << ' ' << sizes.max;
      done += cut;
    }
  });
}

TEST(ContentDefinedCutter, CutsRunsWhereTheDefinitionSays) {
  // With many keys, so that some find candidates everywhere in a run.
  for_each_seed(400, [](auto& random) {
    const CutterKey key = random_key(random);
    const ChunkSizes sizes = random_sizes(random);
    const std::size_t period = 1 + random() % 5;
    Bytes input = random_bytes(random, sizes.max + 1);
    const std::size_t run_begin = random() % 100;
    const std::size_t run_end =
        input.size() - random() % (input.size() - run_begin);
    for (std::size_t i = run_begin + period; i < run_end; ++i) {
      input[i] = input[i - period];
    }

    EXPECT_EQ(ContentDefinedCutter(key, sizes).first_cut(input),
              ReferenceCutter(key, sizes).first_cut(input));
  });
}

TEST(ContentDefinedCutter, ChunksJoinBackToTheInput) {
  for_each_seed(200, [](auto& random) {
    const ContentDefinedCutter cutter(random_key(random), kSmall);
    const Bytes input = patchwork(random, random() % 20'000);

    Bytes joined;
    for (const Bytes& chunk : chunks_of(cutter, input)) {
      joined.insert(joined.end(), chunk.begin(), chunk.end());
    }

    EXPECT_EQ(joined, input);
  });
}

TEST(ContentDefinedCutter, CutsTheSameHoweverFarItSeesBeyondMax) {
  for_each_seed(100, [](auto& random) {
    const ContentDefinedCutter cutter(random_key(random), kSmall);
    const Bytes input = patchwork(random, 30'000);

    std::vector<std::size_t> cuts;
    for (std::size_t done = 0; done < input.size();) {
      // Exactly as long, on the heap, so that reading on would be noticed.
      const std::size_t seen = std::min<std::size_t>(
          kSmall.max + random() % 100, input.size() - done);
      const auto part = std::span(input).subspan(done, seen);
      done += cutter.first_cut(Bytes(part.begin(), part.end()));
      cuts.push_back(done);
    }

    EXPECT_EQ(cuts, cuts_of(cutter, input));
  });
}

TEST(ContentDefinedCutter, OnlyTheLastChunkMayBeShorterThanMin) {
  for_each_seed(100, [](auto& random) {
    const ChunkSizes sizes = random_sizes(random);
    const ContentDefinedCutter cutter(random_key(random), sizes);

    auto chunks = chunks_of(cutter, patchwork(random, 20'000));

    for (const Bytes& chunk : chunks) EXPECT_LE(chunk.size(), sizes.max);
    chunks.pop_back();
    for (const Bytes& chunk : chunks) EXPECT_GE(chunk.size(), sizes.min);
  });
}

TEST(ContentDefinedCutter, ShortStreamsAreOneChunk) {
  const ContentDefinedCutter cutter(example_key(), kSmall);
  std::mt19937_64 random(1);

  for (std::size_t size = 1; size <= kSmall.min; ++size) {
    EXPECT_EQ(cutter.first_cut(random_bytes(random, size)), size);
  }
}

TEST(ContentDefinedCutter, ACutDependsOnTheWindowBeforeItAlone) {
  for_each_seed(100, [](auto& random) {
    const ContentDefinedCutter cutter(random_key(random), kSmall);
    const Bytes input = random_bytes(random, 4 * kSmall.max);
    const std::size_t cut = cutter.first_cut(input);
    if (cut == kSmall.max) return;

    // The same window at the same place among other bytes.
    Bytes other = random_bytes(random, input.size());
    const auto window_begin = static_cast<std::ptrdiff_t>(cut - kWindowBytes);
    std::copy_n(input.begin() + window_begin, kWindowBytes,
                other.begin() + window_begin);

    EXPECT_LE(cutter.first_cut(other), cut);
  });
}

TEST(ContentDefinedCutter, OneInsertedByteDisturbsFewChunks) {
  std::size_t new_chunks = 0;
  constexpr int kRuns = 100;
  for_each_seed(kRuns, [&new_chunks](auto& random) {
    const ContentDefinedCutter cutter(random_key(random), kSmall);
    Bytes input = random_bytes(random, 50'000);
    std::set<std::string> known;
    for (const Bytes& chunk : chunks_of(cutter, input)) {
      known.insert(text_of(chunk));
    }

    const auto place = static_cast<std::ptrdiff_t>(random() % input.size());
    input.insert(input.begin() + place, static_cast<std::byte>(random()));

    std::size_t here = 0;
    for (const Bytes& chunk : chunks_of(cutter, input)) {
      if (!known.contains(text_of(chunk))) ++here;
    }
    EXPECT_LE(here, 30U);
    new_chunks += here;
  });

  EXPECT_LE(new_chunks, 4U * kRuns);
}

TEST(ContentDefinedCutter, ChunksAreNormalOnAverage) {
  std::mt19937_64 random(1);
  const Bytes noise = random_bytes(random, 8U << 20);
  const Bytes rows = text_rows(random, 8U << 20);

  for (const ChunkSizes& sizes :
       {kSmall, kMedium, ChunkSizes{},
        ChunkSizes{.min = 2048, .normal = 4096, .max = 16384}}) {
    const ContentDefinedCutter cutter(example_key(), sizes);
    for (const Bytes* input : {&noise, &rows}) {
      const double mean = static_cast<double>(input->size()) /
                          static_cast<double>(cuts_of(cutter, *input).size());

      EXPECT_NEAR(mean / sizes.normal, 1.0, 0.15)
          << sizes.normal << (input == &noise ? " noise" : " rows");
    }
  }
}

TEST(ContentDefinedCutter, SizesGatherAroundNormal) {
  // What an edit costs, E[L^2] / E[L]: 1.23 normal in theory for min at a
  // quarter; with one rate everywhere it would be above 1.5.
  std::mt19937_64 random(1);
  const ContentDefinedCutter cutter(example_key(), kMedium);

  double sum = 0;
  double sum_of_squares = 0;
  for (const Bytes& chunk : chunks_of(cutter, random_bytes(random, 8U << 20))) {
    const auto size = static_cast<double>(chunk.size());
    sum += size;
    sum_of_squares += size * size;
  }

  EXPECT_LT(sum_of_squares / sum, 1.3 * kMedium.normal);
}

TEST(ContentDefinedCutter, EveryByteOfTheKeyMovesTheCuts) {
  std::mt19937_64 random(1);
  const Bytes input = random_bytes(random, 100'000);
  const auto cuts = cuts_of({example_key(), kSmall}, input);

  for (std::size_t i = 0; i < CutterKey{}.size(); ++i) {
    CutterKey other = example_key();
    other[i] ^= std::byte{1};
    const auto other_cuts = cuts_of({other, kSmall}, input);

    std::vector<std::size_t> common;
    std::ranges::set_intersection(cuts, other_cuts, std::back_inserter(common));
    EXPECT_LE(common.size(), cuts.size() / 10) << "key byte " << i;
  }
}

TEST(ContentDefinedCutter, AMovedCutterGoesOnCutting) {
  std::mt19937_64 random(1);
  const Bytes input = random_bytes(random, 20'000);
  ContentDefinedCutter first(example_key(), kSmall);
  const auto cuts = cuts_of(first, input);

  const ContentDefinedCutter second = std::move(first);

  EXPECT_EQ(cuts_of(second, input), cuts);
  EXPECT_EQ(second.sizes(), kSmall);
}

TEST(ChunkSizes, KnowWhatTheFormatAllows) {
  EXPECT_TRUE(ChunkSizes{}.is_valid());
  EXPECT_TRUE((ChunkSizes{.min = 64, .normal = 128, .max = 129}).is_valid());
  EXPECT_TRUE((ChunkSizes{.min = 1U << 20, .normal = 4U << 20, .max = 8U << 20})
                  .is_valid());

  EXPECT_FALSE((ChunkSizes{.min = 63, .normal = 128, .max = 256}).is_valid());
  EXPECT_FALSE((ChunkSizes{.min = 0, .normal = 128, .max = 256}).is_valid());
  EXPECT_FALSE((ChunkSizes{.min = 128, .normal = 128, .max = 256}).is_valid());
  EXPECT_FALSE((ChunkSizes{.min = 64, .normal = 192, .max = 256}).is_valid());
  EXPECT_FALSE((ChunkSizes{.min = 64, .normal = 256, .max = 256}).is_valid());
  EXPECT_FALSE(
      (ChunkSizes{.min = 64, .normal = 256, .max = (8U << 20) + 1}).is_valid());
}

// Inputs of chunker_cdc.txt, which says how they are made.
Bytes golden_input(const std::string& name, std::size_t size) {
  const SipHashKey key{.low = 0x0706050403020100U, .high = 0x0f0e0d0c0b0a0908U};
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    Bytes number(8);
    for (std::size_t j = 0; j < 8; ++j) {
      number[j] = static_cast<std::byte>(i / 8 >> (8 * j));
    }
    const bool is_zero = name == "runs" && i / 512 % 2 == 1;
    if (!is_zero) {
      bytes[i] =
          static_cast<std::byte>(siphash_2_4(key, number) >> (8 * (i % 8)));
    }
  }
  return bytes;
}

CutterKey key_from_hex(const std::string& text) {
  CutterKey key;
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<std::byte>(std::stoul(text.substr(2 * i, 2), {}, 16));
  }
  return key;
}

TEST(ContentDefinedCutter, CutsWhereTheGoldenFileSays) {
  std::ifstream file(CAIRN_GOLDEN_DIR "/chunker_cdc.txt");
  ASSERT_TRUE(file);
  CutterKey key{};
  ChunkSizes sizes;
  Bytes input;
  int scenarios = 0;

  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::string name;
    words >> word;
    if (word == "key") {
      words >> word;
      key = key_from_hex(word);
    } else if (word == "min") {
      words >> sizes.min >> word >> sizes.normal >> word >> sizes.max;
    } else if (word == "input") {
      std::size_t size = 0;
      words >> name >> size;
      input = golden_input(name, size);
    } else if (word == "cuts") {
      std::vector<std::size_t> cuts;
      for (std::size_t cut = 0; words >> cut;) cuts.push_back(cut);
      EXPECT_EQ(cuts_of({key, sizes}, input), cuts)
          << "normal " << sizes.normal;
      ++scenarios;
    }
  }

  EXPECT_EQ(scenarios, 3);
}

}  // namespace
}  // namespace cairn::chunker
