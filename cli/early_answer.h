// Answers whoever started the program, and goes on with something that they
// need not wait for.
//
//   caller --split()--> waits for the answer ----> ends with it
//             |
//             +--worker: ... answer() ... goes on, unseen, and ends
#pragma once

#include <optional>

#include "cli/exit_code.h"

namespace cairn::cli {

// Threads        split() while there is no other thread.
// Abandonment    while the worker has not answered, it dies with the caller,
//                however that ends; once it has, it is a process of the same
//                group and gets what signals that gets.
class EarlyAnswer {
 public:
  EarlyAnswer() = default;
  EarlyAnswer(const EarlyAnswer&) = delete;
  EarlyAnswer& operator=(const EarlyAnswer&) = delete;
  ~EarlyAnswer();

  // Nothing: go on as the worker; or as the one process there is, where the
  // system has no room for another one. Else: what the worker answered, or
  // ended with, `unknown` where a signal ended it: end with that at once.
  [[nodiscard]] std::optional<ExitCode> split(ExitCode unknown);

  // The caller ends, if there is one, and nothing that is written from now on
  // is seen. False: there is none, and it waits for all that follows.
  [[nodiscard]] bool answer(ExitCode code);

 private:
  int pipe_ = -1;  // of the worker, to the caller
};

}  // namespace cairn::cli
