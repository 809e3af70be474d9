#include "ingest/rdb_values.h"

#include <algorithm>
#include <array>

namespace cairn::ingest {
namespace {

using Step = RdbStep;
using What = RdbStep::What;

constexpr Step kAString{.what = What::string};
constexpr Step kALength{.what = What::length};
constexpr Step bytes_step(std::uint8_t size) {
  return {.what = What::bytes, .size = size};
}
constexpr Step repeat(RdbSteps inside) {
  return {.what = What::repeat, .inside = inside};
}

constexpr std::array kOneString = {kAString};
constexpr std::array kTwoStrings = {kAString, kAString};
constexpr std::array kStrings = {repeat(kOneString)};
constexpr std::array kPairs = {repeat(kTwoStrings)};
constexpr std::array kTextScore = {kAString, Step{.what = What::score}};
constexpr std::array kTextScores = {repeat(kTextScore)};
constexpr std::array kScore = {kAString, bytes_step(8)};
constexpr std::array kScores = {repeat(kScore)};
constexpr std::array kContainer = {kALength, kAString};
constexpr std::array kContainers = {repeat(kContainer)};

// A stream: its items, its last id, and for each group of consumers what was
// given to whom and not acknowledged. Ids in raw form are 16 bytes, times 8.
constexpr std::array kPending = {bytes_step(16), bytes_step(8), kALength};
constexpr std::array kPendingId = {bytes_step(16)};
constexpr std::array kConsumer = {kAString, bytes_step(8), repeat(kPendingId)};
constexpr std::array kConsumer3 = {kAString, bytes_step(16),
                                   repeat(kPendingId)};
constexpr std::array kGroup = {kAString, kALength, kALength, repeat(kPending),
                               repeat(kConsumer)};
constexpr std::array kGroup2 = {kAString, kALength,         kALength,
                                kALength, repeat(kPending), repeat(kConsumer)};
constexpr std::array kGroup3 = {kAString, kALength,         kALength,
                                kALength, repeat(kPending), repeat(kConsumer3)};
constexpr std::array kStream = {repeat(kTwoStrings), kALength, kALength,
                                kALength, repeat(kGroup)};
constexpr std::array kStream2 = {repeat(kTwoStrings),
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 repeat(kGroup2)};
constexpr std::array kStream3 = {repeat(kTwoStrings),
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 kALength,
                                 repeat(kGroup3)};

constexpr std::array kModule = {Step{.what = What::module},
                                Step{.what = What::module_end}};
constexpr std::array kModuleAux = {Step{.what = What::module}, kALength,
                                   kALength, Step{.what = What::module_end}};

// Hashes whose fields have times of their own (Redis 7.4).
constexpr std::array kTimedField = {kALength, kAString, kAString};
constexpr std::array kTimedFields = {repeat(kTimedField)};
constexpr std::array kTimedHash = {bytes_step(8), repeat(kTimedField)};
constexpr std::array kTimedPacked = {bytes_step(8), kAString};

constexpr unsigned kWithTimedFields = 12;
constexpr std::array kTypes = {
    RdbValueType{0, RdbKind::string, kOneString},
    RdbValueType{1, RdbKind::list, kStrings},
    RdbValueType{2, RdbKind::set, kStrings},
    RdbValueType{3, RdbKind::sorted_set, kTextScores},
    RdbValueType{4, RdbKind::hash, kPairs},
    RdbValueType{5, RdbKind::sorted_set, kScores},
    RdbValueType{7, RdbKind::module, kModule},
    RdbValueType{9, RdbKind::hash, kOneString},
    RdbValueType{10, RdbKind::list, kOneString},
    RdbValueType{11, RdbKind::set, kOneString},
    RdbValueType{12, RdbKind::sorted_set, kOneString},
    RdbValueType{13, RdbKind::hash, kOneString},
    RdbValueType{14, RdbKind::list, kStrings},
    RdbValueType{15, RdbKind::stream, kStream},
    RdbValueType{16, RdbKind::hash, kOneString},
    RdbValueType{17, RdbKind::sorted_set, kOneString},
    RdbValueType{18, RdbKind::list, kContainers},
    RdbValueType{19, RdbKind::stream, kStream2},
    RdbValueType{20, RdbKind::set, kOneString},
    RdbValueType{21, RdbKind::stream, kStream3},
    RdbValueType{22, RdbKind::hash, kTimedFields, kWithTimedFields},
    RdbValueType{23, RdbKind::hash, kOneString, kWithTimedFields},
    RdbValueType{24, RdbKind::hash, kTimedHash, kWithTimedFields},
    RdbValueType{25, RdbKind::hash, kTimedPacked, kWithTimedFields},
};

constexpr std::array kSlotInfo = {kALength, kALength, kALength};

constexpr std::array<std::string_view, kRdbKinds> kKindNames = {
    "string", "list", "set", "zset", "hash", "stream", "module"};

}  // namespace

std::string_view name_of(RdbKind kind) noexcept {
  return kKindNames.at(static_cast<std::size_t>(kind));
}

const RdbValueType* find_rdb_value(std::uint8_t number,
                                   unsigned version) noexcept {
  const auto* const type =
      std::ranges::find(kTypes, number, &RdbValueType::number);
  return type == kTypes.end() || type->since > version ? nullptr : type;
}

RdbSteps rdb_string() noexcept { return kOneString; }
RdbSteps rdb_aux_field() noexcept { return kTwoStrings; }
RdbSteps rdb_module_aux() noexcept { return kModuleAux; }
RdbSteps rdb_slot_info() noexcept { return kSlotInfo; }

}  // namespace cairn::ingest
