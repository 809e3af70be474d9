// Content-defined cutting in two stages. The normative text is FORMAT.md,
// section 7; this is how it is computed fast, and why it is as it is.
//
// Looking at every byte must be cheap, and where the cuts fall must say nothing
// about key or content. One hash cannot do both: the fast ones are linear, and
// a few known cuts give their key away (Truong et al., eprint 2025/558). So a
// vectorised 16-bit hash (candidate_kernels.cc) passes one position in 512, and
// SipHash over the 64 bytes before decides among those.
//
// Normalized cutting (Xia et al., FastCDC): before `normal` a cut is 16 times
// rarer than after it, so that sizes gather around `normal`. What an edit costs
// is E[L^2]/E[L], and this makes it 15 to 30 % smaller than one fixed rate
// does.
#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "chunker/candidate_kernels.h"
#include "chunker/chunker.h"
#include "chunker/draws.h"
#include "chunker/siphash.h"

namespace cairn::chunker {
namespace {

constexpr std::size_t kMaxChunkBytes = std::size_t{8} << 20;

// One position in 2^(16 - bits) is a candidate. 512 keeps SipHash out of the
// profile; small chunks need cuts, and so candidates, more often than that.
unsigned candidate_limit_bits(unsigned normal_bits) {
  return std::max(7U, 19U - std::min(19U, normal_bits));
}

// Where what repeats with the period `period` up to `from` stops repeating: the
// first i >= from with bytes[i] != bytes[i - period], or the end.
std::size_t end_of_repetition(std::span<const std::byte> bytes,
                              std::size_t from, std::size_t period) {
  std::size_t i = from;
  while (i + 8 <= bytes.size() &&
         load_le64(&bytes[i]) == load_le64(&bytes[i - period])) {
    i += 8;
  }
  while (i < bytes.size() && bytes[i] == bytes[i - period]) ++i;
  return i;
}

// The first of a tile's marks that is used: behind a whole window.
constexpr std::size_t kFirstMark = 32;
static_assert(kFirstMark >= kCandidateWindowBytes - 1);
static_assert(kFirstMark < kWindowBytes);

}  // namespace

bool ChunkSizes::is_valid() const noexcept {
  return kWindowBytes <= min && min < normal && normal < max &&
         max <= kMaxChunkBytes && std::has_single_bit(normal);
}

struct ContentDefinedCutter::State {
  ChunkSizes sizes;
  CandidateRule rule;
  SipHashKey confirm_key;
  // A candidate is a cut when SipHash is below this.
  std::uint64_t limit_before_normal;
  std::uint64_t limit_from_normal;
  CandidateKernel kernel;

  [[nodiscard]] bool confirms(std::span<const std::byte> bytes,
                              std::size_t position) const {
    const auto window =
        bytes.subspan(position - kWindowBytes).first<kWindowBytes>();
    return siphash_2_4(confirm_key, window) <
           (position < sizes.normal ? limit_before_normal : limit_from_normal);
  }
};

// The second stage, for the candidates of one chunk in ascending order.
//
// In a run of zeros, or of any pattern that repeats, every repetition may be a
// candidate, and asking SipHash each time would cost a hundred times the rest.
// But equal windows have equal answers: once a window has failed and came
// back, all its repetitions fail, and only where they end must be found out.
class ContentDefinedCutter::Confirmation {
 public:
  Confirmation(const State& state, std::span<const std::byte> chunk)
      : state_(state), chunk_(chunk) {}

  bool is_cut(std::size_t position) {
    if (position > fails_until_) {
      if (repeats_the_last(position)) {
        fails_until_ = last_repetition(position);
      } else if (state_.confirms(chunk_, position)) {
        return true;
      }
    }
    last_failed_ = position;
    return false;
  }

  // The first position from `position` on that is not known to fail.
  std::size_t skip_from(std::size_t position) {
    if (position > fails_until_) return position;
    last_failed_ = 0;  // candidates in between are not seen
    return fails_until_ + 1;
  }

 private:
  // Within one window's length there is nothing but the period to compare: the
  // window of last_failed_, moved on by it, must give itself. Failing before
  // `normal` says nothing about the easier condition after it.
  [[nodiscard]] bool repeats_the_last(std::size_t position) const {
    const std::size_t period = position - last_failed_;
    return last_failed_ != 0 && period <= kWindowBytes &&
           (last_failed_ >= state_.sizes.normal ||
            position < state_.sizes.normal) &&
           std::memcmp(&chunk_[position - kWindowBytes],
                       &chunk_[last_failed_ - kWindowBytes], kWindowBytes) == 0;
  }

  // No other candidate lies between last_failed_ and `position`, hence none in
  // the repetitions but these same ones.
  [[nodiscard]] std::size_t last_repetition(std::size_t position) const {
    const std::size_t end =
        end_of_repetition(chunk_, position, position - last_failed_);
    return position < state_.sizes.normal
               ? std::min<std::size_t>(end, state_.sizes.normal - 1)
               : end;
  }

  const State& state_;
  std::span<const std::byte> chunk_;
  std::size_t last_failed_ = 0;  // the candidate before; 0: not known
  std::size_t fails_until_ = 0;  // no position up to here is a cut
};

// Normalized cutting by itself wants 1/4 and 4 cuts in `normal` bytes. 7/4
// times as many bring the mean to normal: for a min of a quarter or a half of
// normal it becomes 0.99 and 1.06 normal, instead of 1.14 and 1.19. A candidate
// comes with 2^(limit_bits - 16), so that what is left for SipHash to pass is
// 7 * 2^(76 - normal_bits - limit_bits) values in 2^64, and 16 times as many.
ContentDefinedCutter::ContentDefinedCutter(const CutterKey& key,
                                           const ChunkSizes& sizes) {
  assert(sizes.is_valid());
  const Draws draws(key);
  const auto normal_bits =
      static_cast<unsigned>(std::countr_zero(sizes.normal));
  const unsigned limit_bits = candidate_limit_bits(normal_bits);
  const std::uint64_t before = std::uint64_t{7}
                               << (76 - normal_bits - limit_bits);

  state_ = std::make_unique<State>(
      State{.sizes = sizes,
            .rule = candidate_rule(draws, limit_bits),
            .confirm_key = {.low = draws.at(1), .high = draws.at(2)},
            .limit_before_normal = before,
            .limit_from_normal = before << 4,
            .kernel = candidate_kernels().front()});
}

ContentDefinedCutter::~ContentDefinedCutter() = default;
ContentDefinedCutter::ContentDefinedCutter(ContentDefinedCutter&&) noexcept =
    default;
ContentDefinedCutter& ContentDefinedCutter::operator=(
    ContentDefinedCutter&&) noexcept = default;

const ChunkSizes& ContentDefinedCutter::sizes() const noexcept {
  return state_->sizes;
}

std::size_t ContentDefinedCutter::first_cut(
    std::span<const std::byte> bytes) const {
  assert(!bytes.empty());
  const auto chunk =
      bytes.first(std::min<std::size_t>(bytes.size(), state_->sizes.max));
  Confirmation confirmation(*state_, chunk);
  CandidateMarks marks;

  // Before each position lies its window, since min is no smaller. A tile
  // begins 33 bytes before its first position; the mark of a position is that
  // of the byte before it.
  std::size_t position = state_->sizes.min;
  while (position < chunk.size()) {
    const std::size_t tile_begin = position - kFirstMark - 1;
    const auto tile = chunk.subspan(
        tile_begin, std::min(kTileBytes, chunk.size() - 1 - tile_begin));
    state_->kernel.mark(state_->rule, tile, marks);

    std::size_t candidate = 0;
    if (any_mark(marks, kFirstMark, tile.size(), [&](std::size_t i) {
          candidate = tile_begin + i + 1;
          return confirmation.is_cut(candidate);
        })) {
      return candidate;
    }
    position = confirmation.skip_from(tile_begin + tile.size() + 1);
  }
  return chunk.size();
}

}  // namespace cairn::chunker
