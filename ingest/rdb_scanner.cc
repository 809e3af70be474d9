#include "ingest/rdb_scanner.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/crc64.h"
#include "ingest/rdb_cursor.h"
#include "repo/cbor.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kMagicBytes = 9;
constexpr std::size_t kFooterBytes = 8;
// Those of which a walk knows every type.
constexpr unsigned kOldest = 5;  // older ones have no footer
constexpr unsigned kNewest = 12;

// Nothing that has to be seen as a whole is longer: an opcode, or a length of a
// module's value, with the lengths that follow it.
constexpr std::size_t kMaxUnit = 64;
constexpr std::size_t kMaxDepth = 6;
constexpr std::size_t kMaxDatabases = std::size_t{1} << 16U;
constexpr std::size_t kMaxModules = 100;
constexpr std::size_t kMaxField = 128;

enum class Opcode : std::uint8_t {
  slot_info = 0xf4,
  function = 0xf5,
  module_aux = 0xf7,
  idle = 0xf8,
  frequency = 0xf9,
  aux = 0xfa,
  resize = 0xfb,
  expiry_ms = 0xfc,
  expiry_s = 0xfd,
  select_db = 0xfe,
  end_of_file = 0xff,
};

// The fields that are told; others may say what nobody should read.
constexpr std::array<std::string_view, 6> kFieldsTold = {
    "redis-ver", "valkey-ver", "redis-bits", "ctime", "used-mem", "aof-base"};

// Six bits for a character, nine characters, and the version of its encoding.
std::string module_name(std::uint64_t id) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  constexpr unsigned kVersionBits = 10;
  constexpr unsigned kLetterBits = 6;
  std::string name(9, ' ');
  id >>= kVersionBits;
  for (auto letter = name.rbegin(); letter != name.rend(); ++letter) {
    *letter = kLetters[id & 0x3fU];
    id >>= kLetterBits;
  }
  return name;
}

std::int64_t milliseconds(const repo::Timestamp& time) {
  constexpr std::int64_t kMilli = 1000;
  constexpr std::uint32_t kNanosInMilli = 1'000'000;
  return time.seconds * kMilli + time.nanoseconds / kNanosInMilli;
}

}  // namespace

RdbDatabase RdbContent::sum() const {
  RdbDatabase sum;
  for (const auto& [number, database] : databases) {
    sum.keys += database.keys;
    sum.expiring += database.expiring;
    sum.expired += database.expired;
    for (std::size_t i = 0; i < kRdbKinds; ++i) {
      sum.kinds[i] += database.kinds[i];
    }
  }
  return sum;
}

struct RdbScanner::State {
  explicit State(std::int64_t time) : now(time) {}

  enum class Where { magic, key_or_opcode, value, ended };

  struct Frame {
    RdbSteps steps;
    std::size_t at = 0;
    std::uint64_t rounds = 1;  // that are left, this one included
  };

  const std::int64_t now;  // milliseconds since 1970, as an RDB has it
  RdbContent content;

  // The sum, which lags behind by the footer that may be the last that came.
  Crc64 crc;
  std::array<std::byte, kFooterBytes> last{};
  std::byte before_last{};
  bool is_malformed = false;

  // The walk.
  unsigned format = 0;  // its version, where that is known
  Where where = Where::magic;
  std::array<std::byte, kMaxUnit> held{};
  std::size_t held_size = 0;
  std::uint64_t to_pass = 0;  // bytes of a value
  std::array<Frame, kMaxDepth> frames;
  std::size_t depth = 0;
  std::uint64_t after_end = 0;
  RdbDatabase* database = nullptr;
  std::uint64_t database_number = 0;
  std::optional<std::int64_t> expiry;
  // Of an aux field: while its texts come by.
  enum class Field { none, key, value } field = Field::none;
  bool is_kept = false;
  std::string field_name;
  std::string text;

  // ---- whether it is whole

  void sum(std::span<const std::byte> bytes) {
    const std::uint64_t before = content.bytes;
    content.bytes += bytes.size();
    const auto known =
        static_cast<std::size_t>(std::min<std::uint64_t>(before, kFooterBytes));
    const std::size_t all = known + bytes.size();
    if (all <= kFooterBytes) {
      std::ranges::copy(bytes,
                        last.begin() + static_cast<std::ptrdiff_t>(known));
      return;
    }
    const std::size_t out = all - kFooterBytes;  // that are no footer
    const std::size_t from_last = std::min(out, known);
    const std::size_t from_bytes = out - from_last;
    crc.add(std::span(last).first(from_last));
    crc.add(bytes.first(from_bytes));
    before_last = from_bytes > 0 ? bytes[from_bytes - 1] : last[from_last - 1];
    const std::size_t stays = known - from_last;
    std::copy(last.begin() + static_cast<std::ptrdiff_t>(from_last),
              last.begin() + static_cast<std::ptrdiff_t>(known), last.begin());
    std::ranges::copy(bytes.subspan(from_bytes),
                      last.begin() + static_cast<std::ptrdiff_t>(stays));
  }

  [[nodiscard]] std::uint64_t footer() const {
    std::uint64_t value = 0;
    for (std::size_t i = kFooterBytes; i > 0; --i) {
      value = value << 8U | std::to_integer<std::uint64_t>(last[i - 1]);
    }
    return value;
  }

  // ---- the walk

  void walk(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (where == Where::ended) {
        after_end += bytes.size();
        return;
      }
      if (to_pass > 0) {
        bytes = bytes.subspan(pass(bytes));
      } else if (held_size > 0) {
        bytes = bytes.subspan(complete_held(bytes));
      } else {
        bytes = bytes.subspan(walk_units(bytes));
      }
    }
  }

  std::size_t pass(std::span<const std::byte> bytes) {
    RdbCursor cursor(bytes);
    pass(bytes, cursor);
    return cursor.at();
  }

  void pass(std::span<const std::byte> bytes, RdbCursor& cursor) {
    const std::size_t from = cursor.at();
    const std::size_t passed = cursor.pass(to_pass);
    to_pass -= passed;
    if (field == Field::none) return;
    if (is_kept) {
      text.append(reinterpret_cast<const char*>(bytes.data()) + from, passed);
    }
    if (to_pass == 0) end_field();
  }

  // Of a unit that came in two pieces: answers how much of the second it took.
  std::size_t complete_held(std::span<const std::byte> bytes) {
    const std::size_t more = std::min(bytes.size(), kMaxUnit - held_size);
    std::copy_n(bytes.begin(), more,
                held.begin() + static_cast<std::ptrdiff_t>(held_size));
    const std::span unit(held.data(), held_size + more);
    RdbCursor cursor(unit);
    if (!unit_at(unit, cursor)) {
      assert(held_size + more < kMaxUnit);
      held_size += more;
      return more;
    }
    assert(cursor.at() >= held_size);
    const std::size_t taken = cursor.at() - held_size;
    held_size = 0;
    return taken;
  }

  // As many as there are; holds what is left.
  std::size_t walk_units(std::span<const std::byte> bytes) {
    RdbCursor cursor(bytes);
    while (!cursor.is_at_end() && where != Where::ended) {
      if (unit_at(bytes, cursor)) continue;
      const auto rest = bytes.subspan(cursor.at());
      assert(rest.size() < kMaxUnit);
      std::ranges::copy(rest, held.begin());
      held_size = rest.size();
      return bytes.size();
    }
    return cursor.at();
  }

  // False: there are too few bytes for it, and nothing has changed.
  bool unit_at(std::span<const std::byte> bytes, RdbCursor& cursor) {
    const std::size_t before = cursor.at();
    try {
      if (to_pass > 0) {
        pass(bytes, cursor);
      } else if (where == Where::magic) {
        read_magic(cursor);
      } else if (where == Where::value) {
        step(bytes, cursor);
      } else {
        read_opcode(cursor);
      }
    } catch (const RdbCursor::NotAll&) {
      cursor.back_to(before);
      return false;
    }
    return true;
  }

  void read_magic(RdbCursor& cursor) {
    const auto bytes = cursor.take(kMagicBytes);
    content.magic.assign(reinterpret_cast<const char*>(bytes.data()),
                         bytes.size());
    const std::string_view magic = content.magic;
    constexpr std::string_view kRedis = "REDIS";
    constexpr std::string_view kValkey = "VALKEY";
    const std::string_view digits = magic.substr(
        magic.starts_with(kRedis) ? kRedis.size() : kValkey.size());
    unsigned version = 0;
    const auto read =
        std::from_chars(digits.data(), digits.data() + digits.size(), version);
    const bool is_rdb =
        (magic.starts_with(kRedis) || magic.starts_with(kValkey)) &&
        read.ec == std::errc() && read.ptr == digits.data() + digits.size();
    if (!is_rdb) {
      content.magic.clear();
      throw ProducerFailed("what came does not begin as an RDB does");
    }
    if (magic.starts_with(kValkey) || version < kOldest || version > kNewest) {
      throw CannotWalkRdb{"its format, " + content.magic +
                          ", is none that this version of cairn knows"};
    }
    format = version;
    where = Where::key_or_opcode;
  }

  void begin_value(RdbSteps steps) {
    where = Where::value;
    depth = 0;
    frames[depth++] = {steps};
  }

  void read_opcode(RdbCursor& cursor) {
    const auto code = static_cast<std::uint8_t>(cursor.big_endian(1));
    switch (static_cast<Opcode>(code)) {
      case Opcode::slot_info:
        return begin_value(rdb_slot_info());
      case Opcode::function:
        ++content.functions;
        return begin_value(rdb_string());
      case Opcode::module_aux:
        return begin_value(rdb_module_aux());
      case Opcode::idle:
        (void)rdb_length(cursor);
        return;
      case Opcode::frequency:
        (void)cursor.take(1);
        return;
      case Opcode::aux:
        field = Field::key;
        return begin_value(rdb_aux_field());
      case Opcode::resize:
        (void)rdb_length(cursor);
        (void)rdb_length(cursor);
        return;
      case Opcode::expiry_ms:
        expiry = static_cast<std::int64_t>(cursor.little_endian(8));
        return;
      case Opcode::expiry_s: {
        constexpr std::int64_t kMilli = 1000;
        expiry = static_cast<std::int32_t>(cursor.little_endian(4)) * kMilli;
        return;
      }
      case Opcode::select_db:
        database_number = rdb_length(cursor);
        database = nullptr;
        return;
      case Opcode::end_of_file:
        where = Where::ended;
        return;
      default:
        begin_key(code);
    }
  }

  void begin_key(std::uint8_t code) {
    const auto* const type = find_rdb_value(code, format);
    if (type == nullptr) {
      throw CannotWalkRdb{"it holds a value of type " + std::to_string(code) +
                          ", which this version of cairn does not know"};
    }
    if (database == nullptr) {
      if (content.databases.size() >= kMaxDatabases &&
          !content.databases.contains(database_number)) {
        throw CannotWalkRdb{"it has more databases than can be counted"};
      }
      database = &content.databases[database_number];
    }
    ++database->keys;
    ++database->kinds.at(static_cast<std::size_t>(type->kind));
    if (expiry) {
      ++database->expiring;
      if (*expiry < now) ++database->expired;
      expiry.reset();
    }
    begin_value(type->steps);
    frames[depth++] = {rdb_string()};  // the key comes first
  }

  // Passes over what a frame has ended.
  void next_step() {
    while (depth > 0) {
      Frame& frame = frames[depth - 1];
      if (frame.at < frame.steps.size()) return;
      frame.at = 0;
      if (--frame.rounds > 0) return;
      --depth;
    }
    where = Where::key_or_opcode;
  }

  void begin_bytes(std::uint64_t size, std::span<const std::byte> bytes,
                   RdbCursor& cursor) {
    to_pass = size;
    if (size > 0 && field == Field::none) pass(bytes, cursor);
  }

  void step(std::span<const std::byte> bytes, RdbCursor& cursor) {
    using What = RdbStep::What;
    Frame& frame = frames[depth - 1];
    const RdbStep& here = frame.steps[frame.at];
    switch (here.what) {
      case What::string: {
        const auto head = rdb_string_head(cursor);
        ++frame.at;
        begin_bytes(head.bytes, bytes, cursor);
        if (field != Field::none) begin_field(head);
        break;
      }
      case What::length:
        (void)rdb_length(cursor);
        ++frame.at;
        break;
      case What::bytes:
        ++frame.at;
        begin_bytes(here.size, bytes, cursor);
        break;
      case What::score: {
        constexpr std::uint64_t kNoNumber = 253;  // and infinities
        const std::uint64_t size = cursor.big_endian(1);
        ++frame.at;
        begin_bytes(size >= kNoNumber ? 0 : size, bytes, cursor);
        break;
      }
      case What::repeat: {
        const std::uint64_t rounds = rdb_length(cursor);
        ++frame.at;
        if (rounds > 0) {
          assert(depth < kMaxDepth);
          frames[depth++] = {here.inside, 0, rounds};
        }
        break;
      }
      case What::module: {
        const auto id = rdb_length(cursor);
        ++frame.at;
        if (content.modules.size() < kMaxModules) {
          content.modules.insert(module_name(id));
        }
        break;
      }
      case What::module_end:
        step_in_module(frame, bytes, cursor);
        break;
    }
    next_step();
  }

  void step_in_module(Frame& frame, std::span<const std::byte> bytes,
                      RdbCursor& cursor) {
    constexpr std::uint64_t kFloatBytes = 4;
    constexpr std::uint64_t kDoubleBytes = 8;
    switch (rdb_length(cursor)) {
      case 0:
        ++frame.at;
        return;
      case 1:
      case 2:
        (void)rdb_length(cursor);
        return;
      case 3:
        return begin_bytes(kFloatBytes, bytes, cursor);
      case 4:
        return begin_bytes(kDoubleBytes, bytes, cursor);
      case 5: {
        const auto head = rdb_string_head(cursor);
        return begin_bytes(head.bytes, bytes, cursor);
      }
      default:
        rdb_is_malformed("the value of a module");
    }
  }

  // ---- aux fields

  void begin_field(const RdbStringHead& head) {
    text.clear();
    is_kept = head.is_plain && head.bytes <= kMaxField;
    if (head.number) text = std::to_string(*head.number);
    if (to_pass == 0) end_field();
  }

  void end_field() {
    if (field == Field::key) {
      field_name = text;
      field = Field::value;
      return;
    }
    field = Field::none;
    if (std::ranges::find(kFieldsTold, field_name) != kFieldsTold.end()) {
      content.fields[field_name] = repo::as_utf8(text);
    }
  }
};

RdbScanner::RdbScanner(const repo::Timestamp& now)
    : state_(std::make_unique<State>(milliseconds(now))) {}

RdbScanner::~RdbScanner() = default;
RdbScanner::RdbScanner(RdbScanner&&) noexcept = default;
RdbScanner& RdbScanner::operator=(RdbScanner&&) noexcept = default;

const RdbContent& RdbScanner::content() const noexcept {
  return state_->content;
}

void RdbScanner::add(std::span<const std::byte> bytes) {
  State& state = *state_;
  state.sum(bytes);
  if (state.content.not_walked) return;
  try {
    state.walk(bytes);
  } catch (const CannotWalkRdb& e) {
    state.content.not_walked = e.why;
    state.is_malformed = e.is_malformed;
  }
}

void RdbScanner::finish() {
  State& state = *state_;
  auto& content = state.content;
  const auto not_whole = [&](const std::string& why) {
    throw ProducerFailed("the dump is not as the server wrote it: " + why);
  };
  if (content.magic.empty()) not_whole("it has no beginning");
  const bool is_of_known_format = state.format != 0;
  content.has_checksum = state.footer() != 0;
  const bool is_right = state.footer() == state.crc.value();
  if (is_of_known_format) {
    if (content.bytes < kMagicBytes + 1 + kFooterBytes ||
        state.before_last !=
            std::byte{static_cast<std::uint8_t>(Opcode::end_of_file)}) {
      not_whole("it has no end");
    }
    if (content.has_checksum && !is_right) {
      not_whole("its checksum is not that of its bytes");
    }
  } else {
    content.has_checksum = content.has_checksum && is_right;
  }
  const bool ends_well =
      state.where == State::Where::ended && state.after_end == kFooterBytes;
  if (!content.not_walked && !ends_well) {
    content.not_walked = "it does not end where its values do";
    state.is_malformed = true;
  }
  // With a checksum that is right it is we who do not understand it.
  if (state.is_malformed && !content.has_checksum)
    not_whole(*content.not_walked);
}

}  // namespace cairn::ingest
