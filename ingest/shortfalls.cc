#include "ingest/shortfalls.h"

#include "ingest/file_error.h"

namespace cairn::ingest {
namespace {

bool is_of_disk(int error) {
  return error == ENOSPC || error == EDQUOT || error == EIO;
}

}  // namespace

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
    list_.back().is_of_disk |= is_of_disk(error);
    return;
  }
  if (list_.size() == kMostCauses) what = "other metadata";
  list_.push_back({std::string(what), why, path, 1, is_of_disk(error)});
}

}  // namespace cairn::ingest
