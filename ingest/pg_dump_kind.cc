#include "ingest/pg_dump_kind.h"

#include <array>

namespace cairn::ingest {
namespace {

using namespace std::string_view_literals;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::optional<PgDumpKind> kind_of_pg_dump(std::span<const std::byte> head) {
  // Its table of contents is the first member of the archive.
  constexpr auto kFirstMember = "toc.dat\0"sv;
  constexpr std::size_t kTarMagicAt = 257;
  const std::string_view text = text_of(head);
  if (text.starts_with("PGDMP")) return PgDumpKind::archive;
  if (text.starts_with(kFirstMember) && text.size() > kTarMagicAt &&
      text.substr(kTarMagicAt).starts_with("ustar")) {
    return PgDumpKind::tar;
  }
  if (text.starts_with("--\n-- PostgreSQL database dump\n")) {
    return PgDumpKind::sql;
  }
  if (text.starts_with("--\n-- PostgreSQL database cluster dump\n")) {
    return PgDumpKind::globals;
  }
  return std::nullopt;
}

std::string_view what_is_no_pg_dump(std::span<const std::byte> head) {
  struct Magic {
    std::string_view begins;
    std::string_view what;
  };
  constexpr std::array kMagics = {
      Magic{"\x1f\x8b"sv, "compressed by gzip"},
      Magic{"\x28\xb5\x2f\xfd"sv, "compressed by zstd"},
      Magic{"\xfd"
            "7zXZ"sv,
            "compressed by xz"},
      Magic{"BZh"sv, "compressed by bzip2"},
      Magic{"\x04\x22\x4d\x18"sv, "compressed by lz4"},
  };
  const std::string_view text = text_of(head);
  for (const auto& [begins, what] : kMagics) {
    if (text.starts_with(begins)) return what;
  }
  return text.empty() ? "empty" : "no dump by pg_dump or pg_dumpall";
}

}  // namespace cairn::ingest
