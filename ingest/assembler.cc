#include "ingest/assembler.h"

#include <array>
#include <optional>
#include <utility>
#include <variant>

#include "ingest/known_stream.h"
#include "ingest/staged_tree.h"
#include "repo/kept.h"
#include "repo/pack_format.h"
#include "repo/pack_writer.h"
#include "repo/tree_writer.h"

namespace cairn::ingest {
namespace {

// What stays of a file that was read again. A file's time of change tells of
// metadata; a cache of before that was kept tells of contents alone.
bool is_same_file(const PathState& before, const PathState& now) {
  const auto file = [](const PathState& state) {
    return state.settled_state ? state.settled_state : state.unsettled_state;
  };
  return (!file(before) || file(before) == file(now)) &&
         before.rows == now.rows && before.holes == now.holes &&
         before.weave == now.weave && before.profile == now.profile;
}

}  // namespace

struct Assembler::State {
  State(repo::Repository& repository_, repo::ReusableBlobs& reusable_,
        repo::SessionKeys& keys_, const BackupOptions& options_,
        const repo::SessionId& session_, ClaimedBlobs& claimed_,
        HostCache& cache_, PackPublisher& publisher_, std::stop_token stop_)
      : repository(repository_),
        reusable(reusable_),
        keys(keys_),
        options(options_),
        session(session_),
        claimed(claimed_),
        cache(cache_),
        publisher(publisher_),
        stop(std::move(stop_)),
        encoder(repository.keyring(), keys, options.levels),
        store([this](repo::BlobKind kind, std::span<const std::byte> plain) {
          return store_node(kind, plain);
        }),
        tree(store) {}

  repo::Repository& repository;
  repo::ReusableBlobs& reusable;
  repo::SessionKeys& keys;
  const BackupOptions& options;
  const repo::SessionId& session;
  ClaimedBlobs& claimed;
  HostCache& cache;
  PackPublisher& publisher;
  std::stop_token stop;

  repo::BlobEncoder encoder;  // of nodes
  repo::StoreNode store;
  repo::TreeWriter tree;
  // Of the content that is being received.
  struct Lane {
    std::vector<repo::ListWriter> content;    // a list for each of its parts
    std::optional<KnownStreamWriter> stream;  // if it is one

    void clear() {
      content.clear();
      stream.reset();
    }
  };
  std::array<Lane, kMaxLanes> lanes;
  Lane* lane = lanes.data();         // of the events that come
  std::optional<StagedTree> staged;  // between TreeBegins and its end
  struct LateStream {
    StreamEnds stream;
    repo::Kept<repo::Link> rows;
  };
  std::vector<LateStream> late;
  std::optional<repo::PackWriter> content_pack;
  std::optional<repo::PackWriter> node_pack;
  std::uint64_t entries = 0;
  ReadFiles read_files;

  repo::BlobId store_node(repo::BlobKind kind,
                          std::span<const std::byte> plain) {
    const repo::MemorySum sum = repo::memory_sum(plain);
    const repo::BlobId id = repository.keyring().id_of(kind, plain);
    const repo::MemorySum id_sum = repo::memory_sum_of(id);
    if (!reusable.contains(kind, id) && claimed.claim(id)) {
      const auto blob = encoder.encode(kind, id, plain);
      repo::require_unchanged(id, plain, sum);
      pack(blob, node_pack);
    }
    repo::require_unchanged(id_sum, repo::memory_sum_of(id));
    return id;
  }

  void pack(const repo::EncodedBlob& blob,
            std::optional<repo::PackWriter>& writer) {
    if (!writer) {
      writer.emplace(repository.storage(), repository.keyring().newest());
    }
    repo::require_unchanged(blob);
    writer->add(blob.row, keys.wrapped(repo::class_of(blob.row.kind)),
                blob.stored, blob.sum);
    if (writer->size_if_finished() >= options.pack_bytes ||
        writer->blob_count() >= repo::kMaxRows) {
      give(writer);
    }
  }

  void give(std::optional<repo::PackWriter>& writer) {
    if (!writer) return;
    publisher.give(std::move(*writer), stop);
    writer.reset();
  }

  void operator()(FolderBegins& event) {
    if (event.sharing == Sharing::none) {
      tree.begin_folder(event.entry);
      ++entries;
    } else if (tree.begin_shared_folder(event.entry)) {
      ++entries;
    }
  }

  void operator()(FolderEnds&) { tree.end_folder(); }

  void operator()(TreeBegins&) { staged.emplace(); }
  void operator()(TreeEnds&) {
    entries += std::move(*staged).give_to(tree);
    staged.reset();
  }
  void operator()(TreeFails&) { staged.reset(); }

  void operator()(WholeEntry& event) {
    const std::vector<repo::Link> none;
    if (staged) {
      staged->add(std::move(event.path), event.entry, none);
      return;
    }
    tree.add(event.entry, event.state ? event.state->rows : none);
    ++entries;
    if (event.state) {
      cache.paths.remember(event.path, *event.state);
      repo::require_unchanged(event.rows_sum,
                              repo::memory_sum_of(event.state->rows));
    }
    cache.flush_if_large();
  }

  void operator()(Chunk& event) {
    const auto require_its_id = [&](const repo::BlobId& id) {
      repo::require_unchanged(event.id_sum, repo::memory_sum_of(id));
    };
    if (event.encoded) {
      require_its_id(event.encoded->row.id);
      pack(*event.encoded, content_pack);
      if (!event.features.empty()) {
        cache.features.remember(event.id, event.descent, event.features);
        cache.flush_if_large();
      }
    }
    auto& content = lane->content;
    while (content.size() <= event.part) content.emplace_back(store);
    require_its_id(event.id);
    content[event.part].add(
        {repo::BlobKind::content, event.id, event.plain.size()});
    event.encoded.reset();
    if (!event.stream) return;
    if (!lane->stream) lane->stream.emplace(*event.stream);
    lane->stream->add({static_cast<std::uint32_t>(event.plain.size()),
                       event.cut_by, head_of(event.plain), *event.mac,
                       event.id});
  }

  // Closes the content of the lane, and answers its rows.
  std::vector<repo::Link> finish_content() {
    std::vector<repo::Link> rows;
    for (auto& part : lane->content) {
      const auto own = std::move(part).finish();
      rows.insert(rows.end(), own.begin(), own.end());
    }
    if (lane->stream) std::move(*lane->stream).finish();
    lane->clear();
    return rows;
  }

  void operator()(ContentEnds& event) {
    const auto rows = finish_content();
    if (staged) {
      staged->add(std::move(event.path), event.entry, rows);
      return;
    }
    add(event, rows);
  }

  void operator()(StreamEnds& event) {
    const auto rows = finish_content();
    late.push_back({std::move(event), repo::Kept<repo::Link>(rows)});
  }

  void add(ContentEnds& event, std::span<const repo::Link> rows) {
    tree.add(event.entry, rows);
    ++entries;
    const std::optional<FileState> none;
    const PathState now{
        .snapshot = session,
        .older_snapshot = {},
        .settled_state = event.is_settled ? event.state : none,
        .unsettled_state = event.is_settled ? none : event.state,
        .era = reusable.era(),
        .packs = {},
        .profile = event.entry.profile,
        .weave = event.entry.weave,
        .holes = event.entry.holes,
        .rows = {rows.begin(), rows.end()}};
    if (event.before) {
      ++(is_same_file(*event.before, now) ? read_files.unmodified
                                          : read_files.changed);
    }
    cache.paths.remember(event.path, now);
  }

  // Once nobody has a folder open.
  void add_late_streams() {
    for (auto& [stream, rows] : late) {
      for (auto& folder : stream.folders) (*this)(folder);
      add(stream.content, rows.take());
      for (std::size_t i = 0; i < stream.folders.size(); ++i) tree.end_folder();
    }
    late.clear();
  }

  void operator()(ContentFails&) { lane->clear(); }
};

Assembler::Assembler(repo::Repository& repository,
                     repo::ReusableBlobs& reusable, repo::SessionKeys& keys,
                     const BackupOptions& options,
                     const repo::SessionId& session, ClaimedBlobs& claimed,
                     HostCache& cache, PackPublisher& publisher,
                     std::stop_token stop)
    : state_(std::make_unique<State>(repository, reusable, keys, options,
                                     session, claimed, cache, publisher,
                                     std::move(stop))) {}

Assembler::~Assembler() = default;

void Assembler::add(Batch& batch) {
  state_->lane = &state_->lanes.at(batch.lane);
  for (auto& event : batch.events) std::visit(*state_, event);
}

repo::Link Assembler::finish() && {
  state_->add_late_streams();
  const repo::Link root = std::move(state_->tree).finish();
  state_->give(state_->content_pack);
  state_->give(state_->node_pack);
  return root;
}

std::uint64_t Assembler::entries() const noexcept { return state_->entries; }

const Assembler::ReadFiles& Assembler::read_files() const noexcept {
  return state_->read_files;
}

}  // namespace cairn::ingest
