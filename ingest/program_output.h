// What a program has to say: run to its end, and not too long.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/child_process.h"

namespace cairn::ingest {

// Its standard output. Throws ProducerFailed when it cannot be started, fails,
// or writes more than `max_bytes`; in the message is what it said on its
// standard error. repo::Cancelled when `stop` is requested.
[[nodiscard]] std::string output_of(const std::vector<std::string>& arguments,
                                    std::size_t max_bytes,
                                    const std::stop_token& stop);

// Waits for a program whose errors are kept; throws ProducerFailed with them
// when it failed.
void wait_and_quote_errors(ChildProcess& child, const std::stop_token& stop);

// What a program wrote to its standard error as part of a message: one line,
// UTF-8, of bounded length. Empty when it wrote nothing.
[[nodiscard]] std::string quoted_errors(const ChildProcess& child);

}  // namespace cairn::ingest
