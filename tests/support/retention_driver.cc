// Retention as a filter, for comparing it with other programs:
//
//   retention_driver [--keep-daily 7 ...] < snapshots > verdicts
//
// Each line of the input is a snapshot of one series, "ID TIME ARRIVAL TAG...",
// times in seconds since 1970; each of the output a verdict, newest first:
// "ID keep REASON; REASON" or "ID forget OBJECTION; OBJECTION".
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "repo/retention.h"

namespace {

using namespace cairn::repo;

RetentionPolicy parse_policy(std::span<const char* const> words) {
  const std::map<std::string_view, int RetentionPolicy::*> counts{
      {"--keep-last", &RetentionPolicy::last},
      {"--keep-hourly", &RetentionPolicy::hourly},
      {"--keep-daily", &RetentionPolicy::daily},
      {"--keep-weekly", &RetentionPolicy::weekly},
      {"--keep-monthly", &RetentionPolicy::monthly},
      {"--keep-yearly", &RetentionPolicy::yearly},
  };
  RetentionPolicy policy;
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    const std::string_view flag = words[i];
    const std::string value = words[i + 1];
    if (counts.contains(flag)) {
      policy.*counts.at(flag) = std::stoi(value);
    } else if (flag == "--keep-within") {
      policy.within = parse_calendar_span(value).value();
    } else if (flag == "--keep-tag") {
      policy.tags.push_back(value);
    } else if (flag == "--week-on") {
      policy.week_on = parse_weekday(value).value();
    } else if (flag == "--prefer") {
      policy.prefer = value == "oldest" ? Prefer::oldest : Prefer::newest;
    } else if (flag == "--time-zone") {
      policy.time_zone = value;
    } else {
      throw std::invalid_argument("no such flag: " + std::string(flag));
    }
  }
  return policy;
}

std::vector<Candidate> read_snapshots(std::istream& in) {
  std::vector<Candidate> snapshots;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    Candidate snapshot{.series = "host/series"};
    words >> snapshot.id >> snapshot.time.seconds >> snapshot.arrival.seconds;
    for (std::string tag; words >> tag;) snapshot.tags.push_back(tag);
    snapshots.push_back(std::move(snapshot));
  }
  return snapshots;
}

void print(const std::vector<std::string>& lines) {
  std::string_view separator = " ";
  for (const std::string& line : lines) {
    std::cout << separator << line;
    separator = "; ";
  }
  std::cout << "\n";
}

void run(std::span<const char* const> words) {
  const RetentionPolicy policy = parse_policy(words);
  const std::vector<Candidate> snapshots = read_snapshots(std::cin);
  for (const Verdict& verdict : apply_retention(snapshots, policy)) {
    const bool stays = !verdict.reasons.empty();
    std::cout << snapshots[verdict.candidate].id
              << (stays ? " keep" : " forget");
    print(stays ? verdict.reasons : verdict.objections);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
    return EXIT_SUCCESS;
  } catch (const std::exception& e) {
    std::cerr << "retention_driver: " << e.what() << "\n";
    return EXIT_FAILURE;
  }
}
