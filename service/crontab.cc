#include "service/crontab.h"

#include <cstdint>
#include <stdexcept>

#include "repo/error.h"

namespace cairn::service {
namespace {

using namespace std::chrono;

constexpr std::string_view kJob = "# job ";

std::string begin_line(const std::string& configuration) {
  return "# BEGIN cairn " + configuration + "\n";
}
std::string end_line(const std::string& configuration) {
  return "# END cairn " + configuration + "\n";
}

struct Block {
  std::size_t begin = 0;  // of its first line
  std::size_t end = 0;    // behind its last one
  std::string_view inside = {};
};

// At the beginning of a line only.
std::size_t find_line(std::string_view text, std::string_view line,
                      std::size_t from) {
  for (auto at = text.find(line, from); at != text.npos;
       at = text.find(line, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') return at;
  }
  return text.npos;
}

std::optional<Block> find_block(std::string_view crontab,
                                const std::string& configuration) {
  const auto first = begin_line(configuration);
  const auto last = end_line(configuration);
  const auto begin = find_line(crontab, first, 0);
  if (begin == crontab.npos) return std::nullopt;
  const auto inside = begin + first.size();
  const auto end = find_line(crontab, last, inside);
  if (end == crontab.npos) {
    throw std::invalid_argument(
        "the crontab has the line '" + first.substr(0, first.size() - 1) +
        "' and not the one that ends its block, '# END cairn ...'; mend it "
        "with `crontab -e`");
  }
  return Block{begin, end + last.size(), crontab.substr(inside, end - inside)};
}

// The minutes of an hour at which the timetable may be due, by the clock of
// another zone; empty: any.
std::optional<std::uint64_t> minutes_of(
    const Timetable& timetable,
    const std::optional<std::string>& machine_zone) {
  if (!machine_zone) return std::nullopt;
  constexpr Moment kFirst = sys_days(2026y / January / 1);
  constexpr Moment kEnd = sys_days(2038y / January / 1);
  const Timetable machine("* * * * *", *machine_zone);
  if (!timetable.has_whole_hours_between(kFirst, kEnd) ||
      !machine.has_whole_hours_between(kFirst, kEnd)) {
    return std::nullopt;
  }
  std::uint64_t values = timetable.fields().minutes;
  for (const auto moment : timetable.irregular_between(kFirst, kEnd)) {
    const auto hour = floor<hours>(moment);
    values |= std::uint64_t{1} << floor<minutes>(moment - hour).count();
  }
  return values;
}

std::string minute_field(const Timetable& timetable,
                         const std::optional<std::string>& machine_zone) {
  constexpr std::uint64_t kEvery = (std::uint64_t{1} << 60) - 1;
  const auto values = minutes_of(timetable, machine_zone);
  if (!values || *values == kEvery) return "*";
  std::string text;
  for (unsigned minute = 0; minute < 60; ++minute) {
    if ((*values >> minute & 1) == 0) continue;
    text += (text.empty() ? "" : ",") + std::to_string(minute);
  }
  return text;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto size = end == text.npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

// "# job NAME: daily, retention 30" or "# job NAME: 0 2 * * * in UTC"
CrontabJob read_head(std::string_view line) {
  CrontabJob job;
  std::string_view text = line.substr(kJob.size());
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto colon = text.find(": ");
  job.name = text.substr(0, colon);
  if (colon == text.npos) return job;
  text.remove_prefix(colon + 2);
  const auto part = [&](std::string_view key) -> std::optional<std::string> {
    const auto at = text.find(key);
    if (at == text.npos) return std::nullopt;
    const auto value = text.substr(at + key.size());
    return std::string(value.substr(0, value.find(' ')));
  };
  job.frequency = part("frequency=");
  job.retention = part("retention=");
  return job;
}

// Neither a remark nor a variable, with which no field of time begins.
bool is_entry(std::string_view line) {
  return line.starts_with('*') ||
         (!line.empty() && '0' <= line.front() && line.front() <= '9');
}

struct BlockLines {
  std::vector<CrontabJob> jobs;
  std::vector<std::string_view> of_others;
};

// A job of ours is its head and the line behind that; whatever else stands
// there, a person has written into the block.
BlockLines read_block(std::string_view inside) {
  BlockLines lines;
  bool is_behind_head = false;
  for (const auto line : lines_of(inside)) {
    const bool is_head = line.starts_with(kJob);
    if (is_head) lines.jobs.push_back(read_head(line));
    if (is_head || (is_behind_head && is_entry(line))) {
      lines.jobs.back().lines += line;
    } else if (line != "\n") {
      lines.of_others.push_back(line);
    }
    is_behind_head = is_head;
  }
  return lines;
}

void require_ours(const Block& block, const std::string& configuration) {
  const auto others = read_block(block.inside).of_others;
  if (others.empty()) return;
  std::string line(others.front());
  if (line.ends_with('\n')) line.pop_back();
  throw repo::RefusedForSafety(
      "the crontab: within the block of " + configuration +
      ", which is written anew, stands a line that cairn did not write: '" +
      line + "'; move it out of there with `crontab -e`");
}

}  // namespace

std::string crontab_word(std::string_view text) {
  constexpr std::string_view kPlain = "_-./:=@+,";
  std::string made;
  bool is_plain = !text.empty();
  for (const char c : text) {
    const bool is_letter = ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') ||
                           ('0' <= c && c <= '9');
    is_plain = is_plain && (is_letter || kPlain.find(c) != kPlain.npos);
    if (c == '\n') {
      throw std::invalid_argument("a crontab takes no name with a line end");
    }
    // cron ends the command at a '%' that has no backslash before it, and
    // takes that backslash away.
    made += c == '\'' ? "'\\''" : c == '%' ? "\\%" : std::string(1, c);
  }
  return is_plain ? made : "'" + made + "'";
}

CrontabJob crontab_job(const std::string& name, const Timetable& timetable,
                       const std::optional<std::string>& machine_zone,
                       const std::vector<std::string>& command,
                       const std::optional<std::string>& frequency,
                       const std::optional<std::string>& retention) {
  std::string said = timetable.text() + " in " + timetable.zone();
  if (frequency) said += " frequency=" + *frequency;
  if (retention) said += " retention=" + *retention;
  std::string lines = std::string(kJob) + name + ": " + said + "\n" +
                      minute_field(timetable, machine_zone) + " * * * *";
  for (const auto& word : command) lines += " " + word;
  return {name, lines + "\n", frequency, retention};
}

std::vector<CrontabJob> jobs_in_crontab(std::string_view crontab,
                                        const std::string& configuration) {
  const auto block = find_block(crontab, configuration);
  return block ? read_block(block->inside).jobs : std::vector<CrontabJob>();
}

std::string with_jobs(std::string_view crontab,
                      const std::string& configuration,
                      const std::vector<CrontabJob>& jobs) {
  std::string whole(crontab);
  if (!whole.empty() && !whole.ends_with('\n')) whole += '\n';
  const auto block = find_block(whole, configuration);
  if (block) require_ours(*block, configuration);
  if (jobs.empty()) {
    if (!block) return std::string(crontab);
    return whole.erase(block->begin, block->end - block->begin);
  }
  std::string text = begin_line(configuration);
  for (const auto& job : jobs) text += job.lines;
  text += end_line(configuration);
  if (!block) return whole + text;
  return whole.replace(block->begin, block->end - block->begin, text);
}

}  // namespace cairn::service
