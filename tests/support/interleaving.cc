#include "tests/support/interleaving.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "crypto/random.h"
#include "crypto/secret.h"
#include "repo/error.h"
#include "repo/sealed_record.h"
#include "repo/session.h"
#include "repo/signer.h"

namespace cairn::testing_support {
namespace {

constexpr auto kNever = std::numeric_limits<std::uint64_t>::max();

struct Actor {
  std::function<void(repo::Storage&)> body;
  std::mutex mutex;  // one call at a time, also of an actor's several threads
  std::binary_semaphore turn{0};
  std::uint64_t sleeps_until = 0;
  bool is_crashed = false;
  bool has_ended = false;
  std::jthread thread;
};

struct LateRequest {
  std::uint64_t due;
  std::function<void()> apply;
};

}  // namespace

struct Interleaving::State {
  State(std::uint64_t seed, const Chances& c, repo::Storage& d,
        const repo::Keyring& k)
      : random(seed),
        chances(c),
        disk(d),
        keyring(k),
        signer(crypto::Secret::random(), k) {}

  bool happens(double chance) {
    return std::uniform_real_distribution<double>(0, 1)(random) < chance;
  }
  std::uint64_t pick(std::uint64_t below) { return random() % below; }

  void apply_late(std::function<void()> apply) {
    late.push_back({steps + 1 + pick(400), std::move(apply)});
  }

  // Who goes on; none once all have ended and every late request has happened.
  Actor* choose() {
    while (true) {
      ++steps;
      std::erase_if(late, [&](const LateRequest& request) {
        if (request.due > steps) return false;
        request.apply();
        return true;
      });
      std::vector<Actor*> awake;
      std::uint64_t next_event = kNever;
      for (const auto& request : late) {
        next_event = std::min(next_event, request.due);
      }
      for (const auto& actor : actors) {
        if (actor->has_ended) continue;
        next_event = std::min(next_event, actor->sleeps_until);
        if (actor->sleeps_until <= steps) awake.push_back(actor.get());
      }
      if (next_event == kNever) return nullptr;
      if (awake.empty()) {
        steps = next_event - 1;
        continue;
      }
      Actor& next = *awake[pick(awake.size())];
      if (happens(chances.crash)) next.is_crashed = true;
      if (happens(chances.sleep)) {
        // One in four until nearly everybody else has ended.
        const bool is_long = pick(4) == 0;
        next.sleeps_until = steps + 1 + pick(is_long ? 100'000 : 1'000);
        continue;
      }
      return &next;
    }
  }

  // On a thread of the actor's, which is the one that runs. It wakes the next
  // itself: to switch threads is the larger part of what a step costs.
  void hand_over(Actor& actor) {
    if (actor.is_crashed) throw Crash();
    Actor* const next = choose();
    if (next != &actor) {
      next->turn.release();
      actor.turn.acquire();
    }
    if (actor.is_crashed) throw Crash();
  }

  void end(Actor& actor) {
    actor.has_ended = true;
    Actor* const next = choose();
    (next == nullptr ? all_have_ended : next->turn).release();
  }

  // What becomes of a write. Its answer is that of `write`.
  template <typename Write>
  auto change(Actor& actor, Write write) {
    const std::lock_guard lock(actor.mutex);
    hand_over(actor);
    if (!happens(chances.bad_write)) return write();
    switch (pick(4)) {
      case 0:
        throw repo::IoError("lost");
      case 1:
        (void)write();
        throw repo::AmbiguousError("happened, and its answer was lost");
      case 2:
        apply_late([write] { (void)write(); });
        throw repo::AmbiguousError("not yet");
      default: {
        apply_late([write] { (void)write(); });
        return write();
      }
    }
  }

  void look(Actor& actor) {
    const std::lock_guard lock(actor.mutex);
    hand_over(actor);
    if (happens(chances.bad_read)) throw repo::IoError("cannot read");
  }

  // Small objects fit into what is left, or into the reserve.
  void find_room(Actor& actor, std::string_view name) {
    const std::lock_guard lock(actor.mutex);
    if (name.starts_with("packs/") && happens(chances.full_disk)) {
      throw repo::OutOfSpace("no space left");
    }
  }

  // Of a registration: the same, made by a process nobody here can see.
  std::vector<std::byte> of_another_machine(std::string_view name,
                                            std::span<const std::byte> object) {
    const repo::SealedRecordKind kind{
        repo::ObjectType::session, "cairn session", repo::Authority::indexer};
    const auto id = repo::SessionId::from_hex(name.substr(name.find('/') + 1));
    if (!id) return {object.begin(), object.end()};  // its pin
    auto record = repo::decode_session(
        repo::open_record(kind, keyring, id->bytes, object, name), name);
    record.process.boot[0] ^= std::byte{1};
    record.process.machine[0] ^= std::byte{1};
    return repo::seal_record(kind, keyring, signer, id->bytes, encode(record));
  }

  std::mt19937_64 random;
  const Chances chances;
  repo::Storage& disk;
  const repo::Keyring& keyring;
  repo::Signer signer;
  std::uint64_t steps = 0;
  std::vector<std::unique_ptr<Actor>> actors;
  std::vector<LateRequest> late;
  std::binary_semaphore all_have_ended{0};
};

namespace {

// What an actor sees of the storage.
template <typename World>
class View : public repo::Storage {
 public:
  View(World& world, Actor& actor) : world_(world), actor_(actor) {}

  repo::Created create(std::string_view name,
                       std::span<const std::byte> bytes) override {
    const std::vector<std::byte> object =
        name.starts_with("sessions/")
            ? world_.of_another_machine(name, bytes)
            : std::vector<std::byte>(bytes.begin(), bytes.end());
    return world_.change(
        actor_, [&disk = world_.disk, name = std::string(name), object] {
          return disk.create(name, object);
        });
  }

  std::unique_ptr<repo::StagedObject> stage() override {
    return std::make_unique<Staged>(*this);
  }

  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override {
    world_.look(actor_);
    world_.disk.get(name, offset, out);
  }
  std::optional<std::uint64_t> size(std::string_view name) const override {
    world_.look(actor_);
    return world_.disk.size(name);
  }
  void list(std::string_view folder,
            const std::function<void(const repo::ListedObject&)>& visit)
      const override {
    world_.look(actor_);
    // At one moment; to visit may take several.
    std::vector<repo::ListedObject> listed;
    world_.disk.list(folder, [&](const repo::ListedObject& object) {
      listed.push_back(object);
    });
    for (const auto& object : listed) visit(object);
  }
  void remove(std::string_view name) override {
    world_.change(actor_, [&disk = world_.disk, name = std::string(name)] {
      disk.remove(name);
    });
  }
  void remove_unfinished() override {}  // nobody's is ever stale here
  std::string description() const override { return "interleaved"; }

 private:
  class Staged : public repo::StagedObject {
   public:
    explicit Staged(View& view) : view_(view) {}
    void append(std::span<const std::byte> bytes) override {
      bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }
    repo::Created publish(std::string_view name) override {
      view_.world_.find_room(view_.actor_, name);
      return view_.create(name, bytes_);
    }

   private:
    View& view_;
    std::vector<std::byte> bytes_;
  };

  World& world_;
  Actor& actor_;
};

}  // namespace

Interleaving::Interleaving(std::uint64_t seed, const Chances& chances,
                           repo::Storage& disk, const repo::Keyring& keyring)
    : state_(std::make_unique<State>(seed, chances, disk, keyring)) {}
Interleaving::~Interleaving() = default;

void Interleaving::add(std::function<void(repo::Storage&)> body) {
  auto actor = std::make_unique<Actor>();
  actor->body = std::move(body);
  actor->thread = std::jthread([world = state_.get(), self = actor.get()] {
    self->turn.acquire();
    View<State> view(*world, *self);
    try {
      if (!self->is_crashed) self->body(view);
    } catch (const Crash&) {
    } catch (const repo::Error&) {
    }
    world->end(*self);
  });
  state_->actors.push_back(std::move(actor));
}

void Interleaving::run() {
  Actor* const first = state_->choose();
  if (first == nullptr) return;
  first->turn.release();
  state_->all_have_ended.acquire();
}

std::uint64_t Interleaving::now() const { return state_->steps; }

namespace {

std::mt19937_64& random_source() {
  static std::mt19937_64 source;
  return source;
}

// One actor runs at a time, so that nothing guards the source. A whole reserve
// of fresh numbers would cost a world more than its keys and salts do.
void fill(void* const out, const std::size_t size) {
  constexpr std::size_t kFresh = 4096;
  auto* const bytes = static_cast<unsigned char*>(out);
  const std::size_t fresh = std::min(size, kFresh);
  for (std::size_t i = 0; i < fresh;) {
    const std::uint64_t word = random_source()();
    const std::size_t taken = std::min(sizeof word, fresh - i);
    std::memcpy(bytes + i, &word, taken);
    i += taken;
  }
  for (std::size_t i = fresh; i < size;) {
    const std::size_t taken = std::min(kFresh, size - i);
    std::memcpy(bytes + i, bytes, taken);
    i += taken;
  }
}

const char* name() { return "seeded"; }
std::uint32_t number() { return static_cast<std::uint32_t>(random_source()()); }

}  // namespace

void make_random_bytes_from(std::uint64_t seed) {
  static randombytes_implementation implementation = {
      .implementation_name = name,
      .random = number,
      .stir = nullptr,
      .uniform = nullptr,
      .buf = fill,
      .close = nullptr};
  random_source().seed(seed);
  randombytes_set_implementation(&implementation);
}

}  // namespace cairn::testing_support
