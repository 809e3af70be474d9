// A repository in a folder of this machine (or of a mounted file system).
//
// An object is written to tmp/<random>, synced, linked to its name (which is
// where `exists` is decided), and its folder synced; the temporary name goes
// last. The order makes a name whole and durable whatever the moment of a power
// cut; what can remain is an unfinished file in tmp/.
#pragma once

#include <filesystem>
#include <memory>

#include "repo/storage.h"

namespace cairn::repo {

class LocalStorage : public Storage {
 public:
  // Opens the folder, which must exist (NoRepository otherwise). It is held by
  // descriptor: when a mount vanishes under it, calls fail with
  // StorageUnreachable instead of writing into the mount point.
  static std::unique_ptr<LocalStorage> open(const std::filesystem::path& root);

  // Creates the folder where it is absent (0700). Throws RefusedForSafety when
  // it exists and is not empty.
  static std::unique_ptr<LocalStorage> create_folder(
      const std::filesystem::path& root);

  ~LocalStorage() override;

  Created create(std::string_view name,
                 std::span<const std::byte> bytes) override;
  std::unique_ptr<StagedObject> stage() override;
  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override;
  std::optional<std::uint64_t> size(std::string_view name) const override;
  void list(
      std::string_view folder,
      const std::function<void(const ListedObject&)>& visit) const override;
  void remove(std::string_view name) override;
  void remove_unfinished() override;
  std::string description() const override;
  std::string place() const override;

 private:
  struct State;
  explicit LocalStorage(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // shared with the StagedObjects it handed out
};

}  // namespace cairn::repo
