#include "cli/config/source_settings.h"

#include <algorithm>
#include <span>
#include <stdexcept>
#include <utility>

#include "cli/quantity.h"
#include "ingest/exclude_rules.h"
#include "ingest/pg_dump_dsn.h"
#include "ingest/source_places.h"

namespace cairn::cli::config {
namespace {

constexpr std::uint64_t kMaxCount = 1'000'000;  // of Type::count

class SourceMaking {
 public:
  SourceMaking(const std::string& file, Mistakes& mistakes)
      : file_(file), mistakes_(mistakes) {}

  [[nodiscard]] Source make(Setting& setting);

 private:
  void complain(const Setting& at, const std::string& path, std::string text) {
    mistakes_.push_back({at.place, path, std::move(text)});
  }

  Files make_files(const Setting& setting, const std::string& path);
  CommandOutput make_command(Setting& setting, const std::string& path);
  PostgresDumps make_dumps(const Setting& setting, const std::string& path);
  PostgresBase make_base(const Setting& setting, const std::string& path);
  Redis make_redis(const Setting& setting, const std::string& path);
  void check_dsn(const Setting& setting, const std::string& path);

  const std::string& file_;
  Mistakes& mistakes_;
};

Files SourceMaking::make_files(const Setting& setting,
                               const std::string& path) {
  Files files{.paths = setting.texts_of("paths"),
              .exclude = setting.texts_of("exclude"),
              .exclude_if_present = setting.texts_of("exclude_if_present"),
              .one_file_system = setting.is_true("one_file_system"),
              .is_live = setting.is_true("live")};
  for (const auto& rule : files.exclude) {
    try {
      (void)ingest::ExcludeRules(std::span(&rule, 1));
    } catch (const std::invalid_argument& e) {
      complain(*setting.find("exclude"), path + ".exclude", e.what());
    }
  }
  for (const auto& name : files.exclude_if_present) {
    if (name.find('/') == std::string::npos) continue;
    complain(*setting.find("exclude_if_present"), path + ".exclude_if_present",
             "'" + name + "' is not the name of an entry of a folder");
  }
  return files;
}

CommandOutput SourceMaking::make_command(Setting& setting,
                                         const std::string& path) {
  setting.fall_back("as", setting.name);
  CommandOutput command{.arguments = setting.texts_of("command"),
                        .as = setting.text_or_empty("as")};
  try {
    (void)ingest::names_of_stream(command.as);
  } catch (const std::invalid_argument& e) {
    complain(*setting.find("as"), path + ".as", e.what());
  }
  return command;
}

void SourceMaking::check_dsn(const Setting& setting, const std::string& path) {
  const Setting* const dsn = setting.find("dsn");
  if (dsn == nullptr) return;
  try {
    (void)ingest::PgDumpDsn(dsn->text);
  } catch (const std::invalid_argument& e) {
    std::string_view why = e.what();
    constexpr std::string_view kFlag = "--dsn: ";
    if (why.starts_with(kFlag)) why.remove_prefix(kFlag.size());
    complain(*dsn, path + ".dsn", std::string(why));
  }
}

PostgresDumps SourceMaking::make_dumps(const Setting& setting,
                                       const std::string& path) {
  check_dsn(setting, path);
  PostgresDumps dumps{
      .dsn = setting.text_or_empty("dsn"),
      .password = secret_place(setting, "password", file_),
      .databases = without_repeats(setting.texts_of("databases")),
      .format = setting.text_or_empty("format") == "plain"
                    ? ingest::PgDumpFormat::plain
                    : ingest::PgDumpFormat::custom,
      .bin_dir = setting.text_of("bin_dir"),
      .container = setting.text_of("container"),
      .container_program = setting.text_or_empty("container_program")};
  if (dumps.container && dumps.bin_dir) {
    complain(*setting.find("bin_dir"), path,
             "'container' and 'bin_dir' exclude each other");
  }
  if (dumps.container && dumps.container->starts_with('-')) {
    complain(*setting.find("container"), path + ".container",
             "this is not the name of a container");
  }
  if (dumps.container && dumps.password) {
    complain(*setting.find("password"), path + ".password",
             "not for a container, where no file of ours is; let PGPASSWORD "
             "of cairn's environment say it, or trust the socket in there");
  }
  return dumps;
}

PostgresBase SourceMaking::make_base(const Setting& setting,
                                     const std::string& path) {
  constexpr std::uint64_t kLeast = std::uint64_t{32} << 10;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  check_dsn(setting, path);
  PostgresBase base{
      .dsn = setting.text_or_empty("dsn"),
      .password = secret_place(setting, "password", file_),
      .checkpoint = setting.text_or_empty("checkpoint") == "spread"
                        ? ingest::Checkpoint::spread
                        : ingest::Checkpoint::fast,
      .max_rate = {}};
  if (const auto rate = setting.text_of("max_rate")) {
    base.max_rate = parse_size(*rate);
    if (*base.max_rate < kLeast || *base.max_rate > kMost) {
      complain(*setting.find("max_rate"), path + ".max_rate",
               "'" + *rate + "' is not from 32KiB to 1GiB a second");
    }
  }
  return base;
}

Redis SourceMaking::make_redis(const Setting& setting,
                               const std::string& path) {
  constexpr std::uint64_t kMaxPort = 65535;
  Redis redis{.socket = setting.text_of("socket"),
              .host = setting.text_or_empty("host"),
              .user = setting.text_or_empty("user"),
              .password = secret_place(setting, "password", file_),
              .has_tls = setting.is_true("tls"),
              .tls_ca = setting.text_of("tls_ca"),
              .tls_cert = setting.text_of("tls_cert"),
              .tls_key = setting.text_of("tls_key"),
              .tls_name = setting.text_of("tls_name"),
              .aof_dir = setting.text_of("aof_dir")};
  if (const Setting* const port = setting.find("port")) {
    const auto number =
        port->text == "unlimited" ? 0 : parse_count(port->text, kMaxCount);
    if (number == 0 || number > kMaxPort) {
      complain(*port, path + ".port",
               "'" + port->text + "' is not from 1 to 65535");
    } else {
      redis.port = static_cast<unsigned>(number);
    }
  }
  const auto is_given = [&](const char* name) {
    const Setting* const found = setting.find(name);
    return found != nullptr && found->origin == Setting::Origin::file;
  };
  if (redis.socket && (is_given("host") || is_given("port"))) {
    complain(*setting.find("socket"), path,
             "'socket' and 'host' or 'port' exclude each other: one of them "
             "says where it is");
  }
  if (redis.socket && redis.has_tls) {
    complain(*setting.find("tls"), path + ".tls",
             "not over a socket in the file system, which nobody listens in "
             "to");
  }
  for (const auto* const name : {"tls_ca", "tls_cert", "tls_key", "tls_name"}) {
    if (redis.has_tls || !is_given(name)) continue;
    complain(*setting.find(name), path + "." + name,
             "says how to speak TLS, and `tls: true` is missing");
  }
  if (redis.tls_key && !redis.tls_cert) {
    complain(*setting.find("tls_key"), path + ".tls_key",
             "is the key to a certificate, and 'tls_cert' is missing");
  }
  if (!redis.user.empty() && !redis.password) {
    complain(*setting.find("user"), path + ".user",
             "needs a password: `password` says where it comes from");
  }
  return redis;
}

Source SourceMaking::make(Setting& setting) {
  const std::string path = "sources." + setting.name;
  if (setting.name == kWalName) {
    complain(setting, path,
             "'wal' is no name for a source: series that end "
             "so are those of WAL");
  }
  const auto part = setting.text_or_empty("part");
  Source source{.name = setting.name,
                .part = part == "config"      ? Part::config
                        : part == "databases" ? Part::databases
                                              : Part::data,
                .may_be_empty = setting.is_true("allow_empty"),
                .what = {}};
  const auto type = setting.shape->name;
  if (type == "files") {
    source.what = make_files(setting, path);
  } else if (type == "command") {
    source.what = make_command(setting, path);
  } else if (type == "postgres") {
    source.what = make_dumps(setting, path);
  } else if (type == "redis") {
    source.what = make_redis(setting, path);
  } else {
    source.what = make_base(setting, path);
  }
  return source;
}

}  // namespace

std::vector<std::string> without_repeats(const std::vector<std::string>& all) {
  std::vector<std::string> once;
  for (const auto& one : all) {
    if (std::ranges::find(once, one) == once.end()) once.push_back(one);
  }
  return once;
}

std::optional<SecretPlace> secret_place(const Setting& setting,
                                        std::string_view part,
                                        const std::string& file) {
  const Setting* const found = setting.find(part);
  if (found == nullptr || found->parts.empty()) return std::nullopt;
  const Setting& place = found->parts.front();
  return SecretPlace{.kind = place.name == "file"  ? SecretPlace::Kind::file
                             : place.name == "env" ? SecretPlace::Kind::variable
                                                   : SecretPlace::Kind::command,
                     .text = place.text,
                     .origin = file + ":" + std::to_string(place.place.line)};
}

Source make_source(Setting& setting, const std::string& file,
                   Mistakes& mistakes) {
  return SourceMaking(file, mistakes).make(setting);
}

}  // namespace cairn::cli::config
