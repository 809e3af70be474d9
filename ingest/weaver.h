// Takes a tar stream apart while it is backed up (repo/weave.h): headers into
// one part, contents into another, and the recipe. Members that are not small
// begin and end chunks, so that one that is in two archives is one in the
// repository; those that are page files are cut on their pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "chunker/chunker.h"
#include "ingest/known_stream.h"
#include "ingest/tar_splitter.h"
#include "repo/entry.h"
#include "repo/weave.h"

namespace cairn::ingest {

// Memory: for each part a chunk of the largest size and what add() was given.
//
// Threads        one thread at a time.
class Weaver {
 public:
  static constexpr unsigned kHeaderPart = 1;
  static constexpr unsigned kContentPart = 2;

  // A chunk was cut; its bytes are valid during the call. `known`: it was
  // recognised.
  struct Cut {
    unsigned part = 0;
    std::span<const std::byte> bytes;
    CutBy cut_by = CutBy::content;
    std::optional<KnownChunk> known;
  };
  using Take = std::function<void(const Cut&)>;

  // Borrows the cutters and `before`, which may be null.
  Weaver(const chunker::ContentDefinedCutter& cdc,
         const chunker::PageCutter& page, KnownStream* before, Take take);

  void add(std::span<const std::byte> bytes);

  // Cuts what is left. Throws CorruptionError if the parts do not give the
  // stream that went in.
  [[nodiscard]] repo::Weave finish() &&;

 private:
  // What is to be cut by itself, from a border to the next.
  struct Section {
    std::uint64_t begin = 0;            // in the part
    std::optional<std::uint64_t> size;  // nothing: to the next section
    bool is_member = false;
  };
  struct Part {
    std::vector<std::byte> uncut;
    std::uint64_t cut = 0;  // bytes that were
    std::deque<Section> sections{{}};
    bool is_page = false;  // the first of them
  };
  enum class Left { more, nothing };

  void take_piece(const TarSplitter::Piece& piece);
  void append(unsigned number, std::span<const std::byte> bytes);
  void add_step();
  void cut_what_is_whole(unsigned number, Left left);
  [[nodiscard]] std::size_t cut_one(unsigned number, Part& part,
                                    std::span<const std::byte> section,
                                    KnownStream::End end);

  const chunker::ContentDefinedCutter& cdc_;
  const chunker::PageCutter& page_;
  KnownStream* before_;
  Take take_;
  TarSplitter splitter_;
  std::vector<Part> parts_;
  std::vector<std::uint64_t> sizes_;
  repo::WeaveStep step_;  // that goes on
  repo::WeaveDigester given_;
  repo::WeaveDigester dealt_out_;
};

}  // namespace cairn::ingest
