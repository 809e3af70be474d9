#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <stop_token>
#include <utility>

#include "ingest/feeder_state.h"
#include "ingest/page_files.h"
#include "ingest/tree_stream.h"

namespace cairn::ingest {
namespace {

// Reads a member as a file is read: with a look at its beginning first.
class MemberReader {
 public:
  MemberReader(TreeStream& tree, std::stop_token stop)
      : tree_(tree), stop_(std::move(stop)) {
    while (head_size_ < head_.size()) {
      const auto size = tree_.read(std::span(head_).subspan(head_size_), stop_);
      if (size == 0) break;
      head_size_ += size;
    }
  }

  [[nodiscard]] repo::Profile profile(std::uint64_t size) const {
    if (size < kMinPageFileBytes) return repo::Profile::cdc;
    return profile_of(size, std::span(head_).first(head_size_));
  }

  std::size_t read(std::span<std::byte> out) {
    if (head_read_ == head_size_) return tree_.read(out, stop_);
    const std::size_t size = std::min(out.size(), head_size_ - head_read_);
    std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(head_read_), size,
                out.begin());
    head_read_ += size;
    return size;
  }

 private:
  TreeStream& tree_;
  std::stop_token stop_;
  std::array<std::byte, kProfilePeekBytes> head_{};
  std::size_t head_size_ = 0;
  std::size_t head_read_ = 0;
};

}  // namespace

void Feeder::feed(TreeToBackUp& source) {
  State& state = *state_;
  state.progress.set_current(source.name);
  repo::SourceReport report;
  report.name = source.name;
  report.kind = source.kind;
  TreeStream& tree = *source.tree;
  state.push(TreeBegins{});
  try {
    while (auto member = tree.next(state.stop)) {
      auto& [path, entry] = *member;
      state.progress.bytes_total = tree.expected_bytes();
      ++report.entries;
      if (entry.type != repo::EntryType::file) {
        ++state.report.folders;
        state.push(WholeEntry{std::move(entry), std::move(path), {}});
        continue;
      }
      ++state.progress.items_done;
      state.progress.set_current(path);
      MemberReader reader(tree, state.stop);
      entry.profile = reader.profile(entry.size);
      auto fed = state.feed_content(
          entry, [&](std::span<std::byte> out) { return reader.read(out); });
      entry.size = fed.bytes;
      entry.weave = std::move(fed.weave);
      report.bytes += entry.size;
      ++state.report.files_new;
      state.push(
          ContentEnds{.entry = std::move(entry), .path = std::move(path)});
    }
    auto outcome = tree.finish(state.stop);
    report.facts = std::move(outcome.facts);
    for (auto& note : outcome.notes) {
      state.report.notes.push_back(std::move(note));
    }
    for (const auto& problem : outcome.problems) {
      state.problem(source.name, problem);
      report.status = repo::SourceStatus::partial;
      report.message = repo::as_utf8(problem);  // the last sums up
    }
    state.report.bytes_read += report.bytes;
    state.push(TreeEnds{});
  } catch (const repo::Cancelled&) {
    throw;
  } catch (const std::exception& e) {
    state.fail_content();
    state.push(TreeFails{});
    report.bytes = 0;
    report.entries = 0;
    state.report.files_new = 0;
    state.report.folders = 0;
    state.fail(report, e.what());
  }
  state.report.sources.push_back(std::move(report));
}

}  // namespace cairn::ingest
