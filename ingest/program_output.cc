#include "ingest/program_output.h"

#include <array>
#include <span>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/patient_io.h"
#include "repo/cbor.h"

namespace cairn::ingest {

std::string quoted_errors(const ChildProcess& child) {
  constexpr std::size_t kMaxQuoted = 1000;
  std::string line;
  for (const char c : child.errors()) {
    if (c != '\n') {
      line += c == '\t' ? ' ' : c;
    } else if (!line.ends_with("; ") && !line.empty()) {
      line += "; ";
    }
  }
  while (line.ends_with(' ') || line.ends_with(';')) line.pop_back();
  if (line.size() > kMaxQuoted) {
    line.resize(kMaxQuoted);
    line += "...";
  }
  return repo::as_utf8(line);
}

void wait_and_quote_errors(ChildProcess& child, const std::stop_token& stop) {
  try {
    child.wait(stop);
  } catch (const ProducerFailed& e) {
    const std::string said = quoted_errors(child);
    throw ProducerFailed(said.empty() ? e.what()
                                      : std::string(e.what()) + ": " + said);
  }
}

std::string output_of(const std::vector<std::string>& arguments,
                      std::size_t max_bytes, const std::stop_token& stop) {
  ChildProcess child(arguments, ChildProcess::Input::empty,
                     ChildProcess::Errors::kept);
  std::string all;
  std::array<std::byte, 65536> room;
  while (const std::size_t size = read_patiently(child.output(), room, stop)) {
    if (size > max_bytes - all.size()) {
      throw ProducerFailed(arguments.at(0) + ": writes more than " +
                           std::to_string(max_bytes) + " bytes");
    }
    all.append(reinterpret_cast<const char*>(room.data()), size);
  }
  wait_and_quote_errors(child, stop);
  return all;
}

}  // namespace cairn::ingest
