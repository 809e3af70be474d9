#include "ingest/shortfalls.h"

#include "ingest/file_error.h"

namespace cairn::ingest {

void Shortfalls::add(std::string_view what, int error,
                     const std::string& path) {
  // A snapshot may name as many different xattrs as it likes.
  constexpr std::size_t kMostCauses = 100;
  const std::string why = words_of(error);
  const std::lock_guard lock(mutex_);
  for (Shortfall& known : list_) {
    if (known.what == what && known.why == why) {
      ++known.count;
      return;
    }
  }
  if (list_.size() > kMostCauses) {
    ++list_.back().count;
    return;
  }
  if (list_.size() == kMostCauses) what = "other metadata";
  list_.push_back({std::string(what), why, path, 1});
}

}  // namespace cairn::ingest
