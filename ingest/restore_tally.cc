#include "ingest/restore_tally.h"

#include <algorithm>
#include <utility>

namespace cairn::ingest {

RestoreFailure failure_at(const std::string& path) {
  const auto because = [&](FailureCause cause, const repo::Error& e) {
    return RestoreFailure{path.empty() ? "/" : path, cause, e.what()};
  };
  try {
    throw;
  } catch (const repo::OutOfSpace&) {
    throw;
  } catch (const repo::StorageUnreachable&) {
    throw;
  } catch (const ReadBackError& e) {
    return because(FailureCause::differs, e);
  } catch (const repo::CorruptionError& e) {
    return because(FailureCause::damaged, e);
  } catch (const repo::NotFound& e) {
    return because(FailureCause::damaged, e);
  } catch (const repo::UnsupportedFormat& e) {
    return because(FailureCause::unsupported, e);
  } catch (const repo::RefusedForSafety& e) {
    return because(FailureCause::refused, e);
  } catch (const repo::IoError& e) {
    return because(FailureCause::io_error, e);
  }
}

void RestoreTally::add(RestoreFailure failure) {
  const std::lock_guard lock(mutex_);
  ++failure_count_;
  if (failure.cause == FailureCause::damaged ||
      failure.cause == FailureCause::differs) {
    ++damage_count_;
  }
  if (failures_.size() < RestoreReport::kMaxFailures) {
    failures_.push_back(std::move(failure));
  }
}

RestoreReport RestoreTally::report() const {
  RestoreReport report;
  report.files = files;
  report.hard_links = hard_links;
  report.folders = folders;
  report.symlinks = symlinks;
  report.others = others;
  report.kept = kept;
  report.files_read_back = files_read_back;
  report.bytes_written = bytes_written;
  report.bytes_unchanged = bytes_unchanged;
  const std::lock_guard lock(mutex_);
  report.failures = failures_;
  std::ranges::sort(report.failures, {}, &RestoreFailure::path);
  report.failure_count = failure_count_;
  report.damage_count = damage_count_;
  return report;
}

}  // namespace cairn::ingest
