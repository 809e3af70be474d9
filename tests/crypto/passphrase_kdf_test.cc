#include "crypto/passphrase_kdf.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace cairn::crypto {
namespace {

constexpr PassphraseCost kCheapest{
    .passes = PassphraseCost::kMinPasses,
    .memory_bytes = PassphraseCost::kMinMemoryBytes};

// 00 01 .. 0f
Salt example_salt() {
  Salt salt;
  for (std::size_t i = 0; i < salt.size(); ++i) {
    salt[i] = static_cast<std::byte>(i);
  }
  return salt;
}

std::string hex_of(const StretchedPassphrase& stretched) {
  return to_hex(stretched.key.bytes()) + to_hex(stretched.commitment);
}

std::uint64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) << 10;
}

std::uint64_t resident_bytes() {
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

// Made with PyNaCl 1.5.0: crypto_pwhash_alg(64, ..., 2, 64 MiB, ARGON2ID13).
TEST(PassphraseKdf, GivesTheBytesThatAnotherProgramGives) {
  EXPECT_EQ(hex_of(stretch("correct horse battery staple", example_salt(),
                           kCheapest)),
            "32559019e75cc002ebb59d666c0638c031e892eae582ace85d116a6bb09e14c0"
            "2092a0d9b1232ef9c2efb6d8a6ccfa1d64a4f64a7a089dc3be5e2b6795a0bd72");
}

TEST(PassphraseKdf, EveryInputChangesKeyAndCommitment) {
  const StretchedPassphrase base =
      stretch("passphrase", example_salt(), kCheapest);
  Salt other_salt = example_salt();
  other_salt[15] ^= std::byte{1};
  PassphraseCost more_passes = kCheapest;
  ++more_passes.passes;
  PassphraseCost more_memory = kCheapest;
  more_memory.memory_bytes += 1U << 20;

  for (const StretchedPassphrase& other :
       {stretch("Passphrase", example_salt(), kCheapest),
        stretch("", example_salt(), kCheapest),
        stretch("passphrase", other_salt, kCheapest),
        stretch("passphrase", example_salt(), more_passes),
        stretch("passphrase", example_salt(), more_memory)}) {
    EXPECT_NE(to_hex(other.key.bytes()), to_hex(base.key.bytes()));
    EXPECT_NE(other.commitment, base.commitment);
  }
  EXPECT_EQ(hex_of(stretch("passphrase", example_salt(), kCheapest)),
            hex_of(base));
}

TEST(PassphraseKdf, TakesTheMemoryItClaimsAndGivesItBack) {
  const PassphraseCost cost{.passes = 2,
                            .memory_bytes = std::uint64_t{160} << 20};
  const std::uint64_t before = resident_bytes();

  static_cast<void>(stretch("passphrase", example_salt(), cost));

  EXPECT_GE(peak_resident_bytes(), cost.memory_bytes);
  EXPECT_LT(resident_bytes(), before + (cost.memory_bytes / 4));
}

TEST(PassphraseCost, TheDefaultAndBothBoundsAreAllowed) {
  EXPECT_TRUE(PassphraseCost{}.is_within_bounds());
  EXPECT_TRUE(kCheapest.is_within_bounds());
  EXPECT_TRUE((PassphraseCost{.passes = PassphraseCost::kMaxPasses,
                              .memory_bytes = PassphraseCost::kMaxMemoryBytes})
                  .is_within_bounds());
}

TEST(PassphraseCost, RefusesWhatLiesOutsideItsBounds) {
  const auto allowed = [](std::uint32_t passes, std::uint64_t memory_bytes) {
    return PassphraseCost{.passes = passes, .memory_bytes = memory_bytes}
        .is_within_bounds();
  };
  const PassphraseCost good;

  EXPECT_FALSE(allowed(0, good.memory_bytes));
  EXPECT_FALSE(allowed(PassphraseCost::kMinPasses - 1, good.memory_bytes));
  EXPECT_FALSE(allowed(PassphraseCost::kMaxPasses + 1, good.memory_bytes));
  EXPECT_FALSE(allowed(~std::uint32_t{0}, good.memory_bytes));
  EXPECT_FALSE(allowed(good.passes, 0));
  EXPECT_FALSE(allowed(good.passes, PassphraseCost::kMinMemoryBytes - 1));
  EXPECT_FALSE(allowed(good.passes, PassphraseCost::kMaxMemoryBytes + 1));
  EXPECT_FALSE(allowed(good.passes, ~std::uint64_t{0}));
}

}  // namespace
}  // namespace cairn::crypto
