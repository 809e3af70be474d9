#include "repo/compression.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <new>

namespace cairn::repo {
namespace {

// FORMAT.md section 12: readers refuse larger windows.
constexpr int kMaxWindowLog = 24;

// At these levels zstd looks places up in one table, of 2^14 or 2^15 for inputs
// of a chunk's size. With 2^17 what earlier chunks left in it is less in the
// way; and what is written for people has longer matches than what is written
// for machines. A difference fills the table with all of its base first: one
// that stays near the processor is worth more (docs/decisions/0014).
constexpr bool has_one_table(int level) { return level == 1 || level == 2; }
constexpr int kHashLog = 17;
constexpr int kHashLogForDifference = 15;
constexpr int kMinMatchOfText = 7;
constexpr int kMinMatchOfLevel = 0;

void must(std::size_t result) {
  assert(!ZSTD_isError(result));
  (void)result;
}

}  // namespace

bool looks_like_text(std::span<const std::byte> plain) {
  constexpr std::size_t kLookedAt = 1024;
  return std::memchr(plain.data(), 0, std::min(kLookedAt, plain.size())) ==
         nullptr;
}

std::optional<std::uint64_t> claimed_size(std::span<const std::byte> frame) {
  const auto size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR) {
    return std::nullopt;
  }
  return size;
}

struct Compressor::State {
  struct Free {
    void operator()(ZSTD_CCtx* c) const { ZSTD_freeCCtx(c); }
  };
  std::unique_ptr<ZSTD_CCtx, Free> context;
  int level;
};

Compressor::Compressor(int level, Use use) : state_(std::make_unique<State>()) {
  state_->context.reset(ZSTD_createCCtx());
  if (!state_->context) throw std::bad_alloc();
  state_->level = level;
  auto* const context = state_->context.get();
  must(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level));
  if (has_one_table(level)) {
    must(ZSTD_CCtx_setParameter(
        context, ZSTD_c_hashLog,
        use == Use::whole ? kHashLog : kHashLogForDifference));
  }
  // The plain size stands in the directory, and the seal is the checksum.
  must(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1));
  must(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0));
  must(ZSTD_CCtx_setParameter(context, ZSTD_c_dictIDFlag, 0));
}

Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

std::size_t Compressor::compress(std::span<const std::byte> plain,
                                 std::span<std::byte> out) {
  auto* const context = state_->context.get();
  if (has_one_table(state_->level)) {
    must(ZSTD_CCtx_setParameter(
        context, ZSTD_c_minMatch,
        looks_like_text(plain) ? kMinMatchOfText : kMinMatchOfLevel));
  }
  const std::size_t size = ZSTD_compress2(context, out.data(), out.size(),
                                          plain.data(), plain.size());
  if (!ZSTD_isError(size)) return size;
  // It did not fit. Without this the context would wait for the rest.
  must(ZSTD_CCtx_reset(context, ZSTD_reset_session_only));
  return 0;
}

std::size_t Compressor::compress_difference(std::span<const std::byte> plain,
                                            std::span<const std::byte> base,
                                            std::span<std::byte> out) {
  // The prefix holds for one frame only.
  must(ZSTD_CCtx_refPrefix(state_->context.get(), base.data(), base.size()));
  return compress(plain, out);
}

// A prefix is taken as it is. A dictionary, which costs a sixth less to begin
// with, is too, unless it begins like one that zstd trained.
bool looks_trained(std::span<const std::byte> base) {
  constexpr std::array kMagic = {std::byte{0x37}, std::byte{0xa4},
                                 std::byte{0x30}, std::byte{0xec}};
  static_assert(ZSTD_MAGIC_DICTIONARY == 0xEC30A437);
  return base.size() >= kMagic.size() &&
         std::ranges::equal(base.first(kMagic.size()), kMagic);
}

struct Decompressor::State {
  struct Free {
    void operator()(ZSTD_DCtx* c) const { ZSTD_freeDCtx(c); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context;
};

Decompressor::Decompressor() : state_(std::make_unique<State>()) {
  state_->context.reset(ZSTD_createDCtx());
  if (!state_->context) throw std::bad_alloc();
  must(ZSTD_DCtx_setParameter(state_->context.get(), ZSTD_d_windowLogMax,
                              kMaxWindowLog));
}

Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

namespace {

// What the frame's header asks for (RFC 8878, 3.1.1.1.2). A frame that is one
// segment has its content for a window, which callers bound.
bool has_small_window(std::span<const std::byte> frame) {
  if (frame.size() < kFrameMagic.size() + 2) return false;
  constexpr std::byte kSingleSegment{0x20};
  if ((frame[4] & kSingleSegment) != std::byte{0}) return true;
  const auto window = std::to_integer<std::uint64_t>(frame[5]);
  const std::uint64_t base = std::uint64_t{1} << (10 + (window >> 3));
  return base + base / 8 * (window & 7) <= std::uint64_t{1} << kMaxWindowLog;
}

}  // namespace

bool Decompressor::decompress(std::span<const std::byte> frame,
                              std::span<const std::byte> base,
                              std::span<std::byte> out) {
  auto* const context = state_->context.get();
  // No skippable frame, none of an old draft of zstd.
  if (frame.size() < kFrameMagic.size() ||
      !std::ranges::equal(frame.first(kFrameMagic.size()), kFrameMagic) ||
      !has_small_window(frame)) {
    return false;
  }
  // One frame and nothing behind it: ZSTD_decompressDCtx would take several.
  const std::size_t frame_size =
      ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(frame_size) || frame_size != frame.size()) return false;
  std::size_t size = 0;
  if (looks_trained(base)) {
    must(ZSTD_DCtx_refPrefix(context, base.data(), base.size()));
    size = ZSTD_decompressDCtx(context, out.data(), out.size(), frame.data(),
                               frame.size());
  } else {
    size =
        ZSTD_decompress_usingDict(context, out.data(), out.size(), frame.data(),
                                  frame.size(), base.data(), base.size());
  }
  return !ZSTD_isError(size) && size == out.size();
}

}  // namespace cairn::repo
