#include "repo/snapshot.h"

#include <algorithm>

#include "crypto/random.h"
#include "crypto/seal.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/record.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kFolder = "snapshots/";
constexpr std::string_view kLabel = "cairn snapshot";
constexpr std::string_view kHeaderLabel = "cairn snapshot header";
constexpr std::string_view kRecordLabel = "cairn snapshot record";
constexpr std::uint64_t kLimitBytes = std::uint64_t{16} << 20;
constexpr std::size_t kSaltBytes = 32;
// Nothing in a snapshot is bounded but the whole.
constexpr std::size_t kMaxText = kLimitBytes;
constexpr std::size_t kMaxItems = kLimitBytes;
constexpr std::uint64_t kIsSnapshot = 0;
constexpr std::uint64_t kIsTombstone = 1;

std::vector<std::byte> bound_to(std::string_view label,
                                const RepositoryId& repository,
                                const SessionId& id) {
  return Statement{label, repository, {id.bytes}}.bytes();
}

std::vector<std::byte> sealed(const crypto::Secret& key,
                              std::span<const std::byte> ad,
                              std::span<const std::byte> plain) {
  std::vector<std::byte> out(plain.size() + crypto::kTagBytes);
  crypto::seal(key, ad, plain, out);
  return out;
}

std::vector<std::byte> opened(const crypto::Secret& key,
                              std::span<const std::byte> ad,
                              std::span<const std::byte> bytes,
                              std::string_view name) {
  if (bytes.size() >= crypto::kTagBytes) {
    std::vector<std::byte> plain(bytes.size() - crypto::kTagBytes);
    if (crypto::open(key, ad, bytes, plain)) return plain;
  }
  throw CorruptionError(std::string(name) + ": tag does not verify");
}

// The object, from the fields that are signed, as one CBOR array that the
// signer and the signature are then added to.
std::vector<std::byte> signed_object(
    const Signer& signer, const RepositoryId& repository, const SessionId& id,
    std::size_t fields, std::span<const std::byte> encoded_fields) {
  CborWriter statement;
  statement.array(fields).raw(encoded_fields);
  CborWriter body;
  body.array(fields + 2).raw(encoded_fields);
  write(body, signer.chain());
  body.bytes(signer.sign({kLabel, repository, {id.bytes, statement.view()}}));
  return enclose(ObjectType::snapshot, body.view());
}

// A number of this text that a newer one may have added to.
template <typename Enum>
Enum read_known(CborReader& in, std::string_view name, Enum last) {
  const std::uint64_t number = in.uint();
  if (number > static_cast<std::uint64_t>(last)) {
    throw UnsupportedFormat(std::string(name) +
                            ": a source of unknown kind or status");
  }
  return static_cast<Enum>(number);
}

}  // namespace

SeriesTag series_tag(const Keyring& keyring, std::string_view series) {
  const auto derived =
      crypto::derive(keyring.oldest().index_key, "cairn series tag",
                     std::as_bytes(std::span(series)));
  SeriesTag tag;
  std::ranges::copy(derived.bytes().first(tag.size()), tag.begin());
  return tag;
}

std::string snapshot_name(const SessionId& id) {
  return std::string(kFolder) + id.hex();
}

std::vector<std::byte> encode(const SnapshotHeader& header) {
  CborWriter out;
  out.map(11);
  write_time(out.key(1), header.time);
  write_time(out.key(2), header.arrival);
  out.key(3).uint(header.epoch);
  out.key(4).bytes(header.series_tag);
  out.key(5).bytes(header.root.bytes);
  out.key(6).uint(header.logical_bytes);
  out.key(7).uint(header.stored_bytes);
  out.key(8).boolean(header.is_complete);
  out.key(9).uint(header.sequence);
  out.key(10).bytes(header.previous);
  out.key(11).uint(header.entries);
  return std::move(out).take();
}

SnapshotHeader decode_header(std::span<const std::byte> bytes,
                             std::string_view name) {
  CborReader in(bytes, name);
  SnapshotHeader header;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1:
        header.time = read_time(in);
        break;
      case 2:
        header.arrival = read_time(in);
        break;
      case 3:
        header.epoch = in.uint();
        break;
      case 4:
        header.series_tag = in.fixed<std::tuple_size_v<SeriesTag>>();
        break;
      case 5:
        header.root.bytes = in.fixed<BlobId::kBytes>();
        break;
      case 6:
        header.logical_bytes = in.uint();
        break;
      case 7:
        header.stored_bytes = in.uint();
        break;
      case 8:
        header.is_complete = in.boolean();
        break;
      case 9:
        header.sequence = in.uint();
        break;
      case 10:
        header.previous = in.fixed<crypto::kDigestBytes>();
        break;
      case 11:
        header.entries = in.uint();
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, in);
  return header;
}

// Ignorable: who does not know them reads the rest.
constexpr std::uint64_t kOriginKey = 128;
constexpr std::uint64_t kRepairedFromKey = 129;
constexpr std::uint64_t kFactsKey = 130;

std::optional<std::string> SourceReport::fact(
    std::string_view fact_name) const {
  const auto found = std::ranges::find(facts, fact_name, &Fact::name);
  if (found == facts.end()) return std::nullopt;
  return found->value;
}

namespace {

bool has_facts(const SnapshotRecord& record) {
  return std::ranges::any_of(record.sources, [](const SourceReport& source) {
    return !source.facts.empty();
  });
}

// [[source, name, value], ...], ascending.
void write_facts(CborWriter& out, const SnapshotRecord& record) {
  std::size_t count = 0;
  for (const auto& source : record.sources) count += source.facts.size();
  if (count == 0) return;
  out.key(kFactsKey).array(count);
  for (std::size_t i = 0; i < record.sources.size(); ++i) {
    for (const auto& fact : record.sources[i].facts) {
      out.array(3).uint(i).text(fact.name).text(fact.value);
    }
  }
}

void read_facts(CborReader& in, SnapshotRecord& record) {
  std::size_t last_source = 0;
  for (auto n = in.array(kMaxItems); n > 0; --n) {
    in.array_of(3);
    const auto source = static_cast<std::size_t>(in.uint());
    Fact fact;
    fact.name = in.text(kMaxText);
    fact.value = in.text(kMaxText);
    if (source >= record.sources.size()) in.fail("a fact of no source");
    auto& facts = record.sources[source].facts;
    const bool ascends = source >= last_source &&
                         (facts.empty() || facts.back().name < fact.name);
    if (!ascends) in.fail("facts that do not ascend");
    last_source = source;
    facts.push_back(std::move(fact));
  }
  if (!has_facts(record)) in.fail("facts that are none");
}

}  // namespace

std::vector<std::byte> encode(const SnapshotRecord& record) {
  CborWriter out;
  out.map(7U + (record.origin ? 1 : 0) + (record.repaired_from ? 1 : 0) +
          (has_facts(record) ? 1 : 0));
  out.key(1).text(record.series);
  out.key(2).text(record.host);
  out.key(3).text(record.user);
  out.key(4).array(record.tags.size());
  for (const auto& tag : record.tags) out.text(tag);
  out.key(5).array(record.paths.size());
  for (const auto& path : record.paths) out.bytes(path);
  out.key(6).array(record.sources.size());
  for (const auto& source : record.sources) {
    out.array(6).bytes(source.name);
    out.uint(static_cast<std::uint64_t>(source.kind));
    out.uint(static_cast<std::uint64_t>(source.status));
    out.uint(source.bytes).uint(source.entries).text(source.message);
  }
  out.key(7).text(record.program);
  if (record.origin) {
    out.key(kOriginKey).array(2);
    out.bytes(record.origin->repository.bytes);
    out.bytes(record.origin->snapshot.bytes);
  }
  if (record.repaired_from) {
    out.key(kRepairedFromKey).bytes(record.repaired_from->bytes);
  }
  write_facts(out, record);
  return std::move(out).take();
}

SnapshotRecord decode_record(std::span<const std::byte> bytes,
                             std::string_view name) {
  CborReader in(bytes, name);
  SnapshotRecord record;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1:
        record.series = in.text(kMaxText);
        break;
      case 2:
        record.host = in.text(kMaxText);
        break;
      case 3:
        record.user = in.text(kMaxText);
        break;
      case 4:
        for (auto n = in.array(kMaxItems); n > 0; --n) {
          record.tags.emplace_back(in.text(kMaxText));
        }
        break;
      case 5:
        for (auto n = in.array(kMaxItems); n > 0; --n) {
          record.paths.emplace_back(in.byte_text(kMaxText));
        }
        break;
      case 6:
        for (auto n = in.array(kMaxItems); n > 0; --n) {
          in.array_of(6);
          SourceReport source;
          source.name = in.byte_text(kMaxText);
          source.kind = read_known(in, name, SourceKind::postgres_wal);
          source.status = read_known(in, name, SourceStatus::failed);
          source.bytes = in.uint();
          source.entries = in.uint();
          source.message = in.text(kMaxText);
          record.sources.push_back(std::move(source));
        }
        break;
      case 7:
        record.program = in.text(kMaxText);
        break;
      case kOriginKey: {
        in.array_of(2);
        SnapshotOrigin origin;
        origin.repository.bytes = in.fixed<RepositoryId::kBytes>();
        origin.snapshot.bytes = in.fixed<SessionId::kBytes>();
        record.origin = origin;
        break;
      }
      case kRepairedFromKey:
        record.repaired_from = SessionId{in.fixed<SessionId::kBytes>()};
        break;
      case kFactsKey:
        read_facts(in, record);
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7}, in);
  return record;
}

Created publish_tombstone(Storage& storage, const Keyring& keyring,
                          const Signer& signer, const Tombstone& tombstone) {
  constexpr std::size_t kFields = 3;
  CborWriter fields;
  fields.uint(kIsTombstone);
  write_time(fields, tombstone.time);
  fields.text(tombstone.reason);
  return storage.create(snapshot_name(tombstone.id),
                        signed_object(signer, keyring.repository(),
                                      tombstone.id, kFields, fields.view()));
}

namespace {

// A slot's object, taken apart. Nothing of it is verified but its own digest.
class Slot {
 public:
  // Throws CorruptionError, NotFound, UnsupportedFormat.
  Slot(const Storage& storage, const SessionId& id)
      : Slot(get_whole(storage, snapshot_name(id), kLimitBytes), id) {}
  Slot(std::vector<std::byte> object, const SessionId& id)
      : id_(id), name_(snapshot_name(id)), object_(std::move(object)) {
    const auto body = disclose(object_, ObjectType::snapshot, name_);
    CborReader in(body, name_);
    fields_ = in.array(8);
    const std::size_t begin = body.size() - in.left();
    const std::uint64_t type = in.uint();
    if (type > kIsTombstone) {
      throw UnsupportedFormat(name_ + ": neither snapshot nor tombstone");
    }
    is_snapshot_ = type == kIsSnapshot;
    if (fields_ != (is_snapshot_ ? 8U : 5U)) {
      in.fail("a record of another length");
    }
    if (is_snapshot_) {
      generation_ = static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
      salt_ = in.fixed<kSaltBytes>();
      header_ = in.bytes(body.size());
      wrapped_ = in.fixed<crypto::kWrappedBytes>();
      record_ = in.bytes(body.size());
    } else {
      time_ = read_time(in);
      reason_ = in.text(kMaxText);
    }
    const std::size_t end = body.size() - in.left();
    signed_fields_ = body.subspan(begin, end - begin);
    signer_ = read_signer_chain(in);
    signature_ = in.fixed<crypto::kSignatureBytes>();
    in.end();
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  [[nodiscard]] const SessionId& id() const { return id_; }
  [[nodiscard]] bool is_snapshot() const { return is_snapshot_; }
  [[nodiscard]] Tombstone tombstone() const {
    return {id_, time_, reason_, signer_};
  }
  [[nodiscard]] const SignerChain& signer() const { return signer_; }
  [[nodiscard]] crypto::Digest digest() const {
    return crypto::sha256(object_);
  }

  void require_signature(const Keyring& keyring) const {
    CborWriter statement;
    statement.array(fields_ - 2).raw(signed_fields_);
    const auto fault = find_fault(
        signer_, keyring.root_key(),
        {kLabel, keyring.repository(), {id_.bytes, statement.view()}},
        signature_, is_snapshot_ ? Authority::writer : Authority::keeper);
    if (fault) throw CorruptionError(name_ + ": " + std::string(*fault));
  }

  // The rest is of a snapshot only.

  [[nodiscard]] const Generation& generation_in(const Keyring& keyring) const {
    const Generation* const generation = keyring.find(generation_);
    if (generation != nullptr) return *generation;
    throw MissingKeys(name_ + ": sealed with " + missing_keys(generation_));
  }

  [[nodiscard]] SnapshotHeader open_header(const Keyring& keyring,
                                           const Generation& generation) const {
    return decode_header(
        opened(crypto::derive(generation.index_key, kHeaderLabel, salt_),
               bound_to(kHeaderLabel, keyring.repository(), id_), header_,
               name_),
        name_);
  }

  // Nothing: this role may not read it.
  [[nodiscard]] std::optional<SnapshotRecord> open_record(
      const Keyring& keyring, const Generation& generation) const {
    const auto& names_key = generation.secret_of(KeyClass::names);
    if (!names_key) return std::nullopt;
    const auto record_key = crypto::unwrap(wrapped_, *names_key);
    if (!record_key) throw CorruptionError(name_ + ": key does not unwrap");
    return decode_record(
        opened(*record_key, bound_to(kRecordLabel, keyring.repository(), id_),
               record_, name_),
        name_);
  }

 private:
  SessionId id_;
  std::string name_;
  std::vector<std::byte> object_;
  std::size_t fields_ = 0;
  bool is_snapshot_ = false;
  std::span<const std::byte> signed_fields_;  // of object_
  SignerChain signer_;
  crypto::Signature signature_{};

  // Of a snapshot.
  std::uint32_t generation_ = 0;
  std::array<std::byte, kSaltBytes> salt_{};
  std::span<const std::byte> header_;  // of object_, as record_
  crypto::Wrapped wrapped_{};
  std::span<const std::byte> record_;

  // Of a tombstone.
  Timestamp time_;
  std::string reason_;
};

std::variant<Snapshot, Tombstone> open_slot(const Slot& slot,
                                            const Keyring& keyring) {
  slot.require_signature(keyring);
  if (!slot.is_snapshot()) return slot.tombstone();

  const Generation& generation = slot.generation_in(keyring);
  Snapshot snapshot;
  snapshot.id = slot.id();
  snapshot.signer = slot.signer();
  snapshot.header = slot.open_header(keyring, generation);
  snapshot.record = slot.open_record(keyring, generation);
  snapshot.object = slot.digest();
  return snapshot;
}

}  // namespace

namespace {

std::vector<std::byte> snapshot_object(const Keyring& keyring,
                                       const Signer& signer,
                                       const SessionId& id,
                                       const SnapshotHeader& header,
                                       const SnapshotRecord& record) {
  const Generation& generation = keyring.newest();
  const auto salt = crypto::random_array<kSaltBytes>();
  const auto header_key =
      crypto::derive(generation.index_key, kHeaderLabel, salt);
  const auto record_key = crypto::Secret::random();
  const auto wrapped = crypto::wrap(
      record_key,
      generation.public_keys[static_cast<std::size_t>(KeyClass::names)]);
  constexpr std::size_t kFields = 6;
  CborWriter fields;
  fields.uint(kIsSnapshot).uint(generation.number).bytes(salt);
  fields.bytes(sealed(header_key,
                      bound_to(kHeaderLabel, keyring.repository(), id),
                      encode(header)));
  fields.bytes(wrapped);
  fields.bytes(sealed(record_key,
                      bound_to(kRecordLabel, keyring.repository(), id),
                      encode(record)));
  const auto object =
      signed_object(signer, keyring.repository(), id, kFields, fields.view());
  if (object.size() > kLimitBytes) {
    throw Error("the snapshot's record is too large: fewer paths or tags");
  }
  return object;
}

Committed create_slot(Storage& storage, const SessionId& id,
                      std::span<const std::byte> object) {
  const Created outcome = storage.create(snapshot_name(id), object);
  return {outcome, crypto::sha256(object)};
}

}  // namespace

Committed publish_snapshot(Storage& storage, const Keyring& keyring,
                           const Signer& signer, const SessionId& id,
                           const SnapshotHeader& header,
                           const SnapshotRecord& record) {
  return create_slot(storage, id,
                     snapshot_object(keyring, signer, id, header, record));
}

Committed publish_snapshot_that_opens(Storage& storage, const Keyring& keyring,
                                      const Signer& signer, const SessionId& id,
                                      const SnapshotHeader& header,
                                      const SnapshotRecord& record) {
  const auto object = snapshot_object(keyring, signer, id, header, record);
  (void)open_slot(Slot(object, id), keyring);
  return create_slot(storage, id, object);
}

std::variant<Snapshot, Tombstone> read_slot(const Storage& storage,
                                            const Keyring& keyring,
                                            const SessionId& id) {
  return open_slot(Slot(storage, id), keyring);
}

std::optional<SnapshotClaim> read_claim(const Storage& storage,
                                        const Keyring& keyring,
                                        const SessionId& id) {
  const Slot slot(storage, id);
  if (!slot.is_snapshot()) return std::nullopt;
  return SnapshotClaim{id,
                       slot.open_header(keyring, slot.generation_in(keyring))};
}

crypto::Digest object_digest(const Storage& storage, const SessionId& id) {
  return crypto::sha256(get_whole(storage, snapshot_name(id), kLimitBytes));
}

std::vector<SessionId> list_slots(const Storage& storage) {
  std::vector<SessionId> ids;
  storage.list("snapshots", [&](const ListedObject& object) {
    const auto id = SessionId::from_hex(
        std::string_view(object.name).substr(kFolder.size()));
    if (id) ids.push_back(*id);
  });
  std::ranges::sort(ids);
  return ids;
}

}  // namespace cairn::repo
