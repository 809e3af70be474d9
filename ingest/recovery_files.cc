#include "ingest/recovery_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "ingest/unique_fd.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kPrivateFile = 0600;
constexpr mode_t kPrivateFolder = 0700;
constexpr std::string_view kSettings = "postgresql.auto.conf";
constexpr std::string_view kSignal = "recovery.signal";
constexpr std::string_view kStandbySignal = "standby.signal";

// A folder held by descriptor, in which new files get the owner that its others
// have.
class DataDirectory {
 public:
  explicit DataDirectory(const fs::path& path)
      : path_(path),
        fd_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (!fd_ ||
        ::fstatat(fd_.get(), "PG_VERSION", &like_, AT_SYMLINK_NOFOLLOW) != 0) {
      repo::throw_system_error(path.string(), errno);
    }
  }
  DataDirectory(const DataDirectory& above, const std::string& name)
      : path_(above.path_ / name), like_(above.like_) {
    if (::mkdirat(above.fd_.get(), name.c_str(), kPrivateFolder) != 0) fail("");
    fd_ = UniqueFd(::openat(above.fd_.get(), name.c_str(),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd_) fail("");
    give_away(fd_, "");
  }

  [[nodiscard]] UniqueFd open(const std::string& name, int flags) const {
    UniqueFd file(::openat(fd_.get(), name.c_str(),
                           flags | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                           kPrivateFile));
    if (!file) fail(name);
    give_away(file, name);
    return file;
  }

  void write(const UniqueFd& file, const std::string& name,
             std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t count = ::write(file.get(), bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail(name);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  void write(const UniqueFd& file, const std::string& name,
             std::string_view text) const {
    write(file, name, std::as_bytes(std::span(text)));
  }

  void sync(const UniqueFd& file, const std::string& name) const {
    if (::fsync(file.get()) != 0) fail(name);
  }
  void sync() const { sync(fd_, ""); }

  void remove(const std::string& name) const {
    if (::unlinkat(fd_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      fail(name);
    }
  }

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

  [[noreturn]] void fail(const std::string& name) const {
    repo::throw_system_error((name.empty() ? path_ : path_ / name).string(),
                             errno);
  }

 private:
  void give_away(const UniqueFd& file, const std::string& name) const {
    if (::geteuid() == 0 &&
        ::fchown(file.get(), like_.st_uid, like_.st_gid) != 0) {
      fail(name);
    }
  }

  fs::path path_;
  UniqueFd fd_;
  struct stat like_ {};
};

// Of a value in a file of settings.
std::string setting_value(std::string_view text) {
  std::string value = "'";
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      value += c == '\n' ? "\\n" : "\\r";
      continue;
    }
    if (c == '\'' || c == '\\') value += c;
    value += c;
  }
  return value + "'";
}

std::string shell_word(std::string_view word) {
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\n' || c == '\r' || c == '\0') {
      throw repo::RefusedForSafety(
          "a name with an end of line cannot stand in restore_command: " +
          std::string(word));
    }
    if (c == '\'') {
      quoted += "'\\''";
    } else if (c == '%') {
      quoted += "%%";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

// The segments that are not whole in the base backup's own pg_wal.
WalReader::Range needed_segments(const RecoveryPlan& plan) {
  const auto& base = *plan.base;
  const Lsn begin = segment_begin(base.end, base.segment_bytes);
  if (plan.target.kind == RecoveryTarget::Kind::immediate ||
      plan.wal_end <= begin) {
    return {begin, begin};
  }
  return {begin, segment_begin({plan.wal_end.value + base.segment_bytes - 1},
                               base.segment_bytes)};
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(
      bytes, [](std::byte byte) { return byte == std::byte{}; });
}

// What is not there of it stays zeros, as behind the end of WAL.
void write_segment(RecoveryWal& wal, const RecoveryPlan& plan, Lsn segment,
                   const DataDirectory& folder, std::vector<std::byte>& buffer,
                   repo::Progress& progress, const std::stop_token& stop) {
  const std::uint64_t size = plan.base->segment_bytes;
  const auto newest = steps_for(plan.path, segment, size).front();
  const auto name = segment_name(newest.timeline, segment, size);
  progress.set_current(std::string(kRecoveryWalFolder) + "/" + name);
  const auto file = folder.open(name, O_WRONLY | O_EXCL);
  for (std::uint64_t done = 0; done < size;) {
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    const auto room = std::span(buffer).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(buffer.size(), size - done)));
    const auto count = wal.read(plan.path, {segment.value + done}, room);
    if (count == 0) break;
    const auto bytes = std::span<const std::byte>(room).first(count);
    if (is_zero(bytes)) {
      if (::lseek(file.get(), static_cast<off_t>(count), SEEK_CUR) < 0) {
        folder.fail(name);
      }
    } else {
      folder.write(file, name, bytes);
    }
    done += count;
    progress.bytes_done += count;
  }
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) folder.fail(name);
  folder.sync(file, name);
  ++progress.items_done;
}

}  // namespace

std::string copying_restore_command() {
  // What is not there ends recovery (1); what cannot be copied must not.
  const std::string from = "\"" + std::string(kRecoveryWalFolder) + "/%f\"";
  return "if test -f " + from + "; then cp " + from +
         " \"%p\" || exit 126; else exit 1; fi";
}

std::string fetching_restore_command(const std::vector<std::string>& words) {
  std::string command;
  for (const auto& word : words) command += shell_word(word) + " ";
  return command + "%f \"%p\"";
}

RecoveryWalFiles count_recovery_wal(const RecoveryPlan& plan) {
  const auto [begin, end] = needed_segments(plan);
  const std::uint64_t bytes = end.value - begin.value;
  return {.segments = bytes / plan.base->segment_bytes, .bytes = bytes};
}

void write_recovery_signal(const fs::path& folder) {
  const DataDirectory data(folder);
  const std::string name(kSignal);
  const auto file = data.open(name, O_WRONLY | O_TRUNC);
  data.sync(file, name);
  data.remove(std::string(kStandbySignal));
  data.sync();
}

RecoveryWalFiles write_recovery_wal(RecoveryWal& wal, const RecoveryPlan& plan,
                                    const fs::path& folder,
                                    repo::Progress& progress,
                                    const std::stop_token& stop) {
  constexpr std::size_t kBuffer = std::size_t{1} << 20;
  const DataDirectory data(folder);
  const std::string name(kRecoveryWalFolder);
  std::error_code error;
  fs::remove_all(folder / name, error);
  if (error) repo::throw_system_error((folder / name).string(), error.value());
  const DataDirectory target(data, name);
  data.sync();

  auto files = count_recovery_wal(plan);
  for (const auto timeline : wal.cluster().timelines()) {
    const auto history = wal.history(timeline);
    if (!history) continue;
    const auto file_name = history_name(timeline);
    const auto file = target.open(file_name, O_WRONLY | O_EXCL);
    target.write(file, file_name, *history);
    target.sync(file, file_name);
    ++files.histories;
    files.bytes += history->size();
  }
  std::vector<std::byte> buffer(kBuffer);
  const auto [begin, end] = needed_segments(plan);
  for (Lsn at = begin; at < end; at.value += plan.base->segment_bytes) {
    write_segment(wal, plan, at, target, buffer, progress, stop);
  }
  target.sync();
  return files;
}

void write_recovery_settings(const RecoveryPlan& plan,
                             const std::string& restore_command,
                             const fs::path& folder) {
  using Kind = RecoveryTarget::Kind;
  const auto& target = plan.target;
  struct Setting {
    std::string_view name;
    std::string value;
  };
  std::vector<Setting> settings = {
      {"restore_command", restore_command},
      {"recovery_target_inclusive", "on"},
      {"recovery_target_timeline", std::to_string(plan.timeline)},
      {"recovery_target_action", "promote"},
      {"recovery_end_command", ""},
      {"archive_cleanup_command", ""},
      {"recovery_min_apply_delay", "0"},
  };
  // The live server's own, of an earlier recovery perhaps, must not remain: two
  // are an error, even if the second one is empty. So the one that is meant
  // comes last.
  const std::array targets = {
      std::pair{Kind::immediate, Setting{"recovery_target", "immediate"}},
      std::pair{Kind::time,
                Setting{"recovery_target_time", to_string(target.time)}},
      std::pair{Kind::lsn,
                Setting{"recovery_target_lsn", to_string(target.lsn)}},
      std::pair{Kind::transaction, Setting{"recovery_target_xid",
                                           std::to_string(target.transaction)}},
      std::pair{Kind::name, Setting{"recovery_target_name", target.name}},
  };
  const Setting* meant = nullptr;
  for (const auto& [kind, setting] : targets) {
    if (kind == target.kind) {
      meant = &setting;
    } else {
      settings.push_back({setting.name, ""});
    }
  }
  if (meant != nullptr) settings.push_back(*meant);
  // The name of a restore point may have several lines.
  const bool is_named = target.kind == Kind::name;
  std::string text = "\n# recovery to " +
                     (is_named ? "a restore point" : to_string(target)) + "\n";
  for (const auto& [name, value] : settings) {
    text += std::string(name) + " = " + setting_value(value) + "\n";
  }
  const DataDirectory data(folder);
  const std::string name(kSettings);
  const auto file = data.open(name, O_WRONLY | O_APPEND);
  data.write(file, name, text);
  data.sync(file, name);
  data.sync();
}

namespace {

// The value that the last line with that name gives in one of both files.
std::optional<std::string> setting_in(const fs::path& folder,
                                      std::string_view wanted) {
  constexpr std::size_t kMaxLine = 4096;
  std::optional<std::string> found;
  for (const auto* const file : {"postgresql.conf", "postgresql.auto.conf"}) {
    std::ifstream in(folder / file);
    std::string line;
    while (std::getline(in, line)) {
      if (line.size() > kMaxLine) continue;
      const auto begin = line.find_first_not_of(" \t");
      if (begin == std::string::npos ||
          line.compare(begin, wanted.size(), wanted) != 0) {
        continue;
      }
      auto at = line.find_first_not_of(" \t=", begin + wanted.size());
      if (at == begin + wanted.size()) continue;  // of a longer name
      std::string value;
      if (at != std::string::npos && line[at] == '\'') {
        value = line.substr(at + 1, line.rfind('\'') - at - 1);
      } else if (at != std::string::npos && line[at] != '#') {
        value = line.substr(at, line.find_first_of(" \t#", at) - at);
      }
      found = value;
    }
  }
  return found;
}

}  // namespace

std::vector<std::string> settings_that_reach_out(const fs::path& folder) {
  std::vector<std::string> notes;
  const auto has = [&](std::string_view name) {
    return !setting_in(folder, name).value_or("").empty();
  };
  const auto mode = setting_in(folder, "archive_mode").value_or("off");
  if (mode != "off" && (has("archive_command") || has("archive_library"))) {
    notes.emplace_back(
        "archive_mode is on here, as on the live server: once it is promoted, "
        "the recovered server archives its WAL to the same place. For a trial "
        "start it with -c archive_mode=off");
  }
  if (has("synchronous_standby_names")) {
    notes.emplace_back(
        "synchronous_standby_names is set: without that standby the recovered "
        "server's commits wait for ever");
  }
  return notes;
}

}  // namespace cairn::ingest
