#include "ingest/pg_globals.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ingest/byte_stream.h"
#include "ingest/pg_dump_text.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

enum class Subject { role, tablespace };

struct Beginning {
  std::string_view words;
  Subject subject;
};
// Of statements about one role or tablespace, whose name follows.
constexpr std::array kBeginnings = {
    Beginning{"CREATE ROLE ", Subject::role},
    Beginning{"ALTER ROLE ", Subject::role},
    Beginning{"COMMENT ON ROLE ", Subject::role},
    Beginning{"CREATE TABLESPACE ", Subject::tablespace},
    Beginning{"ALTER TABLESPACE ", Subject::tablespace},
    Beginning{"COMMENT ON TABLESPACE ", Subject::tablespace},
};

// Takes a line off the front, with its end.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size() - 1);
  const std::string_view line = text.substr(0, end + 1);
  text.remove_prefix(line.size());
  return line;
}

// Takes a statement with its semicolon. Inside of quotes a semicolon is none;
// that a quote is doubled there, and never escaped by a backslash, is how
// PostgreSQL's own programs write them.
std::string_view take_statement(std::string_view& text) {
  char quote = '\0';
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != '\0') {
      if (c == quote) quote = '\0';
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == ';') {
      const std::string_view statement = text.substr(0, at + 1);
      text.remove_prefix(at + 1);
      return statement;
    }
  }
  throw ProducerFailed("it ends in the middle of a statement");
}

void require_harmless(std::string_view command) {
  if (command.starts_with("\\restrict ") ||
      command.starts_with("\\unrestrict ")) {
    return;
  }
  throw repo::RefusedForSafety(
      "it holds databases, too, or commands for psql; only what 'pg_dumpall "
      "--globals-only' writes is restored. 'cairn cat SNAP:PATH | psql' runs "
      "it as it is");
}

void require_whole(std::string_view text) {
  DumpTextScanner scanner(DumpTextKind::cluster);
  scanner.add(std::as_bytes(std::span(text)));
  scanner.finish();
}

struct Word {
  std::string text;
  bool is_quoted = false;

  [[nodiscard]] bool is(std::string_view keyword) const {
    return !is_quoted && text == keyword;
  }
};

// The first words of a statement, as many as say what it is about.
std::vector<Word> words_of(std::string_view statement) {
  constexpr std::size_t kMost = 32;
  std::vector<Word> words;
  while (!statement.empty() && words.size() < kMost) {
    if (std::string_view(" \n.;(),").find(statement.front()) !=
        std::string_view::npos) {
      statement.remove_prefix(1);
      continue;
    }
    const bool is_quoted = statement.front() == '"';
    words.push_back({take_sql_name(statement), is_quoted});
  }
  return words;
}

// What GRANT and REVOKE give and take, and whose that is then.
struct Gift {
  enum class Kind { membership, parameter, tablespace };
  Kind kind = Kind::membership;
  std::string of;  // the role whose member is made, or the tablespace
  Word whose;
};

std::optional<Gift> gift_of(std::string_view statement) {
  if (!statement.starts_with("GRANT ") && !statement.starts_with("REVOKE ")) {
    return std::nullopt;
  }
  const auto words = words_of(statement);
  const auto is_way = [](const Word& word) {
    return word.is("TO") || word.is("FROM");
  };
  const auto way = std::ranges::find_if(words, is_way);
  if (way == words.end() || way + 1 == words.end()) return std::nullopt;
  const auto on = std::find_if(words.begin(), way,
                               [](const Word& word) { return word.is("ON"); });
  if (on == way) {
    return Gift{Gift::Kind::membership, (way - 1)->text, *(way + 1)};
  }
  if ((on + 1)->is("PARAMETER")) {
    return Gift{Gift::Kind::parameter, {}, *(way + 1)};
  }
  if ((on + 1)->is("TABLESPACE")) {
    return Gift{Gift::Kind::tablespace, (way - 1)->text, *(way + 1)};
  }
  return std::nullopt;
}

class Sorter {
 public:
  explicit Sorter(const PgGlobalNames& existing) : existing_(existing) {}

  // False: it is about something that is there.
  [[nodiscard]] bool wants(std::string_view statement) {
    for (const auto& [words, subject] : kBeginnings) {
      if (!statement.starts_with(words)) continue;
      std::string_view rest = statement.substr(words.size());
      const std::string name = take_sql_name(rest);
      const bool is_role = subject == Subject::role;
      const auto& there = is_role ? existing_.roles : existing_.tablespaces;
      const bool is_there = there.contains(name);
      if (statement.starts_with("CREATE ")) {
        PgGlobalNames& names = is_there ? kept_ : made_;
        (is_role ? names.roles : names.tablespaces).insert(name);
      }
      return !is_there;
    }
    const auto gift = gift_of(statement);
    return !gift || !concerns_what_is_there(*gift);
  }

  [[nodiscard]] PgGlobalNames& made() { return made_; }
  [[nodiscard]] PgGlobalNames& kept() { return kept_; }

 private:
  // Both ends of it: what was taken from somebody since is not given back.
  [[nodiscard]] bool concerns_what_is_there(const Gift& gift) const {
    const auto& [roles, tablespaces] = existing_;
    const bool has_role = roles.contains(gift.whose.text);
    switch (gift.kind) {
      case Gift::Kind::membership:
        return has_role && roles.contains(gift.of);
      case Gift::Kind::parameter:
        return has_role;
      case Gift::Kind::tablespace:
        return tablespaces.contains(gift.of) &&
               (has_role || gift.whose.is("PUBLIC"));
    }
    return false;
  }

  const PgGlobalNames& existing_;
  PgGlobalNames made_;
  PgGlobalNames kept_;
};

}  // namespace

PgGlobals globals_without(std::string_view text,
                          const PgGlobalNames& existing) {
  require_whole(text);
  Sorter sorter(existing);
  std::string script;
  while (!text.empty()) {
    if (text.front() == '\n' || text.front() == ' ') {
      text.remove_prefix(1);
    } else if (text.starts_with("--")) {
      (void)take_line(text);
    } else if (text.front() == '\\') {
      require_harmless(take_line(text));
    } else {
      const std::string_view statement = take_statement(text);
      if (sorter.wants(statement)) {
        script += statement;
        script += '\n';
      }
    }
  }
  return {.script = std::move(script),
          .made = std::move(sorter.made()),
          .kept = std::move(sorter.kept())};
}

}  // namespace cairn::ingest
