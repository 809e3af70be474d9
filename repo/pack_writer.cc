#include "repo/pack_writer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <map>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/error.h"
#include "repo/kept.h"
#include "repo/pack_format.h"

namespace cairn::repo {
namespace {

// What a row takes in the directory, at most.
constexpr std::size_t kRowBytes = 96;

}  // namespace

struct PackWriter::State {
  const Generation& generation;
  PackHead head;
  std::unique_ptr<StagedObject> object;
  crypto::Sha256 digest;
  std::uint64_t size = 0;
  MemorySum sum;
  Kept<WrappedKey> keys;
  Kept<BlobRow> rows;
  std::map<WrappedKey, std::uint32_t> places;

  void append(std::span<const std::byte> bytes) {
    append(bytes, memory_sum(bytes));
  }

  void append(std::span<const std::byte> bytes, const MemorySum& bytes_sum) {
    sum.add(bytes_sum);
    object->append(bytes);
    digest.add(bytes);
    size += bytes.size();
  }
};

PackWriter::PackWriter(Storage& storage, const Generation& generation)
    : state_(new State{generation,
                       new_pack_head(generation.number),
                       storage.stage(),
                       {},
                       0,
                       {},
                       {},
                       {},
                       {}}) {
  state_->append(state_->head);
}

PackWriter::~PackWriter() = default;
PackWriter::PackWriter(PackWriter&&) noexcept = default;
PackWriter& PackWriter::operator=(PackWriter&&) noexcept = default;

void PackWriter::add(BlobRow row, const WrappedKey& key,
                     std::span<const std::byte> stored) {
  add(std::move(row), key, stored, memory_sum(stored));
}

void PackWriter::add(BlobRow row, const WrappedKey& key,
                     std::span<const std::byte> stored, const MemorySum& sum) {
  assert(stored.size() == row.stored_size);
  auto& keys = state_->keys;
  const auto [place, is_new] =
      state_->places.try_emplace(key, static_cast<std::uint32_t>(keys.size()));
  if (is_new) keys.add(key);
  row.key = place->second;
  state_->rows.add(std::move(row));
  state_->append(stored, sum);
}

std::size_t PackWriter::blob_count() const noexcept {
  return state_->rows.size();
}

std::uint64_t PackWriter::size_if_finished() const noexcept {
  return state_->size + state_->rows.size() * kRowBytes +
         state_->keys.size() * kRowBytes + kDirectoryStep;
}

IndexedPack PackWriter::finish() && {
  State& state = *state_;
  Directory directory{state.keys.take(), state.rows.take()};
  const MemorySum directory_sum = memory_sum_of(directory);
  // The directory's size does not depend on where it lies, so that the padding
  // before it can be reckoned.
  const std::size_t directory_size =
      seal_directory(state.generation.index_key, state.head, 0, directory)
          .size();
  const std::uint64_t tail = directory_size + kTrailerBytes;
  const std::uint64_t offset = padme(state.size + tail) - tail;
  std::array<std::byte, 4096> noise;
  while (state.size < offset) {
    crypto::fill_random(noise);
    state.append(std::span(noise).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(noise.size(), offset - state.size))));
  }
  state.append(seal_directory(state.generation.index_key, state.head, offset,
                              directory));
  require_unchanged(directory_sum, memory_sum_of(directory));
  state.append(encode_trailer(static_cast<std::uint32_t>(directory_size)));

  IndexedPack pack{
      {std::move(state.digest).finish()}, state.size, std::move(directory)};
  state.object->expect(state.sum);
  if (state.object->publish(pack_name(pack.id)) == Created::exists) {
    throw IoError(pack_name(pack.id) + ": exists already");  // salt is random
  }
  require_unchanged(directory_sum, memory_sum_of(pack.directory));
  return pack;
}

}  // namespace cairn::repo
