#include "cli/secret_variables.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <variant>

#include "crypto/secret.h"

namespace cairn::cli {
namespace {

std::map<std::string, SecretText>& all_taken() {
  static std::map<std::string, SecretText> taken;
  return taken;
}

void take(const std::optional<config::SecretPlace>& place) {
  if (!place || place->kind != config::SecretPlace::Kind::variable) return;
  char* const value = std::getenv(place->text.c_str());
  if (value == nullptr || *value == '\0') return;
  const std::span text(value, std::strlen(value));
  all_taken().try_emplace(place->text,
                          std::string_view(text.data(), text.size()));
  crypto::wipe(std::as_writable_bytes(text));
  ::unsetenv(place->text.c_str());
}

}  // namespace

void take_secret_variables(const config::Configuration& configuration) {
  for (const auto& repository : configuration.repositories) {
    take(repository.password);
  }
  for (const auto& source : configuration.sources) {
    std::visit(
        [](const auto& what) {
          if constexpr (requires { what.password; }) take(what.password);
        },
        source.what);
  }
  if (configuration.monitoring.webhook) {
    take(configuration.monitoring.webhook->secret);
  }
}

const SecretText* taken_secret(const std::string& variable) {
  const auto found = all_taken().find(variable);
  return found == all_taken().end() ? nullptr : &found->second;
}

}  // namespace cairn::cli
