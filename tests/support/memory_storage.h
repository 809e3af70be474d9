// A repository in memory, and ways to damage it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "repo/storage.h"

namespace cairn::testing_support {

// Keeps the promises of Storage. A copy has the same objects and then goes its
// own way, so that a test can try many things from one beginning.
//
// Threads        all members from many threads.
class MemoryStorage : public repo::Storage {
 public:
  MemoryStorage();
  MemoryStorage(const MemoryStorage& other);
  MemoryStorage& operator=(const MemoryStorage& other);

  repo::Created create(std::string_view name,
                       std::span<const std::byte> bytes) override;
  std::unique_ptr<repo::StagedObject> stage() override;
  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override;
  std::optional<std::uint64_t> size(std::string_view name) const override;
  void list(std::string_view folder,
            const std::function<void(const repo::ListedObject&)>& visit)
      const override;
  void remove(std::string_view name) override;
  void remove_unfinished() override;
  std::string description() const override;

  // What happens to stored bytes without anybody asking. Each requires that
  // the object exists and is long enough.
  void flip_bit(std::string_view name, std::uint64_t offset, unsigned bit);
  void truncate(std::string_view name, std::uint64_t size);
  void replace(std::string_view name, std::span<const std::byte> bytes);

 private:
  // Never changed once it is stored; copies of a storage share it.
  using Object = std::shared_ptr<const std::vector<std::byte>>;

  struct Objects {
    std::mutex mutex;  // guards by_name
    std::map<std::string, Object, std::less<>> by_name;
  };
  class Staged;

  [[nodiscard]] Object find(std::string_view name) const;
  [[nodiscard]] std::vector<std::byte> existing(std::string_view name) const;
  static repo::Created add(Objects& objects, std::string_view name,
                           std::vector<std::byte> bytes);

  std::shared_ptr<Objects> objects_;  // shared with the StagedObjects
};

}  // namespace cairn::testing_support
