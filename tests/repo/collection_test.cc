// Writers, forgetters and collectors at once, on real code over a storage that
// delays, doubles, loses and reorders what is asked of it, with crashes and
// long sleeps at every call (tests/support/interleaving.h).
//
//   CAIRN_SEED=n     that one alone
//   CAIRN_SEEDS=n    so many, instead of what a build's tests take
//   CAIRN_FROM=n     the first of them
//   CAIRN_CPU=n      on that of the processors that it may use, counted from 0
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/support/interleaving.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::ChunksByPath;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::Interleaving;
using testing_support::make_random_bytes_from;
using testing_support::random_bytes;
using testing_support::read_all_snapshots;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::write_files;

// Few contents, so that states share chunks, some of which are much alike, so
// that they become differences.
Bytes content(std::uint64_t which) {
  std::mt19937_64 random(which / 3);
  Bytes bytes = random_bytes(random, 1'500);
  for (std::uint64_t i = 0; i < which % 3; ++i) bytes[100 * i] ^= std::byte{1};
  return bytes;
}

Files random_files(std::mt19937_64& random) {
  Files files;
  for (const auto* const name : {"a", "b", "c"}) {
    if (random() % 3 != 0) files[name] = content(random() % 9);
  }
  files["d"] = content(random() % 9);
  return files;
}

PruneOptions random_options(std::mt19937_64& random) {
  PruneOptions options;
  options.max_unused = random() % 2 == 0 ? 0 : 0.5;
  if (random() % 3 == 0) options.revoke_after = std::chrono::seconds(0);
  return options;
}

class World {
 public:
  explicit World(std::uint64_t seed)
      : random_(seed),
        interleaving_(seed, chances(random_), test_.disk(), test_.keyring()) {}

  void play() {
    {
      auto repository = test_.open();
      for (int hour = 1; hour <= 2; ++hour) {
        StateWriter writer(repository, options().writer);
        store(writer, random_files(random_), hour);
      }
    }
    const auto add = [&](std::uint64_t most, auto work) {
      for (auto n = 1 + random_() % most; n > 0; --n) {
        interleaving_.add([this, work, seed = random_()](Storage& storage) {
          std::mt19937_64 random(seed);
          auto repository = test_.open_elsewhere(storage);
          work(repository, random);
        });
      }
    };
    add(3, [this](Repository& r, std::mt19937_64& random) {
      for (int n = 0; n < 2; ++n) back_up(r, random);
    });
    add(2, [this](Repository& r, std::mt19937_64& random) {
      for (int n = 0; n < 2; ++n) collect(r, random);
    });
    add(2, [this](Repository& r, std::mt19937_64& random) {
      forget_one(r, random);
    });
    interleaving_.run();
  }

  // What nobody wanted to forget is there, and everything that counts is whole.
  void expect_nothing_lost() {
    auto repository = test_.open();
    const auto found = read_all_snapshots(repository);
    for (const auto& [id, files] : committed_) {
      if (forgotten_.contains(id)) continue;
      const auto snapshot = found.find(id);
      ASSERT_NE(snapshot, found.end()) << snapshot_name(id) << " is lost";
      EXPECT_EQ(snapshot->second, files);
    }
  }

  // With everybody gone, two passes leave nothing that is not needed.
  void expect_nothing_left_over() {
    PruneOptions all;
    all.max_unused = 0;
    all.revoke_after = std::chrono::seconds(0);
    for (int pass = 0; pass < 2; ++pass) {
      auto repository = test_.open();
      const auto outcome =
          prune(repository, all, at_hour(200), {}, {}, nullptr);
      EXPECT_TRUE(outcome.waits_for.empty());
    }
    auto repository = test_.open();
    const auto plan = plan_prune(repository, all, at_hour(300), {}, nullptr);
    EXPECT_EQ(plan.removed.packs + plan.repacked.packs, 0U);
    std::size_t sessions = 0;
    test_.disk().list("sessions", [&](const ListedObject&) { ++sessions; });
    EXPECT_EQ(sessions, 0U);
  }

 private:
  static testing_support::Chances chances(std::mt19937_64& random) {
    testing_support::Chances chances;
    const auto scale = [&](double& chance) {
      chance *= static_cast<double>(random() % 4);
    };
    scale(chances.crash);
    scale(chances.sleep);
    scale(chances.bad_write);
    scale(chances.bad_read);
    if (random() % 3 == 0) chances.full_disk = 0.2;
    return chances;
  }

  FilesOptions options() {
    FilesOptions options;
    options.writer.pack_bytes = 3'000;
    return options;
  }

  void store(StateWriter& writer, const Files& files, std::int64_t hour) {
    ChunksByPath bases = bases_;
    FilesOptions with_bases = options();
    with_bases.bases = &bases;
    write_files(writer, files, with_bases);
    const SessionId id = writer.commit(at_hour(hour));
    committed_[id] = files;
    bases_ = bases;
  }

  void back_up(Repository& repository, std::mt19937_64& random) {
    try {
      StateWriter writer(repository, options().writer);
      store(writer, random_files(random),
            3 + static_cast<std::int64_t>(random() % 50));
    } catch (const Error&) {
      // It says so, and has no snapshot, or one that is whole.
    }
  }

  // Others may be at work: nothing that they do is damage.
  void collect(Repository& repository, std::mt19937_64& random) {
    try {
      (void)prune(repository, random_options(random), at_hour(100), {}, {},
                  nullptr);
    } catch (const CorruptionError& e) {
      ADD_FAILURE() << e.what();
      throw;
    } catch (const NotFound& e) {
      ADD_FAILURE() << e.what();
      throw;
    }
  }

  void forget_one(Repository& repository, std::mt19937_64& random) {
    const auto list = repository.snapshots(at_hour(100));
    if (list.snapshots.empty()) return;
    const auto& chosen = list.snapshots[random() % list.snapshots.size()];
    forgotten_.insert(chosen.snapshot.id);
    (void)forget_snapshot(repository, chosen, "test", at_hour(100));
  }

  std::mt19937_64 random_;
  TestRepository test_;
  Interleaving interleaving_;
  // One actor runs at a time: nothing guards these.
  std::map<SessionId, Files> committed_;
  std::set<SessionId> forgotten_;
  ChunksByPath bases_;
};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? otherwise : std::stoull(value);
}

// Actors take turns; to hand over to one on the same processor costs less.
void stay_on_processor(std::uint64_t which) {
  cpu_set_t usable;
  ASSERT_EQ(sched_getaffinity(0, sizeof usable, &usable), 0);
  which %= static_cast<std::uint64_t>(CPU_COUNT(&usable));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &usable) || which-- != 0) continue;
    cpu_set_t chosen;
    CPU_ZERO(&chosen);
    CPU_SET(cpu, &chosen);
    ASSERT_EQ(sched_setaffinity(0, sizeof chosen, &chosen), 0);
    return;
  }
}

TEST(Collection, LosesNothingAndLeavesNothingWhateverHappens) {
  if (std::getenv("CAIRN_CPU") != nullptr) {
    stay_on_processor(number_from("CAIRN_CPU", 0));
  }
  const bool is_one = std::getenv("CAIRN_SEED") != nullptr;
  const auto first = number_from("CAIRN_SEED", number_from("CAIRN_FROM", 1));
  const auto count = is_one ? 1 : number_from("CAIRN_SEEDS", 200);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("CAIRN_SEED=" + std::to_string(seed));
    make_random_bytes_from(seed);
    // An exception would leave the test without the seed.
    EXPECT_NO_THROW({
      World world(seed);
      world.play();
      world.expect_nothing_lost();
      world.expect_nothing_left_over();
      world.expect_nothing_lost();
    });
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::repo
