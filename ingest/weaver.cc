#include "ingest/weaver.h"

#include <algorithm>
#include <utility>

#include "ingest/page_files.h"
#include "repo/error.h"

namespace cairn::ingest {

Weaver::Weaver(const chunker::ContentDefinedCutter& cdc,
               const chunker::PageCutter& page, KnownStream* before, Take take)
    : cdc_(cdc),
      page_(page),
      before_(before),
      take_(std::move(take)),
      parts_(1 + kContentPart),
      sizes_(parts_.size()) {}

void Weaver::add(std::span<const std::byte> bytes) {
  given_.add(bytes);
  splitter_.split(bytes,
                  [&](const TarSplitter::Piece& piece) { take_piece(piece); });
  for (unsigned i = 0; i < parts_.size(); ++i) {
    cut_what_is_whole(i, Left::more);
  }
}

void Weaver::take_piece(const TarSplitter::Piece& piece) {
  const unsigned number =
      piece.kind == TarSplitter::Kind::header ? kHeaderPart : kContentPart;
  // Smaller ones would make chunks whose rows cost more than they save.
  if (piece.member_size >= cdc_.sizes().min) {
    parts_[kContentPart].sections.push_back(
        {sizes_[kContentPart], piece.member_size, true});
    parts_[kContentPart].sections.push_back(
        {sizes_[kContentPart] + piece.member_size, std::nullopt, false});
  }
  if (step_.part != number && step_.length > 0) add_step();
  step_.part = number;
  step_.length += piece.bytes.size();
  append(number, piece.bytes);
  const auto& uncut = parts_[number].uncut;
  dealt_out_.add(std::span(uncut).last(piece.bytes.size()));
}

void Weaver::append(unsigned number, std::span<const std::byte> bytes) {
  auto& uncut = parts_[number].uncut;
  uncut.insert(uncut.end(), bytes.begin(), bytes.end());
  sizes_[number] += bytes.size();
}

void Weaver::add_step() {
  append(repo::kRecipePart, repo::encode_step(step_));
  step_.length = 0;
}

void Weaver::cut_what_is_whole(unsigned number, Left left) {
  Part& part = parts_[number];
  const std::size_t enough =
      std::max<std::size_t>(cdc_.sizes().max, page_.chunk_bytes());
  const std::span<const std::byte> uncut = part.uncut;
  std::size_t done = 0;
  while (done < uncut.size()) {
    while (part.sections.size() > 1 && part.sections[1].begin <= part.cut) {
      part.sections.pop_front();
    }
    auto section = uncut.subspan(done);
    bool is_whole = left == Left::nothing;
    if (part.sections.size() > 1) {
      const std::uint64_t size = part.sections[1].begin - part.cut;
      if (size <= section.size()) {
        section = section.first(static_cast<std::size_t>(size));
        is_whole = true;
      }
    }
    if (!is_whole && section.size() < enough) break;
    const std::size_t length =
        cut_one(number, part, section,
                is_whole ? KnownStream::End::border : KnownStream::End::open);
    done += length;
    part.cut += length;
  }
  part.uncut.erase(part.uncut.begin(),
                   part.uncut.begin() + static_cast<std::ptrdiff_t>(done));
}

std::size_t Weaver::cut_one(unsigned number, Part& part,
                            std::span<const std::byte> section,
                            KnownStream::End end) {
  const Section& here = part.sections.front();
  if (here.begin == part.cut) {
    part.is_page =
        here.is_member &&
        profile_of(*here.size, section.first(std::min(section.size(),
                                                      kProfilePeekBytes))) ==
            repo::Profile::page;
  }
  Cut cut{.part = number, .bytes = {}, .known = {}};
  if (before_ != nullptr) cut.known = before_->recognise(section, end);
  cut.bytes = section.first(cut.known      ? cut.known->length
                            : part.is_page ? page_.first_cut(section)
                                           : cdc_.first_cut(section));
  // What a longer section would be cut into nobody knows.
  if (end == KnownStream::End::border && cut.bytes.size() == section.size()) {
    cut.cut_by = CutBy::border;
  }
  take_(cut);
  return cut.bytes.size();
}

repo::Weave Weaver::finish() && {
  if (step_.length > 0) add_step();
  for (unsigned i = 0; i < parts_.size(); ++i) {
    cut_what_is_whole(i, Left::nothing);
  }
  if (given_.finish() != dealt_out_.finish()) {
    throw repo::CorruptionError(
        "a stream was not taken apart as it came; the memory or the processor "
        "of this machine is failing");
  }
  return {.digest = given_.finish(), .parts = sizes_};
}

}  // namespace cairn::ingest
