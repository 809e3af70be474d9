// The same work on many items, a few at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>

namespace cairn::repo {

// Calls a worker for every number below `count`, each once, in about ascending
// order, on `threads` threads, each with a worker of its own from
// `make_worker`. The first failure stops the others and is rethrown. Throws
// Cancelled when asked to stop.
void parallel_for(
    std::size_t count, unsigned threads, const std::stop_token& stop,
    const std::function<std::function<void(std::size_t)>()>& make_worker);

}  // namespace cairn::repo
