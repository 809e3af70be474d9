// Any text at all is taken apart into statements or refused; and what is left
// of it has nothing of what was to be left out, nor a command for psql.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "ingest/byte_stream.h"
#include "ingest/pg_globals.h"
#include "repo/error.h"

namespace {

constexpr std::string_view kBegin =
    "--\n-- PostgreSQL database cluster dump\n--\n\n";
constexpr std::string_view kEnd =
    "\n\n--\n-- PostgreSQL database cluster dump complete\n--\n\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const std::string_view inside(reinterpret_cast<const char*>(data), size);
  const std::string text =
      std::string(kBegin) + std::string(inside) + std::string(kEnd);
  try {
    const auto all = ingest::globals_without(text, {});
    if (!all.kept.roles.empty() || !all.kept.tablespaces.empty()) std::abort();
    // Once all of it is there, nothing is made.
    const auto none = ingest::globals_without(text, all.made);
    if (!none.made.roles.empty() || !none.made.tablespaces.empty() ||
        none.kept.roles != all.made.roles) {
      std::abort();
    }
    // The statements, taken apart again, are the same.
    const auto again = ingest::globals_without(
        std::string(kBegin) + all.script + std::string(kEnd), {});
    if (again.script != all.script) std::abort();
  } catch (const ingest::ProducerFailed&) {
  } catch (const repo::RefusedForSafety&) {
  }
  return 0;
}
