#include "ingest/size_count.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>

#include "ingest/file_source.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

class Adding : public FileVisitor {
 public:
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  void folder_begins(const repo::Entry&) override {}
  void folder_ends() override {}
  void file(const repo::Entry& entry, const FileState&, std::string_view,
            Opener&) override {
    bytes_ += entry.size;
  }
  void other(const repo::Entry&) override {}
  void socket_skipped(std::string_view) override {}
  void excluded(std::string_view) override {}
  void vanished(std::string_view) override {}
  // The backup tells of it.
  void unreadable(std::string_view, std::string_view) override {}

 private:
  std::uint64_t bytes_ = 0;
};

void count(std::span<const Source> sources, repo::Progress& progress,
           const std::stop_token& stop) {
  constexpr int kNiceness = 10;
  (void)::setpriority(PRIO_PROCESS, 0, kNiceness);  // of this thread
  Adding adding;
  for (const auto& source : sources) {
    const auto& files = std::get<FilesToBackUp>(source);
    try {
      FileSource(files.paths, files.options).walk(adding, stop);
    } catch (const repo::NotFound&) {
      continue;  // nor does the backup find it
    }
    if (stop.stop_requested()) return;
  }
  progress.bytes_total = adding.bytes();
}

}  // namespace

SizeCount::SizeCount(std::span<const Source> sources,
                     repo::Progress& progress) {
  if (!std::ranges::all_of(sources, [](const Source& source) {
        return std::holds_alternative<FilesToBackUp>(source);
      })) {
    return;
  }
  thread_ = std::jthread([sources, &progress](const std::stop_token& stop) {
    try {
      count(sources, progress, stop);
    } catch (...) {  // whatever it was, the backup meets it, too
    }
  });
}

}  // namespace cairn::ingest
