#include "repo/epoch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/sealed_record.h"
#include "repo/wire.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kFolder = "epochs/";
constexpr SealedRecordKind kKind{ObjectType::epoch, "cairn epoch",
                                 Authority::keeper, kMaxEpochBytes};

std::array<std::byte, 8> bytes_of(std::uint64_t number) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = bytes.size(); i-- > 0; number >>= 8) {
    bytes[i] = static_cast<std::byte>(number);
  }
  return bytes;
}

// SHA-256 of the object; zeros when it cannot be read.
crypto::Digest digest_of_object(const Storage& storage, std::uint64_t number) {
  if (number == 0) return {};
  try {
    return crypto::sha256(
        get_whole(storage, epoch_name(number), kMaxEpochBytes));
  } catch (const NotFound&) {
    return {};
  } catch (const CorruptionError&) {
    return {};
  }
}

}  // namespace

std::set<PackId> doomed_packs(const Epoch& epoch) {
  std::set<PackId> packs;
  for (const auto& pack : epoch.doomed) packs.insert(pack.id);
  return packs;
}

std::set<PackId> going_packs(const Epoch& epoch) {
  std::set<PackId> packs = doomed_packs(epoch);
  packs.insert(epoch.condemned.begin(), epoch.condemned.end());
  return packs;
}

std::string epoch_name(std::uint64_t number) {
  return std::string(kFolder) + crypto::to_hex(bytes_of(number));
}

std::uint64_t epoch_number(std::string_view name) {
  if (!name.starts_with(kFolder)) return 0;
  const std::string_view digits = name.substr(kFolder.size());
  std::uint64_t number = 0;
  const auto [end, fault] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  const bool is_one = fault == std::errc() && number <= kMaxEpochNumber &&
                      epoch_name(number) == name;
  return is_one ? number : 0;
}

std::vector<std::uint64_t> list_epochs(const Storage& storage) {
  std::vector<std::uint64_t> numbers;
  storage.list("epochs", [&](const ListedObject& object) {
    if (const auto number = epoch_number(object.name); number != 0) {
      numbers.push_back(number);
    }
  });
  std::ranges::sort(numbers);
  return numbers;
}

std::vector<std::byte> encode(const Epoch& epoch) {
  CborWriter out;
  out.map(5);
  out.key(1).bytes(epoch.previous);
  write_time(out.key(2), epoch.time);
  out.key(3).array(epoch.condemned.size());
  for (const auto& id : epoch.condemned) out.bytes(id.bytes);
  out.key(4).array(epoch.doomed.size());
  for (const auto& [id, since] : epoch.doomed) {
    write_time(out.array(2).bytes(id.bytes), since);
  }
  out.key(5).array(epoch.snapshots.size());
  for (const auto& id : epoch.snapshots) out.bytes(id.bytes);
  return std::move(out).take();
}

Epoch decode_epoch(std::span<const std::byte> bytes, std::uint64_t number,
                   std::string_view name) {
  CborReader in(bytes, name);
  Epoch epoch;
  epoch.number = number;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1:
        epoch.previous = in.fixed<crypto::kDigestBytes>();
        break;
      case 2:
        epoch.time = read_time(in);
        break;
      case 3:
        for (auto n = in.array(bytes.size()); n > 0; --n) {
          epoch.condemned.push_back({in.fixed<PackId::kBytes>()});
        }
        break;
      case 4:
        for (auto n = in.array(bytes.size()); n > 0; --n) {
          in.array_of(2);
          DoomedPack& pack = epoch.doomed.emplace_back();
          pack.id.bytes = in.fixed<PackId::kBytes>();
          pack.since = read_time(in);
        }
        break;
      case 5:
        for (auto n = in.array(bytes.size()); n > 0; --n) {
          epoch.snapshots.push_back({in.fixed<SessionId::kBytes>()});
        }
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5}, in);
  if (!epoch.is_condemnation() && !epoch.condemned.empty()) {
    in.fail("a doom that condemns");
  }
  // Equal ones, too: not std::ranges::adjacent_find, which clang 14 cannot.
  for (std::size_t i = 1; i < epoch.snapshots.size(); ++i) {
    if (!(epoch.snapshots[i - 1] < epoch.snapshots[i])) {
      in.fail("snapshots out of order");
    }
  }
  return epoch;
}

Epoch read_epoch(const Storage& storage, const Keyring& keyring,
                 std::uint64_t number) {
  return read_signed_epoch(storage, keyring, number).epoch;
}

SignedEpoch read_signed_epoch(const Storage& storage, const Keyring& keyring,
                              std::uint64_t number) {
  const std::string name = epoch_name(number);
  const auto object = get_whole(storage, name, kMaxEpochBytes);
  auto [plain, signer] =
      open_signed_record(kKind, keyring, bytes_of(number), object, name);
  return {decode_epoch(plain, number, name), std::move(signer),
          crypto::sha256(object)};
}

namespace {

// The newest one that can be read and that `counts`; number 0: there is none.
template <typename Counts>
SignedEpoch read_newest(const Storage& storage, const Keyring& keyring,
                        std::vector<std::uint64_t>& numbers, Counts counts) {
  while (true) {
    bool has_vanished = false;
    numbers = list_epochs(storage);
    for (std::size_t i = numbers.size(); i-- > 0 && !has_vanished;) {
      if (!counts(numbers[i])) continue;
      try {
        return read_signed_epoch(storage, keyring, numbers[i]);
      } catch (const NotFound&) {
        has_vanished = true;  // others came further and removed it
      } catch (const CorruptionError&) {
        continue;
      }
    }
    if (!has_vanished) return {};
  }
}

}  // namespace

EpochLog read_epochs(const Storage& storage, const Keyring& keyring) {
  EpochLog log;
  std::vector<std::uint64_t> numbers;
  auto newest = read_newest(storage, keyring, numbers,
                            [](std::uint64_t) { return true; });
  log.newest = std::move(newest.epoch);
  log.object = newest.object;
  log.last = log.newest.number;
  while (std::ranges::binary_search(numbers, log.last + 1)) ++log.last;
  return log;
}

bool is_newest(const Storage& storage, const Keyring& keyring,
               std::uint64_t number) {
  const auto numbers = list_epochs(storage);
  if (numbers.empty() || numbers.back() <= number) return true;
  return read_epochs(storage, keyring).newest.number <= number;
}

Created publish_epoch(Storage& storage, const Keyring& keyring,
                      const Signer& signer, Epoch epoch) {
  epoch.previous = digest_of_object(storage, epoch.number - 1);
  const auto object = seal_record(kKind, keyring, signer,
                                  bytes_of(epoch.number), encode(epoch));
  if (storage.create(epoch_name(epoch.number), object) == Created::exists) {
    return Created::exists;
  }
  // Old ones are removed: the name may have been free because others are far
  // beyond it. Then it stays as an old one, which a later pass removes; to take
  // it back is not safe, for it may have counted while this process slept.
  return is_newest(storage, keyring, epoch.number) ? Created::created
                                                   : Created::exists;
}

LastDoom::LastDoom(const Epoch& doom)
    : condemnation_(doom.number == 0 ? 0 : doom.number - 1),
      snapshots_(doom.snapshots) {}

bool LastDoom::is_void(const SessionId& id, std::uint64_t pinned_epoch) const {
  return pinned_epoch < condemnation_ &&
         !std::ranges::binary_search(snapshots_, id);
}

LastDoom read_last_doom(const Storage& storage, const Keyring& keyring) {
  std::vector<std::uint64_t> numbers;
  return LastDoom(
      read_newest(storage, keyring, numbers, [](std::uint64_t number) {
        return number % 2 == 0;
      }).epoch);
}

}  // namespace cairn::repo
