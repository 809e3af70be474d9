// A file that has no name yet but its temporary one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "repo/error.h"
#include "repo/file_calls.h"
#include "repo/memory_sum.h"
#include "repo/storage.h"

namespace cairn::repo {

// The temporary file is gone, though nobody but us may remove it.
struct Vanished : IoError {
  using IoError::IoError;
};

// Locked while it lives, so that remove_unfinished() of another process tells
// it from what a crash left.
//
// Threads        one thread at a time.
// Failure        final: what a failed sync left in the page cache is unknown
//                (Linux marks the lost pages clean), so the file goes at once
//                and is never synced again.
// Abandonment    destroyed before publish(), it leaves nothing behind.
class UnnamedFile {
 public:
  // `object` names it in messages. Borrows nothing.
  UnnamedFile(UniqueFd folder, std::string object);
  ~UnnamedFile() { abandon(); }
  UnnamedFile(UnnamedFile&&) = delete;

  void call_it(std::string_view object) { object_ = object; }
  [[nodiscard]] const std::string& object() const { return object_; }

  void append(std::span<const std::byte> bytes);

  // Makes its bytes survive a power cut.
  void sync();

  // Requires: synced. Compares with what the device gives back, as far as the
  // kernel lets go of its own copy. `sum` is older than the writing.
  void verify(std::span<const std::byte> expected, const MemorySum& sum);

  // Requires: synced. The descriptor is closed first, because network file
  // systems report some failures only then, and nothing is visible yet.
  Created publish(int folder, const std::string& name);

 private:
  [[nodiscard]] bool create_locked();
  [[nodiscard]] bool has_its_name() const;
  Created link(int folder, const std::string& name);
  Created rename(int folder, const std::string& name);
  [[nodiscard]] bool is_also(int folder, const std::string& name) const;
  [[noreturn]] void fail_for_good(std::string_view doing, int error);
  void abandon() noexcept;

  std::string object_;
  UniqueFd folder_;
  std::string name_;  // in folder_; empty: it has none any more
  UniqueFd file_;
  UniqueFd lock_;
  std::uint64_t written_ = 0;           // bytes
  std::uint64_t write_back_begun_ = 0;  // bytes before this are on their way
};

}  // namespace cairn::repo
