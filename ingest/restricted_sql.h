// A dump in SQL on its way to psql, which would run what its meta-commands say:
// a line `\! CMD` is a shell command on the machine that restores. psql has a
// mode in which it takes none but the one that ends it, with a key that nobody
// who wrote the dump can know:
//
//   \restrict <ours>           put before the dump
//   ..                         less the \restrict of the dump's own, since that
//                              would be refused, and the \unrestrict that goes
//                              with it
//
// It is not ended behind the dump, which may end in the middle of its data.
// Of PostgreSQL 13.22, 14.19, 15.14, 16.10, 17.6 and 18 (CVE-2025-8714).
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace cairn::ingest {

class RestrictedSql {
 public:
  using Emit = std::function<void(std::string_view)>;

  // With a fresh key.
  RestrictedSql();

  // Passes on what psql is to get, at the latest with close().
  void add(std::string_view text, const Emit& emit);
  void close(const Emit& emit);

 private:
  void take_head(std::string_view& text, const Emit& emit);
  void end_head(const Emit& emit);
  void pass_on(std::string_view text, const Emit& emit);

  std::string key_;
  bool is_open_ = false;
  bool is_in_head_ = true;   // nothing but comments so far
  std::string begun_;        // of the head: a line that is not whole
  std::string unrestrict_;   // the dump's own, with its line end; empty: none
  std::size_t matched_ = 0;  // so much of that is held back
  bool is_at_line_start_ = true;
};

}  // namespace cairn::ingest
