// What is wrong in a configuration file, and where: all of it, so that one
// look at the messages mends the whole file.
#pragma once

#include <string>
#include <vector>

namespace cairn::cli::config {

// Both from 1, as editors count. Line 0: nowhere in the file.
struct Place {
  unsigned line = 0;
  unsigned column = 0;

  auto operator<=>(const Place&) const = default;
};

struct Mistake {
  Place place;
  std::string path;  // "jobs.nightly.sources"; empty: of the whole file
  std::string text;  // what is wrong, and what would do; never a secret
};

using Mistakes = std::vector<Mistake>;

// "cairn.yaml:12:5: jobs.nightly.sources: there is no source 'redsi'"
[[nodiscard]] std::string text_of(const Mistake& mistake,
                                  const std::string& file);

void sort_by_place(Mistakes& mistakes);

}  // namespace cairn::cli::config
