// Lines of cron at random, with what they mean: made together, so that nothing
// has to read them.
#pragma once

#include <array>
#include <random>
#include <set>
#include <string>

namespace cairn::service {

struct RandomLine {
  std::string text;
  std::array<std::set<int>, 5> values;
  std::array<bool, 5> begins_with_star{};
};

inline int pick(std::mt19937_64& random, int first, int last) {
  return std::uniform_int_distribution<int>(first, last)(random);
}

// Adds an item of a field's list.
inline std::string random_item(std::mt19937_64& random, int first, int last,
                               std::set<int>& values) {
  const int low = pick(random, first, last);
  const int high = pick(random, low, last);
  const int step = pick(random, 1, last);
  switch (pick(random, 0, 3)) {
    case 0:
      for (int v = low; v <= high; ++v) values.insert(v);
      return std::to_string(low) + "-" + std::to_string(high);
    case 1:
      for (int v = low; v <= high; v += step) values.insert(v);
      return std::to_string(low) + "-" + std::to_string(high) + "/" +
             std::to_string(step);
    default:
      values.insert(low);
      return std::to_string(low);
  }
}

// Lines that are due within days: the first of five fields are chosen freely,
// days and months in one of three lines only.
inline RandomLine random_line(std::mt19937_64& random) {
  constexpr std::array<std::pair<int, int>, 5> kBounds = {
      {{0, 59}, {0, 23}, {1, 28}, {1, 12}, {0, 6}}};
  constexpr std::array<int, 5> kLast = {59, 23, 31, 12, 6};
  RandomLine line;
  for (std::size_t i = 0; i < 5; ++i) {
    const auto [first, last] = kBounds[i];
    auto& values = line.values[i];
    std::string text;
    const bool is_free =
        i < 2 ? pick(random, 0, 3) != 0 : pick(random, 0, 2) == 0;
    if (!is_free) {
      const int step = pick(random, 0, 3) == 0 ? pick(random, 1, last / 2) : 1;
      text = step == 1 ? "*" : "*/" + std::to_string(step);
      for (int v = first; v <= kLast[i]; v += step) values.insert(v);
      line.begins_with_star[i] = true;
    } else {
      const int items = pick(random, 1, 3);
      for (int n = 0; n < items; ++n) {
        text += (n == 0 ? "" : ",") + random_item(random, first, last, values);
      }
    }
    line.text += (i == 0 ? "" : " ") + text;
  }
  return line;
}

inline std::string random_zone(std::mt19937_64& random) {
  constexpr std::array kZones = {"UTC",
                                 "Europe/Berlin",
                                 "America/New_York",
                                 "Australia/Lord_Howe",
                                 "Africa/Cairo",
                                 "America/Santiago",
                                 "Pacific/Chatham",
                                 "Asia/Kathmandu"};
  return kZones[static_cast<std::size_t>(pick(random, 0, kZones.size() - 1))];
}

}  // namespace cairn::service
