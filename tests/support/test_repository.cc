#include "tests/support/test_repository.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "repo/base_chain.h"
#include "repo/error.h"
#include "repo/index_object.h"
#include "repo/key_slot.h"
#include "repo/pack_reader.h"
#include "repo/reusable_blobs.h"
#include "repo/sealed_record.h"
#include "repo/tree_reader.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/one_base.h"

namespace cairn::testing_support {
namespace {

// No process has it: the kernel's highest is below 2^22.
constexpr std::uint64_t kDeadPid = 0x7ffffff0;

}  // namespace

repo::Timestamp at_hour(std::int64_t hours) {
  constexpr std::int64_t kFirst = 1'795'132'800;  // 2026-11-20
  constexpr std::int64_t kSeconds = 3600;
  return {kFirst + hours * kSeconds, 0};
}

TestRepository::TestRepository() : TestRepository(repo::Keyring::create()) {}

TestRepository::TestRepository(repo::Keyring keyring)
    : keyring_(std::move(keyring)), key_file_(crypto::Secret::random()) {
  repo::initialise(disk_, keyring_, at_hour(0), [&](repo::Storage& storage) {
    // Two, so that a test may hurt one.
    for (const auto* const label : {"first", "second"}) {
      repo::add_key_file_slot(storage, keyring_, repo::Role::owner, key_file_,
                              label, at_hour(0));
    }
  });
}

repo::Repository TestRepository::open() {
  return open_through(std::make_unique<FaultyStorage>(disk_));
}

repo::Repository TestRepository::open_through(
    std::unique_ptr<repo::Storage> storage) {
  return repo::Repository::open(
      std::move(storage),
      [&](const repo::Storage& stored, const repo::Config& config) {
        return repo::open_with_key_file(stored, config, key_file_);
      },
      {cache_folder(), folder_ / "state"});
}

repo::Repository TestRepository::open_elsewhere(repo::Storage& storage) {
  const auto number = std::to_string(++others_);
  return repo::Repository::open(
      std::make_unique<FaultyStorage>(storage),
      [&](const repo::Storage& stored, const repo::Config& config) {
        return repo::open_with_key_file(stored, config, key_file_);
      },
      {folder_ / ("cache-of-other-" + number),
       folder_ / ("state-of-other-" + number)});
}

void TestRepository::forget_others() {
  for (; others_ > 0; --others_) {
    const auto number = std::to_string(others_);
    std::filesystem::remove_all(folder_ / ("cache-of-other-" + number));
    std::filesystem::remove_all(folder_ / ("state-of-other-" + number));
  }
}

repo::Repository TestRepository::open_as(repo::Role role) {
  return repo::Repository::open(std::make_unique<FaultyStorage>(disk_),
                                [&](const repo::Storage&, const repo::Config&) {
                                  return keyring_.for_role(role);
                                },
                                {cache_folder(), folder_ / "state"});
}

crypto::Secret TestRepository::add_key(repo::Role role) {
  auto key = crypto::Secret::random();
  repo::add_key_file_slot(disk_, keyring_, role, key, "another", at_hour(0));
  return key;
}

repo::Repository TestRepository::open_with(const crypto::Secret& key) {
  return repo::Repository::open(
      std::make_unique<FaultyStorage>(disk_),
      [&](const repo::Storage& stored, const repo::Config& config) {
        return repo::open_with_key_file(stored, config, key);
      },
      {cache_folder(), folder_ / "state"});
}

std::filesystem::path TestRepository::cache_folder() const {
  return folder_ / ("cache-" + std::to_string(machine_));
}

void TestRepository::forget_cache() {
  std::filesystem::remove_all(cache_folder());
  ++machine_;
}

void TestRepository::let_processes_die() {
  const repo::SealedRecordKind kind{repo::ObjectType::session, "cairn session",
                                    repo::Authority::indexer};
  const auto seed = crypto::Secret::random();
  const repo::Signer signer(seed, keyring_);
  for (auto& [id, record, pin, beats] : repo::read_sessions(disk_, keyring_)) {
    record.value().process.pid = kDeadPid;
    disk_.replace(
        repo::session_name(id),
        repo::seal_record(kind, keyring_, signer, id.bytes, encode(*record)));
  }
}

struct StateWriter::State {
  State(repo::Repository& r, WriterOptions o)
      : repository(r),
        options(std::move(o)),
        session(r.storage(), r.keyring(), r.signer(), at_hour(0)),
        keys(r.keyring()),
        encoder(r.keyring(), keys, {}),
        blobs(r.blobs()),
        indexed{.session = {},
                .packs = {},
                .assurance = repo::Assurance::by(r.keyring())},
        tree([this](repo::BlobKind kind, std::span<const std::byte> plain) {
          return store(kind, plain, std::nullopt);
        }) {
    r.index().refresh(r.storage(), r.keyring());
    reusable.emplace(r.storage(), r.keyring(), r.index(), session.epoch());
  }

  struct Stored {
    std::uint32_t depth;
    Bytes plain;
  };

  repo::BlobId store(repo::BlobKind kind, std::span<const std::byte> plain,
                     const std::optional<repo::BlobId>& base_id) {
    const auto id = repository.keyring().id_of(kind, plain);
    if (mine.contains(id)) return id;
    if (options.reuse == Reuse::what_is_stored && is_reusable(kind, id)) {
      return id;
    }
    std::optional<Stored> base;
    if (base_id && (mine.contains(*base_id) || is_reusable(kind, *base_id))) {
      base = load(kind, *base_id);
    }
    std::optional<repo::Base> given;
    if (base && base->depth < repo::kMaxDepth) {
      given = repo::Base{*base_id, base->depth, base->plain};
    }
    const auto blob = encoder.encode(kind, id, plain, one_base(given));
    auto& pack = kind == repo::BlobKind::content ? content : nodes;
    if (!pack) {
      pack.emplace(repository.storage(), repository.keyring().newest());
    }
    pack->add(blob.row, keys.wrapped(repo::class_of(kind)), blob.stored);
    if (pack->size_if_finished() >= options.pack_bytes) finish(pack);
    mine[id] = {blob.row.depth, {plain.begin(), plain.end()}};
    return id;
  }

  [[nodiscard]] bool is_reusable(repo::BlobKind kind, const repo::BlobId& id) {
    return reusable->contains(kind, id);
  }

  Stored load(repo::BlobKind kind, const repo::BlobId& id) {
    if (const auto found = mine.find(id); found != mine.end()) {
      return found->second;
    }
    const auto copies = repository.index().find(id);
    const auto plain = blobs.read(kind, id);
    return {copies.at(0).row.depth, {plain->begin(), plain->end()}};
  }

  void finish(std::optional<repo::PackWriter>& pack) {
    if (!pack) return;
    indexed.packs.push_back(std::move(*pack).finish());
    repository.index().add(indexed.packs.back());
    stored_bytes += indexed.packs.back().size;
    pack.reset();
  }

  repo::Repository& repository;
  WriterOptions options;
  repo::Session session;
  std::optional<repo::ReusableBlobs> reusable;
  repo::SessionKeys keys;
  repo::BlobEncoder encoder;
  repo::BlobReader blobs;
  std::map<repo::BlobId, Stored> mine;
  std::optional<repo::PackWriter> content;
  std::optional<repo::PackWriter> nodes;
  repo::IndexObject indexed;
  std::uint64_t stored_bytes = 0;
  std::uint64_t logical_bytes = 0;
  std::uint64_t entries = 0;
  repo::TreeWriter tree;
  std::optional<repo::Link> root;
};

StateWriter::StateWriter(repo::Repository& repository, WriterOptions options)
    : state_(std::make_unique<State>(repository, std::move(options))) {}

StateWriter::~StateWriter() = default;

repo::Link StateWriter::chunk(std::span<const std::byte> plain,
                              const std::optional<repo::BlobId>& base) {
  state_->logical_bytes += plain.size();
  return {repo::BlobKind::content,
          state_->store(repo::BlobKind::content, plain, base), plain.size()};
}

repo::BlobId StateWriter::store_node(repo::BlobKind kind,
                                     std::span<const std::byte> plain) {
  return state_->store(kind, plain, std::nullopt);
}

void StateWriter::begin_folder(std::string_view name) {
  repo::Entry entry;
  entry.name = name;
  entry.type = repo::EntryType::folder;
  entry.mode = 0755;
  begin_folder(entry);
}

void StateWriter::begin_folder(const repo::Entry& folder) {
  ++state_->entries;
  state_->tree.begin_folder(folder);
}

void StateWriter::end_folder() { state_->tree.end_folder(); }

void StateWriter::add_file(std::string_view name,
                           std::span<const repo::Link> chunks) {
  repo::Entry entry;
  entry.name = name;
  entry.mode = 0644;
  for (const auto& chunk : chunks) entry.size += chunk.length;
  add(entry, chunks);
}

void StateWriter::add(const repo::Entry& entry,
                      std::span<const repo::Link> chunks) {
  const repo::StoreNode store = [this](repo::BlobKind kind,
                                       std::span<const std::byte> plain) {
    return state_->store(kind, plain, std::nullopt);
  };
  repo::ListWriter list(store);
  for (const auto& chunk : chunks) list.add(chunk);
  ++state_->entries;
  const auto rows = std::move(list).finish();
  state_->tree.add(entry, rows);
}

void StateWriter::end_packs() {
  state_->finish(state_->content);
  state_->finish(state_->nodes);
}

void StateWriter::publish_packs() {
  if (!state_->root) state_->root = std::move(state_->tree).finish();
  end_packs();
}

void StateWriter::publish_index() {
  publish_packs();
  if (state_->indexed.packs.empty()) return;
  auto& repository = state_->repository;
  state_->indexed.session = state_->session.id();
  (void)repo::publish_index(repository.storage(), repository.keyring(),
                            repository.signer(), state_->indexed);
  state_->indexed.packs.clear();
}

repo::SessionId StateWriter::commit(const repo::Timestamp& time) {
  publish_index();
  auto& repository = state_->repository;
  repo::SnapshotHeader header;
  header.time = time;
  header.arrival = time;
  header.series_tag =
      repo::series_tag(repository.keyring(), state_->options.series);
  header.root = state_->root->id;
  header.logical_bytes = state_->logical_bytes;
  header.stored_bytes = state_->stored_bytes;
  header.entries = state_->entries;
  auto chain = repository.host_state().lock_chain(state_->options.series);
  const auto last = chain.last();
  header.sequence = last.sequence;
  header.previous = last.object;
  repo::SnapshotRecord record;
  record.series = state_->options.series;
  record.host = "host";
  record.user = "user";
  record.program = "test";
  const auto committed = state_->session.commit(header, record);
  if (committed.outcome == repo::Created::exists) {
    throw repo::LockedError("session was fenced off");
  }
  chain.store({header.sequence + 1, committed.object_digest});
  state_->session.end();
  return session();
}

const repo::SessionId& StateWriter::session() const {
  return state_->session.id();
}

repo::IndexedPack store_false_copy(repo::Repository& repository,
                                   repo::BlobKind kind, const repo::BlobId& id,
                                   std::span<const std::byte> lie) {
  repo::SessionKeys keys(repository.keyring());
  repo::BlobEncoder encoder(repository.keyring(), keys, {});
  const auto blob = encoder.encode(kind, id, lie);
  repo::PackWriter writer(repository.storage(), repository.keyring().newest());
  writer.add(blob.row, keys.wrapped(repo::class_of(kind)), blob.stored);
  auto pack = std::move(writer).finish();
  for (const auto& assurance : {repo::Assurance::for_everyone(),
                                repo::Assurance::by(repository.keyring())}) {
    (void)repo::publish_index(repository.storage(), repository.keyring(),
                              repository.signer(), {{}, {pack}, assurance});
  }
  return pack;
}

namespace {

std::vector<repo::Link> write_chunks(StateWriter& writer,
                                     std::span<const std::byte> content,
                                     std::size_t chunk_bytes,
                                     const std::vector<repo::Link>& bases) {
  std::vector<repo::Link> chunks;
  while (!content.empty()) {
    const auto size = std::min(chunk_bytes, content.size());
    std::optional<repo::BlobId> base;
    if (chunks.size() < bases.size()) base = bases[chunks.size()].id;
    chunks.push_back(writer.chunk(content.first(size), base));
    content = content.subspan(size);
  }
  return chunks;
}

// The files from `at` on whose paths begin with `folder`.
void write_folder(StateWriter& writer, const Files& files,
                  const FilesOptions& options, std::string_view folder,
                  Files::const_iterator& at, ChunksByPath& written) {
  while (at != files.end() && at->first.starts_with(folder)) {
    const auto& [path, content] = *at;
    const auto slash = path.find('/', folder.size());
    if (slash != std::string::npos) {
      const std::string inner = path.substr(0, slash + 1);
      writer.begin_folder(
          std::string_view(inner).substr(folder.size(), slash - folder.size()));
      write_folder(writer, files, options, inner, at, written);
      writer.end_folder();
      continue;
    }
    std::vector<repo::Link> bases;
    if (options.bases != nullptr && options.bases->contains(path)) {
      bases = options.bases->at(path);
    }
    auto chunks = write_chunks(writer, content, options.chunk_bytes, bases);
    writer.add_file(std::string_view(path).substr(folder.size()), chunks);
    written[path] = std::move(chunks);
    ++at;
  }
}

void read_folder(repo::BlobReader& blobs, const repo::Link& node,
                 const std::string& path, Files& files) {
  repo::TreeReader tree(blobs);
  tree.for_each_entry(node, [&](const repo::TreeEntry& entry) {
    const std::string name = path + entry.entry.name;
    if (entry.entry.type == repo::EntryType::folder) {
      if (!entry.rows.empty()) {
        read_folder(blobs, entry.rows.front(), name + "/", files);
      }
      return repo::Visit::go_on;
    }
    Bytes& content = files[name];
    tree.for_each_chunk(entry.rows, [&](const repo::Link& chunk) {
      const auto plain = blobs.read(chunk.kind, chunk.id);
      content.insert(content.end(), plain->begin(), plain->end());
      return repo::Visit::go_on;
    });
    if (content.size() != entry.entry.size) {
      throw std::runtime_error(name + " has another size");
    }
    return repo::Visit::go_on;
  });
}

}  // namespace

void write_files(StateWriter& writer, const Files& files,
                 const FilesOptions& options) {
  ChunksByPath written;
  auto at = files.begin();
  write_folder(writer, files, options, "", at, written);
  if (options.bases != nullptr) *options.bases = std::move(written);
}

repo::SessionId write_snapshot(repo::Repository& repository, const Files& files,
                               const repo::Timestamp& time,
                               const FilesOptions& options) {
  StateWriter writer(repository, options.writer);
  write_files(writer, files, options);
  return writer.commit(time);
}

Files read_snapshot(repo::Repository& repository, const repo::BlobId& root) {
  Files files;
  auto blobs = repository.blobs();
  read_folder(blobs, {repo::BlobKind::links, root, 0}, "", files);
  return files;
}

std::map<repo::SessionId, Files> read_all_snapshots(
    repo::Repository& repository) {
  repository.index().refresh(repository.storage(), repository.keyring());
  std::map<repo::SessionId, Files> states;
  for (const auto& valid : repository.snapshots(at_hour(0)).snapshots) {
    states[valid.snapshot.id] =
        read_snapshot(repository, valid.snapshot.header.root);
  }
  return states;
}

}  // namespace cairn::testing_support
