#include "cli/pg_series.h"

#include <span>

#include "cli/context.h"
#include "cli/series.h"
#include "crypto/digest.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kSeries = "pg";
constexpr std::string_view kWal = "/wal";

}  // namespace

std::string pg_series(const std::optional<std::string>& given) {
  std::string series = whole_series(given.value_or(std::string(kSeries)));
  if (series.ends_with(kWal)) series.resize(series.size() - kWal.size());
  return series;
}

std::string pg_wal_series(const std::optional<std::string>& given) {
  return pg_series(given) + std::string(kWal);
}

std::string digits_of_series(const std::string& text) {
  constexpr std::size_t kBytes = 8;
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  return crypto::to_hex(std::span(digest).first<kBytes>());
}

std::filesystem::path wal_spool_of(const std::string& wal_series,
                                   const repo::Repository& repository) {
  return host_folders().state / repository.keyring().repository().hex() /
         ("wal-" + digits_of_series(wal_series));
}

}  // namespace cairn::cli
