// absorb_pushed(), of wal_push.h.
#include <algorithm>
#include <cassert>
#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ingest/wal_digests.h"
#include "ingest/wal_push.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::string_view kConflict = ".conflict";

// One file that waits, and what it holds.
struct Piece {
  const PushedWal::Waiting& file;
  Lsn begin;
  Lsn end;
};

class Absorption {
 public:
  Absorption(WalSpool& spool, const WalRun* in_use, const LookAtStored& look)
      : spool_(spool), in_use_(in_use), look_(look) {}

  void take_history(const PushedWal::Waiting& file);
  void take_segment(const Piece& piece);

  std::vector<std::string> troubles;

 private:
  [[nodiscard]] bool precedes_the_one_in_use(const Piece& piece) const;
  [[nodiscard]] std::shared_ptr<WalRun> find_run(const Piece& piece) const;
  void read(const Piece& piece, Lsn at, std::span<std::byte> out) const;
  [[nodiscard]] bool agrees(const Piece& piece, const WalRun& run,
                            Lsn end) const;
  [[nodiscard]] StoredInPlace compare_with_let_go(const Piece& piece) const;
  void take_let_go(const Piece& piece);
  void append(const Piece& piece, WalRun& run) const;
  void set_aside(const PushedWal::Waiting& file);
  static void remove(const PushedWal::Waiting& file);

  WalSpool& spool_;
  const WalRun* const in_use_;
  const LookAtStored& look_;
};

void Absorption::take_history(const PushedWal::Waiting& file) {
  const auto known = find_spooled_history(spool_.folder(), file.name.timeline);
  std::ifstream in(file.path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  // What lies beside is looked at first, so that this one is the other.
  if (known && *known != text) {
    set_aside(file);
    return;
  }
  spool_.add_history(file.name.timeline, text);
  remove(file);
}

void Absorption::take_segment(const Piece& piece) {
  if (in_use_ != nullptr) {
    const Lsn from = in_use_->stream_begin();
    const Lsn upto = in_use_->durable_end();
    if (piece.file.name.timeline == in_use_->timeline() &&
        from <= piece.begin && piece.end <= upto) {
      if (piece.begin < in_use_->begin()) {
        take_let_go(piece);
        return;
      }
      agrees(piece, *in_use_, piece.end) ? remove(piece.file)
                                         : set_aside(piece.file);
      return;
    }
    if (!precedes_the_one_in_use(piece)) return;
  }
  auto run = find_run(piece);
  if (!run) {
    run = spool_.begin_run(piece.file.name.timeline, piece.begin);
  }
  if (piece.begin < run->begin()) {
    take_let_go(piece);
    return;
  }
  if (!agrees(piece, *run, std::min(piece.end, run->end()))) {
    set_aside(piece.file);
    return;
  }
  if (run->end() < piece.end) append(piece, *run);
  run->sync();
  remove(piece.file);
}

bool Absorption::precedes_the_one_in_use(const Piece& piece) const {
  const auto timeline = piece.file.name.timeline;
  return timeline < in_use_->timeline() ||
         (timeline == in_use_->timeline() &&
          piece.begin < in_use_->stream_begin());
}

// The one that goes on furthest, of those that hold or reach its beginning.
std::shared_ptr<WalRun> Absorption::find_run(const Piece& piece) const {
  std::shared_ptr<WalRun> found;
  for (const auto& run : spool_.runs()) {
    // Those that come later a receiver may be writing by now.
    if (run->timeline() != piece.file.name.timeline ||
        (in_use_ != nullptr && run->timeline() == in_use_->timeline() &&
         run->begin() >= in_use_->begin())) {
      continue;
    }
    if (piece.begin < run->stream_begin() || run->end() < piece.begin) continue;
    if (!found || found->end() < run->end()) found = run;
  }
  return found;
}

void Absorption::read(const Piece& piece, Lsn at,
                      std::span<std::byte> out) const {
  std::ifstream in(piece.file.path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(at.value - piece.begin.value));
  if (!in.read(reinterpret_cast<char*>(out.data()),
               static_cast<std::streamsize>(out.size()))) {
    throw repo::IoError(piece.file.path.string() + ": cannot read");
  }
}

StoredInPlace Absorption::compare_with_let_go(const Piece& piece) const {
  const auto& name = piece.file.name;
  const auto known = WalDigests(spool_.folder())
                         .find(segment_name(name.timeline, piece.begin,
                                            spool_.segment_bytes()));
  // A digest is one of all its bytes.
  if (known && piece.file.bytes == spool_.segment_bytes()) {
    return *known == digest_of_file(piece.file.path) ? StoredInPlace::same
                                                     : StoredInPlace::other;
  }
  WalToPush segment;
  segment.path = piece.file.path;
  segment.name = name;
  segment.begin = piece.begin;
  segment.bytes = piece.file.bytes;
  segment.segment_bytes = spool_.segment_bytes();
  return look_(segment);
}

// Runs begin where segments do, so that none of it is held any more.
void Absorption::take_let_go(const Piece& piece) {
  switch (compare_with_let_go(piece)) {
    case StoredInPlace::same:
      remove(piece.file);
      return;
    case StoredInPlace::other:
      set_aside(piece.file);
      return;
    case StoredInPlace::unknown:
      troubles.push_back(
          piece.file.path.string() +
          ": WAL of that place was stored before, and whether it is the same "
          "cannot be told: it is there no more, or this key may not read it; "
          "the file stays here");
  }
}

// As far as the run holds it, up to `end`.
bool Absorption::agrees(const Piece& piece, const WalRun& run, Lsn end) const {
  assert(run.begin() <= piece.begin);
  Lsn at = piece.begin;
  std::vector<std::byte> ours(kPiece);
  std::vector<std::byte> theirs(kPiece);
  while (at < end) {
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(kPiece, end.value - at.value));
    const auto here = std::span(ours).first(count);
    const auto there = std::span(theirs).first(count);
    run.read(at, here);
    read(piece, at, there);
    if (!std::ranges::equal(here, there)) return false;
    at.value += count;
  }
  return true;
}

// Where it can be, without a second copy: on a disk that is nearly full there
// is no room for one, and the way out of that is to store what waits.
void Absorption::append(const Piece& piece, WalRun& run) const {
  if (run.end() == piece.begin &&
      piece.end.value - piece.begin.value == run.segment_bytes() &&
      run.link_segment(piece.file.path)) {
    return;
  }
  std::vector<std::byte> bytes(kPiece);
  while (run.end() < piece.end) {
    const auto part = std::span(bytes).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(kPiece, piece.end.value - run.end().value)));
    read(piece, run.end(), part);
    run.write(part);
  }
}

// It stays, for a person to look at.
void Absorption::set_aside(const PushedWal::Waiting& file) {
  const fs::path aside = file.path.string() + std::string(kConflict);
  if (::rename(file.path.c_str(), aside.c_str()) != 0) {
    repo::throw_system_error(file.path.string() + ": cannot rename", errno);
  }
  troubles.push_back(aside.string() +
                     ": is not what was received or stored under that name; it "
                     "is kept here and not stored");
}

void Absorption::remove(const PushedWal::Waiting& file) {
  std::error_code error;  // then it is found to be held the next time
  fs::remove(file.path, error);
}

}  // namespace

std::vector<std::string> absorb_pushed(WalSpool& spool, const WalRun* in_use,
                                       const LookAtStored& look) {
  Absorption absorption(spool, in_use, look);
  for (const auto& file : PushedWal(spool.folder()).waiting()) {
    if (file.name.kind == WalFileName::Kind::history) {
      absorption.take_history(file);
      continue;
    }
    const auto begin = file.name.begin(spool.segment_bytes());
    if (!begin || file.bytes > spool.segment_bytes()) {
      absorption.troubles.push_back(
          file.path.string() +
          ": is no segment of a cluster whose segments have " +
          std::to_string(spool.segment_bytes()) + " bytes; it stays here");
      continue;
    }
    absorption.take_segment({file, *begin, {begin->value + file.bytes}});
  }
  return std::move(absorption.troubles);
}

}  // namespace cairn::ingest
