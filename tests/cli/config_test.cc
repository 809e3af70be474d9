#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/config/grammar.h"
#include "cli/config/schema.h"
#include "cli/config/settings.h"

namespace cairn::cli::config {
namespace {

namespace fs = std::filesystem;

const Surroundings kHere{.host = "vm", .time_zone = "UTC"};

std::string text_of_file(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Read {
  std::optional<Configuration> made;
  Mistakes mistakes;

  // "4: jobs.nightly: ..." of each.
  [[nodiscard]] std::string all() const {
    std::string text;
    for (const auto& mistake : mistakes) {
      text += std::to_string(mistake.place.line) + ": " + mistake.path + ": " +
              mistake.text + "\n";
    }
    return text;
  }
};

Read read(const std::string& text, const Surroundings& here = kHere) {
  Read result;
  result.made = read_configuration(text, "cairn.yaml", here, result.mistakes);
  EXPECT_EQ(result.made.has_value(), result.mistakes.empty());
  return result;
}

constexpr const char* kLeast = R"(version: 1
repositories:
  local: {path: /srv/backups}
sources:
  etc: {type: files, paths: [/etc]}
jobs:
  nightly: {sources: all}
)";

// Every key of the grammar, each in a line of its own; names of the user's
// choice are in capitals.
constexpr const char* kAll = R"(version: 1
host: vm2
time_zone: Europe/Berlin
repositories:
  LOCAL:
    path: /srv/backups
    key:
      file: /etc/cairn/key
  OTHER:
    path: /srv/other
    password:
      env: SECRET
  THIRD:
    path: /srv/third
    password:
      command: pass show cairn
sources:
  ETC:
    type: files
    part: config
    paths: [/etc, /opt/a b]
    exclude: ['*.log']
    exclude_if_present: [.nobackup]
    one_file_system: true
    live: true
    allow_empty: true
  EXPORT:
    type: command
    part: data
    command: [printf, '%s', no]
    as: export.json
    allow_empty: false
  DB:
    type: postgres
    part: databases
    dsn: host=db user=backup
    password:
      file: /run/secrets/pg
    databases: [shop, shop, n8n]
    format: plain
    bin_dir: /usr/lib/postgresql/15/bin
  INNER:
    type: postgres
    container: db-1
    container_program: podman
  CLUSTER:
    type: postgres_base
    part: databases
    dsn: host=db user=replicator
    password:
      file: /run/secrets/pg
    checkpoint: spread
    max_rate: 50MiB
  CACHE:
    type: redis
    part: databases
    host: cache.example
    port: 6380
    user: backup
    password:
      env: REDIS_PASSWORD
    tls: true
    tls_ca: /etc/ssl/ca.pem
    tls_cert: /etc/ssl/ours.pem
    tls_key: /etc/ssl/ours.key
    tls_name: redis
  QUEUE:
    type: redis
    socket: /run/redis/redis.sock
    aof_dir: /var/lib/redis/appendonlydir
jobs:
  NIGHTLY:
    sources: [ETC, EXPORT, DB]
    to: LOCAL
    series: night
    tags: [nightly]
    retention: LONG
    schedule:
      cron: 30 2 * * mon-fri
      jitter: 3m
      catch_up: false
    compression: max
    before:
      - run: [touch, /run/begun]
        timeout: 30s
    after:
      - run: [touch, /run/ended]
        timeout: 2m
        when: success
  BASE:
    sources: [CLUSTER]
    to: OTHER
    schedule:
      at: '02:05'
retention:
  LONG:
    keep:
      last: 3
      hourly: 24
      daily: 7
      weekly: 4
      monthly: 12
      yearly: unlimited
      within: 48h
      tags: [pinned]
    week_on: sunday
    prefer: oldest
    prune: false
thresholds:
  overdue: 30m
  size_change: 25%
  repository_used: 90%
  wal_lag: 5m
monitoring:
  prometheus:
    textfile: /var/lib/prometheus/node-exporter/cairn.prom
  webhook:
    url:
      file: /run/secrets/hook
    timeout: 5s
  command: [logger, -t, cairn]
checks:
  data:
    cycle: 7d
    budget: 500MiB
)";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

TEST(Configuration, ReadsTheLeastThereCanBe) {
  const auto [made, mistakes] = read(kLeast);

  ASSERT_TRUE(made);
  EXPECT_EQ(made->host, "vm");
  EXPECT_EQ(made->jobs.at(0).series, "vm/nightly");
  EXPECT_EQ(made->jobs.at(0).repository, "local");
  EXPECT_EQ(made->jobs.at(0).policy, std::nullopt);
  EXPECT_EQ(made->sources.at(0).part, Part::data);
}

TEST(Configuration, ReadsEveryKeyThereIs) {
  const auto result = read(kAll);

  ASSERT_TRUE(result.made) << result.all();
  const auto& made = *result.made;
  EXPECT_EQ(made.host, "vm2");
  EXPECT_EQ(made.repositories.at(0).key_file, "/etc/cairn/key");
  EXPECT_EQ(made.repositories.at(1).password->kind,
            SecretPlace::Kind::variable);
  EXPECT_EQ(made.repositories.at(2).password->origin, "cairn.yaml:16");
  const auto& etc = std::get<Files>(made.source("ETC")->what);
  EXPECT_EQ(etc.paths, (std::vector<std::string>{"/etc", "/opt/a b"}));
  EXPECT_TRUE(etc.one_file_system);
  EXPECT_TRUE(etc.is_live);
  EXPECT_EQ(made.source("ETC")->part, Part::config);
  EXPECT_TRUE(made.source("ETC")->may_be_empty);
  EXPECT_FALSE(made.source("EXPORT")->may_be_empty);
  const auto& command = std::get<CommandOutput>(made.source("EXPORT")->what);
  EXPECT_EQ(command.arguments,
            (std::vector<std::string>{"printf", "%s", "no"}));
  const auto& db = std::get<PostgresDumps>(made.source("DB")->what);
  EXPECT_EQ(db.databases, (std::vector<std::string>{"shop", "n8n"}));
  EXPECT_EQ(db.format, ingest::PgDumpFormat::plain);
  const auto& inner = std::get<PostgresDumps>(made.source("INNER")->what);
  EXPECT_EQ(inner.container_program, "podman");
  const auto& cluster = std::get<PostgresBase>(made.source("CLUSTER")->what);
  EXPECT_EQ(cluster.max_rate, std::uint64_t{50} << 20);
  EXPECT_EQ(cluster.checkpoint, ingest::Checkpoint::spread);
  const auto& cache = std::get<Redis>(made.source("CACHE")->what);
  EXPECT_EQ(cache.host, "cache.example");
  EXPECT_EQ(cache.port, 6380U);
  EXPECT_EQ(cache.password->kind, SecretPlace::Kind::variable);
  EXPECT_TRUE(cache.has_tls);
  EXPECT_EQ(cache.tls_name, "redis");
  const auto& queue = std::get<Redis>(made.source("QUEUE")->what);
  EXPECT_EQ(queue.socket, "/run/redis/redis.sock");
  EXPECT_EQ(queue.aof_dir, "/var/lib/redis/appendonlydir");
  const auto& job = *made.job("NIGHTLY");
  EXPECT_EQ(job.series, "vm2/night");
  ASSERT_TRUE(job.schedule);
  EXPECT_EQ(job.schedule->timetable,
            service::Timetable("30 2 * * 1-5", "Europe/Berlin"));
  EXPECT_EQ(job.schedule->jitter, std::chrono::minutes(3));
  EXPECT_FALSE(job.schedule->catches_up);
  const auto& base = *made.job("BASE");
  ASSERT_TRUE(base.schedule);
  EXPECT_EQ(base.schedule->timetable,
            service::Timetable("5 2 * * *", "Europe/Berlin"));
  EXPECT_TRUE(base.schedule->catches_up);
  EXPECT_EQ(job.before.at(0).timeout, std::chrono::seconds(30));
  EXPECT_EQ(job.after.at(0).when, Hook::When::success);
  const auto& policy = *made.policy("LONG");
  EXPECT_EQ(policy.rules.yearly, repo::RetentionPolicy::kAll);
  EXPECT_EQ(policy.rules.within, (repo::CalendarSpan{.hours = 48}));
  EXPECT_EQ(policy.rules.week_on, repo::Weekday::sunday);
  EXPECT_EQ(policy.rules.time_zone, "Europe/Berlin");
  EXPECT_FALSE(policy.prunes);
}

TEST(Configuration, TakesAScheduleByOneWord) {
  const auto line_of = [](const std::string& word) {
    const auto result = read(
        std::string(kLeast).replace(std::string(kLeast).find("sources: all"),
                                    12, "sources: all, schedule: " + word));
    return result.made && result.made->jobs.at(0).schedule
               ? result.made->jobs.at(0).schedule->timetable.text()
               : result.all();
  };
  EXPECT_EQ(line_of("hourly"), "0 * * * *");
  EXPECT_EQ(line_of("daily"), "0 2 * * *");
  EXPECT_EQ(line_of("weekly"), "0 3 * * sun");
  EXPECT_EQ(line_of("monthly"), "0 4 1 * *");
  EXPECT_EQ(line_of("'@daily'"), "0 0 * * *");
  EXPECT_EQ(line_of("{cron: '*/15 * * * *'}"), "*/15 * * * *");
}

void gather_keys(const Shape& shape, std::set<const Key*>& keys) {
  for (const auto& key : shape.keys) {
    keys.insert(&key);
    for (const auto& inner : key.shapes) gather_keys(inner, keys);
  }
}

void gather_keys(const Setting& setting, std::set<const Key*>& keys) {
  if (setting.origin == Setting::Origin::file && setting.key != nullptr) {
    keys.insert(setting.key);
  }
  for (const auto& part : setting.parts) gather_keys(part, keys);
}

// So that the tests below, which go through that text, go through the grammar.
TEST(Configuration, HasATestTextWithEveryKeyOfTheGrammar) {
  const auto result = read(kAll);
  std::set<const Key*> known;
  std::set<const Key*> used;
  gather_keys(grammar(), known);
  ASSERT_TRUE(result.made) << result.all();
  gather_keys(result.made->settings, used);

  for (const auto* const key : known) {
    // Of a source in a container, where they are the same as of others.
    EXPECT_TRUE(used.contains(key)) << key->name;
  }
}

// The key that a line begins with; empty: it is a name, or none.
std::string key_in(const std::string& line) {
  const auto begin = line.find_first_not_of(" -");
  const auto end = line.find(':');
  if (begin == std::string::npos || end == std::string::npos) return "";
  const std::string key = line.substr(begin, end - begin);
  return std::ranges::any_of(key, [](char c) { return 'A' <= c && c <= 'Z'; })
             ? ""
             : key;
}

TEST(Configuration, FindsATypoAtEveryLevelAndSaysWhatWasMeant) {
  const auto lines = lines_of(kAll);
  unsigned typos = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string key = key_in(lines[i]);
    if (key.empty()) continue;
    SCOPED_TRACE(lines[i]);
    ++typos;
    auto wrong = lines;
    const auto at = wrong[i].find(key);
    wrong[i].insert(at + 1, "x");
    const auto result = read(joined(wrong));

    const auto found =
        std::ranges::find_if(result.mistakes, [&](const Mistake& mistake) {
          return mistake.place == Place{static_cast<unsigned>(i) + 1,
                                        static_cast<unsigned>(at) + 1} &&
                 mistake.text.find("did you mean '" + key + "'?") !=
                     std::string::npos;
        });
    // Without its type, nobody knows which keys a source may have.
    if (key == "type") {
      EXPECT_NE(result.all().find("'type' is missing"), std::string::npos);
    } else {
      EXPECT_NE(found, result.mistakes.end()) << result.all();
    }
  }
  EXPECT_GT(typos, 60u);
}

TEST(Configuration, FindsAKeyThatIsThereTwiceAtEveryLevel) {
  const auto lines = lines_of(kAll);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string key = key_in(lines[i]);
    if (key.empty()) continue;
    SCOPED_TRACE(lines[i]);
    // Above itself, so that it stays in its mapping.
    auto wrong = lines;
    std::string twice = lines[i].substr(0, lines[i].find(':')) + ": 1";
    if (twice.find("- ") != std::string::npos) {
      wrong[i].replace(wrong[i].find('-'), 1, " ");
    }
    wrong.insert(wrong.begin() + static_cast<std::ptrdiff_t>(i), twice);
    const auto result = read(joined(wrong));

    const std::string said = std::to_string(i + 2) + ": : the key '" + key +
                             "' is there already, in line " +
                             std::to_string(i + 1);
    EXPECT_NE(result.all().find(said), std::string::npos) << result.all();
  }
}

TEST(Configuration, TellsEveryMistakeOfAFileInItsOrder) {
  const auto result = read(R"(version: 2
hots: vm
repositories:
  local: {path: backups, key: /etc/key}
sources:
  etc: {type: flies, paths: [/etc]}
  db: {type: postgres, dsn: host=db password=hunter2}
jobs:
  nightly: {sources: [etc, bd], to: lokal, retention: long}
retention:
  short: {keep: {dayly: 7}, week_on: someday}
)");

  ASSERT_EQ(result.mistakes.size(), 11u) << result.all();
  const std::string all = result.all();
  EXPECT_EQ(all.find("hunter2"), std::string::npos) << all;
  EXPECT_EQ(all.find("/etc/key"), std::string::npos) << all;
  for (const auto* const said :
       {"1: version: '2' is no version",
        "2: : unknown key 'hots'; did you mean 'host'?",
        "4: repositories.local.path: 'backups' is not absolute",
        "4: repositories.local.key: a secret does not stand in this file",
        "6: sources.etc.type: 'flies' is no type of source; did you mean "
        "'files'?",
        "7: sources.db.dsn: ",
        "9: jobs.nightly.sources: there is no source 'bd'; did you mean 'db'?",
        "9: jobs.nightly.to: there is no repository 'lokal'; did you mean "
        "'local'?",
        "9: jobs.nightly.retention: there is no policy 'long'",
        "11: retention.short.keep: unknown key 'dayly'; did you mean 'daily'?",
        "11: retention.short.week_on: 'someday' is no day of the week"}) {
    EXPECT_NE(all.find(said), std::string::npos) << said << "\n" << all;
  }
  EXPECT_TRUE(std::ranges::is_sorted(result.mistakes, {}, &Mistake::place));
}

// One line of kLeast replaced, and what is said of it.
struct Wrong {
  unsigned line;
  const char* text;
  const char* said;
};

class WrongValue : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongValue, IsRefusedWhereItStands) {
  SCOPED_TRACE(GetParam().text);
  auto lines = lines_of(kLeast);
  lines.at(GetParam().line - 1) = GetParam().text;
  const auto result = read(joined(lines));

  ASSERT_FALSE(result.mistakes.empty());
  EXPECT_EQ(result.mistakes.front().place.line, GetParam().line);
  EXPECT_NE(result.all().find(GetParam().said), std::string::npos)
      << result.all();
}

INSTANTIATE_TEST_SUITE_P(
    Values, WrongValue,
    ::testing::Values(
        Wrong{1, "version:", "has no value"},
        Wrong{1, "version: '1.0'", "is no version"},
        Wrong{1, "version: [1]", "one word is due here, not a list"},
        Wrong{1, "version: '1'", "'1' is text, since it is quoted; write 1"},
        Wrong{5, "  etc: {type: files, paths: [/e], live: \"true\"}",
              "'true' is text"},
        Wrong{1, "retention: {x: {keep: {daily: '7'}}}\nversion: 1",
              "retention.x.keep.daily: '7' is text, since it is quoted; write "
              "7"},
        Wrong{3, "  local: {path: ~/backups}", "~ is the shell's word"},
        Wrong{3, "  local: {path: /b, key: secret}", "write {file: PATH}"},
        Wrong{3, "  local: {path: /b, key: {env: KEY}}", "unknown key 'env'"},
        Wrong{3, "  local: {path: /b, password: hunter2}",
              "only where it comes from"},
        Wrong{3, "  local: {path: /b, password: {flie: /x}}",
              "did you mean 'file'?"},
        Wrong{3, "  local: {path: /b, password: {file: /x, env: Y}}",
              "one place it comes from is due"},
        Wrong{3, "  local: {path: /b, password: {env: A-B}}",
              "not the name of a variable"},
        Wrong{3, "  local: {path: /b, key: {file: /k}, password: {env: Y}}",
              "exclude each other"},
        Wrong{3, "  local: {url: 's3:https://x/y'}", "not available yet"},
        Wrong{3, "  'lo cal': {path: /b}", "is no name"},
        Wrong{3, "  local: /srv/backups", "keys and values are due here"},
        Wrong{5, "  etc: {type: volume}", "not available yet"},
        Wrong{5, "  etc: {type: redis, port: 0}", "not from 1 to 65535"},
        Wrong{5, "  etc: {type: redis, socket: /s, port: 1}",
              "exclude each other"},
        Wrong{5, "  etc: {type: redis, tls_ca: /ca}", "`tls: true`"},
        Wrong{5, "  etc: {type: redis, user: me}", "needs a password"},
        Wrong{5, "  etc: {type: files, paths: /etc}", "a list is due here"},
        Wrong{5, "  etc: {type: files, paths: []}", "the list is empty"},
        Wrong{5, "  etc: {type: files, paths: [etc]}", "is not absolute"},
        Wrong{5, "  etc: {type: files, paths: [[/etc]]}", "one word is due"},
        Wrong{5, "  etc: {type: files, paths: [/e], one_file_system: yes}",
              "is neither true nor false"},
        Wrong{5, "  etc: {type: files, paths: [/e], exclude: ['[x']}",
              "sources.etc.exclude"},
        Wrong{5, "  etc: {type: files, paths: [/e], part: dat}",
              "did you mean 'data'?"},
        Wrong{5, "  etc: {type: command, command: pg_dump shop}",
              "no shell reads it"},
        Wrong{5, "  etc: {type: command, command: ['']}", "has no name"},
        Wrong{5, "  etc: {type: command, command: [x], as: a//b}",
              "not a name that a stream can have"},
        Wrong{5, "  etc: {type: command, command: [x], as: ../b}",
              "not a name that a stream can have"},
        Wrong{5, "  etc: {type: postgres, dsn: host=db password=x}",
              "it holds a password"},
        Wrong{5, "  etc: {type: postgres, host: db}", "part of `dsn`"},
        Wrong{5, "  etc: {type: postgres, container: c, bin_dir: /x}",
              "exclude each other"},
        Wrong{5, "  etc: {type: postgres, container: c, password: {env: X}}",
              "not for a container"},
        Wrong{5, "  etc: {type: postgres_base, max_rate: 50}",
              "'50' of what? Write 50MiB"},
        Wrong{5, "  etc: {type: postgres_base, max_rate: 5KiB}",
              "is not from 32KiB to 1GiB"},
        Wrong{5, "  etc: {type: postgres_base, max_rate: 5 elephants}",
              "is not a size"},
        Wrong{5, "  wal: {type: files, paths: [/etc]}", "no name for a source"},
        Wrong{7, "  nightly: {sources: every}", "or the word all"},
        Wrong{7, "  nightly: {sources: all, schedule: {at: '24:00'}}",
              "jobs.nightly.schedule.at: '24:00' is no time of day"},
        Wrong{7, "  nightly: {sources: all, schedule: {at: 2}}",
              "is no time of day such as '02:00'"},
        Wrong{7, "  nightly: {sources: all, schedule: 0 2 * * 8}",
              "weekday '8': 8 is not within 0 to 7"},
        Wrong{7, "  nightly: {sources: all, schedule: 0 2 30 2 *}",
              "never due"},
        Wrong{7, "  nightly: {sources: all, schedule: 0 2 * *}", "and not 4"},
        Wrong{7, "  nightly: {sources: all, schedule: dayly}",
              "did you mean 'daily'?"},
        Wrong{7, "  nightly: {sources: all, schedule: [daily]}",
              "a line of cron is due here"},
        Wrong{7, "  nightly: {sources: all, schedule: {jitter: 3m}}",
              "says no time"},
        Wrong{7,
              "  nightly: {sources: all, schedule: {cron: daily, at: '02:00'}}",
              "exclude each other"},
        Wrong{7,
              "  nightly: {sources: all, schedule: {cron: hourly, jitter: 1h}}",
              "as long as the time between two runs"},
        Wrong{7, "  nightly: {sources: all, schedule: {every: 3h}}",
              "every 15 minutes"},
        Wrong{7, "  nightly: {sources: all, cron: 0 2 * * *}",
              "called `schedule`"},
        Wrong{7, "  nightly: {sources: all, series: a/wal}", "those of WAL"},
        Wrong{7, "  etc: {sources: all}", "a source of that name, too"},
        Wrong{7, "  wal: {sources: all}", "no name for a job"},
        Wrong{7, "  nightly: {sources: all, before: [touch, x]}",
              "keys and values are due here"},
        Wrong{7, "  nightly: {sources: all, before: [{run: [x], timeout: 60}]}",
              "'60' of what? Write 60s"},
        Wrong{7, "  nightly: {sources: all, before: [{run: [x], timeout: 0s}]}",
              "no time at all"},
        Wrong{7, "  nightly: {sources: all, after: [{run: [x], when: often}]}",
              "is none of always, success, failure"},
        Wrong{7, "  nightly: {sources: all, <<: {tags: [x]}}", "merge keys"},
        Wrong{1, "thresholds: {overdue: 25}\nversion: 1", "'25' of what?"},
        Wrong{1, "thresholds: {size_change: 0.5}\nversion: 1",
              "is not a share such as 5%"},
        Wrong{1, "monitoring: {webhook: {url: ftp://x}}\nversion: 1",
              "begins with http:// or https://"},
        Wrong{1,
              "monitoring: {webhook: {url: 'https://me:pw@x/y'}}\nversion: 1",
              "monitoring.webhook.url: it holds a login: a secret does not"},
        Wrong{1,
              "monitoring: {webhook: {url: https://x, timeout: 0s}}\n"
              "version: 1",
              "no time at all"},
        Wrong{1, "monitoring: {webhook: {url: {key: x}}}\nversion: 1",
              "unknown key 'key'"},
        Wrong{1, "checks: {data: {cycle: 30m}}\nversion: 1", "one hour"},
        Wrong{7, "  nightly: {sources: all, verify: true}", "every run does"},
        Wrong{1, "? [a]\n: b\nversion: 1", "a key must be a word"}));

TEST(Configuration, RefusesTwoJobsInOneSeries) {
  const auto result =
      read(std::string(kLeast) + "  other: {sources: all, series: nightly}\n");

  EXPECT_EQ(result.all(),
            "8: jobs.other: has the series of 'nightly', vm/nightly; each "
            "needs its own\n");
}

TEST(Configuration, RefusesTheSeriesOfAPartOfAnotherJob) {
  const auto result = read(std::string(kLeast) +
                           "  other: {sources: all, series: vm/nightly/etc}\n"
                           "  third: {sources: all, series: vm/nightly-etc}\n");
  EXPECT_EQ(result.all(),
            "8: jobs.other: has the series of a part of 'nightly', "
            "vm/nightly/etc; each needs its own\n");
  // In whichever order they stand.
  EXPECT_EQ(
      read(std::string(kLeast) + "  first: {sources: all, series: a/b/c}\n"
                                 "  other: {sources: all, series: a/b}\n")
          .all(),
      "8: jobs.first: has the series of a part of 'other', a/b/c; each "
      "needs its own\n");
}

TEST(Configuration, RefusesABaseBackupBesideOtherSources) {
  const auto result = read(R"(version: 1
repositories: {local: {path: /b}}
sources:
  etc: {type: files, paths: [/etc]}
  cluster: {type: postgres_base}
jobs:
  nightly: {sources: all}
)");

  EXPECT_EQ(result.all(),
            "7: jobs.nightly.sources: a base backup fills a snapshot by "
            "itself: 'cluster' needs a job of its own\n");
}

TEST(Configuration, RefusesSourcesThatAreInEachOthersWay) {
  const auto result = read(R"(version: 1
repositories: {local: {path: /b}}
sources:
  srv: {type: files, paths: [/srv/../srv/]}
  shop: {type: files, paths: [/srv/shop]}
jobs:
  both: {sources: [srv, shop]}
  one: {sources: [srv]}
  other: {sources: [shop]}
)");

  EXPECT_EQ(result.all(),
            "7: jobs.both.sources: 'srv' and 'shop' are in each other's way: "
            "/srv and /srv/shop\n");
}

TEST(Configuration, NeedsToBeToldWhichOfSeveralRepositories) {
  const auto result = read(R"(version: 1
repositories: {a: {path: /a}, b: {path: /b}}
sources: {etc: {type: files, paths: [/etc]}}
jobs:
  nightly: {sources: all}
)");

  EXPECT_NE(result.all().find("5: jobs.nightly: 'to' is missing"),
            std::string::npos)
      << result.all();
}

TEST(Configuration, TakesTheDefaultPolicyUnlessAJobWantsNone) {
  const std::string policies = "retention: {default: {keep: {daily: 7}}}\n";
  const auto with = read(kLeast + policies);
  auto lines = lines_of(kLeast + policies);
  lines.at(6) = "  nightly: {sources: all, retention: none}";
  const auto without = read(joined(lines));

  EXPECT_EQ(with.made->jobs.at(0).policy, "default");
  EXPECT_EQ(without.made->jobs.at(0).policy, std::nullopt);
}

TEST(Configuration, NeedsATimeZoneWhereTheMachineHasNoneAndARuleRestsOnIt) {
  const Surroundings nameless{.host = "vm", .time_zone = std::nullopt};
  const std::string daily = "retention: {default: {keep: {daily: 7}}}\n";
  const std::string last = "retention: {default: {keep: {last: 7}}}\n";
  const std::string at_two = "  other: {sources: all, schedule: '0 2 * * *'}\n";
  const auto refusal = [&](const std::string& text) {
    return read(text, nameless).all();
  };
  const std::string what = "needs a time zone";

  EXPECT_EQ(refusal(kLeast), "");
  EXPECT_EQ(refusal(kLeast + last), "");
  EXPECT_NE(refusal(kLeast + daily).find("default.keep: " + what),
            std::string::npos);
  EXPECT_NE(refusal(kLeast + at_two).find("other.schedule: " + what),
            std::string::npos);
  EXPECT_EQ(refusal(kLeast + at_two + daily + "time_zone: Asia/Tokyo\n"), "");
}

TEST(Configuration, RefusesAPolicyThatKeepsNothing) {
  const auto result =
      read(std::string(kLeast) + "retention: {default: {keep: {daily: 0}}}\n");

  EXPECT_NE(result.all().find("8: retention.default.keep: keeps nothing"),
            std::string::npos)
      << result.all();
}

// ---- what users read

TEST(Settings, ShowOfAUrlThatMayBeASecretItsHostAlone) {
  const auto shown = [](const std::string& url) {
    const auto result =
        read("monitoring: {webhook: {url: " + url + "}}\n" + kLeast);
    if (!result.made) return result.all();
    return value_text(*result.made->settings.find("monitoring")
                           ->find("webhook")
                           ->find("url"));
  };
  EXPECT_EQ(shown("https://hooks.example.org/T0/B0/SECRET"),
            "https://hooks.example.org/...");
  EXPECT_EQ(shown("'https://example.org:8443?token=SECRET'"),
            "https://example.org:8443/...");
  EXPECT_EQ(shown("http://localhost"), "http://localhost");
  EXPECT_EQ(shown("{file: /run/secrets/hook}"), "{file: /run/secrets/hook}");
}

TEST(Examples, HaveNoMistakes) {
  unsigned count = 0;
  for (const auto& file :
       fs::directory_iterator(fs::path(CAIRN_DOCS_DIR) / "examples")) {
    SCOPED_TRACE(file.path());
    ++count;
    const auto result = read(text_of_file(file.path()));
    EXPECT_TRUE(result.made) << result.all();
  }
  EXPECT_EQ(count, 5u);
}

TEST(Examples, OfTheReadmeHasNoMistakes) {
  const std::string begin = "```yaml\n";
  const auto readme =
      text_of_file(fs::path(CAIRN_DOCS_DIR).parent_path() / "README.md");
  const auto at = readme.find(begin);
  ASSERT_NE(at, std::string::npos);
  const auto text = readme.substr(at + begin.size());

  const auto result = read(text.substr(0, text.find("```")));

  EXPECT_TRUE(result.made) << result.all();
}

// CAIRN_WRITE_SCHEMA=1 writes it anew.
TEST(Schema, IsThatOfTheGrammar) {
  const fs::path file = fs::path(CAIRN_DOCS_DIR) / "cairn.schema.json";
  if (std::getenv("CAIRN_WRITE_SCHEMA") != nullptr) {
    std::ofstream(file) << json_schema();
  }

  EXPECT_EQ(text_of_file(file), json_schema());
}

}  // namespace
}  // namespace cairn::cli::config
