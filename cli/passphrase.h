// Where the key to a repository comes from: a key file, or a passphrase from
// the environment, a file, a command, or a person at a terminal.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/output.h"
#include "crypto/secret.h"
#include "repo/config.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::cli {

// Text that is wiped at its end.
class SecretText {
 public:
  explicit SecretText(std::string_view text);
  SecretText(SecretText&&) noexcept = default;
  SecretText& operator=(SecretText&& other) noexcept;
  ~SecretText();

  [[nodiscard]] std::string_view view() const noexcept {
    return {bytes_.data(), bytes_.size()};
  }

 private:
  std::vector<char> bytes_;
};

// A key file's 32 bytes, or a passphrase.
using KeyInput = std::variant<crypto::Secret, SecretText>;

// The environment variables that name a key; those that are empty or not set
// say nothing.
struct KeyVariables {
  const char* key_file;       // a path
  const char* password_file;  // a path
  const char*
      password_command;  // for /bin/sh; its standard output. May be null
};
inline constexpr KeyVariables kKeyVariables{
    "CAIRN_KEY_FILE", "CAIRN_PASSWORD_FILE", "CAIRN_PASSWORD_COMMAND"};
inline constexpr KeyVariables kLikeVariables{
    "CAIRN_LIKE_KEY_FILE", "CAIRN_LIKE_PASSWORD_FILE", nullptr};
inline constexpr KeyVariables kFromVariables{
    "CAIRN_FROM_KEY_FILE", "CAIRN_FROM_PASSWORD_FILE", nullptr};
inline constexpr KeyVariables kToVariables{"CAIRN_TO_KEY_FILE",
                                           "CAIRN_TO_PASSWORD_FILE", nullptr};

// CAIRN_PASSWORD, taken out of the environment so that neither the programs we
// start nor /proc show it.
class PasswordVariable {
 public:
  PasswordVariable();
  [[nodiscard]] const std::optional<SecretText>& text() const noexcept {
    return text_;
  }

 private:
  std::optional<SecretText> text_;
};

// All of these throw repo::WrongKey, saying what to set, when there is no key
// to be had, and repo::RefusedForSafety for a key file that everybody may read.
// One that its group may read, or a password file that others may, earns a
// warning.

// Nothing: the variables name none.
[[nodiscard]] std::optional<crypto::Secret> key_file_from_environment(
    const KeyVariables& variables, Output& output);
[[nodiscard]] std::optional<SecretText> passphrase_from_environment(
    const std::optional<SecretText>& password_variable,
    const KeyVariables& variables, Output& output);

// `variable` is what named the path, for messages.
[[nodiscard]] crypto::Secret read_key_file(const std::string& variable,
                                           const std::string& path,
                                           Output& output);
[[nodiscard]] SecretText read_password_file(const char* variable,
                                            const std::string& path,
                                            Output& output);

// Where those two have it from: "CAIRN_KEY_FILE=/root/key"; empty: from none of
// the variables.
[[nodiscard]] std::string origin_of_key(
    const std::optional<SecretText>& password_variable,
    const KeyVariables& variables);

// What a command for /bin/sh writes, without the end of its line; `variable` is
// what named it, for messages.
[[nodiscard]] SecretText run_password_command(const char* variable,
                                              const std::string& command);

// Asks at the terminal, without echo; only when there is one to ask at.
[[nodiscard]] SecretText ask_passphrase(std::string_view prompt);
[[nodiscard]] SecretText ask_new_passphrase(std::string_view what);

[[nodiscard]] repo::Keyring open_keyring(const repo::Storage& storage,
                                         const repo::Config& config,
                                         const KeyInput& key);

}  // namespace cairn::cli
