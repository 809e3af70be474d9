#include "repo/host_state.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <string>

#include "crypto/random.h"
#include "repo/error.h"
#include "tests/support/temp_folder.h"

// What freed memory held, while that is wanted: whoever gets it next could read
// a secret there that was not wiped.
namespace {
std::array<char, std::size_t{1} << 20> freed;
std::size_t freed_size = 0;
bool is_recording = false;

void release(void* memory) noexcept {
  if (is_recording && memory != nullptr) {
    const std::size_t size =
        std::min(malloc_usable_size(memory), freed.size() - freed_size);
    std::memcpy(freed.data() + freed_size, memory, size);
    freed_size += size;
  }
  std::free(memory);
}
}  // namespace

void* operator new(std::size_t size) {
  void* const memory = std::malloc(std::max<std::size_t>(size, 1));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }

namespace cairn::repo {
namespace {

using testing_support::TempFolder;
namespace fs = std::filesystem;

fs::path key_file(const TempFolder& folder) {
  return folder.path() / RepositoryId{}.hex() / "signing-key";
}

bool equal(const crypto::Secret& a, const crypto::Secret& b) {
  return std::ranges::equal(a.bytes(), b.bytes());
}

// Runs `work` in another process; true if it answers true.
template <typename Work>
bool in_another_process(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool is_good = false;
    try {
      is_good = work();
    } catch (...) {
    }
    ::_exit(is_good ? 0 : 1);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  return status == 0;
}

TEST(HostState, MakesASigningKeyThatOnlyItsOwnerReads) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  EXPECT_FALSE(fs::exists(key_file(folder)));

  const auto first = state.signing_seed();
  const auto again = HostState(folder.path(), RepositoryId{}).signing_seed();

  struct stat status {};
  ASSERT_EQ(::stat(key_file(folder).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_TRUE(equal(first, again));
  std::size_t files = 0;
  for (const auto& file :
       fs::directory_iterator(key_file(folder).parent_path())) {
    files += file.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(files, 1U);
}

TEST(HostState, WipesTheTextOfTheKeyInMemory) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  for (const char* const step : {"made", "read"}) {
    freed_size = 0;
    is_recording = true;
    const auto seed = state.signing_seed();
    is_recording = false;

    // All but the first digits, where the allocator keeps its own notes.
    const std::string text = crypto::to_hex(seed.bytes()).substr(32);
    EXPECT_LT(freed_size, freed.size());
    EXPECT_EQ(std::string_view(freed.data(), freed_size).find(text),
              std::string_view::npos)
        << step;
  }
}

TEST(HostState, AnotherProcessGetsTheSameKey) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  const auto seed = state.signing_seed();
  EXPECT_TRUE(in_another_process([&] {
    return equal(HostState(folder.path(), RepositoryId{}).signing_seed(), seed);
  }));
}

TEST(HostState, ProcessesThatBeginAtOnceAgreeOnOneKey) {
  TempFolder folder;
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int status = 1;
      try {
        const auto seed =
            HostState(folder.path(), RepositoryId{}).signing_seed();
        const auto stored = testing_support::read_file(key_file(folder));
        status = stored == crypto::to_hex(seed.bytes()) + "\n" ? 0 : 1;
      } catch (...) {
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST(HostState, AKeyThatOthersMayReadIsRefused) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  (void)state.signing_seed();
  fs::permissions(key_file(folder), fs::perms::group_read,
                  fs::perm_options::add);
  EXPECT_THROW((void)state.signing_seed(), RefusedForSafety);
}

TEST(HostState, ADamagedKeyIsDamageAndNotReplaced) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  (void)state.signing_seed();
  for (const char* const text : {"", "not hexadecimal at all"}) {
    testing_support::write_file(key_file(folder), text);
    EXPECT_THROW((void)state.signing_seed(), CorruptionError);
    EXPECT_EQ(testing_support::read_file(key_file(folder)), text);
  }
}

TEST(HostState, AChainGoesOnWhereItWasLeft) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  const ChainLink link{7, crypto::sha256({})};
  EXPECT_EQ(state.lock_chain("host/db").last(), ChainLink{});

  state.lock_chain("host/db").store({6, {}});
  state.lock_chain("host/db").store(link);

  EXPECT_EQ(state.lock_chain("host/db").last(), link);
  EXPECT_EQ(state.lock_chain("host/files").last(), ChainLink{});
}

TEST(HostState, ADamagedChainBeginsAnew) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  state.lock_chain("host/db").store({6, {}});
  for (const auto& file :
       fs::directory_iterator(key_file(folder).parent_path())) {
    testing_support::write_file(file.path(), "7 garbage");
  }
  EXPECT_EQ(state.lock_chain("host/db").last(), ChainLink{});
}

// Each process adds one to the sequence, many times; none gets lost.
TEST(HostState, ChainsAreExtendedByOneProcessAtATime) {
  TempFolder folder;
  const auto extend = [&] {
    HostState state(folder.path(), RepositoryId{});
    for (int i = 0; i < 20; ++i) {
      auto lock = state.lock_chain("host/db");
      auto link = lock.last();
      ++link.sequence;
      lock.store(link);
    }
    return true;
  };
  const pid_t child = ::fork();
  if (child == 0) ::_exit(extend() ? 0 : 1);
  (void)extend();
  int status = 1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(HostState(folder.path(), RepositoryId{})
                .lock_chain("host/db")
                .last()
                .sequence,
            40U);
}

TEST(HostState, RemembersWhatWasSeenAtEachPlace) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  EXPECT_FALSE(state.last_seen("here"));
  EXPECT_FALSE(fs::exists(key_file(folder).parent_path()));

  state.change_last_seen("here", [](LastSeen& seen) { seen.epoch.number = 6; });
  state.change_last_seen("there", [](LastSeen&) {});
  EXPECT_EQ(state.last_seen("here")->epoch.number, 6U);
  EXPECT_EQ(state.last_seen("there"), LastSeen{});
  ASSERT_EQ(state.last_seen_elsewhere("there").size(), 1U);
  EXPECT_EQ(state.last_seen_elsewhere("there")[0].epoch.number, 6U);
  EXPECT_EQ(state.last_seen_elsewhere("nowhere").size(), 2U);
}

// A program from before knew the chain alone; damage is no memory.
TEST(HostState, WhatDoesNotSayWhatWasSeenIsTakenForNothing) {
  TempFolder folder;
  HostState state(folder.path(), RepositoryId{});
  state.lock_chain("host/db").store({6, {}});
  EXPECT_FALSE(state.last_seen("here"));
  EXPECT_TRUE(state.last_seen_elsewhere("here").empty());
  state.change_last_seen("here", [](LastSeen& seen) { seen.epoch.number = 6; });
  for (const auto& file :
       fs::directory_iterator(key_file(folder).parent_path())) {
    testing_support::write_file(file.path(), "7 garbage");
  }
  EXPECT_FALSE(state.last_seen("here"));
  state.change_last_seen("here", [](LastSeen& seen) { seen.epoch.number = 8; });
  EXPECT_EQ(state.last_seen("here")->epoch.number, 8U);
}

TEST(HostState, WhatIsSeenByTwoProcessesAtOnceIsKeptOfBoth) {
  TempFolder folder;
  const auto learn = [&](unsigned char signer) {
    HostState state(folder.path(), RepositoryId{});
    for (int i = 0; i < 20; ++i) {
      state.change_last_seen("here", [&](LastSeen& seen) {
        SeenSnapshot snapshot;
        snapshot.signer = {std::byte{signer}, static_cast<std::byte>(i)};
        seen.note(snapshot);
      });
    }
    return true;
  };
  const pid_t child = ::fork();
  if (child == 0) ::_exit(learn(1) ? 0 : 1);
  (void)learn(2);
  int status = 1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(HostState(folder.path(), RepositoryId{})
                .last_seen("here")
                ->snapshots.size(),
            40U);
}

}  // namespace
}  // namespace cairn::repo
