#include "ingest/feature_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

// Keys of the store, by their first letter, each followed by kSeriesBytes of
// the series' tag (those of repo/blob_index.cc and path_cache.cc are others):
//   t <6 bytes of a feature>   number of the newest chunk that has it
//   c <number>                 id, state, base
//   s                          the next number, and the one at the last
//   cleaning
constexpr char kFeature = 't';
constexpr char kChunk = 'c';
constexpr char kSeries = 's';

// Two features with these bytes in common are told apart nowhere. Among 2^28 of
// them, a terabyte's, one lookup in a million meets such a pair.
constexpr std::size_t kFeatureBytes = 6;
constexpr std::size_t kNumberBytes = 4;
constexpr std::size_t kSeriesBytes = 6;

constexpr std::uint32_t kNoBase = 0xffffffff;

std::string big_endian(std::uint64_t value, std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = bytes; i-- > 0; value >>= 8) {
    text[i] = static_cast<char>(value & 0xff);
  }
  return text;
}

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  for (const char c : text) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// How far it is from state n - 1 up to the state that n leans on: three steps
// for each zero at the end of n written in base four.
unsigned steps_up(std::uint32_t n) {
  unsigned steps = 0;
  for (; n != 0 && n % 4 == 0; n /= 4) steps += 3;
  return steps;
}

struct SeriesState {
  std::uint32_t next = 0;
  std::uint32_t at_last_cleaning = 0;
};

std::string encode(const SeriesState& state) {
  return big_endian(state.next, kNumberBytes) +
         big_endian(state.at_last_cleaning, kNumberBytes);
}

SeriesState decode_state(std::string_view value) {
  if (value.size() != 2 * kNumberBytes) return {};
  return {static_cast<std::uint32_t>(number_in(value.substr(0, kNumberBytes))),
          static_cast<std::uint32_t>(number_in(value.substr(kNumberBytes)))};
}

}  // namespace

FeatureTable::FeatureTable(repo::IndexStore& store,
                           const repo::SeriesTag& series)
    : store_(store) {
  for (std::size_t i = 0; i < kSeriesBytes; ++i) {
    prefix_ += static_cast<char>(series[i]);
  }
  try {
    if (const auto value = store_.get(kSeries + prefix_)) {
      next_number_ = decode_state(*value).next;
    }
  } catch (const repo::Error&) {
    next_number_ = 0;  // as if there was none
  }
}

std::string FeatureTable::key_of(char kind, std::uint64_t value,
                                 std::size_t bytes) const {
  return kind + prefix_ + big_endian(value, bytes);
}

std::vector<FeatureTable::Number> FeatureTable::find(
    std::span<const std::uint64_t> features) const {
  struct Tally {
    Number number;
    std::uint32_t shared;
  };
  // The first few that all name the same chunk leave little doubt, and looking
  // up costs as much as hashing a kibibyte.
  constexpr std::size_t kEnough = 4;
  std::vector<Tally> tallies;
  if (!is_there()) return {};
  for (std::size_t i = 0; i < features.size(); ++i) {
    std::optional<std::string> value;
    try {
      value = store_.get(key_of(kFeature, features[i], kFeatureBytes));
    } catch (const repo::Error&) {
      return {};
    }
    if (value) {
      const auto number = static_cast<Number>(number_in(*value));
      const auto known = std::ranges::find(tallies, number, &Tally::number);
      if (known == tallies.end()) {
        tallies.push_back({number, 1});
      } else {
        ++known->shared;
      }
    }
    if (i + 1 == kEnough && tallies.size() == 1 &&
        tallies.front().shared == kEnough) {
      break;
    }
  }
  std::ranges::sort(tallies, [](const Tally& a, const Tally& b) {
    return std::pair(a.shared, a.number) > std::pair(b.shared, b.number);
  });
  std::vector<Number> similar;
  for (const auto& tally : tallies) {
    if (similar.size() == kMaxSimilar) break;
    similar.push_back(tally.number);
  }
  return similar;
}

std::optional<FeatureTable::Record> FeatureTable::record_of(
    Number number) const {
  const auto value = store_.get(key_of(kChunk, number, kNumberBytes));
  if (!value || value->size() != repo::BlobId::kBytes + 2 * kNumberBytes) {
    return std::nullopt;
  }
  const std::string_view text = *value;
  Record record;
  std::ranges::copy(std::as_bytes(std::span(text)).first(repo::BlobId::kBytes),
                    record.id.bytes.begin());
  record.descent.state = static_cast<std::uint32_t>(
      number_in(text.substr(repo::BlobId::kBytes, kNumberBytes)));
  const auto base = static_cast<Number>(
      number_in(text.substr(repo::BlobId::kBytes + kNumberBytes)));
  if (base != kNoBase) record.descent.base = base;
  return record;
}

std::optional<FeatureTable::Base> FeatureTable::base_for(Number similar) const {
  try {
    auto record = record_of(similar);
    if (!record) return std::nullopt;
    const std::uint32_t state = record->descent.state + 1;
    Number number = similar;
    for (unsigned steps = steps_up(state); steps > 0; --steps) {
      if (!record->descent.base) break;
      auto above = record_of(*record->descent.base);
      if (!above) break;
      number = *record->descent.base;
      record = std::move(above);
    }
    return Base{record->id, {state, number}};
  } catch (const repo::Error&) {
    return std::nullopt;
  }
}

void FeatureTable::remember(const repo::BlobId& id, const Descent& descent,
                            std::span<const std::uint64_t> features) {
  pending_features_.insert(pending_features_.end(), features.begin(),
                           features.end());
  pending_.push_back({{id, descent}, pending_features_.size()});
}

void FeatureTable::flush(repo::IndexStore::Writer& writer) {
  if (pending_.empty()) return;
  // Not our own: another run of the series may have been quicker.
  SeriesState state;
  if (const auto value = writer.get(kSeries + prefix_)) {
    state = decode_state(*value);
  }
  if (pending_.size() >= kNoBase - state.next) return;  // numbers have run out
  const Number first = state.next;
  state.next += static_cast<Number>(pending_.size());
  writer.put(kSeries + prefix_, encode(state));
  std::size_t feature = 0;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const auto number = static_cast<Number>(first + i);
    const auto& [record, features_end] = pending_[i];
    const auto id = std::span(record.id.bytes);
    std::string value(reinterpret_cast<const char*>(id.data()), id.size());
    value += big_endian(record.descent.state, kNumberBytes);
    value += big_endian(record.descent.base.value_or(kNoBase), kNumberBytes);
    writer.put(key_of(kChunk, number, kNumberBytes), value);
    const std::string number_text = big_endian(number, kNumberBytes);
    for (; feature < features_end; ++feature) {
      writer.put(key_of(kFeature, pending_features_[feature], kFeatureBytes),
                 number_text);
    }
  }
  next_number_ = state.next;
  pending_.clear();
  pending_features_.clear();
}

void FeatureTable::drop_what_is_gone(repo::IndexStore::Writer& writer,
                                     const IsStored& is_stored) {
  constexpr std::uint32_t kWorthIt = 1U << 16;
  const auto value = writer.get(kSeries + prefix_);
  if (!value) return;
  SeriesState state = decode_state(*value);
  if (state.next / 2 < state.at_last_cleaning ||
      state.next - state.at_last_cleaning < kWorthIt) {
    return;
  }
  std::vector<bool> is_kept(state.next);
  writer.for_each(
      kChunk + prefix_, [&](std::string_view key, std::string_view record) {
        repo::BlobId id;
        const auto number = number_in(key.substr(1 + kSeriesBytes));
        if (record.size() >= id.bytes.size()) {
          std::ranges::copy(
              std::as_bytes(std::span(record)).first(repo::BlobId::kBytes),
              id.bytes.begin());
          if (number < is_kept.size() && is_stored(id)) {
            is_kept[number] = true;
            return repo::IndexStore::Next::go_on;
          }
        }
        writer.remove(key);
        return repo::IndexStore::Next::go_on;
      });
  writer.for_each(kFeature + prefix_,
                  [&](std::string_view key, std::string_view number) {
                    const auto chunk = number_in(number);
                    if (chunk >= is_kept.size() || !is_kept[chunk])
                      writer.remove(key);
                    return repo::IndexStore::Next::go_on;
                  });
  state.at_last_cleaning = state.next;
  writer.put(kSeries + prefix_, encode(state));
}

}  // namespace cairn::ingest
