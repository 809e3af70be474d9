// A storage whose power goes out at a chosen write.
#pragma once

#include <cstddef>
#include <mutex>

#include "repo/storage.h"

namespace cairn::testing_support {

// Whether the write that the cut hits has happened. The caller cannot know.
enum class CutFalls { before_effect, after_effect };

// Lets `writes_allowed` writes (create, publish, remove) through to `inner`.
// The next one is hit by the cut; it and every later call throws IoError.
//
// Ownership      borrows `inner`, which then shows what the next process finds.
// Threads        all members from many threads.
class PowerCut : public repo::Storage {
 public:
  PowerCut(repo::Storage& inner, std::size_t writes_allowed,
           CutFalls falls = CutFalls::before_effect);

  [[nodiscard]] bool has_happened() const;

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

 private:
  class Staged;

  void need_power() const;
  [[nodiscard]] bool hits_this_write();

  template <typename Write>
  auto write(Write inner_write);

  repo::Storage& inner_;
  const CutFalls falls_;
  mutable std::mutex mutex_;  // guards the members below
  std::size_t writes_left_;
  bool happened_ = false;
};

}  // namespace cairn::testing_support
