// Shows how far a long operation has come, while it lives.
//
//   bar    one line on a terminal, ten times a second at most
//   lines  a plain line after five seconds and then every thirty, for journals
//   json   a line for programs every second
//
// All of it goes to standard error.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "cli/output.h"
#include "repo/progress.h"

namespace cairn::cli {

enum class ProgressStyle { automatic, bar, lines, json, none };

// Throws UsageError.
[[nodiscard]] ProgressStyle parse_progress_style(std::string_view text);

// How much longer, judged by the last half minute. Nothing while that would be
// a wild guess: in the first seconds, or before a hundredth is done.
class Estimate {
 public:
  using Clock = std::chrono::steady_clock;

  // In ascending order of `at`.
  void note(Clock::time_point at, std::uint64_t done);

  [[nodiscard]] double per_second() const;
  [[nodiscard]] std::optional<std::chrono::seconds> remaining(
      std::uint64_t total) const;

 private:
  struct Sample {
    Clock::time_point at;
    std::uint64_t done;
  };
  std::deque<Sample> samples_;
  std::optional<Clock::time_point> began_;
};

// What the words of a display are.
struct ProgressWords {
  std::string action;  // "backup"
  std::string item;    // "file"
};

// Ownership      borrows `output` and `progress`.
class ProgressDisplay {
 public:
  // `automatic` is a bar on a terminal that can show one, lines elsewhere, and
  // nothing beside
  // --json or --quiet.
  ProgressDisplay(Output& output, ProgressStyle style, ProgressWords words,
                  const repo::Progress& progress);
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;
  ~ProgressDisplay();

  [[nodiscard]] bool is_shown() const noexcept {
    return style_ != ProgressStyle::none;
  }

 private:
  void run(std::stop_token stop);
  [[nodiscard]] std::string bar_text() const;
  [[nodiscard]] std::string line_text() const;
  void write_json() const;
  [[nodiscard]] double seconds_so_far() const;
  [[nodiscard]] std::string counts_text() const;

  Output& output_;
  const ProgressStyle style_;
  const ProgressWords words_;
  const repo::Progress& progress_;
  const Estimate::Clock::time_point began_ = Estimate::Clock::now();
  Estimate estimate_;
  std::mutex mutex_;  // for the condition alone
  std::condition_variable_any changed_;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace cairn::cli
