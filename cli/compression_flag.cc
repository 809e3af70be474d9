#include "cli/compression_flag.h"

#include <string>
#include <string_view>

#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

repo::CompressionLevels levels_of(std::string_view word) {
  if (word == "fast") return repo::kFastCompression;
  if (word == "default") return {};
  if (word == "max") return repo::kMaxCompression;
  throw UsageError("'" + std::string(word) +
                   "' is none of fast, default and max");
}

}  // namespace

void declare_compression(Flags& flags, repo::CompressionLevels& levels) {
  flags.value(
      "--compression", "fast|default|max",
      [&levels](std::string_view word) { levels = levels_of(word); },
      "how hard to try to make it small, of what is new: what is stored stays "
      "as it is. max takes many times as long, and gives little where states "
      "of a series are alike, since these are stored as differences");
}

}  // namespace cairn::cli
