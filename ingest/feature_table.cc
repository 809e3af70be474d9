#include "ingest/feature_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

// Keys of the store, by their first letter, each followed by kSeriesBytes of
// the series' tag (those of repo/blob_index.cc and path_cache.cc are others):
//   t <6 bytes of a feature>   number of the newest lineage that has it
//   c <number>                 a lineage
//   s                          the next number, and the one at the last
//   cleaning
constexpr char kFeature = 't';
constexpr char kLineage = 'c';
constexpr char kSeries = 's';

// Two features with these bytes in common are told apart nowhere. Among 2^28 of
// them, a terabyte's, one lookup in a million meets such a pair.
constexpr std::size_t kFeatureBytes = 6;
constexpr std::uint64_t kFeatureMask = (std::uint64_t{1} << 48) - 1;
constexpr std::size_t kNumberBytes = 4;
constexpr std::uint32_t kNoNumber = 0xffffffff;  // no state comes after it
constexpr std::size_t kSeriesBytes = 6;

void append_big_endian(std::string& text, std::uint64_t value,
                       std::size_t bytes) {
  for (std::size_t i = bytes; i-- > 0;) {
    text += static_cast<char>(value >> (8 * i) & 0xff);
  }
}

std::string big_endian(std::uint64_t value, std::size_t bytes) {
  std::string text;
  append_big_endian(text, value, bytes);
  return text;
}

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  for (const char c : text) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// Takes values off the front of what the store gave, which may be damaged.
class Fields {
 public:
  explicit Fields(std::string_view text) : text_(text) {}

  std::uint64_t number(std::size_t bytes) { return number_in(take(bytes)); }
  std::string_view take(std::size_t bytes) {
    is_whole_ = is_whole_ && bytes <= text_.size();
    const auto field = text_.substr(0, bytes);
    text_.remove_prefix(field.size());
    return field;
  }
  [[nodiscard]] bool is_at_end() const { return text_.empty(); }
  [[nodiscard]] bool is_whole() const { return is_whole_; }

 private:
  std::string_view text_;
  bool is_whole_ = true;
};

std::string encode(const Lineage& lineage) {
  std::string text = big_endian(lineage.features.size(), 1);
  for (const auto feature : lineage.features) {
    append_big_endian(text, feature, kFeatureBytes);
  }
  for (const auto& state : lineage.states) {
    append_big_endian(text, state.number, kNumberBytes);
    const auto& id = state.id.bytes;
    text.append(reinterpret_cast<const char*>(id.data()), id.size());
  }
  return text;
}

// Nothing: damaged, or written by another version.
std::optional<Lineage> decode_lineage(std::string_view text) {
  Fields fields(text);
  Lineage lineage;
  for (auto n = fields.number(1); n > 0 && !fields.is_at_end(); --n) {
    lineage.features.push_back(fields.number(kFeatureBytes));
  }
  while (!fields.is_at_end()) {
    LineageState state;
    state.number = static_cast<std::uint32_t>(fields.number(kNumberBytes));
    const auto id = fields.take(repo::BlobId::kBytes);
    if (!fields.is_whole() || state.number == kNoNumber) return std::nullopt;
    std::ranges::copy(std::as_bytes(std::span(id)), state.id.bytes.begin());
    lineage.states.push_back(state);
  }
  if (lineage.states.empty()) return std::nullopt;
  return lineage;
}

struct SeriesState {
  LineageNumber next = 0;
  LineageNumber at_last_cleaning = 0;
};

std::string encode(const SeriesState& state) {
  return big_endian(state.next, kNumberBytes) +
         big_endian(state.at_last_cleaning, kNumberBytes);
}

SeriesState decode_state(std::string_view value) {
  Fields fields(value);
  SeriesState state;
  state.next = static_cast<LineageNumber>(fields.number(kNumberBytes));
  state.at_last_cleaning =
      static_cast<LineageNumber>(fields.number(kNumberBytes));
  return fields.is_whole() ? state : SeriesState{};
}

// The state that state n leans on: itself an ancestor of n - 1, since no others
// are remembered.
std::uint32_t base_of(std::uint32_t n) {
  constexpr std::array<std::uint32_t, 7> kStepsBack = {0, 1, 1, 1, 3, 1, 1};
  if (const auto step = kStepsBack[n % kStepsBack.size()]; step != 0) {
    return n - step;
  }
  std::uint32_t stride = kStepsBack.size();
  while (n % (4 * stride) == 0) stride *= 4;
  // Every fourth group, to the first of the sixteen at once.
  if (stride == 4 * kStepsBack.size()) return n - n % (4 * stride);
  return n - stride;
}

bool has(const std::vector<std::uint64_t>& features, std::uint64_t feature) {
  return std::ranges::find(features, feature) != features.end();
}

}  // namespace

FeatureTable::FeatureTable(repo::IndexStore& store,
                           const repo::SeriesTag& series)
    : store_(store) {
  for (std::size_t i = 0; i < kSeriesBytes; ++i) {
    prefix_ += static_cast<char>(series[i]);
  }
  try {
    is_there_ = store_.get(kSeries + prefix_).has_value();
  } catch (const repo::Error&) {
    is_there_ = false;
  }
}

std::string FeatureTable::key_of(char kind, std::uint64_t value,
                                 std::size_t bytes) const {
  std::string key(1, kind);
  key += prefix_;
  append_big_endian(key, value, bytes);
  return key;
}

std::vector<LineageNumber> FeatureTable::find(
    std::span<const std::uint64_t> features) const {
  struct Tally {
    LineageNumber number;
    std::uint32_t shared;
  };
  std::vector<Tally> tallies;
  if (!is_there_) return {};
  for (const auto feature : features) {
    std::optional<std::string> value;
    try {
      value = store_.get(key_of(kFeature, feature, kFeatureBytes));
    } catch (const repo::Error&) {
      return {};
    }
    if (!value) continue;
    const auto number = static_cast<LineageNumber>(number_in(*value));
    const auto known = std::ranges::find(tallies, number, &Tally::number);
    if (known != tallies.end()) {
      ++known->shared;
      continue;
    }
    // Looking up costs as much as hashing a kibibyte, and the first one that is
    // met is mostly the one.
    if (tallies.size() < kMaxSimilar) {
      const auto descent = descent_from(number);
      if (descent && is_next_state(*descent, features)) return {number};
    }
    tallies.push_back({number, 1});
  }
  std::ranges::sort(tallies, [](const Tally& a, const Tally& b) {
    return std::pair(a.shared, a.number) > std::pair(b.shared, b.number);
  });
  std::vector<LineageNumber> similar;
  for (const auto& tally : tallies) {
    if (similar.size() == kMaxSimilar) break;
    similar.push_back(tally.number);
  }
  return similar;
}

std::optional<Lineage> FeatureTable::lineage(LineageNumber number) const {
  auto value = on_shelf(number);
  if (!value) value = store_.get(key_of(kLineage, number, kNumberBytes));
  return value ? decode_lineage(*value) : std::nullopt;
}

std::optional<std::string> FeatureTable::on_shelf(LineageNumber number) const {
  constexpr LineageNumber kOnAShelf = 256;
  constexpr std::size_t kMostShelves = 8;
  constexpr unsigned kOften = 4;
  const LineageNumber first = number / kOnAShelf * kOnAShelf;
  const std::lock_guard lock(shelves_mutex_);
  auto shelf = std::ranges::find(shelves_, first, &Shelf::first);
  if (shelf == shelves_.end()) {
    if (shelves_.size() == kMostShelves) shelves_.pop_back();
    shelf = shelves_.insert(shelves_.begin(), Shelf{first, 0, {}});
  }
  if (++shelf->asked == kOften) {
    shelf->records.resize(kOnAShelf);
    store_.for_each(key_of(kLineage, first / kOnAShelf, kNumberBytes - 1),
                    [&](std::string_view key, std::string_view record) {
                      shelf->records[static_cast<unsigned char>(key.back())] =
                          record;
                      return repo::IndexStore::Next::go_on;
                    });
  }
  if (shelf->records.empty()) return std::nullopt;
  return shelf->records[number - first];
}

std::optional<Descent> FeatureTable::descent_from(LineageNumber number) const {
  try {
    auto found = lineage(number);
    if (!found) return std::nullopt;
    Descent descent;
    descent.lineage = number;
    descent.features = std::move(found->features);
    descent.number = found->states.front().number + 1;
    const std::uint32_t wanted = base_of(descent.number);
    // States are numbered downwards; where one is missing, since the lineage
    // was learned anew, the next older one will do.
    auto base = std::ranges::find_if(
        found->states,
        [&](const LineageState& state) { return state.number <= wanted; });
    if (base == found->states.end()) base = std::prev(base);
    descent.bases.assign(base, found->states.end());
    return descent;
  } catch (const repo::Error&) {
    return std::nullopt;
  }
}

bool FeatureTable::is_next_state(const Descent& descent,
                                 std::span<const std::uint64_t> features) {
  const auto is_new = [&](std::uint64_t feature) {
    return !has(descent.features, feature & kFeatureMask);
  };
  return descent.lineage &&
         4 * std::ranges::count_if(features, is_new) <= std::ssize(features);
}

void FeatureTable::remember(const repo::BlobId& id, const Descent& descent,
                            std::span<const std::uint64_t> features) {
  Pending pending;
  for (const auto feature : features) {
    const std::uint64_t kept = feature & kFeatureMask;
    pending.lineage.features.push_back(kept);
    if (!has(descent.features, kept)) pending.new_features.push_back(kept);
  }
  if (is_next_state(descent, features) &&
      continued_.insert(*descent.lineage).second) {
    pending.continues = descent.lineage;
  } else {
    pending.new_features = pending.lineage.features;
  }
  pending.lineage.states.push_back(
      {descent.bases.empty() ? 0 : descent.number, id});
  pending.lineage.states.insert(pending.lineage.states.end(),
                                descent.bases.begin(), descent.bases.end());
  pending_bytes_ +=
      sizeof pending + pending.lineage.states.size() * sizeof(LineageState) +
      (features.size() + pending.new_features.size()) * sizeof(std::uint64_t);
  pending_.push_back(std::move(pending));
}

void FeatureTable::flush(repo::IndexStore::Writer& writer) {
  // The first time even if there is nothing to write: then it is known that
  // nothing has features.
  if (pending_.empty() && is_there_) return;
  // Not our own count: another run of the series may have been quicker.
  SeriesState state;
  if (const auto value = writer.get(kSeries + prefix_)) {
    state = decode_state(*value);
  } else if (is_there_) {
    // The cache was made anew since: what this run stored is not all that the
    // series has, and the table is learned anew only while it is not there.
    pending_.clear();
    pending_bytes_ = 0;
    return;
  }
  for (const auto& pending : pending_) {
    const LineageNumber number =
        pending.continues ? *pending.continues : state.next++;
    writer.put(key_of(kLineage, number, kNumberBytes), encode(pending.lineage));
    const std::string number_text = big_endian(number, kNumberBytes);
    for (const auto feature : pending.new_features) {
      writer.put(key_of(kFeature, feature, kFeatureBytes), number_text);
    }
  }
  writer.put(kSeries + prefix_, encode(state));
  is_there_ = true;
  pending_.clear();
  pending_bytes_ = 0;
}

void FeatureTable::drop_what_is_gone(repo::IndexStore::Writer& writer,
                                     const IsStored& is_stored) {
  constexpr LineageNumber kWorthIt = 1U << 16;
  // Numbers of 16 TiB of chunks; what is beyond is damage.
  constexpr LineageNumber kMostNumbers = 1U << 28;
  const auto value = writer.get(kSeries + prefix_);
  if (!value) return;
  SeriesState state = decode_state(*value);
  if (state.next / 2 < state.at_last_cleaning ||
      state.next - state.at_last_cleaning < kWorthIt ||
      state.next > kMostNumbers) {
    return;
  }
  std::vector<bool> is_kept(state.next);
  writer.for_each(
      kLineage + prefix_, [&](std::string_view key, std::string_view record) {
        const auto number = number_in(key.substr(1 + kSeriesBytes));
        const auto found = decode_lineage(record);
        if (found && number < is_kept.size() &&
            std::ranges::any_of(found->states, is_stored, &LineageState::id)) {
          is_kept[number] = true;
        } else {
          writer.remove(key);
        }
        return repo::IndexStore::Next::go_on;
      });
  writer.for_each(kFeature + prefix_,
                  [&](std::string_view key, std::string_view number) {
                    const auto lineage = number_in(number);
                    if (lineage >= is_kept.size() || !is_kept[lineage])
                      writer.remove(key);
                    return repo::IndexStore::Next::go_on;
                  });
  state.at_last_cleaning = state.next;
  writer.put(kSeries + prefix_, encode(state));
}

}  // namespace cairn::ingest
