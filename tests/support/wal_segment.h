// A segment of WAL as a server's pg_wal has it, but for what is in it.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>

#include "tests/support/bytes.h"

namespace cairn::testing_support {

struct WalSegmentOf {
  std::uint64_t system = 77;
  std::uint32_t timeline = 1;
  std::uint64_t begin = 0;
  std::uint64_t segment_bytes = std::uint64_t{1} << 20;
  unsigned seed = 1;
};

inline Bytes wal_segment(const WalSegmentOf& of) {
  Bytes bytes(of.segment_bytes);
  std::mt19937 random(of.seed);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  const auto put = [&bytes](std::size_t at, auto number) {
    std::memcpy(bytes.data() + at, &number, sizeof number);
  };
  put(0, std::uint16_t{0xD110});  // of PostgreSQL 15
  put(2, std::uint16_t{2});       // a long header
  put(4, of.timeline);
  put(8, of.begin);
  put(24, of.system);
  put(32, static_cast<std::uint32_t>(of.segment_bytes));
  put(36, std::uint32_t{8192});
  return bytes;
}

}  // namespace cairn::testing_support
