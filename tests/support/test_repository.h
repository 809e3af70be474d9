// A small repository in memory, and a writer that puts states into it by hand:
// chunk for chunk, pack for pack, with the differences a test wants. What it
// leaves is what a backup leaves, in the order of writes of FORMAT.md,
// section 10, so that it can be stopped anywhere on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"
#include "repo/blob_codec.h"
#include "repo/pack_writer.h"
#include "repo/repository.h"
#include "repo/session.h"
#include "repo/tree_writer.h"
#include "tests/support/bytes.h"
#include "tests/support/memory_storage.h"
#include "tests/support/temp_folder.h"

namespace cairn::testing_support {

// So many hours after a fixed moment.
[[nodiscard]] repo::Timestamp at_hour(std::int64_t hours);

class TestRepository {
 public:
  TestRepository();
  explicit TestRepository(repo::Keyring keyring);

  // What a test may copy, damage and put back.
  [[nodiscard]] MemoryStorage& disk() { return disk_; }

  // As a process with the owner's key opens it. Borrows disk(). The second one
  // goes through `storage`, which mostly fails on purpose.
  [[nodiscard]] repo::Repository open();
  [[nodiscard]] repo::Repository open_through(
      std::unique_ptr<repo::Storage> storage);

  // As on another machine, which has a cache of its own. Borrows `storage`.
  [[nodiscard]] repo::Repository open_elsewhere(repo::Storage& storage);
  // Requires: none of them is open.
  void forget_others();

  // The same with another role's keys, new ones each time.
  [[nodiscard]] repo::Repository open_as(repo::Role role);

  // The owner's.
  [[nodiscard]] const repo::Keyring& keyring() const { return keyring_; }

  // New keys of that role, that a key file opens, as often as wanted.
  [[nodiscard]] crypto::Secret add_key(repo::Role role);
  [[nodiscard]] repo::Repository open_with(const crypto::Secret& key);

  // Another machine, or this one after its cache was deleted.
  void forget_cache();

  // Every session on disk() becomes that of a process that is gone.
  void let_processes_die();

  // Where the index cache lies, to damage it.
  [[nodiscard]] std::filesystem::path cache_folder() const;

 private:
  MemoryStorage disk_;
  TempFolder folder_;
  unsigned machine_ = 0;
  unsigned others_ = 0;
  repo::Keyring keyring_;
  crypto::Secret key_file_;
};

enum class Reuse { what_is_stored, nothing };

struct WriterOptions {
  std::size_t pack_bytes = std::size_t{1} << 20;  // of one kind, before it ends
  Reuse reuse = Reuse::what_is_stored;
  std::string series = "host/files";
};

// One session.
//
// Abandonment    like a crash: what was published stays, the rest is gone.
class StateWriter {
 public:
  // Borrows `repository`.
  explicit StateWriter(repo::Repository& repository,
                       WriterOptions options = {});
  ~StateWriter();

  // Stores a chunk, unless it is stored already, as a difference when a base
  // is given that makes it smaller. The base was stored by this writer, or
  // before.
  repo::Link chunk(std::span<const std::byte> plain,
                   const std::optional<repo::BlobId>& base = std::nullopt);

  // A node made by hand, good or bad.
  repo::BlobId store_node(repo::BlobKind kind,
                          std::span<const std::byte> plain);

  // The tree, whose entries come in the order that TreeWriter wants.
  void begin_folder(std::string_view name);
  void begin_folder(const repo::Entry& folder);
  void end_folder();
  void add_file(std::string_view name, std::span<const repo::Link> chunks);
  void add(const repo::Entry& entry, std::span<const repo::Link> chunks = {});

  // What comes next goes into new packs.
  void end_packs();

  // Step by step; each includes those before it.
  void publish_packs();
  void publish_index();
  repo::SessionId commit(const repo::Timestamp& time);

  [[nodiscard]] const repo::SessionId& session() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What somebody with a write key can do: a pack that is well sealed and has
// `lie` as the blob `id`, and an index object that calls it verified.
repo::IndexedPack store_false_copy(repo::Repository& repository,
                                   repo::BlobKind kind, const repo::BlobId& id,
                                   std::span<const std::byte> lie);

// Paths with their contents; folders lie between slashes.
using Files = std::map<std::string, Bytes>;

// The chunks of every path of the state written last, which become the bases
// of the next.
using ChunksByPath = std::map<std::string, std::vector<repo::Link>>;

struct FilesOptions {
  std::size_t chunk_bytes = 4096;
  WriterOptions writer = {};
  ChunksByPath* bases = nullptr;  // nothing: no differences; else read and set
};

// Writes the tree without committing it; writes it whole; reads it back.
void write_files(StateWriter& writer, const Files& files,
                 const FilesOptions& options = {});
repo::SessionId write_snapshot(repo::Repository& repository, const Files& files,
                               const repo::Timestamp& time,
                               const FilesOptions& options = {});
[[nodiscard]] Files read_snapshot(repo::Repository& repository,
                                  const repo::BlobId& root);

// Every valid snapshot with what can be read of it.
[[nodiscard]] std::map<repo::SessionId, Files> read_all_snapshots(
    repo::Repository& repository);

}  // namespace cairn::testing_support
