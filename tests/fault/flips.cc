// A small repository with all kinds of objects in it, and everything that can
// happen to one of them: each bit flipped, each length, the place of another,
// what another repository has there, what was there before, nothing. After each
// `check` at level data says so, and what is read is right or an error.
//
//   flips --seconds 30 [--seed N] [--from N]    as many cases as there is time
//   flips --case N [--seed N]                   that one alone
//   flips --every 1 --seconds 3600 [--seed N] [--from N]
//                                               flips alone, bit by bit
//   flips --bit N [--seed N]                    that one alone
//
// The cases come in an order drawn from the seed, in which each comes once; a
// run says where the next one goes on. It says too which case it was at when it
// crashes or does not end.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/seal.h"
#include "repo/check.h"
#include "repo/config.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/mark.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/snapshot.h"
#include "tests/support/sample_repository.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::ChunksByPath;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::MemoryStorage;
using testing_support::random_bytes;
using testing_support::read_snapshot;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::write_snapshot;

constexpr std::uint64_t kMaxObjectBytes = std::uint64_t{1} << 21;

Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

using Objects = std::map<std::string, Bytes>;

Objects objects_of(const Storage& storage) {
  Objects objects;
  storage.list("", [&](const ListedObject& object) {
    objects[object.name] = get_whole(storage, object.name, kMaxObjectBytes);
  });
  return objects;
}

// The folder, or the name of an object that is in none.
std::string kind_of(std::string_view name) {
  const auto slash = name.find('/');
  if (slash == std::string_view::npos) {
    return std::string(name.starts_with("config") ? "config" : name);
  }
  return std::string(name.substr(0, slash)) +
         (name.ends_with(".pin") ? " pin" : "");
}

// Three snapshots that stay, one of them held, one forgotten, differences, a
// tombstone, epochs, a session that lives with its pin, keys of three roles.
class Sample {
 public:
  explicit Sample(std::uint64_t seed) : seed_(seed) {
    (void)test.add_key(Role::write);
    (void)test.add_key(Role::maintain);
    auto repository = test.open();
    ChunksByPath bases;
    FilesOptions options;
    options.chunk_bytes = 1024;
    options.bases = &bases;
    Files files{{"d/a", content(1, 3000)}, {"d/b", content(2, 10)}};
    const auto forgotten =
        write_snapshot(repository, files, at_hour(1), options);
    all[forgotten] = files;
    before = objects_of(test.disk());
    files["d/a"][1500] ^= std::byte{1};
    files["c"] = content(3, 700);
    held[write_snapshot(repository, files, at_hour(2), options)] = files;
    mark(repository, MarkAction::forget, forgotten);
    (void)prune(repository, {.max_unused = 0, .budget = {}}, at_hour(3), {}, {},
                nullptr);
    files["d/a"][100] ^= std::byte{1};
    files["e/f/g"] = Bytes(2000);
    const auto second = write_snapshot(repository, files, at_hour(4), options);
    held[second] = files;
    mark(repository, MarkAction::hold, second);
    const Files last{{"alone", content(4, 400)}};
    held[write_snapshot(repository, last, at_hour(5))] = last;
    all.insert(held.begin(), held.end());
    const auto forgotten_last =
        write_snapshot(repository, files, at_hour(6), options);
    all[forgotten_last] = files;
    mark(repository, MarkAction::forget, forgotten_last);
    std::mt19937_64 random(seed);
    (void)publish_tombstone(
        repository.storage(), repository.keyring(), repository.signer(),
        {testing_support::random_id<SessionId>(random), at_hour(5), "gone"});
    StateWriter writer(repository);  // abandoned: its session stays
    objects = objects_of(test.disk());
  }

  TestRepository test;
  std::map<SessionId, Files> held;  // that stay
  std::map<SessionId, Files> all;   // and those that were forgotten
  Objects objects;
  Objects before;  // of which some are gone

 private:
  [[nodiscard]] Bytes content(std::uint64_t number, std::size_t size) const {
    return noise(10 * seed_ + number, size);
  }

  static void mark(Repository& repository, MarkAction action,
                   const SessionId& snapshot) {
    (void)publish_mark(repository.storage(), repository.keyring(),
                       repository.signer(),
                       {action, snapshot, at_hour(3), "", std::nullopt});
  }

  std::uint64_t seed_;
};

// One thing that happens to one object.
struct Case {
  std::string what;
  std::string name;
  std::optional<Bytes> bytes;  // nothing: it is gone
  bool is_whole = false;       // another object
};

// Whether `check` has to say so. It cannot know of a slot, a mark, a key or
// another small object that it was ever there; the hosts' memory of what they
// saw is for that (FORMAT.md, 15). Nor whose key slot it is that lies under a
// name: only the passphrase tells, and the one that was there is as good as
// gone. What comes back from the past is garbage.
bool must_be_noticed(const Case& one, const Objects& sound) {
  if (!sound.contains(one.name)) return false;
  const std::string kind = kind_of(one.name);
  if (one.bytes) return kind != "keys" || !one.is_whole;
  return kind == "packs" || kind == "index" || kind == "config" ||
         kind == "reserve";
}

// Bytes whose bits are flipped: all, but of what is nothing in particular some.
// That is the reserve, a megabyte, and the zeros at the end of a directory,
// which are sealed with it.
std::map<std::string, std::vector<std::uint64_t>> places_of(Sample& sample) {
  constexpr std::uint64_t kReserveStep = 4099;
  constexpr std::uint64_t kZerosStep = 61;
  constexpr std::uint64_t kEnd = crypto::kTagBytes + kTrailerBytes;
  const auto repository = sample.test.open();
  std::map<std::string, std::vector<std::uint64_t>> all;
  for (const auto& [name, bytes] : sample.objects) {
    std::uint64_t zeros = name == kReserveName ? 0 : bytes.size();
    std::uint64_t end = bytes.size();
    if (const auto pack = parse_pack_name(name)) {
      const auto read =
          read_pack_directory(sample.test.disk(), repository.keyring(), *pack);
      CborWriter directory;
      write(directory, read.pack.directory);
      zeros = read.directory_offset + std::move(directory).take().size();
      end -= kEnd;
    }
    auto& places = all[name];
    for (std::uint64_t place = 0; place < bytes.size();) {
      places.push_back(place);
      const bool is_nothing = zeros <= place && place < end;
      place += !is_nothing            ? 1
               : name == kReserveName ? kReserveStep
                                      : std::min(kZerosStep, end - place);
    }
  }
  return all;
}

// Everything but flips.
std::vector<Case> mischief(const Sample& sample, const Sample& other) {
  constexpr std::uint64_t kLengths = 256;  // tried of one object
  std::vector<Case> cases;
  const auto add = [&](Case one) {
    const auto now = sample.objects.find(one.name);
    const bool is_there = now != sample.objects.end();
    if (is_there && one.bytes && now->second == *one.bytes) return;
    cases.push_back(std::move(one));
  };
  for (const auto& [name, bytes] : sample.objects) {
    add({"deleted", name, std::nullopt});
    const std::uint64_t step =
        std::max<std::uint64_t>(bytes.size() / kLengths, 1);
    for (std::uint64_t size = 0; size < bytes.size(); size += step) {
      add({"cut to " + std::to_string(size), name,
           Bytes(bytes.begin(),
                 bytes.begin() + static_cast<std::ptrdiff_t>(size))});
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    add({"longer", name, std::move(longer)});
    add({"zeros", name, Bytes(bytes.size())});
    for (const auto* const objects :
         {&sample.objects, &sample.before, &other.objects}) {
      for (const auto& [its_name, its_bytes] : *objects) {
        if (kind_of(its_name) != kind_of(name)) continue;
        if (kind_of(name) == "reserve") continue;
        add({"has the bytes of " + its_name, name, its_bytes, true});
      }
    }
  }
  for (const auto* const objects : {&sample.before, &other.objects}) {
    for (const auto& [name, bytes] : *objects) {
      if (sample.objects.contains(name)) continue;
      add({"comes back, or from another repository", name, bytes, true});
    }
  }
  return cases;
}

// The `number`th of `count` things in an order of chance, in which each comes
// once before one comes again.
class Order {
 public:
  Order(std::uint64_t count, std::uint64_t seed) : count_(count) {
    std::mt19937_64 random(seed);
    do {
      step_ = 1 + random() % count;
    } while (std::gcd(step_, count) != 1);
    first_ = random() % count;
  }
  [[nodiscard]] std::uint64_t at(std::uint64_t number) const {
    return (first_ + number % count_ * step_) % count_;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  std::uint64_t count_;
  std::uint64_t step_ = 0;
  std::uint64_t first_ = 0;
};

// For the handler of a signal.
std::array<char, 64> at_case{};

extern "C" void say_which_case(int signal_number) {
  (void)!::write(STDOUT_FILENO, at_case.data(), std::strlen(at_case.data()));
  std::signal(signal_number, SIG_DFL);
  (void)std::raise(signal_number);
}

class Flips {
 public:
  explicit Flips(std::uint64_t seed)
      : sample_(2 * seed),
        other_(2 * seed + 1),
        sound_(sample_.test.disk()),
        mischief_(mischief(sample_, other_)),
        mischief_order_(mischief_.size(), seed),
        places_(places_of(sample_)),
        flip_order_(count_bits(), seed),
        repository_(sample_.test.open()) {
    // What is right is found right, or nothing that follows says anything.
    judge({"nothing", "", std::nullopt}, 0, {.new_machine = true});
  }

  // Answers whether it was a flip.
  bool try_case(std::uint64_t number) {
    constexpr std::uint64_t kOfMischief = 4;  // one in so many
    // Who has seen it before knows more than who sees it for the first time.
    constexpr std::uint64_t kOfNewMachines = 16;  // one in so many
    constexpr std::uint64_t kOfPrunes = 8;
    std::snprintf(at_case.data(), at_case.size(),
                  "FINDING: ended in case %llu\n",
                  static_cast<unsigned long long>(number));
    ::alarm(kSeconds);
    const std::uint64_t round = number / kOfMischief;
    const Judges judges{.new_machine = number % kOfNewMachines == 0,
                        .prune = number % kOfPrunes == 1};
    const bool is_flip = number % kOfMischief != 0;
    if (is_flip) {
      judge(flip(flip_order_.at(round * (kOfMischief - 1) +
                                number % kOfMischief - 1)),
            number, judges);
    } else {
      judge(mischief_[mischief_order_.at(round)], number, judges);
    }
    ::alarm(0);
    return is_flip;
  }

  // Bits of all objects, one after another.
  void try_bit(std::uint64_t number) {
    constexpr std::uint64_t kSeldom = 256;  // bits for each of those judges
    std::snprintf(at_case.data(), at_case.size(),
                  "FINDING: ended at bit %llu\n",
                  static_cast<unsigned long long>(number));
    ::alarm(kSeconds);
    judge(
        flip(number), number,
        {.new_machine = number % kSeldom == 0, .prune = number % kSeldom == 1});
    ::alarm(0);
  }

  [[nodiscard]] std::uint64_t bits() const { return flip_order_.count(); }

  [[nodiscard]] std::uint64_t findings() const { return findings_; }
  [[nodiscard]] std::string size() const {
    return std::to_string(flip_order_.count()) + " bits and " +
           std::to_string(mischief_.size()) + " other cases in " +
           std::to_string(sample_.objects.size()) + " objects";
  }

 private:
  static constexpr std::uint64_t kBits = 8;
  static constexpr unsigned kSeconds = 60;  // for one of them

  // Who looks beside the one that has it open.
  struct Judges {
    bool new_machine = false;
    bool prune = false;
  };

  std::uint64_t count_bits() const {
    std::uint64_t bits = 0;
    for (const auto& [name, places] : places_) bits += places.size() * kBits;
    return bits;
  }

  [[nodiscard]] Case flip(std::uint64_t bit) const {
    auto at = places_.begin();
    while (bit >= at->second.size() * kBits) {
      bit -= at->second.size() * kBits;
      ++at;
    }
    const std::uint64_t place = at->second[bit / kBits];
    Bytes bytes = sample_.objects.at(at->first);
    bytes[place] ^= static_cast<std::byte>(1U << bit % kBits);
    return {"bit " + std::to_string(bit % kBits) + " of byte " +
                std::to_string(place) + " flipped",
            at->first, std::move(bytes)};
  }

  void put(const Case& one) {
    auto& disk = sample_.test.disk();
    disk = sound_;
    if (one.name.empty()) return;
    disk.remove(one.name);
    if (one.bytes) (void)disk.create(one.name, *one.bytes);
  }

  void judge(const Case& one, std::uint64_t number, const Judges& judges) {
    const std::string kind = kind_of(one.name);
    const bool is_new = judges.new_machine || kind == "keys" ||
                        kind == "config" || kind == "index";
    put(one);
    try {
      if (is_new) {
        try {
          auto repository = sample_.test.open_elsewhere(sample_.test.disk());
          judge_with(repository, one, number);
        } catch (const Error&) {  // it does not open: that is noticed
        }
        sample_.test.forget_others();
      } else {
        judge_with(repository_, one, number);
      }
      const bool is_damage = one.bytes && sample_.objects.contains(one.name);
      if (is_damage && judges.prune) judge_prune(one, number);
    } catch (const std::exception& e) {
      report(one, number, std::string("it throws ") + e.what());
    }
  }

  void judge_with(Repository& repository, const Case& one,
                  std::uint64_t number) {
    const auto report_of_check =
        check(repository,
              {.level = CheckLevel::data, .now = at_hour(1000), .threads = 1},
              {}, nullptr);
    const bool is_damage = report_of_check.count(Severity::damage) > 0;
    // Notes are about everything: of what is gone it has to be this one.
    const bool is_noticed =
        is_damage || report_of_check.count(Severity::unsupported) > 0 ||
        (!one.bytes &&
         std::ranges::any_of(report_of_check.findings,
                             [&](const Finding& finding) {
                               return finding.object == one.name ||
                                      finding.code == "unindexed-pack" ||
                                      finding.code == "no-reserve";
                             }));
    if (must_be_noticed(one, sample_.objects) && !is_noticed) {
      report(one, number, "check does not notice");
    }
    if (one.name.empty() && is_damage) {
      report(one, number, "check finds what is not there");
    }
    judge_reading(repository, one, number, is_damage);
  }

  // What is read is right; and whole, if check says that there is no damage.
  void judge_reading(Repository& repository, const Case& one,
                     std::uint64_t number, bool may_fail) {
    try {
      repository.index().refresh(repository.storage(), repository.keyring());
      for (const auto& valid : repository.snapshots(at_hour(0)).snapshots) {
        const auto held = sample_.all.find(valid.snapshot.id);
        if (held == sample_.all.end()) {
          report(one, number, "a snapshot nobody made is there");
          continue;
        }
        try {
          if (read_snapshot(repository, valid.snapshot.header.root) !=
              held->second) {
            report(one, number, "wrong bytes are read");
          }
        } catch (const Error& e) {
          if (!may_fail) {
            report(one, number,
                   std::string("check finds nothing, and reading "
                               "fails: ") +
                       e.what());
          }
        }
      }
    } catch (const Error& e) {
      if (!may_fail) {
        report(
            one, number,
            std::string("check finds nothing, and reading fails: ") + e.what());
      }
    }
  }

  // Of damage a prune makes no loss: with the object whole again all is there.
  void judge_prune(const Case& one, std::uint64_t number) {
    put(one);
    auto& disk = sample_.test.disk();
    try {
      auto repository = sample_.test.open_elsewhere(disk);
      (void)prune(repository, {.max_unused = 0, .budget = {}}, at_hour(9), {},
                  {}, nullptr);
    } catch (const Error&) {
    }
    disk.remove(one.name);
    (void)disk.create(one.name, sample_.objects.at(one.name));
    auto repository = sample_.test.open_elsewhere(disk);
    std::map<SessionId, Files> found;
    repository.index().refresh(disk, repository.keyring());
    for (const auto& valid : repository.snapshots(at_hour(0)).snapshots) {
      found[valid.snapshot.id] =
          read_snapshot(repository, valid.snapshot.header.root);
    }
    for (const auto& [id, files] : sample_.held) {
      const auto it = found.find(id);
      if (it == found.end() || it->second != files) {
        report(one, number, "a prune lost snapshot " + id.brief());
      }
    }
    sample_.test.forget_others();
  }

  void report(const Case& one, std::uint64_t number, const std::string& what) {
    ++findings_;
    std::printf("FINDING: case %llu, %s %s: %s\n",
                static_cast<unsigned long long>(number), one.name.c_str(),
                one.what.c_str(), what.c_str());
    std::fflush(stdout);
  }

  Sample sample_;
  Sample other_;
  const MemoryStorage sound_;
  std::vector<Case> mischief_;
  Order mischief_order_;
  std::map<std::string, std::vector<std::uint64_t>> places_;  // by object
  Order flip_order_;
  Repository repository_;
  std::uint64_t findings_ = 0;
};

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t from = 0;
  std::uint64_t seconds = 30;
  std::optional<std::uint64_t> only;
  std::optional<std::uint64_t> bit;
  bool every = false;
};

Arguments arguments_of(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::uint64_t value = std::stoull(argv[i + 1]);
    if (name == "--seed") arguments.seed = value;
    if (name == "--from") arguments.from = value;
    if (name == "--seconds") arguments.seconds = value;
    if (name == "--case") arguments.only = value;
    if (name == "--bit") arguments.bit = value;
    if (name == "--every") arguments.every = value != 0;
  }
  return arguments;
}

int run(const Arguments& arguments) {
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) {
    std::signal(number, &say_which_case);
  }
  Flips flips(arguments.seed);
  std::printf("seed %llu: %s\n",
              static_cast<unsigned long long>(arguments.seed),
              flips.size().c_str());
  std::fflush(stdout);
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::seconds(arguments.seconds);
  if (arguments.bit || arguments.every) {
    std::uint64_t bit = arguments.bit.value_or(arguments.from);
    do {
      flips.try_bit(bit);
      ++bit;
    } while (arguments.every && bit < flips.bits() &&
             std::chrono::steady_clock::now() < until);
    std::printf("%llu findings, next bit %llu of %llu\n",
                static_cast<unsigned long long>(flips.findings()),
                static_cast<unsigned long long>(bit),
                static_cast<unsigned long long>(flips.bits()));
    return flips.findings() == 0 ? 0 : 1;
  }
  std::uint64_t counts[] = {0, 0};
  std::uint64_t number = arguments.only.value_or(arguments.from);
  do {
    ++counts[flips.try_case(number) ? 1 : 0];
    ++number;
  } while (!arguments.only && std::chrono::steady_clock::now() < until);
  std::printf("%llu flips, %llu other cases, %llu findings, next %llu\n",
              static_cast<unsigned long long>(counts[1]),
              static_cast<unsigned long long>(counts[0]),
              static_cast<unsigned long long>(flips.findings()),
              static_cast<unsigned long long>(number));
  return flips.findings() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cairn::repo

int main(int argc, char** argv) {
  // Each damage makes an index of its own.
  ::setenv("TMPDIR", "/dev/shm", 0);
  return cairn::repo::run(cairn::repo::arguments_of(argc, argv));
}
