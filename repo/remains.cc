#include "repo/remains.h"

namespace cairn::repo {
namespace {

// Something that is called as the objects of that folder are.
bool holds_object(const Storage& storage, std::string_view folder,
                  std::size_t digits) {
  bool is_found = false;
  storage.list(folder, [&](const ListedObject& object) {
    const auto name = object.name.substr(object.name.rfind('/') + 1);
    is_found |= name.size() == digits &&
                name.find_first_not_of("0123456789abcdef") == name.npos;
  });
  return is_found;
}

}  // namespace

Remains remains_in(const Storage& storage) {
  constexpr std::size_t kDigest = 64;
  constexpr std::size_t kId = 32;
  if (holds_object(storage, "packs", kDigest) ||
      holds_object(storage, "snapshots", kId)) {
    return Remains::data;
  }
  return holds_object(storage, "keys", kId) ? Remains::keys : Remains::none;
}

}  // namespace cairn::repo
