#include "ingest/pg_dump_stream.h"

#include <array>
#include <utility>

#include "ingest/patient_io.h"
#include "ingest/program_output.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

[[noreturn]] void fail_as_not_whole(const std::string& why) {
  throw ProducerFailed("what was dumped is not whole: " + why);
}

}  // namespace

PgDumpStream::PgDumpStream(PgDumpCommand command, Clock now)
    : command_(std::move(command)),
      now_(std::move(now)),
      scanner_(command_.kind) {}

PgDumpStream::~PgDumpStream() { end_programs(); }

void PgDumpStream::start() {
  began_ = now_();
  dump_.emplace(command_.dump, ChildProcess::Input::empty,
                ChildProcess::Errors::kept);
  if (command_.to_sql.empty()) return;
  to_sql_.emplace(command_.to_sql, ChildProcess::Input::pipe,
                  ChildProcess::Errors::kept);
  scan_ = std::jthread([this](const std::stop_token& stop) { scan_sql(stop); });
}

// The thread's. It reads to the end even what is of no use any more, or
// pg_restore would wait for ever, and we for it.
void PgDumpStream::scan_sql(const std::stop_token& stop) {
  std::array<std::byte, 65536> room;
  try {
    while (const std::size_t size =
               read_patiently(to_sql_->output(), room, stop)) {
      if (scan_failure_) continue;
      try {
        scanner_.add(std::span(room).first(size));
      } catch (const ProducerFailed&) {
        scan_failure_ = std::current_exception();
      }
    }
  } catch (...) {
    scan_failure_ = std::current_exception();
  }
}

std::size_t PgDumpStream::read(std::span<std::byte> out, std::stop_token stop) {
  try {
    if (!dump_) start();
    const std::size_t size = read_patiently(dump_->output(), out, stop);
    feed_check(out.first(size), stop);
    return size;
  } catch (...) {
    end_programs();
    throw;
  }
}

void PgDumpStream::feed_check(std::span<const std::byte> bytes,
                              const std::stop_token& stop) {
  if (!to_sql_) {
    try {
      scanner_.add(bytes);
    } catch (const ProducerFailed& e) {
      fail_as_not_whole(e.what());
    }
  } else if (bytes.empty()) {
    to_sql_->close_input();
  } else if (write_patiently(to_sql_->input(), bytes, stop) ==
             Written::nobody_reads) {
    finish_check(stop);
    fail_as_not_whole("bytes follow its end");
  }
}

void PgDumpStream::finish(std::stop_token stop) {
  try {
    wait_and_quote_errors(*dump_, stop);
    warnings_ = quoted_errors(*dump_);
    finish_check(stop);
    ended_ = now_();
  } catch (...) {
    end_programs();
    throw;
  }
  end_programs();
}

void PgDumpStream::finish_check(const std::stop_token& stop) {
  try {
    if (to_sql_) {
      wait_and_quote_errors(*to_sql_, stop);
      scan_.join();
      if (scan_failure_) std::rethrow_exception(scan_failure_);
    }
    scanner_.finish();
  } catch (const ProducerFailed& e) {
    fail_as_not_whole(e.what());
  }
}

void PgDumpStream::end_programs() {
  if (scan_.joinable()) {
    scan_.request_stop();
    scan_.join();
  }
  to_sql_.reset();
  dump_.reset();
}

}  // namespace cairn::ingest
