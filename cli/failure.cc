#include "cli/failure.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <new>
#include <stdexcept>

#include "cli/hook.h"
#include "cli/interrupt.h"
#include "ingest/byte_stream.h"
#include "ingest/recovery_server.h"
#include "repo/config.h"
#include "repo/error.h"
#include "repo/repository.h"

namespace cairn::cli {
namespace {

// What to do next, unless the message says so already.
std::string with_advice(const repo::CorruptionError& e) {
  const std::string what = e.what();
  if (what.find(';') != std::string::npos) return what;
  if (what.starts_with("index/")) {
    return what + "; 'cairn repair index' makes the index anew from the packs";
  }
  return what +
         "; 'cairn check' says what is hurt, and a second copy of the "
         "repository may have it whole";
}

// Of the disk under a repository that is at work, and no other one.
std::string with_advice(const repo::OutOfSpace& e,
                        const std::optional<std::string>& place) {
  const std::string what = e.what();
  constexpr std::array kFolders = {"packs/",    "index/", "snapshots/",
                                   "sessions/", "marks/", "new object"};
  const bool is_object = std::ranges::any_of(
      kFolders, [&](const char* folder) { return what.starts_with(folder); });
  std::error_code error;
  const auto has = [&](std::string_view name) {
    return place &&
           std::filesystem::exists(std::filesystem::path(*place) / name, error);
  };
  if (!is_object || !has(repo::kConfigName)) return what;
  const std::string full =
      what + "; the disk of " + *place + " is full: what was saved is whole, ";
  if (has(repo::kReserveName)) {
    return full +
           "and 'cairn forget' and 'cairn prune' still work, by the megabyte "
           "that is kept for them";
  }
  return full +
         "and the megabyte that is kept for 'cairn forget' and 'cairn prune' "
         "is spent: free some elsewhere on it for them";
}

ExitCode code_of_signal() {
  switch (Interrupt::received().value_or(SIGINT)) {
    case SIGHUP:
      return ExitCode::hung_up;
    case SIGTERM:
      return ExitCode::terminated;
    default:
      return ExitCode::interrupted;
  }
}

template <typename Kind>
bool is(const std::exception& error) {
  return dynamic_cast<const Kind*>(&error) != nullptr;
}

// Kinds before what they are kinds of.
ExitCode code_of(const std::exception& error) {
  if (is<std::invalid_argument>(error)) return ExitCode::usage;
  if (is<repo::CorruptionError>(error)) return ExitCode::damage;
  if (is<repo::UnsupportedFormat>(error)) return ExitCode::refused;
  if (is<repo::RefusedForSafety>(error)) return ExitCode::refused;
  if (is<repo::OutOfSpace>(error)) return ExitCode::out_of_space;
  if (is<repo::StorageUnreachable>(error)) return ExitCode::unreachable;
  if (is<repo::AmbiguousError>(error)) return ExitCode::unreachable;
  if (is<repo::NoRepository>(error)) return ExitCode::no_repository;
  if (is<repo::WrongKey>(error)) return ExitCode::wrong_key;
  if (is<repo::LockedError>(error)) return ExitCode::locked;
  if (is<ingest::ProducerFailed>(error)) return ExitCode::source_failed;
  if (is<ingest::VerificationFailed>(error)) return ExitCode::drill_failed;
  if (is<HookFailed>(error)) return ExitCode::hook_failed;
  if (is<repo::Cancelled>(error)) return code_of_signal();
  return ExitCode::failed;
}

}  // namespace

Failure failure_of(const std::exception& error,
                   const std::optional<std::string>& repository) {
  Failure failure{code_of(error), error.what()};
  if (const auto* const e =
          dynamic_cast<const repo::CorruptionError*>(&error)) {
    failure.message = with_advice(*e);
  } else if (const auto* const full =
                 dynamic_cast<const repo::OutOfSpace*>(&error)) {
    failure.message = with_advice(*full, repository);
  } else if (is<std::bad_alloc>(error)) {
    failure.message = "out of memory";
  }
  return failure;
}

}  // namespace cairn::cli
