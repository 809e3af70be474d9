#include "cli/rollback_text.h"

#include <algorithm>

#include "cli/quantity.h"
#include "cli/time_text.h"

namespace cairn::cli {
namespace {

std::string text_of(const repo::SeenEpoch& epoch) {
  return std::to_string(epoch.number) + " of " + local_time_text(epoch.time);
}

std::string text_of_epochs(const repo::SeenEpoch& lost,
                           const repo::SeenEpoch& newest) {
  if (newest.number == lost.number) {
    return "epoch " + text_of(lost) + " was another one than " +
           text_of(newest);
  }
  return "epoch " + text_of(lost) + " is gone, " +
         (newest.number == 0 ? "and there is none"
                             : "the newest is " + text_of(newest));
}

}  // namespace

std::string text_of(const repo::Comparison& comparison) {
  std::string text;
  if (comparison.lost_epoch) {
    text = text_of_epochs(*comparison.lost_epoch, comparison.newest);
  }
  if (comparison.lost_generation) {
    if (!text.empty()) text += "; ";
    text += "generation " + std::to_string(*comparison.lost_generation) +
            " of the keys is gone";
  }
  if (comparison.lost.empty()) return text;
  // One stands for all: the newest tells most about since when.
  const auto& newest = *std::ranges::max_element(comparison.lost, {},
                                                 &repo::SeenSnapshot::arrival);
  if (!text.empty()) text += "; ";
  text += "snapshot " + newest.id.brief() + ", which arrived " +
          local_time_text(newest.arrival) +
          ", is gone, and nothing says that it was forgotten";
  if (comparison.lost.size() > 1) {
    text += "; so is the last of " +
            counted(comparison.lost.size() - 1, "more succession");
  }
  return text;
}

}  // namespace cairn::cli
