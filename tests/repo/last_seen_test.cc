#include "repo/last_seen.h"

#include <gtest/gtest.h>

namespace cairn::repo {
namespace {

SeenSnapshot of_chain(unsigned char series, unsigned char signer,
                      std::uint64_t sequence) {
  SeenSnapshot snapshot;
  snapshot.series[0] = std::byte{series};
  snapshot.signer[0] = std::byte{signer};
  snapshot.sequence = sequence;
  snapshot.id.bytes[0] = static_cast<std::byte>(sequence);
  snapshot.epoch = 4;
  snapshot.arrival = {1795133800, 0};
  return snapshot;
}

LastSeen sample() {
  LastSeen last;
  last.note_generation(3);
  last.note(SeenEpoch{.number = 6, .object = {}, .time = {-5, 0}});
  last.note(of_chain(1, 1, 7));
  last.note(of_chain(1, 2, 9));
  return last;
}

TEST(LastSeen, KeepsTheLastOfEachChainAndTheNewestEpoch) {
  LastSeen last = sample();
  last.note(of_chain(1, 1, 6));
  last.note(of_chain(2, 1, 0));
  last.note(SeenEpoch{.number = 5, .object = {}, .time = {}});
  EXPECT_EQ(last.snapshots.size(), 3U);
  EXPECT_EQ(last.snapshots.begin()->second.sequence, 7U);
  EXPECT_EQ(last.epoch.number, 6U);
  last.note_generation(2);
  EXPECT_EQ(last.generation, 3U);
  last.note(of_chain(1, 1, 8));
  EXPECT_EQ(last.snapshots.begin()->second.sequence, 8U);
  last.forget(of_chain(1, 1, 8).id);
  EXPECT_EQ(last.snapshots.size(), 2U);
}

TEST(LastSeen, ComesBackFromItsText) {
  EXPECT_EQ(parse_last_seen(to_text(sample())), sample());
  EXPECT_EQ(parse_last_seen(to_text({})), LastSeen{});
}

TEST(LastSeen, WhatANewerProgramAddsIsSkipped) {
  EXPECT_EQ(parse_last_seen(to_text(sample()) + "weather fair\n"), sample());
  EXPECT_FALSE(parse_last_seen("cairn last seen 2\n"));
}

TEST(LastSeen, DamageIsNoMemory) {
  const std::string text = to_text(sample());
  EXPECT_FALSE(parse_last_seen(""));
  EXPECT_FALSE(parse_last_seen("5 abcdef\n"));
  EXPECT_FALSE(parse_last_seen(text.substr(0, text.size() / 2)));
  EXPECT_FALSE(parse_last_seen("cairn last seen 1\nepoch x\n"));
}

}  // namespace
}  // namespace cairn::repo
