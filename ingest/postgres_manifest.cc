#include "ingest/postgres_manifest.h"

#include <charconv>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "ingest/byte_stream.h"

namespace cairn::ingest {
namespace {

// Of one text or number; a path holds 1024 bytes at most, in hexadecimal twice
// as many.
constexpr std::size_t kMaxTokenBytes = 8192;
constexpr std::size_t kMaxWalRanges = 10'000;

// What the checksum does not cover: the last line, which holds it.
constexpr std::size_t kMaxLastLineBytes = 512;

[[noreturn]] void fail(const std::string& why) {
  throw ProducerFailed("the server's backup manifest " + why);
}

template <typename Number>
Number number(std::string_view text, int base = 10) {
  Number value{};
  const auto* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || error != std::errc{} || stop != end) {
    fail("holds '" + std::string(text) + "' where a number belongs");
  }
  return value;
}

// A character of the basic plane, by `put`, which takes a byte at a time.
template <typename Put>
void put_utf8(unsigned code, Put put) {
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

}  // namespace

Lsn lsn_in(std::string_view text) {
  const auto lsn = parse_lsn(text);
  if (!lsn)
    throw ProducerFailed("'" + std::string(text) + "' is no place in WAL");
  return *lsn;
}

// A JSON reader for this one shape: an object of values, of which two are
// arrays of flat objects.
struct PostgresManifest::State {
  explicit State(TakeFile take_) : take(std::move(take_)) {}

  enum class Where { before, in_manifest, in_array, in_item, after };
  enum class Lexer { between, in_text, in_escape, in_unicode, in_number };

  TakeFile take;
  crypto::Sha256 hash;
  std::string tail;  // the last bytes, not hashed yet

  Where where = Where::before;
  Lexer lexer = Lexer::between;
  std::string token;
  unsigned unicode = 0;
  unsigned unicode_digits = 0;
  std::optional<std::string> key;  // whose value is awaited
  bool has_colon = false;
  std::string array;  // that we are in
  std::map<std::string, std::string, std::less<>> item;

  std::optional<std::string> version;
  std::optional<std::string> checksum;
  std::vector<WalRange> wal;

  void add(char c) {
    switch (lexer) {
      case Lexer::in_text:
        if (c == '"') {
          lexer = Lexer::between;
          text_ends();
        } else if (c == '\\') {
          lexer = Lexer::in_escape;
        } else {
          append(c);
        }
        return;
      case Lexer::in_escape:
        escape(c);
        return;
      case Lexer::in_unicode:
        unicode = unicode << 4 | number<unsigned>(std::string_view(&c, 1), 16);
        if (++unicode_digits == 4) {
          put_utf8(unicode,
                   [this](unsigned byte) { append(static_cast<char>(byte)); });
          lexer = Lexer::in_text;
        }
        return;
      case Lexer::in_number:
        if (c >= '0' && c <= '9') {
          append(c);
          return;
        }
        lexer = Lexer::between;
        value(std::exchange(token, {}));
        break;
      case Lexer::between:
        break;
    }
    between(c);
  }

  void append(char c) {
    if (token.size() >= kMaxTokenBytes) fail("holds a text that is too long");
    token += c;
  }

  void escape(char c) {
    constexpr std::string_view kEscapes = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
      unicode = 0;
      unicode_digits = 0;
      lexer = Lexer::in_unicode;
      return;
    }
    const auto at = kEscapes.find(c);
    if (at == std::string_view::npos) fail("is not JSON");
    append(kMeanings[at]);
    lexer = Lexer::in_text;
  }

  void between(char c) {
    switch (c) {
      case ' ':
      case '\n':
      case '\r':
      case '\t':
      case ',':
        return;
      case '"':
        lexer = Lexer::in_text;
        return;
      case ':':
        if (!key || std::exchange(has_colon, true)) fail("is not JSON");
        return;
      case '{':
        if (where == Where::before) {
          where = Where::in_manifest;
        } else if (where == Where::in_array) {
          where = Where::in_item;
          item.clear();
        } else {
          fail("has another shape than known ones");
        }
        return;
      case '}':
        if (key) fail("is not JSON");
        if (where == Where::in_item) {
          where = Where::in_array;
          item_ends();
        } else if (where == Where::in_manifest) {
          where = Where::after;
        } else {
          fail("is not JSON");
        }
        return;
      case '[':
        if (where != Where::in_manifest || !has_colon) fail("is not JSON");
        array = *std::exchange(key, std::nullopt);
        has_colon = false;
        where = Where::in_array;
        return;
      case ']':
        if (where != Where::in_array) fail("is not JSON");
        where = Where::in_manifest;
        return;
      default:
        if (c < '0' || c > '9') fail("is not JSON");
        lexer = Lexer::in_number;
        token = c;
    }
  }

  void text_ends() {
    auto text = std::exchange(token, {});
    if (key) {
      value(std::move(text));
    } else {
      key = std::move(text);
    }
  }

  void value(std::string text) {
    if (!key || !has_colon) fail("is not JSON");
    auto name = *std::exchange(key, std::nullopt);
    has_colon = false;
    if (where == Where::in_item) {
      constexpr std::size_t kMaxFields = 32;
      if (item.size() >= kMaxFields) fail("has another shape than known ones");
      if (!item.emplace(std::move(name), std::move(text)).second) {
        fail("says a thing twice");
      }
      return;
    }
    if (where != Where::in_manifest) fail("is not JSON");
    if (name == "PostgreSQL-Backup-Manifest-Version") {
      if (text != "1" && text != "2") {
        fail("is of version " + text + ", which this program does not know");
      }
      version = std::move(text);
    } else if (name == "Manifest-Checksum") {
      checksum = std::move(text);
    }
  }

  const std::string& field(std::string_view name) const {
    const auto found = item.find(name);
    if (found == item.end()) fail("lacks a " + std::string(name));
    return found->second;
  }

  void item_ends() {
    if (array == "Files") {
      file_ends();
    } else if (array == "WAL-Ranges") {
      if (wal.size() >= kMaxWalRanges) fail("has too many WAL ranges");
      wal.push_back({number<std::uint32_t>(field("Timeline")),
                     lsn_in(field("Start-LSN")), lsn_in(field("End-LSN"))});
    }
  }

  void file_ends() {
    ManifestFile file;
    if (const auto hex = item.find("Encoded-Path"); hex != item.end()) {
      file.path.resize(hex->second.size() / 2);
      if (!crypto::from_hex(hex->second,
                            std::as_writable_bytes(std::span(file.path)))) {
        fail("holds a path that cannot be decoded");
      }
    } else {
      file.path = field("Path");
    }
    file.size = number<std::uint64_t>(field("Size"));
    if (field("Checksum-Algorithm") != "SHA256" ||
        !crypto::from_hex(field("Checksum"), file.sha256)) {
      fail("holds no SHA-256 of " + file.path);
    }
    take(std::move(file));
  }
};

PostgresManifest::PostgresManifest(TakeFile take)
    : state_(std::make_unique<State>(std::move(take))) {}
PostgresManifest::~PostgresManifest() = default;

void PostgresManifest::add(std::span<const std::byte> bytes) {
  State& state = *state_;
  for (const auto byte : bytes) state.add(static_cast<char>(byte));
  state.tail.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (state.tail.size() <= kMaxLastLineBytes) return;
  const auto size = state.tail.size() - kMaxLastLineBytes;
  state.hash.add(std::as_bytes(std::span(state.tail).first(size)));
  state.tail.erase(0, size);
}

std::vector<WalRange> PostgresManifest::finish() && {
  State& state = *state_;
  if (state.where != State::Where::after || !state.version || !state.checksum) {
    fail("ends too early");
  }
  // The last line and its end are not in the checksum.
  std::string_view tail = state.tail;
  if (tail.ends_with('\n')) tail.remove_suffix(1);
  const auto end = tail.rfind('\n');
  if (end == std::string_view::npos) fail("has no last line");
  state.hash.add(std::as_bytes(std::span(tail.substr(0, end + 1))));
  if (crypto::to_hex(std::move(state.hash).finish()) != *state.checksum) {
    fail("is not what its own checksum says: it was changed on its way");
  }
  if (state.wal.empty()) fail("names no WAL");
  return std::move(state.wal);
}

}  // namespace cairn::ingest
