#include "repo/key_file.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>

#include "crypto/digest.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kKeyFileWord = "CAIRN-KEY-1";
constexpr std::size_t kGroupDigits = 8;
constexpr std::size_t kKeyFileTextBytes = 128;

}  // namespace

std::string key_file_text(const crypto::Secret& key) {
  crypto::WipedText digits{crypto::to_hex(key.bytes())};
  std::string text;
  text.reserve(kKeyFileTextBytes);  // or growing would leave copies behind
  text += kKeyFileWord;
  text += ' ';
  for (std::size_t i = 0; i < digits.text.size(); i += kGroupDigits) {
    text.append(digits.text, i, kGroupDigits);
    text += '-';
  }
  text += crypto::to_hex(crypto::sha256(key.bytes())).substr(0, kGroupDigits);
  text += '\n';
  return text;
}

std::optional<crypto::Secret> parse_key_file(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  const auto end = text.find_last_not_of(" \t\r\n");
  if (begin == std::string::npos) return std::nullopt;
  crypto::WipedText compact{std::string(text.substr(begin, end - begin + 1))};
  for (char& c : compact.text) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }

  std::string word(kKeyFileWord);
  std::ranges::transform(word, word.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  if (!compact.text.starts_with(word + " ")) return std::nullopt;
  crypto::WipedText wiped{compact.text.substr(word.size() + 1)};
  std::string& digits = wiped.text;
  constexpr std::size_t kGroups = 2 * crypto::kSecretBytes / kGroupDigits + 1;
  if (digits.size() != kGroups * (kGroupDigits + 1) - 1) return std::nullopt;
  for (std::size_t group = 1; group < kGroups; ++group) {
    if (digits[group * (kGroupDigits + 1) - 1] != '-') return std::nullopt;
  }
  std::erase(digits, '-');
  if (digits.size() != kGroups * kGroupDigits) return std::nullopt;

  std::array<std::byte, crypto::kSecretBytes> bytes;
  std::array<std::byte, kGroupDigits / 2> check;
  constexpr std::size_t kDigits = 2 * crypto::kSecretBytes;
  if (!crypto::from_hex(std::string_view(digits).substr(0, kDigits), bytes) ||
      !crypto::from_hex(std::string_view(digits).substr(kDigits), check)) {
    return std::nullopt;
  }
  const auto digest = crypto::sha256(bytes);
  auto key = crypto::Secret::from_bytes(bytes);
  crypto::wipe(bytes);
  if (!std::equal(check.begin(), check.end(), digest.begin())) {
    return std::nullopt;
  }
  return key;
}

}  // namespace cairn::repo
