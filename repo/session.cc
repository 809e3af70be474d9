#include "repo/session.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>

#include "crypto/random.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/sealed_record.h"
#include "repo/snapshot.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kFolder = "sessions/";
constexpr SealedRecordKind kKind{ObjectType::session, "cairn session",
                                 Authority::indexer};

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

std::uint64_t pid_namespace() {
  struct stat status {};
  if (::stat("/proc/self/ns/pid", &status) != 0) return 0;
  return status.st_ino;
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
          pid_namespace(),
          pid,
          start_of(pid).value_or(0)};
}

bool is_certainly_gone(const ProcessIdentity& process) {
  const ProcessIdentity self = this_process();
  static const crypto::Digest kNoId = digest_of("");
  const bool same_boot = self.boot != kNoId && process.boot == self.boot;
  if (!same_boot) {
    // Another boot of this very machine. Containers mostly have no machine id
    // and all look alike: of them nothing is certain.
    return self.machine != kNoId && process.machine == self.machine &&
           self.boot != kNoId && process.boot != kNoId;
  }
  // A boot id is as good as a machine: it is random, and one kernel's.
  if (process.pid_namespace != self.pid_namespace || process.pid == 0 ||
      process.start == 0 || self.pid_namespace == 0) {
    return false;
  }
  const auto start = start_of(process.pid);
  if (start) return *start != process.start;
  // No stat to read: gone, unless /proc hides what is not ours.
  return ::kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH;
}

std::string session_name(const SessionId& id) {
  return std::string(kFolder) + id.hex();
}

std::vector<std::byte> encode(const SessionRecord& record) {
  CborWriter out;
  out.map(8);
  write_time(out.key(1), record.started);
  out.key(2).text(record.process.host);
  out.key(3).bytes(record.process.machine);
  out.key(4).bytes(record.process.boot);
  out.key(5).uint(record.process.pid_namespace);
  out.key(6).uint(record.process.pid);
  out.key(7).uint(record.process.start);
  out.key(8).uint(static_cast<std::uint64_t>(record.purpose));
  return std::move(out).take();
}

namespace {

SessionPurpose read_purpose(CborReader& in, std::string_view name) {
  const auto purpose = in.uint();
  if (purpose > static_cast<std::uint64_t>(SessionPurpose::prune)) {
    throw UnsupportedFormat(std::string(name) + ": unknown purpose");
  }
  return static_cast<SessionPurpose>(purpose);
}

}  // namespace

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
        record.purpose = read_purpose(in, name);
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7, 8}, in);
  return record;
}

Session::Session(Storage& storage, const Keyring& keyring, const Signer& signer,
                 SessionPurpose purpose, const Timestamp& now)
    : storage_(storage), id_{crypto::random_array<SessionId::kBytes>()} {
  const SessionRecord record{now, this_process(), purpose};
  const auto object =
      seal_record(kKind, keyring, signer, id_.bytes, encode(record));
  if (storage_.create(session_name(id_), object) == Created::exists) {
    throw IoError(session_name(id_) + ": exists already");  // 2^-128
  }
  std::vector<StoredSession> others;
  try {
    others = read_sessions(storage_, keyring);
  } catch (const Error&) {
    end();
    throw;
  }
  for (const auto& [id, other] : others) {
    if (id == id_ || is_certainly_gone(other.process)) continue;
    if (purpose == SessionPurpose::write &&
        other.purpose == SessionPurpose::write) {
      continue;  // writers do not mind each other
    }
    end();
    const char* const what =
        other.purpose == SessionPurpose::prune ? "a prune" : "a backup";
    throw LockedError("session " + id.brief() + " on " + other.process.host +
                      " (process " + std::to_string(other.process.pid) +
                      "): " + what + " is at work; try again when it is done");
  }
}

void Session::end() { storage_.remove(session_name(id_)); }

SessionRecord read_session(const Storage& storage, const Keyring& keyring,
                           const SessionId& id) {
  const std::string name = session_name(id);
  const auto object = get_whole(storage, name, kMaxSealedRecordBytes);
  return decode_session(open_record(kKind, keyring, id.bytes, object, name),
                        name);
}

std::vector<StoredSession> read_sessions(const Storage& storage,
                                         const Keyring& keyring) {
  std::vector<SessionId> ids;
  storage.list("sessions", [&](const ListedObject& object) {
    const auto id = SessionId::from_hex(
        std::string_view(object.name).substr(kFolder.size()));
    if (id) ids.push_back(*id);
  });
  std::ranges::sort(ids);
  std::vector<StoredSession> sessions;
  for (const auto& id : ids) {
    try {
      sessions.push_back({id, read_session(storage, keyring, id)});
    } catch (const NotFound&) {
      continue;  // ended since it was listed
    }
  }
  return sessions;
}

std::size_t fence_dead_sessions(Storage& storage, const Keyring& keyring,
                                const Signer& signer, const Timestamp& now) {
  std::size_t fenced = 0;
  for (const auto& [id, record] : read_sessions(storage, keyring)) {
    if (!is_certainly_gone(record.process)) continue;
    // Whether the slot was free does not matter: taken by its snapshot, the
    // session had committed and merely not ended.
    (void)publish_tombstone(
        storage, keyring, signer,
        {id, now, "its process on " + record.process.host + " is gone"});
    storage.remove(session_name(id));
    ++fenced;
  }
  return fenced;
}

}  // namespace cairn::repo
