#include "ingest/postgres_refusal.h"

#include <algorithm>
#include <array>

namespace cairn::ingest {
namespace {

std::string_view advice_for(std::string_view sqlstate, std::string_view text) {
  if (sqlstate == "28P01" ||
      text.find("no password supplied") != std::string_view::npos) {
    return kPasswordAdvice;
  }
  if (sqlstate == "42501" && text.find("walsender") != std::string_view::npos) {
    return "the role needs the attribute: ALTER ROLE ... REPLICATION";
  }
  if (sqlstate == "53300" &&
      text.find("max_wal_senders") != std::string_view::npos) {
    return "raise max_wal_senders, or end another receiver or base backup";
  }
  if (sqlstate == "57P03") return "wait until it has started";
  return {};
}

}  // namespace

// "FATAL:  28P01: password authentication failed" has its code where it is
// asked to be verbose, and then more than anybody wants to read.
Refusal read_refusal(std::string_view verbose) {
  constexpr std::size_t kStateSize = 5;
  Refusal refusal;
  while (!verbose.empty()) {
    const auto end = std::min(verbose.find('\n'), verbose.size());
    std::string line(verbose.substr(0, end));
    verbose.remove_prefix(std::min(end + 1, verbose.size()));
    if (line.starts_with("LOCATION:")) continue;
    const auto mark = line.find(":  ");
    const auto code = mark + 3;
    if (mark != std::string::npos && line.size() > code + kStateSize + 1 &&
        line.compare(code + kStateSize, 2, ": ") == 0) {
      refusal.sqlstate = line.substr(code, kStateSize);
      line.erase(code - 1, kStateSize + 3);
    }
    if (!refusal.text.empty()) refusal.text += "; ";
    refusal.text += line;
  }
  return refusal;
}

std::string with_advice(std::string text, std::string_view sqlstate) {
  const auto advice = advice_for(sqlstate, text);
  if (!advice.empty()) text += "; " + std::string(advice);
  return text;
}

bool may_be_admitted_without_database(std::string_view sqlstate) {
  constexpr std::array<std::string_view, 4> kStates{
      "28000",   // pg_hba.conf has no line for it
      "42501",   // no permission to connect to this database
      "3D000",   // there is none of that name
      "55000"};  // it accepts no connections
  return std::ranges::find(kStates, sqlstate) != kStates.end();
}

}  // namespace cairn::ingest
