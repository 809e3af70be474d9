#include "repo/storage_probe.h"

#include <array>
#include <exception>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "crypto/digest.h"
#include "crypto/random.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kRacers = 4;

struct Racer {
  std::array<std::byte, 16> bytes = crypto::random_array<16>();
  Created answer = Created::exists;
  std::exception_ptr error;
};

}  // namespace

CreateRace probe_create_race(Storage& storage) {
  const std::string name =
      "probes/" + crypto::to_hex(crypto::random_array<16>());
  std::array<Racer, kRacers> racers;
  {
    std::latch start(kRacers);
    std::vector<std::jthread> threads;
    for (auto& racer : racers) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        try {
          racer.answer = storage.create(name, racer.bytes);
        } catch (...) {
          racer.error = std::current_exception();
        }
      });
    }
  }
  for (const auto& racer : racers) {
    if (racer.error) std::rethrow_exception(racer.error);
  }
  std::array<std::byte, 16> stored{};
  storage.get(name, 0, stored);
  std::size_t winners = 0;
  bool is_winners = false;
  for (const auto& racer : racers) {
    if (racer.answer == Created::exists) continue;
    ++winners;
    is_winners = racer.bytes == stored;
  }
  // Later, when nobody races, it must not be replaced either.
  const bool is_kept = storage.create(name, {}) == Created::exists;
  storage.remove(name);
  return winners == 1 && is_winners && is_kept ? CreateRace::one_wins
                                               : CreateRace::unsettled;
}

}  // namespace cairn::repo
