#include "cli/prometheus_text.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>

#include "cli/context.h"
#include "ingest/whole_file.h"
#include "repo/error.h"
#include "service/state_file.h"

namespace cairn::cli {
namespace {

using service::RunOutcome;

using Labels =
    std::initializer_list<std::pair<std::string_view, std::string_view>>;

std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    text += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return text;
}

// One metric: its samples stand together, under its name and what it is.
// Without a sample nothing of it is written.
class Gauge {
 public:
  Gauge(std::string& text, std::string_view name, std::string_view help)
      : text_(text), name_(name), help_(help) {}

  void add(Labels labels, double value) {
    add(labels, fmt::format("{}", value));
  }
  void add(Labels labels, std::uint64_t value) {
    add(labels, std::to_string(value));
  }
  void add(Labels labels, Moment moment) {
    add(labels, std::to_string(moment.time_since_epoch().count()));
  }
  void add(Labels labels, std::chrono::seconds length) {
    add(labels, std::to_string(length.count()));
  }
  template <typename Value>
  void add(Labels labels, const std::optional<Value>& value) {
    if (value) add(labels, *value);
  }
  // As it stands in `before`, a text of ours; if it does.
  void add_again(Labels labels, std::string_view before) {
    const std::string sample = sample_of(labels);
    for_each_line(before,
                  [&](std::string_view its_sample, std::string_view value) {
                    if (its_sample == sample) add_line(sample, value);
                  });
  }
  // All that stand there and have these labels first, and more behind them.
  void add_all_again(Labels first, std::string_view before) {
    std::string beginning = sample_of(first);
    beginning.back() = ',';
    for_each_line(before,
                  [&](std::string_view its_sample, std::string_view value) {
                    if (its_sample.starts_with(beginning))
                      add_line(its_sample, value);
                  });
  }
  void add_truth(Labels labels, bool value) {
    add(labels, std::uint64_t{value ? 1U : 0U});
  }

 private:
  void add(Labels labels, const std::string& value) {
    add_line(sample_of(labels), value);
  }

  void add_line(std::string_view sample, std::string_view value) {
    if (!has_head_) {
      text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n", name_, help_);
      has_head_ = true;
    }
    text_ += fmt::format("{} {}\n", sample, value);
  }

  // Of those that end with a number.
  template <typename Use>
  static void for_each_line(std::string_view text, const Use& use) {
    while (!text.empty()) {
      const auto end = std::min(text.find('\n'), text.size());
      const auto line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      const auto space = line.rfind(' ');
      if (space == line.npos) continue;
      const auto value = line.substr(space + 1);
      double number = 0;
      const auto [rest, error] =
          std::from_chars(value.data(), value.data() + value.size(), number);
      if (error != std::errc() || rest != value.data() + value.size()) continue;
      use(line.substr(0, space), value);
    }
  }

  [[nodiscard]] std::string sample_of(Labels labels) const {
    std::string inside;
    for (const auto& [label, word] : labels) {
      inside += fmt::format("{}{}=\"{}\"", inside.empty() ? "" : ",", label,
                            escaped(word));
    }
    return std::string(name_) + (inside.empty() ? "" : "{" + inside + "}");
  }

  std::string& text_;
  std::string_view name_;
  std::string_view help_;
  bool has_head_ = false;
};

// The names that are asked for in so many words: of each database, and of each
// source, whose label `database` is its own name.
struct Saved {
  std::string_view database;
  const SourceStatus* source;
  std::optional<service::GoodState> last;
  std::optional<double> seconds;
};

std::vector<Saved> all_saved(const StatusReport& report) {
  std::vector<Saved> all;
  for (const auto& source : report.sources) {
    for (const auto& database : source.databases) {
      // Else there would be two of the same name.
      if (database.name == source.source) continue;
      all.push_back({database.name, &source, database.last, database.seconds});
    }
    all.push_back({source.source, &source, source.last(), source.seconds});
  }
  return all;
}

void add_saved(const StatusReport& report, std::string& text) {
  const auto saved = all_saved(report);
  const auto for_each = [&](std::string_view name, std::string_view help,
                            const auto& value_of) {
    Gauge gauge(text, name, help);
    for (const auto& one : saved) {
      gauge.add({{"database", one.database},
                 {"source", one.source->source},
                 {"cairn_job", one.source->job}},
                value_of(one));
    }
  };
  for_each("backup_last_success_timestamp",
           "When a database, or source, was last saved whole, in seconds "
           "since 1970.",
           [](const Saved& one) {
             return one.last ? std::optional(one.last->when) : std::nullopt;
           });
  for_each("backup_duration_seconds", "How long that took to be read.",
           [](const Saved& one) { return one.seconds; });
  for_each("backup_size_bytes", "How much that was, before it was compressed.",
           [](const Saved& one) {
             return one.last ? std::optional(one.last->bytes) : std::nullopt;
           });
}

void add_sources(const StatusReport& report, std::string& text) {
  const auto for_each = [&](std::string_view name, std::string_view help,
                            const auto& add) {
    Gauge gauge(text, name, help);
    for (const auto& one : report.sources) {
      const Labels labels = {{"source", one.source}, {"cairn_job", one.job}};
      add(gauge, labels, one);
    }
  };
  for_each("cairn_source_last_success_timestamp_seconds",
           "When a source was last saved whole.",
           [](Gauge& gauge, Labels labels, const SourceStatus& one) {
             if (one.last()) gauge.add(labels, one.last()->when);
           });
  for_each("cairn_source_interval_seconds", "How often it is to be saved.",
           [](Gauge& gauge, Labels labels, const SourceStatus& one) {
             gauge.add(labels, one.interval);
           });
  for_each("cairn_source_size_bytes", "How much that was.",
           [](Gauge& gauge, Labels labels, const SourceStatus& one) {
             if (one.last()) gauge.add(labels, one.last()->bytes);
           });
  for_each("cairn_source_usual_size_bytes", "The median of the states before.",
           [](Gauge& gauge, Labels labels, const SourceStatus& one) {
             gauge.add(labels, one.usual_bytes);
           });
  for_each("cairn_source_overdue", "Whether it is older than it may be.",
           [](Gauge& gauge, Labels labels, const SourceStatus& one) {
             gauge.add_truth(labels, one.is_overdue || one.good.empty());
           });
  for_each("cairn_source_failing",
           "Whether it was not saved whole the last time.",
           [](Gauge& gauge, Labels labels, const SourceStatus& one) {
             gauge.add_truth(labels, one.failure.has_value());
           });
}

void add_jobs(const StatusReport& report, std::string& text) {
  {
    Gauge gauge(text, "cairn_run_last_timestamp_seconds",
                "When the last run of a job ended, however it went.");
    for (const auto& job : report.jobs) {
      if (job.last_run) {
        gauge.add({{"cairn_job", job.job}},
                  std::min(job.last_run->ended, report.now));
      }
    }
  }
  {
    Gauge gauge(text, "cairn_run_last_success_timestamp_seconds",
                "When the last run ended that was complete.");
    for (const auto& job : report.jobs) {
      gauge.add({{"cairn_job", job.job}}, job.last_success);
    }
  }
  {
    Gauge gauge(text, "cairn_run_duration_seconds",
                "How long the last run took.");
    for (const auto& job : report.jobs) {
      if (!job.last_run) continue;
      gauge.add(
          {{"cairn_job", job.job}},
          service::age_of(job.last_run->began, job.last_run->ended).length);
    }
  }
  {
    Gauge gauge(text, "cairn_run_new_bytes",
                "What the last run added to the repository.");
    for (const auto& job : report.jobs) {
      if (job.last_run) {
        gauge.add({{"cairn_job", job.job}}, job.last_run->bytes_new);
      }
    }
  }
  Gauge gauge(text, "cairn_run_outcome", "How the last run went: one of them.");
  for (const auto& job : report.jobs) {
    if (!job.last_run) continue;
    for (const auto outcome : {RunOutcome::complete, RunOutcome::partial,
                               RunOutcome::failed, RunOutcome::interrupted}) {
      gauge.add_truth({{"cairn_job", job.job}, {"outcome", name_of(outcome)}},
                      job.last_run->outcome == outcome);
    }
  }
}

void add_wal(const StatusReport& report, std::string_view before,
             std::string& text) {
  const auto for_each = [&](std::string_view name, std::string_view help,
                            const auto& value_of) {
    Gauge gauge(text, name, help);
    for (const auto& one : report.wal) {
      const std::string system = std::to_string(one.system);
      gauge.add({{"repository", one.repository},
                 {"series", one.series},
                 {"system", system}},
                value_of(one));
    }
    for (const auto& one : report.repositories) {
      if (!one.coverage)
        gauge.add_all_again({{"repository", one.name}}, before);
    }
  };
  for_each("cairn_wal_last_stored_timestamp_seconds",
           "When WAL of a cluster was last stored.",
           [](const WalStatus& one) { return one.stored_at; });
  for_each("cairn_wal_lag_seconds",
           "For how long, at most, WAL had not been stored when this was "
           "written.",
           [](const WalStatus& one) { return one.lag; });
  for_each("cairn_wal_waiting_bytes",
           "WAL on this host that is not in the repository yet.",
           [](const WalStatus& one) { return one.waiting_bytes; });
}

void add_repositories(const StatusReport& report, std::string_view before,
                      std::string& text) {
  const auto for_each = [&](std::string_view name, std::string_view help,
                            const auto& value_of) {
    Gauge gauge(text, name, help);
    for (const auto& one : report.repositories) {
      gauge.add({{"repository", one.name}}, value_of(one));
    }
  };
  const auto of_coverage = [&](std::string_view name, std::string_view help,
                               std::uint64_t service::Coverage::*member) {
    Gauge gauge(text, name, help);
    for (const auto& one : report.repositories) {
      const Labels labels = {{"repository", one.name}};
      if (one.coverage) {
        gauge.add(labels, *one.coverage.*member);
      } else {
        gauge.add_again(labels, before);
      }
    }
  };
  for_each("cairn_repository_disk_used_ratio",
           "How full the disk of a repository is.",
           [](const RepositoryStatus& one) { return one.used; });
  for_each("cairn_repository_disk_free_bytes", "What is free there.",
           [](const RepositoryStatus& one) {
             return one.used ? std::optional(one.free_bytes) : std::nullopt;
           });
  for_each("cairn_repository_snapshots", "Snapshots in it.",
           [](const RepositoryStatus& one) {
             return one.coverage ? std::optional(one.snapshots) : std::nullopt;
           });
  of_coverage("cairn_repository_packs", "Packs in it.",
              &service::Coverage::packs);
  of_coverage("cairn_repository_packs_never_verified",
              "Packs that this machine has never read.",
              &service::Coverage::never);
  of_coverage("cairn_repository_packs_late",
              "Packs that were not read within the cycle.",
              &service::Coverage::late);
  of_coverage("cairn_repository_packs_damaged",
              "Packs in which damage was found.", &service::Coverage::damaged);
  for_each("cairn_repository_oldest_verification_timestamp_seconds",
           "When the pack was read that was read longest ago.",
           [](const RepositoryStatus& one) {
             return one.coverage ? one.coverage->oldest : std::nullopt;
           });
}

}  // namespace

std::string prometheus_text(const StatusReport& report,
                            std::string_view before) {
  std::string text;
  add_saved(report, text);
  add_sources(report, text);
  add_jobs(report, text);
  add_wal(report, before, text);
  add_repositories(report, before, text);
  Gauge(text, "cairn_status_timestamp_seconds", "When this was written.")
      .add({}, report.now);
  Gauge(text, "cairn_build_info", "Which cairn wrote this.")
      .add({{"version", CAIRN_VERSION}}, std::uint64_t{1});
  return text;
}

void write_prometheus_file(const std::filesystem::path& file,
                           const StatusReport& report) {
  constexpr mode_t kForEveryone = 0644;
  constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 20;
  const auto before = service::read_state_file(file, kMostBytes);
  const std::string text = prometheus_text(report, before.value_or(""));
  ingest::WholeFile whole(file, ingest::WholeFile::Durability::of_the_caller);
  whole.append(std::as_bytes(std::span(text)));
  whole.set_mode(kForEveryone);
  std::move(whole).name_or_replace();
}

}  // namespace cairn::cli
