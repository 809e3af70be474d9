#include "ingest/host_cache.h"

#include <chrono>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kMaxPendingBytes = std::size_t{8} << 20;

// Others may be writing for longer than all this is worth.
constexpr std::chrono::seconds kPatience{20};

}  // namespace

HostCache::HostCache(repo::Repository& repository, std::string_view series,
                     const repo::SeriesTag& tag)
    : paths(repository.index_store(), series),
      features(repository.index_store(), tag),
      repository_(repository) {}

void HostCache::flush_if_large() {
  if (paths.pending_bytes() + features.pending_bytes() >= kMaxPendingBytes) {
    flush();
  }
}

void HostCache::write(repo::IndexStore::Writer& writer) {
  paths.flush(writer);
  features.flush(writer);
}

void HostCache::flush() {
  try {
    (void)repository_.index_store().write(
        kPatience, [&](repo::IndexStore::Writer& writer) {
          // The cache may have gone meanwhile, and be made anew by this.
          repository_.index().bring_in(writer, repository_.storage(),
                                       repository_.keyring());
          this->write(writer);
        });
  } catch (const repo::Error&) {
    return;
  }
}

void HostCache::flush_last(const PathCache::Valid& valid) {
  try {
    (void)repository_.index_store().write_last(
        kPatience, [&](repo::IndexStore::Writer& writer) {
          repository_.index().bring_in(writer, repository_.storage(),
                                       repository_.keyring());
          this->write(writer);
          features.drop_what_is_gone(writer, [&](const repo::BlobId& id) {
            return repository_.index().contains(id);
          });
          paths.drop_what_is_gone(writer, valid);
        });
  } catch (const repo::Error&) {
    return;
  }
}

}  // namespace cairn::ingest
