#include "ingest/restricted_sql.h"

#include <algorithm>

#include "crypto/digest.h"
#include "crypto/random.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kRestrict = "\\restrict ";
constexpr std::string_view kUnrestrict = "\\unrestrict ";
constexpr std::size_t kKeyBytes = 16;

// Longer ones are no comment of pg_dump, nor a \restrict.
constexpr std::size_t kMaxHeadLine = 4096;

}  // namespace

RestrictedSql::RestrictedSql()
    : key_(crypto::to_hex(crypto::random_array<kKeyBytes>())) {}

void RestrictedSql::add(std::string_view text, const Emit& emit) {
  if (!is_open_) {
    emit(std::string(kRestrict) + key_ + '\n');
    is_open_ = true;
  }
  while (is_in_head_ && !text.empty()) take_head(text, emit);
  if (!text.empty()) pass_on(text, emit);
}

void RestrictedSql::close(const Emit& emit) {
  add({}, emit);
  if (is_in_head_) end_head(emit);
  if (matched_ > 0) emit(unrestrict_.substr(0, matched_));
}

// Line by line, to the first that is no comment.
void RestrictedSql::take_head(std::string_view& text, const Emit& emit) {
  const std::size_t end = text.find('\n');
  const bool is_whole = end != std::string_view::npos;
  const auto part = text.substr(0, is_whole ? end + 1 : text.size());
  begun_ += part;
  text.remove_prefix(part.size());
  if (!is_whole && begun_.size() < kMaxHeadLine) return;
  if (is_whole && begun_.starts_with(kRestrict)) {
    unrestrict_ = std::string(kUnrestrict) + begun_.substr(kRestrict.size());
    begun_.clear();
    end_head(emit);
  } else if (!is_whole || (begun_ != "\n" && !begun_.starts_with("--"))) {
    end_head(emit);
  } else {
    emit(begun_);
    begun_.clear();
  }
}

void RestrictedSql::end_head(const Emit& emit) {
  is_in_head_ = false;
  const std::string begun = std::move(begun_);
  pass_on(begun, emit);
}

// Without lines that are the dump's own \unrestrict. One in the body of a
// function goes, too: pg_dump takes a key that is nowhere in the dump.
void RestrictedSql::pass_on(std::string_view text, const Emit& emit) {
  while (!text.empty()) {
    if (matched_ == 0 && (!is_at_line_start_ || unrestrict_.empty())) {
      const std::size_t end =
          unrestrict_.empty() ? std::string_view::npos : text.find('\n');
      const auto part =
          text.substr(0, end == std::string_view::npos ? end : end + 1);
      emit(part);
      is_at_line_start_ = part.back() == '\n';
      text.remove_prefix(part.size());
      continue;
    }
    // Held back as far as it is the same.
    const auto rest = std::string_view(unrestrict_).substr(matched_);
    const auto same = static_cast<std::size_t>(
        std::ranges::mismatch(rest, text).in1 - rest.begin());
    matched_ += same;
    text.remove_prefix(same);
    if (matched_ == unrestrict_.size()) {
      matched_ = 0;
    } else if (!text.empty()) {
      if (matched_ > 0) emit(unrestrict_.substr(0, matched_));
      matched_ = 0;
      is_at_line_start_ = false;
    }
  }
}

}  // namespace cairn::ingest
