#include "repo/kept.h"

#include <array>
#include <cstdint>
#include <initializer_list>

#include "repo/error.h"

namespace cairn::repo {
namespace {

MemorySum sum_of_numbers(std::initializer_list<std::uint64_t> numbers) {
  return memory_sum(std::as_bytes(std::span(numbers.begin(), numbers.size())));
}

}  // namespace

MemorySum memory_sum_of(const BlobId& id) noexcept {
  return memory_sum(id.bytes);
}

MemorySum memory_sum_of(const Link& link) noexcept {
  MemorySum sum = memory_sum_of(link.id);
  sum.add(sum_of_numbers({static_cast<std::uint64_t>(link.kind), link.length}));
  return sum;
}

MemorySum memory_sum_of(std::span<const Link> links) noexcept {
  MemorySum sum;
  for (const Link& link : links) sum.add(memory_sum_of(link));
  return sum;
}

MemorySum memory_sum_of(const BlobRow& row) noexcept {
  MemorySum sum = memory_sum_of(row.id);
  sum.add(sum_of_numbers({static_cast<std::uint64_t>(row.kind),
                          static_cast<std::uint64_t>(row.codec), row.plain_size,
                          row.stored_size, row.key, row.counter, row.depth,
                          std::uint64_t{row.base.has_value()}}));
  if (row.base) sum.add(memory_sum_of(*row.base));
  return sum;
}

MemorySum memory_sum_of(const WrappedKey& key) noexcept {
  MemorySum sum = memory_sum(key.wrapped);
  sum.add(sum_of_numbers(
      {static_cast<std::uint64_t>(key.key_class), key.generation}));
  return sum;
}

MemorySum memory_sum_of(const Directory& directory) noexcept {
  MemorySum sum =
      sum_of_numbers({directory.keys.size(), directory.rows.size()});
  for (const auto& key : directory.keys) sum.add(memory_sum_of(key));
  for (const auto& row : directory.rows) sum.add(memory_sum_of(row));
  return sum;
}

MemorySum memory_sum_of(const IndexedPack& pack) noexcept {
  MemorySum sum = memory_sum(pack.id.bytes);
  sum.add(sum_of_numbers({pack.size}));
  sum.add(memory_sum_of(pack.directory));
  return sum;
}

void require_unchanged(const MemorySum& before, const MemorySum& now) {
  if (before == now) return;
  throw CorruptionError(
      "what is about to be written of blobs has changed in memory; the memory "
      "of this machine is failing");
}

}  // namespace cairn::repo
