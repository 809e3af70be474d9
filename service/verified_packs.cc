#include "service/verified_packs.h"

#include <charconv>
#include <system_error>

#include "crypto/digest.h"
#include "service/state_file.h"

namespace cairn::service {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstLine = "cairn verified packs 1";
// Of two million packs, which are a hundred terabytes.
constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;

// The next word of the line, and its space.
std::string_view take_word(std::string_view& line) {
  const auto end = std::min(line.find(' '), line.size());
  const auto word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

std::optional<Moment> parse_moment(std::string_view text) {
  constexpr std::int64_t kLastSecond = 253'402'300'799;  // of the year 9999
  std::int64_t seconds = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0 ||
      seconds > kLastSecond) {
    return std::nullopt;
  }
  return Moment(std::chrono::seconds(seconds));
}

std::string text_of(Moment moment) {
  return std::to_string(moment.time_since_epoch().count());
}

void parse_line(std::string_view line, VerifiedPacks& packs) {
  const auto kind = take_word(line);
  if (kind == "paced") {
    packs.paced = parse_moment(line);
    return;
  }
  repo::PackId id;
  if (!crypto::from_hex(take_word(line), id.bytes)) return;
  const auto moment = parse_moment(line);
  if (!moment) return;
  if (kind == "pack") packs.sound[id] = *moment;
  if (kind == "damaged") packs.damaged[id] = *moment;
  if (kind == "unread") packs.unread[id] = *moment;
}

}  // namespace

std::string to_text(const VerifiedPacks& packs) {
  std::string text = std::string(kFirstLine) + "\n";
  if (packs.paced) text += "paced " + text_of(*packs.paced) + "\n";
  for (const auto& [id, when] : packs.sound) {
    text += "pack " + id.hex() + " " + text_of(when) + "\n";
  }
  for (const auto& [id, when] : packs.damaged) {
    text += "damaged " + id.hex() + " " + text_of(when) + "\n";
  }
  for (const auto& [id, when] : packs.unread) {
    text += "unread " + id.hex() + " " + text_of(when) + "\n";
  }
  return text;
}

VerifiedPacks parse_verified_packs(std::string_view text) {
  VerifiedPacks packs;
  if (!text.starts_with(kFirstLine)) return packs;
  while (!text.empty()) {
    // One that a crash cut short may look whole.
    const auto end = text.find('\n');
    if (end == std::string_view::npos) break;
    parse_line(text.substr(0, end), packs);
    text.remove_prefix(end + 1);
  }
  return packs;
}

VerifiedPacksFile::VerifiedPacksFile(const fs::path& state,
                                     const std::string& repository,
                                     const std::string& place)
    : file_(state_file(state, "verified", repository, place, ".packs")) {}

VerifiedPacks VerifiedPacksFile::read() const {
  const auto text = read_state_file(file_, kMostBytes);
  return text ? parse_verified_packs(*text) : VerifiedPacks{};
}

void VerifiedPacksFile::change(
    const std::function<void(VerifiedPacks&)>& change) {
  const auto lock = lock_state_file(file_);
  const auto known = read();
  auto changed = known;
  change(changed);
  if (changed != known) replace_state_file(file_, to_text(changed));
}

}  // namespace cairn::service
