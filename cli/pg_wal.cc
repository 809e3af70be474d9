#include "cli/pg_wal.h"

#include <cctype>
#include <span>

#include "cli/series.h"
#include "crypto/digest.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kSeries = "pg";
constexpr std::string_view kWalOfSeries = "/wal";

}  // namespace

std::string wal_series(const std::optional<std::string>& given) {
  std::string series = whole_series(given.value_or(std::string(kSeries)));
  if (!series.ends_with(kWalOfSeries)) series += kWalOfSeries;
  return series;
}

std::string usual_slot(const std::string& wal_series,
                       const repo::RepositoryId& repository) {
  constexpr std::size_t kMostOfSeries = 45;
  constexpr std::size_t kDigits = 8;
  std::string name = "cairn_";
  for (const char c : wal_series.substr(0, kMostOfSeries)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = byte < 0x80 && std::isalnum(byte) != 0;
    name += is_plain ? static_cast<char>(std::tolower(byte)) : '_';
  }
  return name + "_" +
         first_digits(repository.hex() + wal_series).substr(0, kDigits);
}

std::filesystem::path wal_spools(const std::string& wal_series,
                                 const repo::RepositoryId& repository) {
  return host_folders().state / repository.hex() /
         ("wal-" + first_digits(wal_series));
}

ingest::WalStoreOptions wal_store_options(const std::string& wal_series,
                                          const Context& context) {
  return {.series = wal_series,
          .host = host_name(),
          .user = user_name(),
          .program = std::string(kProgram),
          .clock = [&context] { return context.now(); }};
}

std::string first_digits(std::string_view text) {
  constexpr std::size_t kBytes = 8;
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  return crypto::to_hex(std::span(digest).first<kBytes>());
}

}  // namespace cairn::cli
