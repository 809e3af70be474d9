#include "cli/config/grammar.h"

#include <array>

namespace cairn::cli::config {
namespace {

using Words = std::string_view;

constexpr std::string_view kFoldersOnly =
    "not available yet: this version keeps repositories in folders only "
    "(path: /srv/backups/cairn)";
constexpr std::string_view kScheduleOfJob =
    "part of a job: jobs: NAME: schedule: '0 2 * * *'";
constexpr std::string_view kMonitoring =
    "part of `monitoring`: {webhook: {url: ..}}, or {command: [..]}";

// ---- repositories

constexpr std::array kRepositoryKeys = {
    Key{.name = "path",
        .type = Type::path,
        .help = "The folder that holds the repository.",
        .need = Need::required},
    Key{.name = "key",
        .type = Type::key_file,
        .help = "The key file that opens it."},
    Key{.name = "password",
        .type = Type::secret,
        .help = "Where the passphrase that opens it comes from."},
};
constexpr std::array kRepositoryAbsent = {
    Absent{"url", kFoldersOnly},
    Absent{"endpoint", kFoldersOnly},
    Absent{"access_key", kFoldersOnly},
    Absent{"secret_key", kFoldersOnly},
    Absent{"storage_class", kFoldersOnly},
    Absent{"create_only", kFoldersOnly},
    Absent{"limit_up", kFoldersOnly},
    Absent{"limit_down", kFoldersOnly},
    Absent{"min_free", "`thresholds: {repository_used: 80%}`"},
};
constexpr std::array kRepositoryShapes = {
    Shape{"repository", kRepositoryKeys, kRepositoryAbsent}};

// ---- sources

constexpr std::array<Words, 3> kParts = {"data", "config", "databases"};

consteval Key type_key() {
  return {.name = "type",
          .type = Type::text,
          .help = "What kind of source it is.",
          .need = Need::required};
}
consteval Key part_key(std::string_view fallback) {
  return {.name = "part",
          .type = Type::word,
          .help = "Which part of the stack it is, for `cairn run --only`.",
          .fallback = fallback,
          .words = kParts};
}
consteval Key allow_empty_key() {
  return {.name = "allow_empty",
          .type = Type::flag,
          .help =
              "It may be empty though it was not before. Else that is a "
              "problem, as a volume that is not mounted is, and no old state "
              "is forgotten for it.",
          .fallback = "false"};
}
consteval Key dsn_key() {
  return {.name = "dsn",
          .type = Type::any_text,
          .help =
              "Which server and as whom, as psql takes it, without a "
              "password. What it leaves open comes from PG* variables."};
}
consteval Key pg_password_key() {
  return {.name = "password",
          .type = Type::secret,
          .help =
              "Where the password comes from; else from ~/.pgpass, a "
              "service file or PGPASSWORD."};
}

constexpr std::array kFilesKeys = {
    type_key(),
    part_key("data"),
    Key{.name = "paths",
        .type = Type::paths,
        .help = "Files and folders.",
        .need = Need::required},
    Key{.name = "exclude",
        .type = Type::texts,
        .help = "Rules of what to leave out, as in .gitignore; '/x' is x in a "
                "path itself."},
    Key{.name = "exclude_if_present",
        .type = Type::texts,
        .help = "Leave out what lies in a folder that holds an entry of such "
                "a name."},
    Key{.name = "one_file_system",
        .type = Type::flag,
        .help = "Stay on the file system of each path.",
        .fallback = "false"},
    Key{.name = "live",
        .type = Type::flag,
        .help = "Programs write there all the time: a file that changes or "
                "vanishes while it is read is told of and does not make the "
                "run partial.",
        .fallback = "false"},
    allow_empty_key(),
};
constexpr std::array kCommandKeys = {
    type_key(),
    part_key("data"),
    Key{.name = "command",
        .type = Type::arguments,
        .help = "The program whose output is saved, and its arguments. Where "
                "it fails, so does the source.",
        .need = Need::required},
    Key{.name = "as",
        .type = Type::text,
        .help = "The name under which the output is found again. Default: the "
                "name of the source."},
    allow_empty_key(),
};
constexpr std::array<Words, 2> kFormats = {"custom", "plain"};
constexpr std::array kPostgresKeys = {
    type_key(),
    part_key("databases"),
    dsn_key(),
    pg_password_key(),
    Key{.name = "databases",
        .type = Type::texts,
        .help = "Those to dump. Default: all of the server."},
    Key{.name = "format",
        .type = Type::word,
        .help = "For pg_restore (custom), or SQL for psql (plain).",
        .fallback = "custom",
        .words = kFormats},
    Key{.name = "bin_dir",
        .type = Type::path,
        .help = "Where psql, pg_dump, pg_dumpall and pg_restore are. Default: "
                "those of the server's version."},
    Key{.name = "container",
        .type = Type::text,
        .help = "Run them in this container; the DSN is as seen from there."},
    Key{.name = "container_program",
        .type = Type::text,
        .help = "docker, or its stand-in such as podman.",
        .fallback = "docker"},
};
constexpr std::array kPostgresAbsent = {
    Absent{"run_in", "called `container`"},
    Absent{"user", "part of `dsn`: dsn: 'user=backup'"},
    Absent{"host", "part of `dsn`: dsn: 'host=db'"},
    Absent{"port", "part of `dsn`: dsn: 'port=5433'"},
    Absent{"globals", "always saved: globals.sql"},
    Absent{"dump", "`format` here; compression happens in the repository"},
    Absent{"record_counts", "always done: NAME.tables.json"},
    Absent{"parallel", "not to be chosen in this version"},
    Absent{"wal",
           "not part of a run: `cairn pg wal-receive` receives WAL as it is "
           "made"},
};
constexpr std::array<Words, 2> kCheckpoints = {"fast", "spread"};
constexpr std::array kPostgresBaseKeys = {
    type_key(),
    part_key("databases"),
    dsn_key(),
    pg_password_key(),
    Key{.name = "checkpoint",
        .type = Type::word,
        .help = "Begin at once, or spare the server's disk.",
        .fallback = "fast",
        .words = kCheckpoints},
    Key{.name = "max_rate",
        .type = Type::size,
        .help = "How much the server sends in a second at most."},
};
constexpr std::array kRedisKeys = {
    type_key(),
    part_key("databases"),
    Key{.name = "host",
        .type = Type::text,
        .help = "The server's name or address.",
        .fallback = "127.0.0.1"},
    Key{.name = "port",
        .type = Type::count,
        .help = "Where it listens.",
        .fallback = "6379"},
    Key{.name = "socket",
        .type = Type::path,
        .help = "Its socket in the file system, instead of host and port."},
    Key{.name = "user",
        .type = Type::text,
        .help = "A user of its access lists who may run SYNC, PSYNC and "
                "REPLCONF. Default: the default user."},
    Key{.name = "password",
        .type = Type::secret,
        .help = "Where the password comes from."},
    Key{.name = "tls",
        .type = Type::flag,
        .help = "Speak TLS, and verify the server's certificate.",
        .fallback = "false"},
    Key{.name = "tls_ca",
        .type = Type::path,
        .help = "Who vouches for that certificate, a PEM file. Default: whom "
                "the system trusts."},
    Key{.name = "tls_cert",
        .type = Type::path,
        .help = "Our own certificate, where the server wants one."},
    Key{.name = "tls_key",
        .type = Type::path,
        .help = "The key to our own certificate."},
    Key{.name = "tls_name",
        .type = Type::text,
        .help = "The name in the server's certificate. Default: `host`."},
    Key{.name = "aof_dir",
        .type = Type::path,
        .help = "Save the append-only files in this folder, too: the one that "
                "`appenddirname` names."},
};
constexpr std::array kRedisAbsent = {
    Absent{"url", "`host`, `port`, `user` and `password` here"},
    Absent{"dsn", "`host`, `port`, `user` and `password` here"},
    Absent{"ca", "called `tls_ca`"},
    Absent{"cert", "called `tls_cert`"},
    Absent{"key", "called `tls_key`"},
    Absent{"databases", "not to be chosen: a dump holds all of them"},
    Absent{"save",
           "not needed: no BGSAVE is run, the dump comes by "
           "replication"},
    Absent{"container",
           "not needed: the server is reached by `host` and `port`, or by a "
           "`socket` in a volume"},
};
constexpr std::array kSourceTypesAbsent = {
    Absent{"volume",
           "not available yet; a `files` source saves the folder that the "
           "volume lies in"},
    Absent{"sqlite",
           "not available yet; a `command` source such as [sqlite3, DB, "
           ".dump] saves one meanwhile"},
    Absent{"stdin",
           "no source of a job, which has no standard input; a `command` "
           "source takes a program's output"},
    Absent{"docker", "not available yet"},
};
constexpr std::array kSourceShapes = {
    Shape{"files", kFilesKeys, {}, kSourceTypesAbsent},
    Shape{"command", kCommandKeys},
    Shape{"postgres", kPostgresKeys, kPostgresAbsent},
    Shape{"postgres_base", kPostgresBaseKeys, kPostgresAbsent},
    Shape{"redis", kRedisKeys, kRedisAbsent},
};

// ---- jobs

consteval Key run_key() {
  return {.name = "run",
          .type = Type::arguments,
          .help = "A program and its arguments; no shell.",
          .need = Need::required};
}
consteval Key timeout_key() {
  return {.name = "timeout",
          .type = Type::duration,
          .help = "How long it may take; then it is ended and has failed.",
          .fallback = "5m"};
}
constexpr std::array kBeforeKeys = {run_key(), timeout_key()};
constexpr std::array<Words, 3> kOccasions = {"always", "success", "failure"};
constexpr std::array kAfterKeys = {run_key(), timeout_key(),
                                   Key{.name = "when",
                                       .type = Type::word,
                                       .help = "After which runs.",
                                       .fallback = "always",
                                       .words = kOccasions}};
constexpr std::array kStepAbsent = {
    Absent{"on_error",
           "not to be chosen: a hook that fails ends the run (17), and hooks "
           "with `when: always` still follow"},
    Absent{"always", "`when: always`, which is the default"},
};
constexpr std::array kBeforeShapes = {
    Shape{"before", kBeforeKeys, kStepAbsent}};
constexpr std::array kAfterShapes = {Shape{"after", kAfterKeys, kStepAbsent}};

constexpr std::array kScheduleKeys = {
    Key{.name = "cron",
        .type = Type::cron,
        .help = "Minute, hour, day, month, weekday, as in crontab(5); or "
                "hourly, daily (at 02:00), weekly (Sundays at 03:00), monthly "
                "(the first at 04:00)."},
    Key{.name = "at",
        .type = Type::clock,
        .help = "Every day at this time of the file's time_zone: '02:00'."},
    Key{.name = "jitter",
        .type = Type::duration,
        .help = "A run begins by chance up to so much later, so that many "
                "machines do not begin at once.",
        .fallback = "0s"},
    Key{.name = "catch_up",
        .type = Type::flag,
        .help = "Whether one run makes up for those that were missed while the "
                "machine was off.",
        .fallback = "true"},
};
constexpr std::array kScheduleAbsent = {
    Absent{"time_zone", "of the whole file: time_zone"},
    Absent{"frequency", "called `cron`: cron: daily"},
    Absent{"every",
           "not to be had; `cron: '*/15 * * * *'` is every 15 minutes"},
};
constexpr std::array kScheduleShapes = {
    Shape{"schedule", kScheduleKeys, kScheduleAbsent}};

constexpr std::array<Words, 3> kCompressions = {"fast", "default", "max"};
constexpr std::array kJobKeys = {
    Key{.name = "sources",
        .type = Type::names,
        .help = "The sources that go into one snapshot, or `all`.",
        .need = Need::required},
    Key{.name = "to",
        .type = Type::text,
        .help = "The repository. Default: the only one there is."},
    Key{.name = "series",
        .type = Type::text,
        .help = "The succession of its snapshots, not below that of another "
                "job. Default: HOST/JOB."},
    Key{.name = "tags",
        .type = Type::texts,
        .help = "Words to find its snapshots by."},
    Key{.name = "retention",
        .type = Type::text,
        .help = "Which policy forgets its old snapshots, or `none`. Default: "
                "the one called `default`, if there is one."},
    Key{.name = "schedule",
        .type = Type::schedule,
        .help = "When it runs by itself, for `cairn schedule install` and "
                "`cairn daemon`: a line of cron, or a word such as daily. "
                "Default: only when it is told to.",
        .shapes = kScheduleShapes},
    Key{.name = "compression",
        .type = Type::word,
        .help = "How hard to try to make it small.",
        .fallback = "default",
        .words = kCompressions},
    Key{.name = "before",
        .type = Type::steps,
        .help = "Programs that run first. One that fails ends the run.",
        .shapes = kBeforeShapes},
    Key{.name = "after",
        .type = Type::steps,
        .help = "Programs that run after the sources were read.",
        .shapes = kAfterShapes},
};
constexpr std::array kJobAbsent = {
    Absent{"cron", "called `schedule`: schedule: '0 2 * * *'"},
    Absent{"frequency", "called `schedule`: schedule: daily"},
    Absent{"then",
           "not available yet; `cairn copy --to REPO` makes a second "
           "copy"},
    Absent{"mode", "called by the source: type: postgres_base"},
    Absent{"hooks", "`before` and `after` of the job"},
    Absent{"keep", "part of a policy: retention: NAME, and there `keep`"},
    Absent{"verify",
           "not to be chosen: every run does; `checks: {data: ..}` of "
           "the file says how much"},
};
constexpr std::array kJobShapes = {Shape{"job", kJobKeys, kJobAbsent}};

// ---- retention

constexpr std::array kKeepKeys = {
    Key{.name = "last",
        .type = Type::count,
        .help = "So many of the newest snapshots."},
    Key{.name = "hourly",
        .type = Type::count,
        .help = "One of each of the newest so many hours that have any."},
    Key{.name = "daily", .type = Type::count, .help = "The same for days."},
    Key{.name = "weekly", .type = Type::count, .help = "The same for weeks."},
    Key{.name = "monthly", .type = Type::count, .help = "The same for months."},
    Key{.name = "yearly", .type = Type::count, .help = "The same for years."},
    Key{.name = "within",
        .type = Type::span,
        .help = "All that are at most this much older than the newest, such "
                "as 30d or 1y6m (m is a month)."},
    Key{.name = "tags",
        .type = Type::texts,
        .help = "All with one of these tags."},
};
constexpr std::array kKeepShapes = {Shape{"keep", kKeepKeys}};
constexpr std::array<Words, 2> kPreferences = {"newest", "oldest"};
constexpr std::array kPolicyKeys = {
    Key{.name = "keep",
        .type = Type::mapping,
        .help = "What stays; what no rule keeps is forgotten.",
        .need = Need::required,
        .shapes = kKeepShapes},
    Key{.name = "week_on",
        .type = Type::weekday,
        .help = "For weeks and longer, prefer snapshots of that day."},
    Key{.name = "prefer",
        .type = Type::word,
        .help = "Which one of a period stays.",
        .fallback = "newest",
        .words = kPreferences},
    Key{.name = "prune",
        .type = Type::flag,
        .help = "Whether a run frees the space of what it forgot.",
        .fallback = "true"},
};
constexpr std::array kPolicyAbsent = {
    Absent{"min_snapshots",
           "not needed: rules never forget the newest complete snapshot, and "
           "`keep: {last: 3}` keeps three"},
    Absent{"wal", "not needed: WAL stays as long as a base backup needs it"},
    Absent{"per_source", "a job of its own, with a policy of its own"},
    Absent{"per_repository", "a job of its own, with a policy of its own"},
};
constexpr std::array kPolicyShapes = {
    Shape{"policy", kPolicyKeys, kPolicyAbsent}};

// ---- looking after it

constexpr std::array kThresholdKeys = {
    Key{.name = "overdue",
        .type = Type::duration,
        .help = "How much later than its interval a source may be saved.",
        .fallback = "1h"},
    Key{.name = "size_change",
        .type = Type::share,
        .help = "How much its size may differ from the usual.",
        .fallback = "50%"},
    Key{.name = "repository_used",
        .type = Type::share,
        .help = "How full the disk of a repository may be.",
        .fallback = "80%"},
    Key{.name = "wal_lag",
        .type = Type::duration,
        .help = "How long WAL may wait to be stored.",
        .fallback = "15m"},
};
constexpr std::array kThresholdShapes = {Shape{"thresholds", kThresholdKeys}};

constexpr std::array kPrometheusKeys = {
    Key{.name = "textfile",
        .type = Type::path,
        .help = "A file *.prom in a folder that node_exporter's textfile "
                "collector reads. Each run writes it.",
        .need = Need::required},
};
constexpr std::array kPrometheusShapes = {Shape{"prometheus", kPrometheusKeys}};
constexpr std::array kWebhookKeys = {
    Key{.name = "url",
        .type = Type::text_or_secret,
        .help = "Where the first failing run, and the first good one after "
                "it, are told, as JSON by POST; or where it comes from.",
        .need = Need::required},
    Key{.name = "timeout",
        .type = Type::duration,
        .help = "How long it may take; then it is tried again after the next "
                "run.",
        .fallback = "20s"},
};
constexpr std::array kWebhookShapes = {Shape{"webhook", kWebhookKeys}};
constexpr std::array kMonitoringKeys = {
    Key{.name = "prometheus",
        .type = Type::mapping,
        .help = "Metrics for Prometheus.",
        .shapes = kPrometheusShapes},
    Key{.name = "webhook",
        .type = Type::mapping,
        .help = "Who is told over HTTP.",
        .shapes = kWebhookShapes},
    Key{.name = "command",
        .type = Type::arguments,
        .help = "A program that is told the same, on its standard input."},
};
constexpr std::array kMonitoringShapes = {Shape{"monitoring", kMonitoringKeys}};

constexpr std::array kDataCheckKeys = {
    Key{.name = "cycle",
        .type = Type::duration,
        .help = "In what time every byte in the repository is read at least "
                "once.",
        .fallback = "30d"},
    Key{.name = "budget",
        .type = Type::size,
        .help = "How much of it one run reads at most, besides what it wrote.",
        .fallback = "2GiB"},
};
constexpr std::array kDataCheckShapes = {Shape{"data", kDataCheckKeys}};
constexpr std::array kCheckKeys = {
    Key{.name = "data",
        .type = Type::mapping,
        .help = "What runs verify of what is stored.",
        .shapes = kDataCheckShapes},
};
constexpr std::array kCheckShapes = {Shape{"checks", kCheckKeys}};

// ---- the file

constexpr std::array kFileKeys = {
    Key{.name = "version",
        .type = Type::version,
        .help = "Of this grammar: 1.",
        .need = Need::required},
    Key{.name = "host",
        .type = Type::text,
        .help = "The name under which this machine's snapshots are found; it "
                "should outlive the machine. Default: its host name."},
    Key{.name = "time_zone",
        .type = Type::zone,
        .help = "Where days begin for retention, and whose clocks schedules go "
                "by. Default: this machine's."},
    Key{.name = "repositories",
        .type = Type::named,
        .help = "Where snapshots are kept.",
        .need = Need::required,
        .shapes = kRepositoryShapes},
    Key{.name = "sources",
        .type = Type::named,
        .help = "What there is to save.",
        .need = Need::required,
        .shapes = kSourceShapes},
    Key{.name = "jobs",
        .type = Type::named,
        .help = "Which sources are saved together.",
        .need = Need::required,
        .shapes = kJobShapes},
    Key{.name = "retention",
        .type = Type::named,
        .help = "Policies: which snapshots stay, and for how long.",
        .shapes = kPolicyShapes},
    Key{.name = "thresholds",
        .type = Type::mapping,
        .help = "What `cairn status` takes for a problem.",
        .shapes = kThresholdShapes},
    Key{.name = "monitoring",
        .type = Type::mapping,
        .help = "Who is told how runs went.",
        .shapes = kMonitoringShapes},
    Key{.name = "checks",
        .type = Type::mapping,
        .help = "How runs look for damage.",
        .shapes = kCheckShapes},
};
constexpr std::array kFileAbsent = {
    Absent{"timezone", "called `time_zone`"},
    Absent{"schedule", kScheduleOfJob},
    Absent{"schedules", kScheduleOfJob},
    Absent{"notify", kMonitoring},
    Absent{"objectives", "not available yet; `thresholds` say what is too old"},
    Absent{"drills", "not available yet"},
    Absent{"docker", "not available yet"},
    Absent{"serve", "not available yet"},
    Absent{"audit", "not to be configured: `cairn audit show` tells"},
    Absent{"limits", "not available yet"},
    Absent{"hooks", "`before` and `after` of a job"},
    Absent{"prune", "part of a policy: retention: NAME: prune: true"},
};
constexpr Shape kFile = {"file", kFileKeys, kFileAbsent};

}  // namespace

const Shape& grammar() { return kFile; }

}  // namespace cairn::cli::config
