#include "ingest/learn_features.h"

#include <optional>
#include <vector>

#include "chunker/features.h"
#include "ingest/cutter_key.h"
#include "repo/base_chain.h"
#include "repo/error.h"
#include "repo/node.h"
#include "repo/reachability.h"

namespace cairn::ingest {
namespace {

class Learner {
 public:
  Learner(repo::Repository& repository, HostCache& cache)
      : index_(repository.index()),
        blobs_(repository.blobs()),
        extractor_(cutter_key(repository.keyring())),
        cache_(cache) {}

  // Whether to enter a links node.
  repo::Enter reach(const repo::Link& link) {
    switch (link.kind) {
      case repo::BlobKind::links:
        return nodes_.add(link.id) ? repo::Enter::yes : repo::Enter::no;
      case repo::BlobKind::content:
        if (link.length >= chunker::kBytesPerFeature &&
            !chunks_.contains_or_add(link)) {
          learn(link.id);
        }
        return repo::Enter::no;
      case repo::BlobKind::names:
        return repo::Enter::no;
    }
    return repo::Enter::no;
  }

  std::optional<std::vector<repo::Link>> read(const repo::Link& node) {
    try {
      const auto plain = blobs_.read(repo::BlobKind::links, node.id);
      return repo::decode_links(*plain, "links node " + node.id.brief());
    } catch (const repo::Error&) {
      return std::nullopt;  // what is below it is stored whole when it changes
    }
  }

 private:
  void learn(const repo::BlobId& id) {
    try {
      const auto chain = repo::chain_of(index_, repo::BlobKind::content, id);
      if (chain.empty()) return;
      blobs_.read_chain(chain, plain_);
      const auto features = extractor_.features_of(plain_);
      if (features.empty()) return;
      cache_.features.remember(id, {}, features);
      cache_.flush_if_large();
    } catch (const repo::Error&) {
      return;  // damaged
    }
  }

  const repo::BlobIndex& index_;
  repo::BlobReader blobs_;
  chunker::FeatureExtractor extractor_;
  HostCache& cache_;
  repo::RawBytes plain_;  // reused between chunks
  repo::VisitedNodes nodes_;
  repo::RecentlyReached chunks_;
};

}  // namespace

void learn_features(repo::Repository& repository, const repo::BlobId& root,
                    HostCache& cache, repo::Progress& progress,
                    std::stop_token stop) {
  progress.set_current("what the last snapshot holds");
  Learner learner(repository, cache);
  repo::walk_graph(
      {repo::BlobKind::links, root, 0},
      {.reach =
           [&](const repo::Link& link) {
             if (stop.stop_requested()) {
               throw repo::Cancelled("interrupted");
             }
             return learner.reach(link);
           },
       .read = [&](const repo::Link& node) { return learner.read(node); }});
  cache.flush();
}

}  // namespace cairn::ingest
