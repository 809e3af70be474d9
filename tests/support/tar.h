// Tar archives for tests, header by header.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/support/bytes.h"

namespace cairn::testing_support {

struct TarMember {
  std::string name;
  char type = '0';
  std::uint64_t modified = 1'700'000'000;
  // What the header says; else the content's.
  std::string size_field = {};
};

inline constexpr std::size_t kBlock = 512;

inline void append(Bytes& bytes, std::string_view text) {
  const Bytes more = bytes_of(text);
  bytes.insert(bytes.end(), more.begin(), more.end());
}

inline std::string octal(std::uint64_t value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%0*llo", digits,
                static_cast<unsigned long long>(value));
  return text;
}

// Of the form that POSIX calls ustar.
inline std::string tar_header(const TarMember& member,
                              std::uint64_t content_size) {
  std::string block(kBlock, '\0');
  const auto put = [&](std::size_t at, std::string_view text) {
    std::copy(text.begin(), text.end(),
              block.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, std::string_view(member.name).substr(0, 100));
  put(100, "0000644");
  put(108, "0001750");
  put(116, "0001750");
  put(124,
      member.size_field.empty() ? octal(content_size, 11) : member.size_field);
  put(136, octal(member.modified, 11));
  put(148, "        ");
  put(156, std::string(1, member.type));
  put(257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 6) + std::string_view("\0 ", 2).data());
  block[155] = ' ';
  return block;
}

inline void append_padding(Bytes& archive) {
  archive.resize((archive.size() + kBlock - 1) / kBlock * kBlock);
}

inline void append_member(Bytes& archive, const TarMember& member,
                          const Bytes& content = {}) {
  append(archive, tar_header(member, content.size()));
  archive.insert(archive.end(), content.begin(), content.end());
  append_padding(archive);
}

inline void append_end(Bytes& archive) {
  archive.resize(archive.size() + 2 * kBlock);
}

}  // namespace cairn::testing_support
