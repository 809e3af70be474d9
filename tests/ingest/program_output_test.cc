#include "ingest/program_output.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ingest/byte_stream.h"
#include "ingest/child_process.h"

namespace cairn::ingest {
namespace {

std::vector<std::string> shell(const std::string& script) {
  return {"/bin/sh", "-c", script};
}

TEST(ProgramOutput, IsWhatTheProgramWrites) {
  EXPECT_EQ(output_of(shell("echo a; echo b >&2"), 100, {}), "a\n");
}

TEST(ProgramOutput, IsBounded) {
  EXPECT_EQ(output_of(shell("printf 12345"), 5, {}), "12345");
  EXPECT_THROW((void)output_of(shell("printf 123456"), 5, {}), ProducerFailed);
  EXPECT_THROW((void)output_of(shell("yes"), 1'000'000, {}), ProducerFailed);
}

// What nobody reads must keep no program waiting, nor fill our memory.
TEST(ProgramOutput, KeepsTheBeginningOfManyErrors) {
  try {
    (void)output_of(shell("yes error | head -c 10000000 >&2; exit 1"), 5, {});
    FAIL();
  } catch (const ProducerFailed& e) {
    EXPECT_EQ(std::string(e.what()).find("/bin/sh: exited with 1: error; "), 0U)
        << e.what();
    EXPECT_LT(std::string(e.what()).size(), 1100U);
  }
  ChildProcess child(shell("yes | head -c 10000000 >&2; true"),
                     ChildProcess::Input::empty, ChildProcess::Errors::kept);
  child.wait({});
  EXPECT_EQ(child.errors().size(), ChildProcess::kMaxErrorBytes);
}

}  // namespace
}  // namespace cairn::ingest
