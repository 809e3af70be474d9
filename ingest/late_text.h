// A stream of text that is made when it is read: of what is known only once the
// streams before it were, or to say only then why there is none.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "ingest/byte_stream.h"

namespace cairn::ingest {

// Called once, by the first read, which throws what it throws.
using MakeText = std::function<std::string(const std::stop_token& stop)>;

[[nodiscard]] std::unique_ptr<ByteStream> late_text(MakeText make);

}  // namespace cairn::ingest
