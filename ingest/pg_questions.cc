#include "ingest/pg_questions.h"

#include <charconv>
#include <cstdint>
#include <span>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/child_process.h"
#include "ingest/patient_io.h"
#include "ingest/program_output.h"

namespace cairn::ingest {
namespace {

// A hundred thousand tables with long names.
constexpr std::size_t kMaxAnswer = std::size_t{32} << 20;

std::vector<std::string> call_of(const PgQuestions& questions,
                                 std::vector<std::string> last) {
  std::vector<std::string> words = {"--no-psqlrc",
                                    "--quiet",
                                    "--no-align",
                                    "--tuples-only",
                                    "--no-password",
                                    "--field-separator-zero",
                                    "--record-separator-zero",
                                    "--set=ON_ERROR_STOP=1",
                                    "--set=VERBOSITY=terse",
                                    "--dbname=" + questions.dsn};
  words.insert(words.end(), last.begin(), last.end());
  return questions.programs.call("psql", std::move(words));
}

std::string answer_of(const PgQuestions& questions,
                      const std::string& statement, std::stop_token stop) {
  return output_of(call_of(questions, {"--command=SET statement_timeout = 0",
                                       "--command=SET lock_timeout = '10s'",
                                       "--command=" + statement}),
                   kMaxAnswer, std::move(stop));
}

}  // namespace

// Fields and rows end with a NUL, which no text of PostgreSQL has in it.
std::vector<PgRow> ask(const PgQuestions& questions, std::size_t columns,
                       const std::string& statement, std::stop_token stop) {
  const std::string answer = answer_of(questions, statement, std::move(stop));
  std::vector<PgRow> rows;
  std::string_view rest = answer;
  for (std::size_t field = 0; !rest.empty(); ++field) {
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) break;
    if (field % columns == 0) rows.emplace_back();
    rows.back().emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  if (!rest.empty() || (!rows.empty() && rows.back().size() != columns)) {
    throw ProducerFailed("psql: its answer is cut off");
  }
  return rows;
}

void tell(const PgQuestions& questions, const std::string& statement,
          std::stop_token stop) {
  (void)answer_of(questions, statement, std::move(stop));
}

// Its answers go nowhere, so that it never waits for us to read them.
void run_script(const PgQuestions& questions, std::string_view script,
                std::stop_token stop) {
  ChildProcess psql(call_of(questions, {"--output=/dev/null", "--file=-"}),
                    ChildProcess::Input::pipe, ChildProcess::Errors::kept);
  const Written written =
      write_patiently(psql.input(), std::as_bytes(std::span(script)), stop);
  psql.close_input();
  wait_and_quote_errors(psql, stop);
  if (written == Written::nobody_reads) {
    throw ProducerFailed("psql: ended before all statements were read");
  }
}

template <typename Number>
Number number_in(const std::string& field) {
  Number number{};
  const auto [end, error] =
      std::from_chars(field.data(), field.data() + field.size(), number);
  if (error != std::errc() || end != field.data() + field.size()) {
    throw ProducerFailed("psql: its answer has no number where one should be");
  }
  return number;
}
template int number_in<int>(const std::string&);
template std::int64_t number_in<std::int64_t>(const std::string&);
template std::uint64_t number_in<std::uint64_t>(const std::string&);

std::string pg_identifier(std::string_view name) {
  std::string text = "\"";
  for (const char c : name) {
    if (c == '"') text += c;
    text += c;
  }
  return text + '"';
}

// With E, in which a backslash means the same whatever the server is set to.
std::string pg_literal(std::string_view text) {
  std::string literal = "E'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') literal += c;
    literal += c;
  }
  return literal + '\'';
}

}  // namespace cairn::ingest
