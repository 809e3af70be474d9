#include "repo/session.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/record.h"
#include "repo/sealed_record.h"
#include "repo/snapshot.h"

namespace cairn::repo {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolder = "sessions/";
constexpr std::string_view kPinSuffix = ".pin";
constexpr SealedRecordKind kKind{ObjectType::session, "cairn session",
                                 Authority::indexer};
constexpr SealedRecordKind kPinKind{ObjectType::pin, "cairn pin",
                                    Authority::indexer};
constexpr std::string_view kBeatInfix = ".beat-";
constexpr SealedRecordKind kBeatKind{ObjectType::beat, "cairn beat",
                                     Authority::indexer};
constexpr std::uint64_t kPurposeToWrite = 0;

// What a beat signs besides its time: a storage must not pass an old one off as
// a later one.
std::array<std::byte, 20> signed_name(const SessionId& id,
                                      std::uint32_t number) {
  std::array<std::byte, 20> bytes;
  const auto rest = std::ranges::copy(id.bytes, bytes.begin()).out;
  for (int i = 0; i < 4; ++i) {
    rest[i] = static_cast<std::byte>(number >> (8 * (3 - i)));
  }
  return bytes;
}

std::string first_word_of(const char* path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

crypto::Digest digest_of(const std::string& text) {
  return crypto::sha256(std::as_bytes(std::span(text)));
}

// Field 22 of /proc/PID/stat. The second field is the program's name in
// brackets and may hold anything, so counting starts behind its last bracket.
std::optional<std::uint64_t> start_of(std::uint64_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  const auto bracket = line.rfind(')');
  if (bracket == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(bracket + 1));
  std::string field;
  constexpr int kStart = 22;
  for (int i = 3; i <= kStart; ++i) fields >> field;
  try {
    return std::stoull(field);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// The initial pid namespace has the same number in every kernel:
// PROC_PID_INIT_INO of its proc_ns.h.
constexpr std::uint64_t kInitialPidNamespace = 0xeffffffc;

// The number in a link such as "pid:[4026531836]".
std::optional<std::uint64_t> namespace_at(const fs::path& link,
                                          std::error_code& error) {
  const std::string text = fs::read_symlink(link, error).string();
  const auto bracket = text.find('[');
  std::uint64_t number = 0;
  if (error || bracket == std::string::npos) return std::nullopt;
  const auto [end, fault] = std::from_chars(text.data() + bracket + 1,
                                            text.data() + text.size(), number);
  if (fault != std::errc() || *end != ']') return std::nullopt;
  return number;
}

// 0: this kernel has none, or does not say.
std::uint64_t own_namespace(const char* link) {
  std::error_code error;
  return namespace_at(link, error).value_or(0);
}

// A container may have the /proc of its host: its numbers are not ours.
bool is_proc_ours() {
  std::error_code error;
  return fs::read_symlink("/proc/self", error).string() ==
         std::to_string(::getpid());
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  std::string host(name.data());
  return is_utf8(host) && !host.empty() ? host : "localhost";
}

}  // namespace

ProcessIdentity this_process() {
  const auto pid = static_cast<std::uint64_t>(::getpid());
  return {host_name(),
          digest_of(first_word_of("/etc/machine-id")),
          digest_of(first_word_of("/proc/sys/kernel/random/boot_id")),
          own_namespace("/proc/self/ns/pid"),
          pid,
          is_proc_ours() ? start_of(pid).value_or(0) : 0,
          own_namespace("/proc/self/ns/time")};
}

std::optional<bool> is_namespace_populated(std::uint64_t pid_namespace,
                                           const fs::path& proc) {
  std::error_code error;
  // All processes are seen in the initial namespace alone, and by someone who
  // may look at its first one.
  if (namespace_at(proc / "1/ns/pid", error) != kInitialPidNamespace) {
    return std::nullopt;
  }
  fs::directory_iterator folders(proc, error);
  for (; !error && folders != fs::directory_iterator();
       folders.increment(error)) {
    const std::string name = folders->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code link_error;
    const auto number = namespace_at(folders->path() / "ns/pid", link_error);
    if (number == pid_namespace) return true;
    const bool has_ended = link_error == std::errc::no_such_file_or_directory ||
                           link_error == std::errc::no_such_process;
    if (!number && !has_ended) return std::nullopt;
  }
  if (error) return std::nullopt;
  return false;
}

bool is_certainly_gone(const ProcessIdentity& process) {
  const ProcessIdentity self = this_process();
  static const crypto::Digest kNoId = digest_of("");
  // A boot id is as good as a machine: it is random, and one kernel's.
  const bool same_boot = self.boot != kNoId && process.boot == self.boot;
  if (!same_boot || process.pid_namespace == 0 || process.pid == 0 ||
      process.start == 0 || self.start == 0) {
    return false;
  }
  if (process.pid_namespace != self.pid_namespace) {
    return is_namespace_populated(process.pid_namespace, "/proc") == false;
  }
  const auto start = start_of(process.pid);
  if (start) {
    // A time namespace shifts all start times that are read within it.
    return process.time_namespace == self.time_namespace &&
           *start != process.start;
  }
  // No stat to read: gone, unless /proc hides what is not ours.
  return ::kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH;
}

namespace {

bool is_certainly_alive(const ProcessIdentity& process) {
  const ProcessIdentity self = this_process();
  return process.boot == self.boot && process.start != 0 &&
         process.pid_namespace == self.pid_namespace &&
         process.time_namespace == self.time_namespace && is_proc_ours() &&
         start_of(process.pid) == process.start;
}

}  // namespace

bool is_of_another_boot(const ProcessIdentity& process) {
  const ProcessIdentity self = this_process();
  static const crypto::Digest kNoId = digest_of("");
  // Containers mostly have no machine id and all look alike.
  return self.machine != kNoId && process.machine == self.machine &&
         self.boot != kNoId && process.boot != kNoId &&
         process.boot != self.boot;
}

bool may_be_passed_over(const SessionRecord& session) {
  return is_certainly_gone(session.process) ||
         is_of_another_boot(session.process);
}

std::string session_name(const SessionId& id) {
  return std::string(kFolder) + id.hex();
}

std::string pin_name(const SessionId& id) {
  return session_name(id) + std::string(kPinSuffix);
}

std::string beat_name(const SessionId& id, std::uint32_t number) {
  const auto bytes = signed_name(id, number);
  return session_name(id) + std::string(kBeatInfix) +
         crypto::to_hex(std::span(bytes).last(4));
}

std::optional<std::pair<SessionId, std::uint32_t>> beat_of(
    std::string_view name) {
  if (!name.starts_with(kFolder)) return std::nullopt;
  const auto rest = name.substr(kFolder.size());
  constexpr std::size_t kIdDigits = 2 * SessionId::kBytes;
  std::array<std::byte, 4> bytes{};
  if (rest.size() != kIdDigits + kBeatInfix.size() + 2 * bytes.size() ||
      rest.substr(kIdDigits, kBeatInfix.size()) != kBeatInfix) {
    return std::nullopt;
  }
  const auto id = SessionId::from_hex(rest.substr(0, kIdDigits));
  if (!id ||
      !crypto::from_hex(rest.substr(kIdDigits + kBeatInfix.size()), bytes)) {
    return std::nullopt;
  }
  std::uint32_t number = 0;
  for (const auto byte : bytes) {
    number = number << 8 | std::to_integer<std::uint32_t>(byte);
  }
  return std::pair(*id, number);
}

std::vector<std::byte> encode(const SessionRecord& record) {
  CborWriter out;
  out.map(9);
  write_time(out.key(1), record.started);
  out.key(2).text(record.process.host);
  out.key(3).bytes(record.process.machine);
  out.key(4).bytes(record.process.boot);
  out.key(5).uint(record.process.pid_namespace);
  out.key(6).uint(record.process.pid);
  out.key(7).uint(record.process.start);
  out.key(8).uint(kPurposeToWrite);
  out.key(9).uint(record.process.time_namespace);
  return std::move(out).take();
}

SessionRecord decode_session(std::span<const std::byte> bytes,
                             std::string_view name) {
  CborReader in(bytes, name);
  SessionRecord record;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1:
        record.started = read_time(in);
        break;
      case 2:
        record.process.host = in.text(kMaxSealedRecordBytes);
        break;
      case 3:
        record.process.machine = in.fixed<crypto::kDigestBytes>();
        break;
      case 4:
        record.process.boot = in.fixed<crypto::kDigestBytes>();
        break;
      case 5:
        record.process.pid_namespace = in.uint();
        break;
      case 6:
        record.process.pid = in.uint(0x7fffffff);
        break;
      case 7:
        record.process.start = in.uint();
        break;
      case 8:
        if (in.uint() != kPurposeToWrite) {
          throw UnsupportedFormat(std::string(name) + ": unknown purpose");
        }
        break;
      case 9:
        record.process.time_namespace = in.uint();
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7, 8, 9}, in);
  return record;
}

namespace {

// For a message; a clock beyond what a calendar shows is cut.
std::string text_of(const Timestamp& time) {
  using std::chrono::floor, std::chrono::days;
  constexpr std::int64_t kLast = 253'402'300'799;  // of the year 9999
  const std::chrono::sys_seconds at{
      std::chrono::seconds(std::clamp<std::int64_t>(time.seconds, 0, kLast))};
  const std::chrono::year_month_day day{floor<days>(at)};
  const std::chrono::hh_mm_ss clock{at - floor<days>(at)};
  std::array<char, 32> text{};
  (void)std::snprintf(
      text.data(), text.size(), "%04d-%02u-%02u %02d:%02d UTC",
      static_cast<int>(day.year()), static_cast<unsigned>(day.month()),
      static_cast<unsigned>(day.day()), static_cast<int>(clock.hours().count()),
      static_cast<int>(clock.minutes().count()));
  return text.data();
}

}  // namespace

std::string description(const StoredSession& session) {
  const std::string name = session_name(session.id);
  constexpr std::string_view kWayOut = "`cairn prune --revoke-after 24h`";
  if (!session.record) {
    return name + ": is damaged; once no backup is at work, " +
           std::string(kWayOut) + " removes it";
  }
  const ProcessIdentity& process = session.record->process;
  std::string text = name + ": a backup is at work on " + process.host +
                     " (process " + std::to_string(process.pid) + ", since " +
                     text_of(session.record->started) + ")";
  if (process.boot != this_process().boot ||
      process.pid_namespace != this_process().pid_namespace) {
    text += "; should that process be dead, which cannot be seen from here, " +
            std::string(kWayOut) + " ends what began so long ago";
  }
  return text;
}

Session::Session(Storage& storage, const Keyring& keyring, const Signer& signer,
                 const Timestamp& now)
    : storage_(storage),
      keyring_(keyring),
      signer_(signer),
      id_{crypto::random_array<SessionId::kBytes>()} {
  const auto publish = [&](const SealedRecordKind& kind,
                           const std::string& name,
                           std::span<const std::byte> plain) {
    if (storage_.create(name, seal_record(kind, keyring, signer, id_.bytes,
                                          plain)) == Created::exists) {
      throw IoError(name + ": exists already");  // 2^-128
    }
  };
  publish(kKind, session_name(id_), encode(SessionRecord{now, this_process()}));
  try {
    EpochLog log = unless_renewed(
        storage_, keyring, [&] { return read_epochs(storage_, keyring); });
    if (!log.can_be_pinned()) {
      throw CorruptionError(epoch_name(log.last) +
                            ": cannot be read, nor the one before it; `cairn "
                            "prune` goes on after them");
    }
    epoch_ = std::move(log.newest);
    CborWriter pin;
    pin.uint(epoch_.number);
    publish(kPinKind, pin_name(id_), pin.view());
    // Who was fenced before it pinned may find its slot free again, and would
    // rest on packs that no prune knows it needs.
    if (!storage_.size(session_name(id_))) {
      throw LockedError(session_name(id_) +
                        ": was fenced off by a prune before it began; run the "
                        "command again");
    }
  } catch (const Error&) {
    end();
    throw;
  }
}

Committed Session::commit(SnapshotHeader header, const SnapshotRecord& record) {
  header.epoch = epoch_.number;
  Committed committed = publish_snapshot_that_opens(storage_, keyring_, signer_,
                                                    id_, header, record);
  // The tombstone of who was fenced off is removed after a while. Then the slot
  // can be taken, but by the last doom it is void, or no prune knows any more
  // that it has to wait for it.
  const auto is_void = [&] {
    try {
      return read_last_doom(storage_, keyring_).is_void(id_, epoch_.number);
    } catch (const UnsupportedFormat&) {
      return false;  // what a newer program wrote decides nothing here
    }
  };
  if (!storage_.size(session_name(id_)) || is_void()) {
    committed.outcome = Created::exists;
  }
  return committed;
}

void Session::beat(const Timestamp& now) {
  const std::uint32_t number = beats_ + 1;
  CborWriter time;
  write_time(time, now);
  (void)storage_.create(beat_name(id_, number),
                        seal_record(kBeatKind, keyring_, signer_,
                                    signed_name(id_, number), time.view()));
  beats_ = number;
  if (number > 1) storage_.remove(beat_name(id_, number - 1));
}

void Session::end() {
  if (beats_ > 0) storage_.remove(beat_name(id_, beats_));
  remove_registration(storage_, id_);
}

void remove_registration(Storage& storage, const SessionId& id) {
  // Without its pin it counts as older than it is, which is safe.
  storage.remove(pin_name(id));
  storage.remove(session_name(id));
}

SessionRecord read_session(const Storage& storage, const Keyring& keyring,
                           const SessionId& id) {
  const std::string name = session_name(id);
  const auto object = get_whole(storage, name, kMaxSealedRecordBytes);
  return decode_session(open_record(kKind, keyring, id.bytes, object, name),
                        name);
}

std::uint64_t decode_pin(std::span<const std::byte> plain,
                         std::string_view name) {
  CborReader in(plain, name);
  const std::uint64_t epoch = in.uint();
  in.end();
  return epoch;
}

Timestamp decode_beat(std::span<const std::byte> plain, std::string_view name) {
  CborReader in(plain, name);
  const Timestamp time = read_time(in);
  in.end();
  return time;
}

std::uint64_t read_pin(const Storage& storage, const Keyring& keyring,
                       const SessionId& id) {
  const std::string name = pin_name(id);
  const auto object = get_whole(storage, name, kMaxSealedRecordBytes);
  return decode_pin(open_record(kPinKind, keyring, id.bytes, object, name),
                    name);
}

Timestamp read_beat(const Storage& storage, const Keyring& keyring,
                    const SessionId& id, std::uint32_t number) {
  const std::string name = beat_name(id, number);
  const auto object = get_whole(storage, name, kMaxSealedRecordBytes);
  return decode_beat(
      open_record(kBeatKind, keyring, signed_name(id, number), object, name),
      name);
}

namespace {

struct ListedSessions {
  std::vector<SessionId> registered;  // ascending
  std::vector<SessionId> pinned;
  std::map<SessionId, std::vector<std::uint32_t>> beats;  // each ascending
};

ListedSessions list_sessions(const Storage& storage) {
  ListedSessions listed;
  storage.list("sessions", [&](const ListedObject& object) {
    if (const auto beat = beat_of(object.name)) {
      listed.beats[beat->first].push_back(beat->second);
      return;
    }
    auto rest = std::string_view(object.name).substr(kFolder.size());
    const bool is_pin = rest.ends_with(kPinSuffix);
    if (is_pin) rest.remove_suffix(kPinSuffix.size());
    const auto id = SessionId::from_hex(rest);
    if (id) (is_pin ? listed.pinned : listed.registered).push_back(*id);
  });
  std::ranges::sort(listed.registered);
  for (auto& [id, numbers] : listed.beats) std::ranges::sort(numbers);
  return listed;
}

}  // namespace

std::vector<std::string> list_strays(const Storage& storage) {
  const auto listed = list_sessions(storage);
  const auto is_registered = [&](const SessionId& id) {
    // Asked again: it may have been made between the two in the list.
    return std::ranges::binary_search(listed.registered, id) ||
           storage.size(session_name(id));
  };
  std::vector<std::string> strays;
  for (const auto& id : listed.pinned) {
    if (!is_registered(id)) strays.push_back(pin_name(id));
  }
  for (const auto& [id, numbers] : listed.beats) {
    if (is_registered(id)) continue;
    for (const auto number : numbers) strays.push_back(beat_name(id, number));
  }
  return strays;
}

std::vector<StoredSession> read_sessions(const Storage& storage,
                                         const Keyring& keyring) {
  std::vector<StoredSession> sessions;
  auto listed = list_sessions(storage);
  for (const auto& id : listed.registered) {
    StoredSession session{id, {}, {}, std::move(listed.beats[id])};
    try {
      session.record = read_session(storage, keyring, id);
    } catch (const NotFound&) {
      continue;  // ended since it was listed
    } catch (const CorruptionError&) {
    }
    try {
      session.pin = read_pin(storage, keyring, id);
    } catch (const NotFound&) {
    } catch (const CorruptionError&) {
    }
    sessions.push_back(std::move(session));
  }
  return sessions;
}

void fence(Storage& storage, const Keyring& keyring, const Signer& signer,
           const SessionId& id, const Timestamp& now,
           const std::string& reason) {
  // Whether the slot was free does not matter: taken by its snapshot, the
  // session had committed and merely not ended.
  (void)publish_tombstone(storage, keyring, signer, {id, now, reason});
  remove_registration(storage, id);
}

namespace {

// When it last said that it lives: at this moment, if one of its beats went
// away since they were listed.
Timestamp last_sign_of_life(const Storage& storage, const Keyring& keyring,
                            const StoredSession& session,
                            const Timestamp& now) {
  Timestamp last = session.record->started;
  for (const auto number : session.beats) {
    try {
      last = read_beat(storage, keyring, session.id, number);
    } catch (const NotFound&) {
      last = now;
    } catch (const CorruptionError&) {
    }
  }
  return last;
}

bool is_revocable(const Timestamp& sign, const Timestamp& now,
                  std::chrono::seconds revoke_after) {
  return sign.seconds <= now.seconds - revoke_after.count() ||
         sign.seconds >=
             now.seconds + std::max<std::int64_t>(revoke_after.count(), 1);
}

}  // namespace

std::vector<DeadSession> find_dead_sessions(
    const Storage& storage, const Keyring& keyring, const Timestamp& now,
    std::optional<std::chrono::seconds> revoke_after) {
  std::vector<DeadSession> dead;
  for (const auto& session : read_sessions(storage, keyring)) {
    const auto& record = session.record;
    std::string reason;
    if (!record) {
      if (!revoke_after) continue;
      reason = "its registration was damaged";
    } else if (may_be_passed_over(*record)) {
      reason = "its process on " + record->process.host + " is gone";
    } else if (revoke_after && !is_certainly_alive(record->process) &&
               is_revocable(last_sign_of_life(storage, keyring, session, now),
                            now, *revoke_after)) {
      reason = "its process on " + record->process.host + " was revoked";
    } else {
      continue;
    }
    dead.push_back({session.id, std::move(reason)});
  }
  return dead;
}

std::size_t fence_dead_sessions(
    Storage& storage, const Keyring& keyring, const Signer& signer,
    const Timestamp& now, std::optional<std::chrono::seconds> revoke_after) {
  const auto dead = find_dead_sessions(storage, keyring, now, revoke_after);
  for (const auto& [id, reason] : dead) {
    fence(storage, keyring, signer, id, now, reason);
  }
  return dead.size();
}

}  // namespace cairn::repo
