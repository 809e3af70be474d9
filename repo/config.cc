#include "repo/config.h"

#include <bit>
#include <exception>
#include <string>
#include <string_view>
#include <tuple>

#include "repo/blob.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/remains.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kSuite = 1;
constexpr std::uint64_t kLimitBytes = 64U << 10;

enum Field : std::uint64_t {
  repository = 1,
  family = 2,
  suite = 3,
  root_key = 4,
  created = 5,
  cdc_sizes = 6,
  page_chunk = 7,
};

// As FORMAT.md, 6.3 has them.
bool can_cut_by(const CutSizes& sizes) {
  constexpr std::uint32_t kWindow = 64;
  constexpr std::uint32_t kPageStep = 8192;
  constexpr std::uint32_t kMaxPage = 1U << 20;
  const auto [min, normal, max, page] = sizes;
  return kWindow <= min && min < normal && normal < max &&
         max <= kMaxBlobBytes && std::has_single_bit(normal) &&
         page % kPageStep == 0 && page > 0 && page <= kMaxPage;
}

}  // namespace

CutSizes cut_sizes_of(const Config& config) {
  return {config.cdc_min, config.cdc_normal, config.cdc_max, config.page_chunk};
}

void set_cut_sizes(Config& config, const CutSizes& sizes) {
  std::tie(config.cdc_min, config.cdc_normal, config.cdc_max,
           config.page_chunk) = std::tuple_cat(sizes);
}

std::vector<std::byte> encode(const Config& config) {
  CborWriter out;
  out.map(7);
  out.key(Field::repository).bytes(config.repository.bytes);
  out.key(Field::family).bytes(config.family.bytes);
  out.key(Field::suite).uint(kSuite);
  out.key(Field::root_key).bytes(config.root_key);
  write_time(out.key(Field::created), config.created);
  out.key(Field::cdc_sizes).array(3);
  out.uint(config.cdc_min).uint(config.cdc_normal).uint(config.cdc_max);
  out.key(Field::page_chunk).uint(config.page_chunk);
  return enclose(ObjectType::config, out.view());
}

Config decode_config(std::span<const std::byte> object, std::string_view name) {
  CborReader in(disclose(object, ObjectType::config, name), name);
  Config config;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case Field::repository:
        config.repository.bytes = in.fixed<RepositoryId::kBytes>();
        break;
      case Field::family:
        config.family.bytes = in.fixed<FamilyId::kBytes>();
        break;
      case Field::suite:
        if (const auto number = in.uint(); number != kSuite) {
          throw UnsupportedFormat(std::string(name) + ": cipher suite " +
                                  std::to_string(number) + " is unknown");
        }
        break;
      case Field::root_key:
        config.root_key = in.fixed<crypto::kVerifyKeyBytes>();
        break;
      case Field::created:
        config.created = read_time(in);
        break;
      case Field::cdc_sizes:
        in.array_of(3);
        config.cdc_min = static_cast<std::uint32_t>(in.uint(kMaxBlobBytes));
        config.cdc_normal = static_cast<std::uint32_t>(in.uint(kMaxBlobBytes));
        config.cdc_max = static_cast<std::uint32_t>(in.uint(kMaxBlobBytes));
        break;
      case Field::page_chunk:
        config.page_chunk = static_cast<std::uint32_t>(in.uint(kMaxBlobBytes));
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7}, in);
  if (!can_cut_by(cut_sizes_of(config)))
    in.fail("sizes that nobody can cut by");
  return config;
}

namespace {

// With neither config there.
[[noreturn]] void throw_without_config(const Storage& storage) {
  const std::string here = storage.description();
  switch (remains_in(storage)) {
    case Remains::data:
      throw CorruptionError(here +
                            ": config and config.2 are gone, and the rest is "
                            "there; bring one of them back from a copy of the "
                            "repository");
    case Remains::keys:
      throw NoRepository(here + ": " + std::string(kKeysAlone));
    case Remains::none:
      break;
  }
  throw NoRepository(here + ": no repository here; 'cairn init' makes one");
}

}  // namespace

Config read_config(const Storage& storage) {
  std::exception_ptr first_failure;
  bool any_exists = false;
  for (const auto name : {kConfigName, kSecondConfigName}) {
    if (!storage.size(name)) continue;
    any_exists = true;
    try {
      return decode_config(get_whole(storage, name, kLimitBytes), name);
    } catch (const Error&) {
      if (!first_failure) first_failure = std::current_exception();
    }
  }
  if (!any_exists) throw_without_config(storage);
  std::rethrow_exception(first_failure);
}

void mend_config(Storage& storage, const Config& config) {
  for (const auto name : {kConfigName, kSecondConfigName}) {
    try {
      (void)decode_config(get_whole(storage, name, kLimitBytes), name);
      continue;
    } catch (const NotFound&) {
    } catch (const CorruptionError&) {
      storage.remove(name);  // the other one is there
    }
    (void)storage.create(name, encode(config));  // another may have been first
  }
}

}  // namespace cairn::repo
