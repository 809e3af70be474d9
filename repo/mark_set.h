// One bit for each row of every pack (pack_survey.h numbers them): visited,
// needed, broken. On disk, so that a billion blobs cost 120 MiB of the cache
// folder and no memory to speak of.
#pragma once

#include <cstdint>
#include <filesystem>

#include "repo/scratch_array.h"

namespace cairn::repo {

// Threads        one thread at a time.
class MarkSet {
 public:
  // Of the numbers below `size`, none marked. `folder` is for a scratch file.
  MarkSet(const std::filesystem::path& folder, std::uint64_t size);

  // False: it was marked already.
  bool mark(std::uint64_t number);

  [[nodiscard]] bool is_marked(std::uint64_t number) const;

 private:
  ScratchArray<std::uint64_t> words_;
};

}  // namespace cairn::repo
