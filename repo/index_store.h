// A small ordered store of keys and values in the cache folder: RocksDB, with
// the rule by which several processes share it.
//
// RocksDB admits one writing process. So every process reads as a *secondary*,
// and whoever has something to add opens the store as primary for that moment,
// under a lock of the folder. What lies here is derived from the repository:
// whenever it is damaged, it is thrown away and made again, under a name of its
// own: who still reads the old one goes on with that.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "repo/error.h"

namespace cairn::repo {

// Of what is read: the next who opens the store finds an empty one.
struct DamagedIndexStore : IoError {
  using IoError::IoError;
};

// Threads        all members from many threads; write() and clear() take turns.
// Failure        IoError, OutOfSpace, LockedError; DamagedIndexStore from get()
//                and for_each(). Never CorruptionError, since no data is lost
//                with a cache.
class IndexStore {
 public:
  // Creates the folder where it is absent. A store that is absent is empty
  // until somebody writes.
  explicit IndexStore(std::filesystem::path folder);
  ~IndexStore();

  [[nodiscard]] std::optional<std::string> get(std::string_view key) const;

  // Ascending; stops when `visit` answers Next::stop.
  enum class Next { go_on, stop };
  void for_each(std::string_view prefix,
                const std::function<Next(std::string_view key,
                                         std::string_view value)>& visit) const;

  // Another number once get() and for_each() read another database than before,
  // made anew by whichever process. What one remembers of the old does not hold
  // of the new.
  [[nodiscard]] std::uint64_t generations() const;

  // Changes, seen in order by their writer and by nobody else until write()
  // returns. To read after a change costs more than to read before it.
  class Writer {
   public:
    virtual ~Writer() = default;
    [[nodiscard]] virtual std::optional<std::string> get(
        std::string_view key) = 0;
    virtual void put(std::string_view key, std::string_view value) = 0;
    virtual void remove(std::string_view key) = 0;
    virtual void for_each(
        std::string_view prefix,
        const std::function<Next(std::string_view key, std::string_view value)>&
            visit) = 0;
  };

  // Runs `change` as the only writer, waiting up to `patience` for others; once
  // more, on an empty store, if the old one turns out to be damaged. A crash in
  // between leaves a prefix of the changes.
  enum class [[nodiscard]] Written{yes, others_are_writing};
  Written write(std::chrono::milliseconds patience,
                const std::function<void(Writer&)>& change);

  // The same, as the last thing that is done with the store: get() and
  // for_each() go on seeing what they saw before, which spares a second
  // opening.
  Written write_last(std::chrono::milliseconds patience,
                     const std::function<void(Writer&)>& change);

  // Throws everything away, also what is damaged, and begins anew.
  Written clear(std::chrono::milliseconds patience);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
