// The failures a caller can meet. Each kind has one exit code (cli/exit_code.h)
// and one piece of advice; the message says which object, what is wrong, where.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace cairn::repo {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Stored bytes are not what was written. Run `check`; fetch another copy.
struct CorruptionError : Error {
  using Error::Error;
};

// The object was written by a newer program: a kind, codec or draft that this
// one does not know. Nothing is damaged; nothing may be deleted because of it.
struct UnsupportedFormat : Error {
  using Error::Error;
};

// It was sealed with later keys than those in hand: they were renewed since, or
// are lost (repo/generation_object.h tells which).
struct MissingKeys : UnsupportedFormat {
  using UnsupportedFormat::UnsupportedFormat;
};

// The system refused: permission denied, a bad disk. A later retry may succeed.
struct IoError : Error {
  using Error::Error;
};

struct OutOfSpace : IoError {
  using IoError::IoError;
};

// What a call to the system failed with, as the kind that it is.
[[noreturn]] inline void throw_system_error(const std::string& what,
                                            int error) {
  const std::string text = what + ": " + std::generic_category().message(error);
  if (error == ENOSPC || error == EDQUOT) throw OutOfSpace(text);
  throw IoError(text);
}

// The storage cannot be reached, or what lies there is not the repository that
// this process opened (a mount that vanished).
struct StorageUnreachable : IoError {
  using IoError::IoError;
};

// A create may or may not have happened; read the name to find out.
struct AmbiguousError : IoError {
  using IoError::IoError;
};

struct NoRepository : Error {
  using Error::Error;
};

struct WrongKey : Error {
  using Error::Error;
};

// Another session is in the way, or this one was fenced off.
struct LockedError : Error {
  using Error::Error;
};

// Done only when asked for more explicitly.
struct RefusedForSafety : Error {
  using Error::Error;
};

// No such snapshot or path, or more than one that matches.
struct NotFound : Error {
  using Error::Error;
};

// The caller asked to stop.
struct Cancelled : Error {
  using Error::Error;
};

}  // namespace cairn::repo
