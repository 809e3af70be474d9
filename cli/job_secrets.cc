#include "cli/job_secrets.h"

#include <optional>
#include <variant>

namespace cairn::cli {
namespace {

using config::SecretPlace;

const std::optional<SecretPlace>& secret_of(const config::Source& source) {
  static const std::optional<SecretPlace> none;
  if (const auto* const dumps =
          std::get_if<config::PostgresDumps>(&source.what)) {
    return dumps->password;
  }
  if (const auto* const base =
          std::get_if<config::PostgresBase>(&source.what)) {
    return base->password;
  }
  if (const auto* const redis = std::get_if<config::Redis>(&source.what)) {
    return redis->password;
  }
  return none;
}

}  // namespace

std::vector<const SecretPlace*> secrets_of(const config::Job& job,
                                           const config::Configuration& all) {
  std::vector<const SecretPlace*> places;
  const auto add = [&](const std::optional<SecretPlace>& place) {
    if (place) places.push_back(&*place);
  };
  add(all.repository(job.repository)->password);
  for (const auto& name : job.sources) add(secret_of(*all.source(name)));
  if (all.monitoring.webhook) add(all.monitoring.webhook->secret);
  return places;
}

}  // namespace cairn::cli
