#include "crypto/secret.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "tests/support/bytes.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;

static_assert(!std::is_copy_constructible_v<Secret>);
static_assert(!std::is_copy_assignable_v<Secret>);

// 80 81 .. 9f
Secret example_secret() {
  Bytes bytes(kSecretBytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(0x80 + i);
  }
  return Secret::from_bytes(bytes);
}

TEST(Secret, HoldsTheBytesItWasMadeFrom) {
  EXPECT_EQ(to_hex(example_secret().bytes()),
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
}

TEST(Secret, MovesAndClonesKeepTheBytes) {
  Secret first = example_secret();
  const std::string expected = to_hex(first.bytes());

  const Secret copy = first.clone();
  Secret moved = std::move(first);
  first = Secret::random();

  EXPECT_EQ(to_hex(copy.bytes()), expected);
  EXPECT_EQ(to_hex(moved.bytes()), expected);
  EXPECT_NE(copy.bytes().data(), moved.bytes().data());
}

TEST(Secret, RandomOnesDiffer) {
  EXPECT_NE(to_hex(Secret::random().bytes()), to_hex(Secret::random().bytes()));
}

TEST(Secret, ThousandsLiveAtOnceThoughFewCanBeLocked) {
  std::vector<Secret> secrets;
  for (int i = 0; i < 4'000; ++i) secrets.push_back(example_secret());

  EXPECT_EQ(to_hex(secrets.back().bytes()), to_hex(secrets.front().bytes()));
}

TEST(SecretDeathTest, ReadingPastTheEndStopsTheProgram) {
  const Secret secret = example_secret();
  const volatile std::byte* end = secret.bytes().data() + kSecretBytes;

  EXPECT_DEATH(static_cast<void>(*end), "");
}

TEST(Derive, IsHmacOverLabelAndContext) {
  const Bytes context{std::byte{1}, std::byte{2}};

  EXPECT_EQ(to_hex(derive(example_secret(), "cairn test key", context).bytes()),
            "5ff65c478bed7295c1be9eb6688ad8197d7af0731a3fcc5a1f61fbb894fd5c64");
}

TEST(Derive, TellsLabelsKeysAndContextsApart) {
  const auto context = bytes_of("context");
  const std::string one =
      to_hex(derive(example_secret(), "label", context).bytes());

  EXPECT_EQ(to_hex(derive(example_secret(), "label", context).bytes()), one);
  EXPECT_NE(to_hex(derive(example_secret(), "other", context).bytes()), one);
  EXPECT_NE(to_hex(derive(example_secret(), "label").bytes()), one);
  EXPECT_NE(to_hex(derive(Secret::random(), "label", context).bytes()), one);
}

TEST(Wipe, LeavesZeros) {
  Bytes bytes = bytes_of("passphrase");

  wipe(bytes);

  EXPECT_EQ(bytes, Bytes(10));
}

TEST(Random, FillsEveryByteAndNeverTwiceTheSame) {
  // Each byte is zero in all 64 draws with a chance of 2^-512.
  std::array<std::byte, 16> seen{};
  for (int draw = 0; draw < 64; ++draw) {
    const auto bytes = random_array<16>();
    for (std::size_t i = 0; i < seen.size(); ++i) seen[i] |= bytes[i];
  }
  EXPECT_TRUE(std::ranges::none_of(
      seen, [](std::byte byte) { return byte == std::byte{}; }));
  EXPECT_NE(random_array<16>(), random_array<16>());
}

TEST(Random, TheFirstCallMayComeFromManyThreadsAtOnce) {
  std::vector<std::array<std::byte, 16>> drawn(8);
  {
    std::vector<std::jthread> threads;
    for (auto& bytes : drawn) {
      threads.emplace_back([&bytes] { fill_random(bytes); });
    }
  }

  std::ranges::sort(drawn);

  EXPECT_EQ(std::ranges::adjacent_find(drawn), drawn.end());
}

// Ends the process with 0 when it is protected.
[[noreturn]] void protect_and_tell() {
  protect_process();
  rlimit limit{.rlim_cur = 1, .rlim_max = 1};
  getrlimit(RLIMIT_CORE, &limit);
  const bool is_protected =
      prctl(PR_GET_DUMPABLE) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0;
  std::_Exit(is_protected ? 0 : 1);
}

TEST(ProtectProcessDeathTest, ForbidsCoreDumps) {
  // In a child, so that the other tests can still be debugged.
  EXPECT_EXIT(protect_and_tell(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace cairn::crypto
