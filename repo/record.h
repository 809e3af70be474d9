// What the records of several objects share: times, and which fields of a map
// were there.
#pragma once

#include <bitset>
#include <initializer_list>
#include <string>

#include "repo/cbor.h"
#include "repo/entry.h"

namespace cairn::repo {

inline void write_time(CborWriter& out, const Timestamp& time) {
  out.array(2).sint(time.seconds).uint(time.nanoseconds);
}

inline constexpr std::uint64_t kMaxNanoseconds = 999'999'999;

[[nodiscard]] inline Timestamp read_time(CborReader& in) {
  in.array_of(2);
  Timestamp time;
  time.seconds = in.sint();
  time.nanoseconds = static_cast<std::uint32_t>(in.uint(kMaxNanoseconds));
  return time;
}

// Remembers the keys of one map, to refuse it when one is missing.
class RequiredFields {
 public:
  void note(std::uint64_t key) {
    if (key < seen_.size()) seen_.set(static_cast<std::size_t>(key));
  }

  [[nodiscard]] bool has(std::uint64_t key) const {
    return seen_.test(static_cast<std::size_t>(key));
  }

  void require(std::initializer_list<std::size_t> keys,
               const CborReader& in) const {
    for (const std::size_t key : keys) {
      if (!seen_.test(key)) {
        in.fail("field " + std::to_string(key) + " is missing");
      }
    }
  }

 private:
  std::bitset<128> seen_;
};

}  // namespace cairn::repo
