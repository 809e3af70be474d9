#include "repo/weave.h"

#include <xxhash.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "repo/error.h"

namespace cairn::repo {

std::array<std::byte, kWeaveStepBytes> encode_step(const WeaveStep& step) {
  assert(step.part > kRecipePart && step.part < kMaxWeaveParts);
  assert(step.length > 0 && step.length <= kMaxWeaveStep);
  std::array<std::byte, kWeaveStepBytes> bytes;
  bytes[0] = static_cast<std::byte>(step.part);
  for (std::size_t i = 1; i < kWeaveStepBytes; ++i) {
    bytes[i] = static_cast<std::byte>(step.length >> (8 * (i - 1)) & 0xff);
  }
  return bytes;
}

struct WeaveDigester::State {
  struct Free {
    void operator()(XXH3_state_t* one) const { XXH3_freeState(one); }
  };
  std::unique_ptr<XXH3_state_t, Free> state{XXH3_createState()};
};

WeaveDigester::WeaveDigester() : state_(std::make_unique<State>()) {
  if (!state_->state) throw std::bad_alloc();
  XXH3_128bits_reset(state_->state.get());
}

WeaveDigester::~WeaveDigester() = default;
WeaveDigester::WeaveDigester(WeaveDigester&&) noexcept = default;
WeaveDigester& WeaveDigester::operator=(WeaveDigester&&) noexcept = default;

void WeaveDigester::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->state.get(), bytes.data(), bytes.size());
}

WeaveDigest WeaveDigester::finish() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical,
                           XXH3_128bits_digest(state_->state.get()));
  WeaveDigest digest;
  static_assert(sizeof canonical.digest == std::tuple_size_v<WeaveDigest>);
  std::ranges::copy(std::as_bytes(std::span(canonical.digest)), digest.begin());
  return digest;
}

struct PieceCursor::State {
  struct Part {
    StreamCursor chunks;
    std::uint64_t at = 0;   // in the rows
    std::uint64_t end = 0;  // of the part, there
  };

  BlobReader& blobs;
  std::vector<Part> parts;
  WeaveStep step;  // what is left of the one that is being followed

  // Of the recipe: what lies before parts[0].at and was not decoded yet.
  PlainBlob recipe;
  std::size_t recipe_at = 0;
  std::array<std::byte, kWeaveStepBytes> pending{};
  std::size_t pending_size = 0;

  [[nodiscard]] std::optional<StreamPiece> take(unsigned number,
                                                std::uint64_t most);
  [[nodiscard]] bool next_step();
  void read_recipe();
  void require_end() const;
};

// What lies in the part's next chunk, at most so many bytes.
std::optional<StreamPiece> PieceCursor::State::take(unsigned number,
                                                    std::uint64_t most) {
  Part& part = parts[number];
  const auto chunk = part.chunks.at(part.at);
  if (!chunk) return std::nullopt;
  StreamPiece piece{.part = number, .chunk = *chunk, .from = 0, .size = 0};
  piece.from = part.at - chunk->offset;
  piece.size = std::min({most, chunk->length - piece.from, part.end - part.at});
  part.at += piece.size;
  return piece;
}

void PieceCursor::State::read_recipe() {
  Part& part = parts[kRecipePart];
  const auto chunk = part.chunks.at(part.at);
  if (!chunk) throw CorruptionError("a weave's recipe is missing");
  auto plain = blobs.read(BlobKind::content, chunk->id);
  if (plain->size() != chunk->length || chunk->offset != part.at ||
      chunk->length > part.end - part.at) {
    throw CorruptionError("blob " + chunk->id.brief() +
                          ": is no part of a weave's recipe");
  }
  recipe = std::move(plain);
  recipe_at = 0;
  part.at += chunk->length;
}

// False: the recipe ends here.
bool PieceCursor::State::next_step() {
  while (pending_size < kWeaveStepBytes) {
    if (!recipe || recipe_at == recipe->size()) {
      const Part& part = parts[kRecipePart];
      if (part.at == part.end && pending_size == 0) return false;
      if (part.at == part.end) {
        throw CorruptionError("a weave's recipe ends within a step");
      }
      read_recipe();
    }
    const std::size_t size =
        std::min(kWeaveStepBytes - pending_size, recipe->size() - recipe_at);
    std::copy_n(recipe->data() + recipe_at, size,
                pending.begin() + static_cast<std::ptrdiff_t>(pending_size));
    pending_size += size;
    recipe_at += size;
  }
  WeaveStep found{.part = std::to_integer<unsigned>(pending[0]), .length = 0};
  for (std::size_t i = kWeaveStepBytes; i-- > 1;) {
    found.length =
        found.length << 8 | std::to_integer<std::uint64_t>(pending[i]);
  }
  if (found.part == kRecipePart || found.part >= parts.size() ||
      found.length == 0 ||
      found.length > parts[found.part].end - parts[found.part].at) {
    throw CorruptionError("a weave's recipe does not fit its parts");
  }
  pending_size = 0;
  step = found;
  return true;
}

void PieceCursor::State::require_end() const {
  const bool is_whole = std::ranges::all_of(
      parts, [](const Part& part) { return part.at == part.end; });
  if (!is_whole) {
    throw CorruptionError("a weave's recipe leaves some of its parts out");
  }
}

PieceCursor::PieceCursor(BlobReader& blobs, const std::optional<Weave>& weave,
                         std::vector<Link> rows)
    : state_(new State{blobs, {}, {}, nullptr, 0, {}, 0}) {
  if (!weave) {
    state_->parts.push_back(
        {StreamCursor(blobs, std::move(rows)), 0, ~std::uint64_t{0}});
    return;
  }
  std::uint64_t begin = 0;
  for (const std::uint64_t size : weave->parts) {
    state_->parts.push_back({StreamCursor(blobs, rows), begin, begin + size});
    begin += size;
  }
}

PieceCursor::~PieceCursor() = default;
PieceCursor::PieceCursor(PieceCursor&&) noexcept = default;
PieceCursor& PieceCursor::operator=(PieceCursor&&) noexcept = default;

std::optional<StreamPiece> PieceCursor::next() {
  State& state = *state_;
  if (state.parts.size() == 1) return state.take(0, ~std::uint64_t{0});
  if (state.step.length == 0 && !state.next_step()) {
    state.require_end();
    return std::nullopt;
  }
  auto piece = state.take(state.step.part, state.step.length);
  if (!piece) throw CorruptionError("a part of a weave is missing");
  state.step.length -= piece->size;
  return piece;
}

}  // namespace cairn::repo
