// Keys, a signer and a storage for tests of what lies in a repository.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "repo/blob_codec.h"
#include "repo/index_object.h"
#include "repo/keyring.h"
#include "repo/pack_writer.h"
#include "repo/session_keys.h"
#include "repo/signer.h"
#include "repo/snapshot.h"
#include "tests/support/bytes.h"
#include "tests/support/memory_storage.h"
#include "tests/support/one_base.h"

namespace cairn::testing_support {

struct SampleRepository {
  repo::Keyring keyring = repo::Keyring::create();
  repo::Signer signer{crypto::Secret::random(), keyring};
  repo::SessionKeys keys{keyring};
  MemoryStorage storage;

  [[nodiscard]] repo::BlobId id_of(
      const Bytes& plain, repo::BlobKind kind = repo::BlobKind::content) const {
    return keyring.id_of(kind, plain);
  }

  // As the encoder would have it.
  repo::EncodedBlob encode(
      const Bytes& plain, repo::BlobKind kind = repo::BlobKind::content,
      const std::optional<repo::Base>& base = std::nullopt) {
    repo::BlobEncoder encoder(keyring, keys, {});
    return encoder.encode(kind, keyring.id_of(kind, plain), plain,
                          one_base(base));
  }

  repo::IndexedPack store(const std::vector<repo::EncodedBlob>& blobs) {
    repo::PackWriter writer(storage, keyring.newest());
    for (const auto& blob : blobs) {
      writer.add(blob.row, keys.wrapped(repo::class_of(blob.row.kind)),
                 blob.stored);
    }
    return std::move(writer).finish();
  }

  repo::IndexId store_index(std::vector<repo::IndexedPack> packs) {
    return repo::publish_index(
        storage, keyring, signer,
        {repo::SessionId{}, std::move(packs), repo::Assurance::by(keyring)});
  }
};

// With one byte changed: what a difference is for.
inline Bytes slightly_changed(Bytes bytes, std::mt19937_64& random) {
  bytes[random() % bytes.size()] ^= std::byte{0x55};
  return bytes;
}

template <typename Id>
Id random_id(std::mt19937_64& random) {
  Id id;
  for (auto& byte : id.bytes) byte = static_cast<std::byte>(random());
  return id;
}

inline std::string random_text(std::mt19937_64& random, std::size_t max) {
  std::string text(random() % (max + 1), ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

}  // namespace cairn::testing_support
