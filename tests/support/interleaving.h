// Several actors over one storage, of which one runs at a time: before every
// call to the storage it hands over, and chance, from one seed, says who goes
// on, who crashes, who sleeps for long, and what becomes of the call. Nothing
// depends on real time, so a seed replays.
//
//   Interleaving world(seed, disk);
//   world.add([&](repo::Storage& storage) { /* a process */ });
//   world.run();
//
// What can happen to a request that changes something: it is lost and fails; it
// happens and fails all the same; it fails and happens later; it happens now
// and once more later. A crashed actor's requests may still happen later.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>

#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::testing_support {

// Thrown through the code of an actor that crashes. Not a std::exception, so
// that nobody handles it.
struct Crash {};

struct Chances {
  double crash = 0.002;     // at a call
  double sleep = 0.01;      // at a call
  double bad_write = 0.01;  // that a write is lost, unclear, late or doubled
  double bad_read = 0.001;  // that a read fails
  double full_disk = 0;     // that a pack finds no room
};

class Interleaving {
 public:
  // Borrows `disk` and `keyring`, with which registrations are made to look as
  // those of another machine: else every session would be certainly alive.
  Interleaving(std::uint64_t seed, const Chances& chances, repo::Storage& disk,
               const repo::Keyring& keyring);
  ~Interleaving();

  // A process. It begins when run() says so; what of repo::Error it throws is
  // taken as its failing.
  void add(std::function<void(repo::Storage&)> body);

  // Until all have ended and every late request has happened.
  void run();

  // Steps so far.
  [[nodiscard]] std::uint64_t now() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// From now on, in this process, crypto's random bytes come from that seed.
void make_random_bytes_from(std::uint64_t seed);

}  // namespace cairn::testing_support
