#include "cli/progress_display.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "cli/json.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kBarInterval{100};
constexpr seconds kFirstLine{5};
constexpr seconds kLineInterval{30};
constexpr seconds kJsonInterval{1};

constexpr seconds kWindow{30};
constexpr seconds kLeastTime{5};
constexpr double kLeastShare = 0.01;
constexpr std::string_view kNoEstimate = "no estimate yet";

struct StyleName {
  std::string_view name;
  ProgressStyle style;
};
constexpr std::array kStyleNames = {
    StyleName{"auto", ProgressStyle::automatic},
    StyleName{"bar", ProgressStyle::bar},
    StyleName{"lines", ProgressStyle::lines},
    StyleName{"json", ProgressStyle::json},
    StyleName{"none", ProgressStyle::none},
};

ProgressStyle resolved(ProgressStyle style, const Output& output) {
  if (style != ProgressStyle::automatic) return style;
  if (output.is_quiet() || output.is_json()) return ProgressStyle::none;
  return output.error_has_cursor() ? ProgressStyle::bar : ProgressStyle::lines;
}

std::size_t terminal_width() {
  winsize size{};
  const bool is_known =
      ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_known ? size.ws_col : 80;
}

// Bytes where they are counted, else items. There may be more than the total,
// which was that of an earlier time: then nobody knows how much.
struct Share {
  std::uint64_t done;
  std::uint64_t total;  // 0: not known
};

Share share_of(const repo::Progress& progress) {
  const std::uint64_t bytes = progress.bytes_done;
  const std::uint64_t bytes_total = progress.bytes_total;
  const std::uint64_t items = progress.items_done;
  const std::uint64_t items_total = progress.items_total;
  const auto known = [](std::uint64_t done, std::uint64_t total) {
    return done > total ? 0 : total;
  };
  if (bytes > 0 || bytes_total > 0) return {bytes, known(bytes, bytes_total)};
  return {items, known(items, items_total)};
}

}  // namespace

ProgressStyle parse_progress_style(std::string_view text) {
  for (const auto& [name, style] : kStyleNames) {
    if (name == text) return style;
  }
  throw UsageError("'" + std::string(text) +
                   "' is none of auto, bar, lines, json, none");
}

void Estimate::note(Clock::time_point at, std::uint64_t done) {
  if (!began_) began_ = at;
  samples_.push_back({at, done});
  while (samples_.size() > 2 && at - samples_.front().at > kWindow) {
    samples_.pop_front();
  }
}

double Estimate::per_second() const {
  if (samples_.size() < 2) return 0;
  const auto& first = samples_.front();
  const auto& last = samples_.back();
  const double time = std::chrono::duration<double>(last.at - first.at).count();
  if (time <= 0 || last.done <= first.done) return 0;
  return static_cast<double>(last.done - first.done) / time;
}

std::optional<seconds> Estimate::remaining(std::uint64_t total) const {
  if (samples_.empty() || total == 0) return std::nullopt;
  const auto& last = samples_.back();
  if (last.done == total) return seconds(0);
  const double rate = per_second();
  const double share =
      static_cast<double>(last.done) / static_cast<double>(total);
  if (last.at - *began_ < kLeastTime || share < kLeastShare || rate <= 0 ||
      last.done > total) {
    return std::nullopt;
  }
  const double time = static_cast<double>(total - last.done) / rate;
  if (time > 1e8) return std::nullopt;
  return seconds(static_cast<std::int64_t>(time));
}

ProgressDisplay::ProgressDisplay(Output& output, ProgressStyle style,
                                 ProgressWords words,
                                 const repo::Progress& progress)
    : output_(output),
      style_(resolved(style, output)),
      words_(std::move(words)),
      progress_(progress) {
  if (style_ == ProgressStyle::none) return;
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

ProgressDisplay::~ProgressDisplay() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  if (style_ == ProgressStyle::bar) output_.set_status("");
}

void ProgressDisplay::run(std::stop_token stop) {
  milliseconds wait = style_ == ProgressStyle::bar ? kBarInterval
                      : style_ == ProgressStyle::lines
                          ? milliseconds(kFirstLine)
                          : kJsonInterval;
  estimate_.note(began_, 0);
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, wait, [] { return false; });
    }
    if (stop.stop_requested()) return;
    estimate_.note(Estimate::Clock::now(), share_of(progress_).done);
    switch (style_) {
      case ProgressStyle::bar:
        output_.set_status(shortened(bar_text(), terminal_width() - 1));
        break;
      case ProgressStyle::lines:
        output_.note(line_text());
        wait = kLineInterval;
        break;
      case ProgressStyle::json:
        write_json();
        break;
      case ProgressStyle::automatic:
      case ProgressStyle::none:
        return;
    }
  }
}

double ProgressDisplay::seconds_so_far() const {
  return std::chrono::duration<double>(Estimate::Clock::now() - began_).count();
}

// "1.2 GiB of 2.8 GiB, 12,345 files"
std::string ProgressDisplay::counts_text() const {
  std::string text;
  const std::uint64_t bytes = progress_.bytes_done;
  const std::uint64_t bytes_total = progress_.bytes_total;
  if (bytes > 0 || bytes_total > 0) {
    text = size_text(bytes);
    if (bytes_total >= bytes) text += " of " + size_text(bytes_total);
  }
  const std::uint64_t items = progress_.items_done;
  const std::uint64_t items_total = progress_.items_total;
  if (items > 0 || items_total > 0) {
    text += text.empty() ? "" : ", ";
    text += items_total >= items
                ? count_text(items) + " of " + counted(items_total, words_.item)
                : counted(items, words_.item);
  }
  return text;
}

std::string ProgressDisplay::bar_text() const {
  const Share share = share_of(progress_);
  std::string text = words_.action + " ";
  if (share.total > 0) {
    const double percent = 100 * static_cast<double>(share.done) /
                           static_cast<double>(share.total);
    text += fmt::format("{:4.1f}%  ", percent);
  }
  text += counts_text();
  if (progress_.bytes_done > 0) {
    const auto rate = static_cast<std::uint64_t>(estimate_.per_second());
    text += "  " + size_text(rate) + "/s";
  }
  if (share.total > 0) {
    const auto left = estimate_.remaining(share.total);
    text += left ? "  " + duration_text(static_cast<double>(left->count())) +
                       " left"
                 : "  " + std::string(kNoEstimate);
  } else {
    text += "  " + duration_text(seconds_so_far());
  }
  const std::string current = printable(progress_.current());
  if (!current.empty()) {
    // The counts stay; what is being worked on gets what is left.
    const std::size_t used = width_of(text) + 3;
    const std::size_t width = terminal_width();
    if (used < width) text += "  " + shortened(current, width - used);
  }
  return text;
}

std::string ProgressDisplay::line_text() const {
  const Share share = share_of(progress_);
  std::string text = words_.action + ": " + counts_text() + " after " +
                     duration_text(seconds_so_far());
  if (share.total > 0) {
    const auto left = estimate_.remaining(share.total);
    text += left ? ", " + duration_text(static_cast<double>(left->count())) +
                       " left"
                 : ", " + std::string(kNoEstimate);
  }
  const std::string current = progress_.current();
  if (!current.empty()) text += ", at " + current;
  return text;
}

void ProgressDisplay::write_json() const {
  const Share share = share_of(progress_);
  Json json = Json::line("status", clock_now());
  json.set("action", words_.action)
      .set("seconds_elapsed", static_cast<std::uint64_t>(seconds_so_far()))
      .set("bytes_done", progress_.bytes_done.load())
      .set("bytes_total", progress_.bytes_total.load())
      .set("bytes_new", progress_.bytes_new.load())
      .set("bytes_stored", progress_.bytes_stored.load())
      .set("items_done", progress_.items_done.load())
      .set("items_total", progress_.items_total.load());
  if (const auto left = estimate_.remaining(share.total)) {
    json.set("seconds_remaining", left->count());
  } else {
    json.set("seconds_remaining", nullptr);
  }
  json.set_bytes("current", progress_.current());
  output_.progress(json);
}

}  // namespace cairn::cli
