// Where a repository keeps its objects: a set of names, each written once.
//
// What every implementation promises, and tests/support/storage_contract.h
// checks:
//   whole     a name is absent or complete, to every observer, at any moment
//   durable   once create() or publish() has returned, the object survives a
//             power cut
//   fixed     an existing name is never replaced; the answer is `exists`
//   shared    all members may be called from several threads at once
//
// Names are relative paths of the characters a-z 0-9 . _ - with "/" between
// components, none of which is "." or "..".
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/memory_sum.h"

namespace cairn::repo {

enum class [[nodiscard]] Created{created, exists};

// An object that is written front to back and named only when it is complete,
// because its name depends on its bytes.
//
// Threads        one thread at a time.
// Failure        IoError, OutOfSpace. An error of a write or a sync is final:
//                the object is spent and may only be destroyed.
// Abandonment    destroyed before publish(), it leaves nothing behind.
class StagedObject {
 public:
  virtual ~StagedObject() = default;

  virtual void append(std::span<const std::byte> bytes) = 0;

  // What all that was appended sums up to, as taken before: publish() throws
  // CorruptionError when something else was written, as far as it can tell.
  virtual void expect(const MemorySum& sum) { (void)sum; }

  // Makes it durable, then visible under `name`. Throws AmbiguousError when it
  // cannot tell whether that happened.
  virtual Created publish(std::string_view name) = 0;
};

struct ListedObject {
  std::string name;        // whole, from the repository's root
  std::uint64_t size = 0;  // bytes
};

class Storage {
 public:
  virtual ~Storage() = default;

  // Throws AmbiguousError when it cannot tell (a connection lost after
  // sending); the caller then reads the name to find out.
  virtual Created create(std::string_view name,
                         std::span<const std::byte> bytes) = 0;

  [[nodiscard]] virtual std::unique_ptr<StagedObject> stage() = 0;

  // Fills `out` from `offset`. Throws CorruptionError when the object is
  // shorter, since a published object never shrinks on its own, and NotFound
  // when there is no such name.
  virtual void get(std::string_view name, std::uint64_t offset,
                   std::span<std::byte> out) const = 0;

  // Nothing: no such name.
  [[nodiscard]] virtual std::optional<std::uint64_t> size(
      std::string_view name) const = 0;

  // Calls `visit` once per object whose name begins with `folder` + "/" (with
  // "" all), in no particular order, on the calling thread. A folder that does
  // not exist is empty. Unfinished objects are not listed.
  virtual void list(
      std::string_view folder,
      const std::function<void(const ListedObject&)>& visit) const = 0;

  // Removing an absent name is not an error, so that an interrupted prune is
  // finished by running it again.
  virtual void remove(std::string_view name) = 0;

  // Removes what crashed processes left unfinished. What others are staging at
  // this moment stays, as far as the storage can tell: a pack in particular is
  // only safe while no other writer lives (prune knows).
  virtual void remove_unfinished() = 0;

  // For messages: the path or URL a user would recognise.
  [[nodiscard]] virtual std::string description() const = 0;

  // Differs between copies of one repository as far as that can be told, and is
  // the same from run to run: a host remembers by it what it saw where.
  [[nodiscard]] virtual std::string place() const { return description(); }
};

// The whole object. Throws NotFound; CorruptionError when it is larger than
// `limit`, which bounds what a hostile storage can make us allocate.
[[nodiscard]] std::vector<std::byte> get_whole(const Storage& storage,
                                               std::string_view name,
                                               std::uint64_t limit);

}  // namespace cairn::repo
