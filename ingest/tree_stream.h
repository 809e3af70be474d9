// A tree that its producer sends in an order of its own: a base backup, say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/entry.h"
#include "repo/snapshot.h"

namespace cairn::ingest {

// Threads        one thread at a time.
// Failure        ProducerFailed: nothing of the tree is to be kept.
//                repo::Cancelled when `stop` is requested while waiting.
class TreeStream {
 public:
  virtual ~TreeStream() = default;

  struct Member {
    std::string path;   // "base/5/1259"; each comes once
    repo::Entry entry;  // a folder or a file; the size may turn out otherwise
  };

  // The next one, in any order; folders above it need not come at all. What was
  // not read of the one before is passed over. Nothing: that were all.
  [[nodiscard]] virtual std::optional<Member> next(
      const std::stop_token& stop) = 0;

  // At least one byte of the file that next() gave last; 0 at its end.
  [[nodiscard]] virtual std::size_t read(std::span<std::byte> out,
                                         const std::stop_token& stop) = 0;

  // How many bytes are expected in all, once next() was called; 0: not known.
  [[nodiscard]] virtual std::uint64_t expected_bytes() const = 0;

  struct Outcome {
    std::vector<repo::Fact> facts;   // for the snapshot's record
    std::vector<std::string> notes;  // no problem, and yet worth a line
    // What keeps it from being complete, though it is kept.
    std::vector<std::string> problems;
  };

  // After the last one: whether the tree is what the producer meant to send.
  [[nodiscard]] virtual Outcome finish(const std::stop_token& stop) = 0;
};

}  // namespace cairn::ingest
