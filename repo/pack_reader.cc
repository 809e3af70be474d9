#include "repo/pack_reader.h"

#include <algorithm>

#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/pack_format.h"

namespace cairn::repo {

PackDirectory read_pack_directory(const Storage& storage,
                                  const Keyring& keyring, const PackId& id) {
  const std::string name = pack_name(id);
  const auto size = storage.size(name);
  if (!size) throw NotFound(name + ": is missing");
  if (*size < kPackHeadBytes + kDirectoryStep + kTrailerBytes ||
      *size > kMaxPackBytes) {
    throw CorruptionError(name + ": its size cannot be that of a pack");
  }
  PackHead head;
  storage.get(name, 0, head);
  const Prologue prologue = decode_prologue(head, ObjectType::pack, name);
  const Generation* generation = keyring.find(prologue.number);
  if (generation == nullptr) {
    throw MissingKeys(name + ": sealed with " + missing_keys(prologue.number));
  }
  Trailer trailer;
  storage.get(name, *size - kTrailerBytes, trailer);
  const std::uint32_t directory_size = decode_trailer(trailer, *size, name);
  const std::uint64_t offset = *size - kTrailerBytes - directory_size;
  std::vector<std::byte> sealed(directory_size);
  storage.get(name, offset, sealed);
  return {{id, *size,
           open_directory(generation->index_key, head, offset, sealed, name)},
          offset};
}

std::vector<StoredPack> list_packs(
    const Storage& storage,
    const std::function<void(const std::string&)>& stranger) {
  std::vector<StoredPack> packs;
  storage.list("packs", [&](const ListedObject& object) {
    if (const auto id = parse_pack_name(object.name)) {
      packs.push_back({*id, object.size});
    } else if (stranger) {
      stranger(object.name);
    }
  });
  std::ranges::sort(packs);
  return packs;
}

}  // namespace cairn::repo
