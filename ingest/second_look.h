// Looks a second time before something is called damaged: a prune may have
// moved the blob since the index was read (FORMAT.md, section 10).
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "repo/error.h"
#include "repo/index_object.h"
#include "repo/repository.h"

namespace cairn::ingest {

// Threads        all members from many threads; nothing else may refresh the
//                repository's index meanwhile.
class SecondLook {
 public:
  // Borrows `repository`.
  explicit SecondLook(repo::Repository& repository);

  // What `read()` answers. When it misses something, the index is brought up to
  // date and it is called again, as often as the index objects are others than
  // those that were searched. `read` must be able to begin anew. What is missed
  // in the end is damage.
  template <typename Read>
  auto read(Read read) {
    for (;;) {
      const std::uint64_t searched = version();
      try {
        return read();
      } catch (const repo::NotFound& e) {
        if (!has_changed_since(searched)) {
          throw repo::CorruptionError(e.what());
        }
      } catch (const repo::CorruptionError&) {
        if (!has_changed_since(searched)) throw;
      }
    }
  }

 private:
  [[nodiscard]] std::uint64_t version();
  [[nodiscard]] bool has_changed_since(std::uint64_t searched);

  repo::Repository& repository_;
  std::mutex mutex_;           // guards the members below
  std::uint64_t version_ = 0;  // of the index in memory
  std::optional<std::vector<repo::IndexId>> objects_;  // that it was made from
};

}  // namespace cairn::ingest
