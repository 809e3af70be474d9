// Standard input, output and error of a process that was started without them.
#pragma once

namespace cairn::cli {

// Fills their places, so that no file of a repository gets one of these numbers
// and then messages, or a command's output, written into it. What is put there
// refuses to be read or written, because an empty input would be backed up and
// a lost output be taken for success. Call it first.
void fill_missing_streams() noexcept;

}  // namespace cairn::cli
