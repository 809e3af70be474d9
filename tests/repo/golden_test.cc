// The code against what another program wrote from FORMAT.md alone: every
// vector both ways, and a whole repository down to its last blob.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "crypto/passphrase_kdf.h"
#include "crypto/seal.h"
#include "crypto/wrap.h"
#include "repo/blob_codec.h"
#include "repo/blob_index.h"
#include "repo/blob_reader.h"
#include "repo/cbor.h"
#include "repo/check.h"
#include "repo/config.h"
#include "repo/envelope.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/index_object.h"
#include "repo/key_file.h"
#include "repo/key_slot.h"
#include "repo/keyring.h"
#include "repo/mark.h"
#include "repo/node.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/patch.h"
#include "repo/repository.h"
#include "repo/session.h"
#include "repo/signer.h"
#include "repo/snapshot.h"
#include "repo/tree_reader.h"
#include "repo/weave.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::golden_bytes;
using testing_support::golden_path;
using testing_support::golden_repository;
using testing_support::golden_vectors;
using testing_support::MemoryStorage;
using testing_support::read_file;
using testing_support::TempFolder;
using testing_support::Vector;

// Vectors ---------------------------------------------------------------------

TEST(Golden, PrologueIsThePrintedOne) {
  const Bytes golden = golden_bytes("prologue_config.hex");

  const Prologue prologue =
      decode_prologue(golden, ObjectType::config, "config");
  const auto encoded = encode(prologue);

  EXPECT_EQ(prologue.number, 107U);
  EXPECT_TRUE(std::ranges::equal(encoded, golden));
}

TEST(Golden, PadmeLengthsAreTheListedOnes) {
  std::istringstream lines(read_file(golden_path("padme.txt")));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream numbers(line);
    std::uint64_t size = 0;
    std::uint64_t padded = 0;
    numbers >> size >> padded;
    EXPECT_EQ(padme(size), padded) << size;
    ++count;
  }
  EXPECT_GT(count, 0U);
}

TEST(Golden, FactsOfASourceAreInItsSnapshotsRecord) {
  const auto vectors = golden_vectors("record_facts.txt");
  ASSERT_EQ(vectors.size(), 2U);
  const Bytes golden = vectors[0].bytes("record");
  const auto record = decode_record(golden, "record");
  ASSERT_EQ(record.sources.size(), 1U);
  EXPECT_EQ(record.sources[0].kind, SourceKind::postgres_base);
  EXPECT_EQ(record.sources[0].fact("timeline"), "1");
  EXPECT_EQ(record.sources[0].fact("system_identifier"), "7412345678901234567");
  EXPECT_FALSE(record.sources[0].fact("system"));
  EXPECT_EQ(encode(record), golden);
  for (const char* const wrong :
       {"descending", "twice", "of_no_source", "none"}) {
    EXPECT_THROW((void)decode_record(vectors[1].bytes(wrong), "record"),
                 CorruptionError)
        << wrong;
  }
}

TEST(Golden, ARecordOfWalNamesItsStream) {
  const auto vectors = golden_vectors("record_wal.txt");
  ASSERT_EQ(vectors.size(), 2U);
  const Bytes golden = vectors[0].bytes("record");
  const auto record = decode_record(golden, "record");
  ASSERT_EQ(record.sources.size(), 1U);
  EXPECT_EQ(record.sources[0].kind, SourceKind::postgres_wal);
  EXPECT_EQ(record.sources[0].name,
            "wal/7412345678901234567/00000002/0000000003000000");
  EXPECT_EQ(record.sources[0].fact("end_lsn"), "0/30001A8");
  EXPECT_EQ(encode(record), golden);
  EXPECT_THROW((void)decode_record(vectors[1].bytes("kind_5"), "record"),
               UnsupportedFormat);
}

TEST(Golden, IdsAreHmacOfKindAndBytes) {
  for (const Vector& vector : golden_vectors("id.txt")) {
    const crypto::Hmac hmac(vector.secret("key"));
    const std::array kind = {static_cast<std::byte>(vector.number("kind"))};
    EXPECT_EQ(hmac.of(kind, vector.bytes("plain")), vector.array<32>("id"));
  }
}

BlobRow row_of(const Vector& vector) {
  BlobRow row;
  row.kind = static_cast<BlobKind>(vector.number("kind"));
  row.codec = static_cast<Codec>(vector.number("codec"));
  row.id.bytes = vector.array<32>("id");
  row.plain_size = static_cast<std::uint32_t>(vector.number("plain_size"));
  row.stored_size = static_cast<std::uint32_t>(vector.number("stored_size"));
  row.counter = vector.number("counter");
  if (vector.text("base") != "null") {
    row.base = BlobId{vector.array<32>("base")};
  }
  row.depth = static_cast<std::uint32_t>(vector.number("depth"));
  return row;
}

TEST(Golden, BlobsAreSealedAsListed) {
  for (const Vector& vector : golden_vectors("blob.txt")) {
    const FamilyId family{vector.array<16>("family")};
    const auto generation =
        static_cast<std::uint32_t>(vector.number("generation"));
    const Bytes plain = vector.bytes("stored_plain");
    const BlobRow row = row_of(vector);

    const auto ad = associated_data(family, generation, row);
    Bytes sealed(plain.size() + crypto::kTagBytes);
    crypto::seal(vector.secret("key"), ad, plain, sealed);

    EXPECT_EQ(ad, vector.bytes("ad"));
    EXPECT_EQ(sealed, vector.bytes("sealed"));
  }
}

TEST(Golden, PatchesAreTakenAsListedAndNoOthers) {
  Decompressor decompressor;
  PatchDecoder decoder;
  const auto vectors = golden_vectors("patch.txt");
  for (const Vector& vector : vectors) {
    const Bytes plain = vector.bytes("plain");
    Bytes made(plain.size());
    EXPECT_TRUE(decoder.decode(vector.bytes("patch"), vector.bytes("base"),
                               made, decompressor));
    EXPECT_EQ(made, plain);
  }
  const Bytes base = vectors.front().bytes("base");
  Bytes made(vectors.front().bytes("plain").size());
  const auto refused = golden_vectors("patch_refused.txt");
  for (const auto& [name, value] : refused.front().fields()) {
    SCOPED_TRACE(name);
    const Bytes patch = testing_support::from_hex(value);
    EXPECT_FALSE(decoder.decode(patch, base, made, decompressor));
  }
}

TEST(Golden, ADirectoryIsSealedAsListed) {
  const Vector vector = golden_vectors("directory.txt").front();
  PackHead head;
  const Bytes prologue = vector.bytes("prologue");
  const Bytes salt = vector.bytes("salt");
  std::ranges::copy(prologue, head.begin());
  std::ranges::copy(salt, head.begin() + kPrologueBytes);
  const Bytes cbor = vector.bytes("cbor");
  CborReader in(cbor, "directory");

  const Directory directory = read_directory(in);
  in.end();
  CborWriter out;
  write(out, directory);
  const auto sealed = seal_directory(vector.secret("index_key"), head,
                                     vector.number("offset"), directory);

  EXPECT_EQ(out.view(), cbor);
  EXPECT_EQ(sealed.size(), vector.number("sealed_size"));
  EXPECT_EQ(crypto::sha256(sealed), vector.array<32>("sealed_sha256"));
}

TEST(Golden, ALinksNodeHasTheListedSpelling) {
  const Vector vector = golden_vectors("links_node.txt").front();
  const Bytes cbor = vector.bytes("cbor");

  const auto links = decode_links(cbor, "links");

  ASSERT_EQ(links.size(), 2U);
  EXPECT_EQ(links[0].kind, BlobKind::names);
  EXPECT_EQ(links[0].id.bytes, vector.array<32>("names_id"));
  EXPECT_EQ(links[1].id.bytes, vector.array<32>("content_id"));
  EXPECT_EQ(links[1].length, 15U);
  EXPECT_EQ(encode_links(links), cbor);
}

TEST(Golden, ANamesNodeHasTheListedSpelling) {
  const Vector vector = golden_vectors("names_node.txt").front();
  const Bytes cbor = vector.bytes("cbor");

  const auto entries = decode_names(cbor, "names");

  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].entry.name, "a");
  EXPECT_EQ(entries[0].entry.modified, (Timestamp{1795132800, 5}));
  EXPECT_EQ(entries[0].rows, 1U);
  EXPECT_EQ(entries[1].entry.symlink_target, "a");
  EXPECT_EQ(entries[1].entry.modified, (Timestamp{-1, 0}));
  EXPECT_EQ(encode_names(entries), cbor);
}

// "part,length part,length ..."
std::vector<WeaveStep> listed_steps(const Vector& vector) {
  std::vector<WeaveStep> steps;
  std::istringstream text(vector.text("steps"));
  WeaveStep step;
  for (char comma = 0; text >> step.part >> comma >> step.length;) {
    steps.push_back(step);
  }
  return steps;
}

TEST(Golden, AWeaveHasTheListedSpelling) {
  const Vector vector = golden_vectors("weave.txt").at(0);
  const Bytes cbor = vector.bytes("cbor");

  const auto entries = decode_names(cbor, "names");

  ASSERT_EQ(entries.size(), 1U);
  ASSERT_TRUE(entries[0].entry.weave);
  EXPECT_EQ(entries[0].entry.weave->digest, vector.array<16>("digest"));
  EXPECT_EQ(entries[0].entry.weave->parts,
            (std::vector<std::uint64_t>{40, 11, 11}));
  EXPECT_EQ(encode_names(entries), cbor);
}

TEST(Golden, ARecipeHasTheListedSteps) {
  for (const Vector& vector : golden_vectors("weave.txt")) {
    Bytes recipe;
    for (const WeaveStep& step : listed_steps(vector)) {
      const auto bytes = encode_step(step);
      recipe.insert(recipe.end(), bytes.begin(), bytes.end());
    }
    EXPECT_EQ(recipe, vector.bytes("recipe"));
  }
}

TEST(Golden, AWeaveIsPutTogetherAsListed) {
  const Vector vector = golden_vectors("weave.txt").at(0);
  testing_support::TestRepository test_repository;
  Repository repository = test_repository.open();
  testing_support::StateWriter writer(repository);
  std::vector<Link> rows;
  for (const auto* const part : {"recipe", "part_1", "part_2"}) {
    const Bytes bytes = vector.bytes(part);
    // Chunks end within steps and within what a step takes.
    rows.push_back(writer.chunk(std::span(bytes).first(4)));
    rows.push_back(writer.chunk(std::span(bytes).subspan(4)));
  }
  writer.publish_index();
  const auto weave =
      decode_names(vector.bytes("cbor"), "names").at(0).entry.weave;
  BlobReader blobs = repository.blobs();
  PieceCursor pieces(blobs, weave, rows);
  Bytes stream;
  std::vector<WeaveStep> steps;
  WeaveDigester digester;

  while (const auto piece = pieces.next()) {
    const auto plain = blobs.read(BlobKind::content, piece->chunk.id);
    const auto bytes = std::span(*plain).subspan(piece->from, piece->size);
    digester.add(bytes);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
    if (!steps.empty() && steps.back().part == piece->part) {
      steps.back().length += piece->size;
    } else {
      steps.push_back({piece->part, piece->size});
    }
  }

  EXPECT_EQ(stream, vector.bytes("stream"));
  EXPECT_EQ(steps, listed_steps(vector));
  EXPECT_EQ(digester.finish(), weave->digest);
}

TEST(Golden, EveryRefusedWeaveIsRefused) {
  const auto vectors = golden_vectors("weave_refused.txt");
  for (const auto& [name, value] : vectors.front().fields()) {
    SCOPED_TRACE(name);
    const Bytes bytes = testing_support::from_hex(value);
    EXPECT_THROW((void)decode_names(bytes, "names"), CorruptionError);
  }
}

TEST(Golden, StreamsHaveTheListedXxh3) {
  for (const Vector& vector : golden_vectors("xxh3.txt")) {
    const Bytes plain = vector.bytes("plain");
    WeaveDigester digester;
    digester.add(std::span(plain).first(plain.size() / 3));
    digester.add(std::span(plain).subspan(plain.size() / 3));
    EXPECT_EQ(digester.finish(), vector.array<16>("xxh3"));
  }
}

TEST(Golden, IndexObjectsSayForWhomTheirPacksAreVerified) {
  const Vector vector = golden_vectors("index_body.txt").front();
  const auto said = [&](const std::string& name) {
    const Bytes listed = vector.bytes(name);
    const auto object = decode_index(listed, name);
    const auto encoded = encode(object);
    EXPECT_TRUE(std::ranges::equal(encoded, listed)) << name;
    return object.assurance;
  };
  crypto::VerifyKey key;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = std::byte(i);

  EXPECT_EQ(said("for_everyone"), Assurance::for_everyone());
  EXPECT_EQ(said("for_one_key"), Assurance::for_key(key));
  EXPECT_EQ(said("for_nobody"), Assurance{});
}

TEST(Golden, ObjectsHaveTheListedSpelling) {
  const Vector vector = golden_vectors("objects.txt").front();
  const auto expect_kept = [&](const std::string& name, auto decode) {
    const Bytes listed = vector.bytes(name);
    const auto encoded = encode(decode(listed, name));
    EXPECT_TRUE(std::ranges::equal(encoded, listed)) << name;
  };
  expect_kept("index_body", decode_index);
  expect_kept("snapshot_header", decode_header);
  expect_kept("snapshot_record", decode_record);
  expect_kept("session_alive", decode_session);
  expect_kept("mark_forget", decode_mark);
  expect_kept("mark_hold", decode_mark);
  expect_kept("generation_2", decode_generation);
  for (const std::uint64_t number : {1U, 2U}) {
    expect_kept("epoch_" + std::to_string(number),
                [&](const Bytes& listed, const std::string& name) {
                  return decode_epoch(listed, number, name);
                });
  }
}

TEST(Golden, AKeyFileHasTheListedText) {
  const Vector vector = golden_vectors("key_file.txt").front();
  const auto key = vector.secret("key");

  const auto parsed = parse_key_file(vector.text("line"));

  EXPECT_EQ(key_file_text(key), vector.text("line") + "\n");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(std::ranges::equal(parsed->bytes(), key.bytes()));
}

TEST(Golden, APassphraseIsStretchedAsListed) {
  const Vector vector = golden_vectors("passphrase.txt").front();
  const auto stretched =
      crypto::stretch(vector.text("passphrase"), vector.array<16>("salt"),
                      {static_cast<std::uint32_t>(vector.number("passes")),
                       vector.number("memory")});
  EXPECT_TRUE(
      std::ranges::equal(stretched.key.bytes(), vector.bytes("seal_key")));
  EXPECT_EQ(stretched.commitment, vector.array<32>("commitment"));
}

TEST(Golden, AWrappedKeyUnwrapsToTheListedOne) {
  const Vector vector = golden_vectors("wrapped_key.txt").front();
  const auto key =
      crypto::unwrap(vector.array<80>("wrapped"), vector.secret("secret"));
  ASSERT_TRUE(key);
  EXPECT_TRUE(std::ranges::equal(key->bytes(), vector.bytes("key")));
}

TEST(Golden, SignersCountAsListed) {
  for (const Vector& vector : golden_vectors("signer.txt")) {
    const Bytes encoded = vector.bytes("signer");
    CborReader in(encoded, "signer");
    const std::string label = vector.text("label");
    const Bytes message = vector.bytes("message");

    const SignerChain chain = read_signer_chain(in);
    in.end();
    const auto fault =
        find_fault(chain, vector.array<32>("root"),
                   {label, {vector.array<16>("repository_id")}, {message}},
                   vector.array<64>("signature"), Authority::writer);
    CborWriter out;
    write(out, chain);

    EXPECT_EQ(fault, std::nullopt) << *fault;
    EXPECT_EQ(out.view(), encoded);
  }
}

// Reads whatever comes, and writes it again.
void copy_value(CborReader& in, const Bytes& all, CborWriter& out) {
  const auto first = std::to_integer<unsigned>(all.at(all.size() - in.left()));
  switch (first >> 5) {
    case 0:
      out.uint(in.uint());
      return;
    case 1:
      out.sint(in.sint());
      return;
    case 2:
      out.bytes(in.bytes(all.size()));
      return;
    case 3:
      out.text(in.text(all.size()));
      return;
    case 4: {
      const std::size_t items = in.array(all.size());
      out.array(items);
      for (std::size_t i = 0; i < items; ++i) copy_value(in, all, out);
      return;
    }
    case 5: {
      auto map = in.map();
      out.map(first & 31);
      while (const auto key = map.next()) {
        out.key(*key);
        copy_value(in, all, out);
      }
      return;
    }
    default:
      if (in.skip_null()) {
        out.null();
      } else {
        out.boolean(in.boolean());
      }
  }
}

TEST(Golden, EveryAcceptedValueIsReadAndEncodesToTheSameBytes) {
  const auto vectors = golden_vectors("cbor_accepted.txt");
  for (const auto& [name, value] : vectors.front().fields()) {
    SCOPED_TRACE(name);
    const Bytes bytes = testing_support::from_hex(value);
    CborReader skipping(bytes, "value");
    CborReader reading(bytes, "value");
    CborWriter out;

    EXPECT_EQ(skipping.skip().size(), bytes.size());
    copy_value(reading, bytes, out);

    EXPECT_EQ(out.view(), bytes);
  }
}

TEST(Golden, EveryRefusedValueIsRefused) {
  const auto vectors = golden_vectors("cbor_refused.txt");
  for (const auto& [name, value] : vectors.front().fields()) {
    SCOPED_TRACE(name);
    const Bytes bytes = testing_support::from_hex(value);
    const auto skip_all = [&] {
      CborReader in(bytes, "value");
      (void)in.skip();
      in.end();
    };
    EXPECT_THROW(skip_all(), CorruptionError);
  }
}

// The repository --------------------------------------------------------------

constexpr Timestamp kNow{1795132800, 0};

class GoldenRepository : public ::testing::Test {
 protected:
  static constexpr std::string_view kPassphrase =
      "correct horse battery staple";

  Repository open(std::string_view key_file) {
    return Repository::open(
        std::make_unique<MemoryStorage>(disk),
        [&](const Storage& storage, const Config& config) {
          const auto key = parse_key_file(read_file(golden_path(key_file)));
          return open_with_key_file(storage, config, key.value());
        },
        {folder / "cache", folder / "state"});
  }

  TempFolder folder;
  MemoryStorage disk = golden_repository();
};

TEST_F(GoldenRepository, BothCopiesOfTheConfigEncodeToTheSameBytes) {
  for (const auto name : {kConfigName, kSecondConfigName}) {
    const auto object = get_whole(disk, name, 1U << 16);
    EXPECT_EQ(encode(decode_config(object, name)), object);
  }
}

TEST_F(GoldenRepository, OpensWithItsPassphrase) {
  const Config config = read_config(disk);
  const Keyring keyring = open_with_passphrase(disk, config, kPassphrase);
  EXPECT_EQ(keyring.role(), Role::owner);
  EXPECT_THROW((void)open_with_passphrase(disk, config, "another"), WrongKey);
}

TEST_F(GoldenRepository, OpensWithItsKeyFiles) {
  const Repository owner = open("owner.key");
  const Repository writer = open("write.key");

  EXPECT_EQ(owner.keyring().role(), Role::owner);
  EXPECT_TRUE(owner.keyring().can_read(KeyClass::content));
  EXPECT_EQ(writer.keyring().role(), Role::write);
  EXPECT_TRUE(writer.keyring().can_read(KeyClass::links));
  EXPECT_FALSE(writer.keyring().can_read(KeyClass::names));
  EXPECT_FALSE(writer.keyring().can_read(KeyClass::content));
  const auto slots = list_key_slots(disk).slots;
  EXPECT_EQ(slots.size(), 3U);
  for (const auto& slot : slots) {
    EXPECT_TRUE(is_certified(slot, writer.keyring().repository(),
                             writer.keyring().root_key()));
  }
  // Granted since the slot was made.
  EXPECT_EQ(writer.keyring().generations().size(), 2U);
  EXPECT_EQ(writer.keyring().newest().number, 2U);
}

TEST_F(GoldenRepository, ListsTheValidSnapshotsOldestFirst) {
  Repository repository = open("owner.key");

  const SnapshotList list = repository.snapshots(kNow);

  EXPECT_EQ(list.damage, std::vector<std::string>{});
  EXPECT_EQ(list.marks.size(), 2U);
  ASSERT_EQ(list.snapshots.size(), 2U);
  const auto& first = list.snapshots[0];
  const auto& second = list.snapshots[1];
  EXPECT_EQ(first.snapshot.id.brief(), "cb905796");
  EXPECT_EQ(first.snapshot.record->series, "golden/files");
  EXPECT_TRUE(first.snapshot.header.is_complete);
  EXPECT_EQ(first.snapshot.header.series_tag,
            series_tag(repository.keyring(), "golden/files"));
  EXPECT_EQ(first.snapshot.signer.role, Role::owner);
  EXPECT_EQ(second.snapshot.id.brief(), "89b04fb5");
  EXPECT_EQ(second.snapshot.record->series, "golden/db");
  EXPECT_FALSE(second.snapshot.header.is_complete);
  EXPECT_EQ(second.snapshot.signer.role, Role::write);
}

TEST_F(GoldenRepository, HoldsTheFirstSnapshotUntilADayLater) {
  Repository repository = open("owner.key");
  const auto list = repository.snapshots(kNow);
  const auto holds = list.snapshots.at(0).holds;
  ASSERT_EQ(holds.size(), 1U);

  const Timestamp until = holds[0].mark.until.value();
  const auto later = repository.snapshots(until);

  EXPECT_TRUE(later.snapshots.at(0).holds.empty());
}

TEST_F(GoldenRepository, ASlotMayHoldATombstone) {
  Repository repository = open("owner.key");
  const auto id = SessionId::from_hex("6af331ccbb0899cf6b70019c7c5db3a3");
  const auto slot = read_slot(disk, repository.keyring(), *id);
  EXPECT_TRUE(std::holds_alternative<Tombstone>(slot));
}

TEST_F(GoldenRepository, ASnapshotThatCameAfterTheDoomIsVoid) {
  Repository repository = open("owner.key");
  const auto id = SessionId::from_hex("ebd2a5ba31c75457fffa33a5eb799c15");
  const auto slot = read_slot(disk, repository.keyring(), *id);
  ASSERT_TRUE(std::holds_alternative<Snapshot>(slot));
  EXPECT_EQ(std::get<Snapshot>(slot).header.epoch, 0U);

  const auto list = repository.snapshots(kNow);
  const auto report = check(
      repository, {.level = CheckLevel::structure, .now = kNow}, {}, nullptr);

  EXPECT_EQ(std::ranges::count(
                list.snapshots, *id,
                [](const ValidSnapshot& valid) { return valid.snapshot.id; }),
            0);
  EXPECT_EQ(report.snapshots, 2U);
  EXPECT_EQ(report.count(Severity::damage), 0U);
}

TEST_F(GoldenRepository, TheCondemnationAndItsDoomOpen) {
  Repository repository = open("owner.key");
  const Keyring& keyring = repository.keyring();
  EXPECT_EQ(list_epochs(disk), (std::vector<std::uint64_t>{1, 2}));

  const Epoch condemnation = read_epoch(disk, keyring, 1);
  const Epoch doom = read_epochs(disk, keyring).newest;

  EXPECT_EQ(doom.number, 2U);
  EXPECT_EQ(doom.previous,
            crypto::sha256(get_whole(disk, epoch_name(1), kMaxEpochBytes)));
  std::vector<PackId> doomed;
  for (const auto& pack : doom.doomed) doomed.push_back(pack.id);
  EXPECT_EQ(doomed.size(), 2U);
  EXPECT_EQ(doomed, condemnation.condemned);
  EXPECT_EQ(doom.snapshots.size(), 2U);
  EXPECT_EQ(doom.snapshots, condemnation.snapshots);
}

TEST_F(GoldenRepository, ASessionOfAnotherMachineOpensAndIsNotSurelyGone) {
  Repository repository = open("owner.key");
  const auto sessions = read_sessions(disk, repository.keyring());
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_FALSE(is_certainly_gone(sessions[0].record.value().process));
  EXPECT_EQ(sessions[0].pin, 1U);
  EXPECT_TRUE(list_strays(disk).empty());
}

TEST_F(GoldenRepository, TheIndexSaysWhatTheDirectoriesSay) {
  Repository repository = open("write.key");
  const Keyring& keyring = repository.keyring();
  const auto ids = list_indexes(disk);
  ASSERT_EQ(ids.size(), 1U);
  const IndexObject object = read_index(disk, keyring, ids[0]);
  ASSERT_EQ(object.packs.size(), 2U);
  EXPECT_EQ(object.assurance, Assurance::for_everyone());
  for (const auto& pack : object.packs) {
    EXPECT_EQ(read_pack_directory(disk, keyring, pack.id).pack, pack);
  }
  EXPECT_EQ(list_packs(disk).size(), 2U);
}

TEST_F(GoldenRepository, EveryBlobOfEveryPackReadsBack) {
  Repository repository = open("owner.key");
  BlobReader blobs = repository.blobs();
  std::map<BlobKind, int> read;
  std::uint32_t deepest = 0;
  for (const auto& stored : list_packs(disk)) {
    const auto directory =
        read_pack_directory(disk, repository.keyring(), stored.id);
    for (const auto& row : directory.pack.directory.rows) {
      EXPECT_EQ(blobs.read(row.kind, row.id)->size(), row.plain_size);
      deepest = std::max(deepest, row.depth);
      ++read[row.kind];
    }
  }
  EXPECT_EQ(read[BlobKind::content], 17);
  EXPECT_EQ(read[BlobKind::links] + read[BlobKind::names], 13);
  EXPECT_EQ(deepest, 2U);
}

TEST_F(GoldenRepository, AWriteKeyReadsLinksAndNothingElse) {
  Repository repository = open("write.key");
  BlobReader blobs = repository.blobs();
  for (const auto& stored : list_packs(disk)) {
    const auto directory =
        read_pack_directory(disk, repository.keyring(), stored.id);
    for (const auto& row : directory.pack.directory.rows) {
      if (row.kind == BlobKind::links) {
        EXPECT_EQ(blobs.read(row.kind, row.id)->size(), row.plain_size);
      } else {
        EXPECT_THROW((void)blobs.read(row.kind, row.id), WrongKey);
      }
    }
  }
  for (const auto& valid : repository.snapshots(kNow).snapshots) {
    EXPECT_FALSE(valid.snapshot.record);
  }
}

// Every path below `row` with its entry; content read and measured.
void walk(TreeReader& tree, BlobReader& blobs, const Link& row,
          const std::string& prefix, std::map<std::string, TreeEntry>& found) {
  tree.for_each_entry(row, [&](const TreeEntry& entry) {
    const std::string path = prefix + entry.entry.name;
    found[path] = entry;
    if (entry.entry.type == EntryType::folder) {
      if (!entry.rows.empty()) {
        walk(tree, blobs, entry.rows.front(), path + "/", found);
      }
    } else {
      tree.for_each_chunk(entry.rows, [&](const Link& chunk) {
        EXPECT_EQ(blobs.read(BlobKind::content, chunk.id)->size(),
                  chunk.length);
        return Visit::go_on;
      });
    }
    return Visit::go_on;
  });
}

TEST_F(GoldenRepository, TheFirstSnapshotHoldsTheListedTree) {
  Repository repository = open("owner.key");
  const auto list = repository.snapshots(kNow);
  const SnapshotHeader& header = list.snapshots.at(0).snapshot.header;
  BlobReader blobs = repository.blobs();
  TreeReader tree(blobs);
  std::map<std::string, TreeEntry> found;

  walk(tree, blobs, {BlobKind::links, header.root, 0}, "", found);

  EXPECT_EQ(found.size(), header.entries);
  for (const char* const path :
       {"docs/first.txt", "docs/second.txt", "docs/caf\xe9",
        "docs/notes/note-134", "docs/notes/note-143", "dump.sql", "empty",
        "empty folder", "fifo", "symlink", "linked-a", "linked-b", "sparse"}) {
    EXPECT_TRUE(found.contains(path)) << path;
  }
  EXPECT_EQ(found["docs/third.txt"].entry.mode & 04000U, 04000U);
  EXPECT_EQ(found["docs/caf\xe9"].entry.xattrs.at(0).name, "user.cairn");
  EXPECT_EQ(found["dump.sql"].entry.type, EntryType::stream);
  EXPECT_EQ(found["dump.sql"].rows.at(0).kind, BlobKind::links);
  EXPECT_EQ(found["symlink"].entry.symlink_target, "docs/third.txt");
  EXPECT_EQ(found["linked-a"].entry.hard_link,
            found["linked-b"].entry.hard_link);
  EXPECT_EQ(found["linked-a"].entry.profile, Profile::page);
  EXPECT_EQ(found["sparse"].entry.size, 100'000U);
  EXPECT_LT(found["sparse"].entry.modified.seconds, 0);
}

TEST_F(GoldenRepository, EveryNodeEncodesToTheSameBytes) {
  Repository repository = open("owner.key");
  BlobReader blobs = repository.blobs();
  for (const auto& stored : list_packs(disk)) {
    const auto directory =
        read_pack_directory(disk, repository.keyring(), stored.id);
    for (const auto& row : directory.pack.directory.rows) {
      const auto plain = blobs.read(row.kind, row.id);
      if (row.kind == BlobKind::links) {
        EXPECT_EQ(encode_links(decode_links(*plain, "node")), *plain);
      } else if (row.kind == BlobKind::names) {
        EXPECT_EQ(encode_names(decode_names(*plain, "node")), *plain);
      }
    }
  }
}

}  // namespace
}  // namespace cairn::repo
