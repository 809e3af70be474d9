#include "ingest/pg_dump_text.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ingest/byte_stream.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kDataComment = "-- Data for Name: ";
constexpr std::string_view kTableData = "; Type: TABLE DATA;";
constexpr std::string_view kCopy = "COPY ";
constexpr std::string_view kFromInput = " FROM stdin;";
constexpr std::string_view kBlockEnd = "\\.";

std::string opening_of(DumpTextKind kind) {
  return kind == DumpTextKind::database ? "-- PostgreSQL database dump"
                                        : "-- PostgreSQL database cluster dump";
}

// What may stand behind the closing marker.
bool is_empty_of_meaning(std::string_view line) {
  return line.empty() || line == "--" || line.starts_with("\\unrestrict ");
}

}  // namespace

std::string take_sql_name(std::string_view& text) {
  std::string name;
  if (!text.starts_with('"')) {
    const std::size_t end = std::min(text.find_first_of(". (;"), text.size());
    name = text.substr(0, end);
    text.remove_prefix(end);
    return name;
  }
  for (text.remove_prefix(1); !text.empty(); text.remove_prefix(1)) {
    if (text.front() == '"') {
      if (!text.substr(1).starts_with('"')) {
        text.remove_prefix(1);
        return name;
      }
      text.remove_prefix(1);
    }
    name += text.front();
  }
  return {};  // not closed
}

TableInDump table_of_copy(std::string_view statement) {
  if (!statement.starts_with(kCopy)) return {};
  statement.remove_prefix(kCopy.size());
  TableInDump table;
  table.name = take_sql_name(statement);
  if (statement.starts_with('.')) {
    statement.remove_prefix(1);
    table.schema = std::exchange(table.name, take_sql_name(statement));
  }
  return table;
}

DumpTextScanner::DumpTextScanner(DumpTextKind kind)
    : opening_(opening_of(kind)), closing_(opening_ + " complete") {}

void DumpTextScanner::add(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                        bytes.size());
  while (!text.empty()) {
    const void* const found = std::memchr(text.data(), '\n', text.size());
    if (found == nullptr) {
      keep(text);
      return;
    }
    const auto size =
        static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    const std::string_view part = text.substr(0, size);
    text.remove_prefix(size + 1);
    if (bytes_ == 0) {
      take({part.substr(0, kBeginBytes),
            part.substr(size - std::min(size, kEndBytes)), size});
    } else {
      keep(part);
      take({begin_, end_, bytes_});
      begin_.clear();
      end_.clear();
      bytes_ = 0;
    }
  }
}

void DumpTextScanner::keep(std::string_view part) {
  bytes_ += part.size();
  begin_ += part.substr(0, kBeginBytes - begin_.size());
  end_ += part.substr(part.size() - std::min(part.size(), kEndBytes));
  end_.erase(0, end_.size() - std::min(end_.size(), kEndBytes));
}

void DumpTextScanner::take(const Line& line) {
  switch (state_) {
    case State::in_block:
      if (line.bytes == kBlockEnd.size() && line.begin == kBlockEnd) {
        end_block();
      } else {
        ++block_.rows;
        block_.bytes += line.bytes + 1;
      }
      return;
    case State::in_copy:
      take_copy(line);
      return;
    case State::at_start:
      ++lines_;
      if (lines_ == 1 && line.begin == "--") return;
      if (lines_ != 2 || line.begin != opening_) {
        throw ProducerFailed("it does not begin as a dump in SQL does");
      }
      state_ = State::outside;
      return;
    case State::announced:
      if (line.begin.starts_with(kCopy)) {
        copy_.clear();
        take_copy(line);
        return;
      }
      break;
    case State::outside:
    case State::is_complete:
      break;
  }
  take_outside(line.begin);
}

void DumpTextScanner::take_outside(std::string_view text) {
  if (text.starts_with("\\connect ") || text.starts_with("\\c ")) {
    connects_ = true;
  }
  if (text == closing_) {
    state_ = State::is_complete;
  } else if (state_ == State::is_complete && is_empty_of_meaning(text)) {
    return;
  } else if (text.starts_with(kDataComment) &&
             text.find(kTableData) != std::string_view::npos) {
    state_ = State::announced;
  } else if (state_ != State::announced || text.starts_with("-- ")) {
    state_ = State::outside;
  }
}

// The statement has several lines where a name has.
void DumpTextScanner::take_copy(const Line& line) {
  if (!copy_.empty()) copy_ += '\n';
  copy_ += line.begin;
  copy_.resize(std::min(copy_.size(), kBeginBytes));
  if (!line.end.ends_with(kFromInput)) {
    state_ = State::in_copy;
    return;
  }
  state_ = State::in_block;
  block_ = table_of_copy(copy_);
  ++blocks_;
}

void DumpTextScanner::end_block() {
  state_ = State::outside;
  rows_ += block_.rows;
  if (tables_.size() < kMaxTables) tables_.push_back(std::move(block_));
  block_ = {};
}

void DumpTextScanner::finish() {
  if (state_ == State::in_block || state_ == State::in_copy) {
    throw ProducerFailed("it ends in the middle of the data of table " +
                         (block_.schema.empty() ? "" : block_.schema + ".") +
                         block_.name);
  }
  if (state_ != State::is_complete || bytes_ != 0) {
    throw ProducerFailed("it does not end with the line '" + closing_ +
                         "' by which pg_dump says that all was written");
  }
}

}  // namespace cairn::ingest
