// How an entry gets its name in a folder where something may have it already.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "ingest/target_tree.h"
#include "ingest/unique_fd.h"
#include "repo/entry.h"

namespace cairn::ingest {

// Whether a file can be made without a name, and get one when it is whole. Such
// a one is gone by itself with a process that is killed, and costs less than a
// name more.
enum class UnnamedFiles { no, yes };

struct Spot {
  int folder;
  const repo::Entry& entry;
  std::string path;  // of the entry, for messages
  Overwrite overwrite;
  // Nothing: to be tried where a file is made, which changes the folder anyway.
  std::optional<UnnamedFiles>& unnamed_files;
};

struct PlacedFolder {
  UniqueFd fd;
  bool is_new = false;
};

// Nothing: what is there is no folder and stays.
[[nodiscard]] std::optional<PlacedFolder> place_folder(const Spot& spot);

struct PlacedFile {
  enum class Place {
    free,      // a new one, which replaces nothing when it gets its name
    taken,     // a new one, which replaces what has its name by then
    compared,  // an existing file, which stays if it holds what it should
    kept,      // an existing file, to be read only
  };
  UniqueFd fd;
  Place place = Place::free;
  std::string temporary_name;  // of a new one, until give_name(), if any

  [[nodiscard]] bool is_new() const noexcept {
    return place == Place::free || place == Place::taken;
  }
};

// Nothing: what is there stays.
[[nodiscard]] std::optional<PlacedFile> place_file(const Spot& spot);

// A new file beside the one that is there, if there is one, under a temporary
// name.
[[nodiscard]] PlacedFile place_beside(const Spot& spot);

// Gives a new file, which is whole, the name of its entry in the folder it is
// in. 0 or an errno: EEXIST where the place was free, and is no longer.
[[nodiscard]] int give_name(int folder, const PlacedFile& file,
                            const std::string& name);

// Removes the files with temporary names whose process is certainly gone: none
// but ourselves has its number, and nobody holds the file locked. In a
// container each process may have had ours.
void sweep_temporary_files(int folder);

// A regular file with several names, of which some may lie outside the target:
// it can be replaced, but never changed. Nothing: no such file is there, or it
// differs from the entry in more than its content.
[[nodiscard]] std::optional<PlacedFile> find_linked_file(const Spot& spot);

// For what is whole at once, such as a symlink: calls `make` with the entry's
// name, or with a temporary one that is then renamed. `make` and this return 0
// or an errno; 0 also where what is there stays.
[[nodiscard]] int place_by(const Spot& spot,
                           const std::function<int(const char*)>& make);

}  // namespace cairn::ingest
