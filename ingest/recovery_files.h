// What turns a restored base backup into a server that will recover to a
// moment by itself once it is started: WAL, settings and a signal.
//
//   DIR/cairn_wal/000000010000000000000007   segments, the last one padded
//                /00000002.history
//      /recovery.signal
//      /postgresql.auto.conf                 restore_command and the target
//
// restore_command copies from cairn_wal, relative to the data directory, which
// may therefore be moved, and needs neither repository nor key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/recovery_plan.h"
#include "ingest/recovery_wal.h"
#include "repo/progress.h"

namespace cairn::ingest {

// The folder in the data directory.
inline constexpr std::string_view kRecoveryWalFolder = "cairn_wal";

// How the server gets WAL from there.
[[nodiscard]] std::string copying_restore_command();

// `words` as one command for /bin/sh in which a server replaces %f and %p, that
// are to be its last two words. Throws repo::RefusedForSafety for a word that
// cannot stand in a line of settings.
[[nodiscard]] std::string fetching_restore_command(
    const std::vector<std::string>& words);

struct RecoveryWalFiles {
  std::uint64_t segments = 0;
  std::uint64_t histories = 0;
  std::uint64_t bytes = 0;  // of files, padding included
};

// How much write_recovery_wal() would write.
[[nodiscard]] RecoveryWalFiles count_recovery_wal(const RecoveryPlan& plan);

// Makes `folder`, into which plan.base was restored whole, refuse to start for
// want of settings, until write_recovery_settings() has been called. The server
// of a standby's base backup is no standby any more.
//
// These three: files belong to whom PG_VERSION belongs to, as far as we may
// say. Throws repo::IoError, OutOfSpace.
void write_recovery_signal(const std::filesystem::path& folder);

// What the server needs beside the WAL in the base backup, durably; and the
// history files of all timelines, so that it begins one that none has. What is
// in the folder already is removed: it came with the base. Throws also as
// RecoveryWal.
RecoveryWalFiles write_recovery_wal(RecoveryWal& wal, const RecoveryPlan& plan,
                                    const std::filesystem::path& folder,
                                    repo::Progress& progress,
                                    const std::stop_token& stop);

void write_recovery_settings(const RecoveryPlan& plan,
                             const std::string& restore_command,
                             const std::filesystem::path& folder);

// Settings of the live server in `folder` that make the recovered one do things
// to others, in words.
[[nodiscard]] std::vector<std::string> settings_that_reach_out(
    const std::filesystem::path& folder);

}  // namespace cairn::ingest
