#include "repo/mark.h"

#include <algorithm>
#include <set>
#include <utility>

#include "crypto/random.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/sealed_record.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kFolder = "marks/";
constexpr SealedRecordKind kKind{ObjectType::mark, "cairn mark",
                                 Authority::keeper};

}  // namespace

std::string mark_name(const MarkId& id) {
  return std::string(kFolder) + id.hex();
}

std::vector<std::byte> encode(const Mark& mark) {
  CborWriter out;
  out.map(mark.until ? 5 : 4);
  out.key(1).uint(static_cast<std::uint64_t>(mark.action));
  out.key(2).bytes(mark.target.bytes);
  write_time(out.key(3), mark.time);
  out.key(4).text(mark.reason);
  if (mark.until) write_time(out.key(5), *mark.until);
  return std::move(out).take();
}

Mark decode_mark(std::span<const std::byte> bytes, std::string_view name) {
  CborReader in(bytes, name);
  Mark mark;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1: {
        const auto action = in.uint();
        if (action > static_cast<std::uint64_t>(MarkAction::release)) {
          throw UnsupportedFormat(std::string(name) + ": unknown action");
        }
        mark.action = static_cast<MarkAction>(action);
        break;
      }
      case 2:
        mark.target.bytes = in.fixed<SessionId::kBytes>();
        break;
      case 3:
        mark.time = read_time(in);
        break;
      case 4:
        mark.reason = in.text(kMaxSealedRecordBytes);
        break;
      case 5:
        mark.until = read_time(in);
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4}, in);
  return mark;
}

MarkId publish_mark(Storage& storage, const Keyring& keyring,
                    const Signer& signer, const Mark& mark) {
  const MarkId id{crypto::random_array<MarkId::kBytes>()};
  const auto object =
      seal_record(kKind, keyring, signer, id.bytes, encode(mark));
  if (storage.create(mark_name(id), object) == Created::exists) {
    throw IoError(mark_name(id) + ": exists already");  // 2^-128
  }
  return id;
}

Mark read_mark(const Storage& storage, const Keyring& keyring,
               const MarkId& id) {
  return read_signed_mark(storage, keyring, id).mark;
}

SignedMark read_signed_mark(const Storage& storage, const Keyring& keyring,
                            const MarkId& id) {
  const std::string name = mark_name(id);
  const auto object = get_whole(storage, name, kMaxSealedRecordBytes);
  auto [plain, signer] =
      open_signed_record(kKind, keyring, id.bytes, object, name);
  return {decode_mark(plain, name), std::move(signer)};
}

std::vector<MarkId> list_marks(const Storage& storage) {
  std::vector<MarkId> ids;
  storage.list("marks", [&](const ListedObject& object) {
    const auto id =
        MarkId::from_hex(std::string_view(object.name).substr(kFolder.size()));
    if (id) ids.push_back(*id);
  });
  std::ranges::sort(ids);
  return ids;
}

std::vector<StoredMark> read_marks(const Storage& storage,
                                   const Keyring& keyring) {
  std::vector<StoredMark> marks;
  for (const auto& id : list_marks(storage)) {
    try {
      marks.push_back({id, read_mark(storage, keyring, id)});
    } catch (const NotFound&) {
      continue;  // settled by a prune since it was listed
    } catch (const CorruptionError& e) {
      throw CorruptionError(std::string(e.what()) + "; " +
                            std::string(kDamagedMarkAdvice));
    }
  }
  return marks;
}

std::vector<StoredMark> active_holds(const std::vector<StoredMark>& marks,
                                     const Timestamp& now) {
  std::set<SessionId> released;
  for (const auto& [id, mark] : marks) {
    if (mark.action == MarkAction::release) released.insert(mark.target);
  }
  std::vector<StoredMark> holds;
  for (const auto& stored : marks) {
    const bool is_over = stored.mark.until && *stored.mark.until <= now;
    if (stored.mark.action == MarkAction::hold && !is_over &&
        !released.contains(SessionId{stored.id.bytes})) {
      holds.push_back(stored);
    }
  }
  return holds;
}

}  // namespace cairn::repo
