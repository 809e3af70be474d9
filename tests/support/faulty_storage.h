// A storage that fails where a test tells it to.
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <mutex>
#include <vector>

#include "repo/storage.h"

namespace cairn::testing_support {

enum class Call {
  create,
  stage,
  append,
  publish,
  get,
  size,
  list,
  remove,
  remove_unfinished,
};

// Whether the call that fails has done its work all the same: what an
// AmbiguousError leaves open.
enum class Effect { absent, present };

// Whether the calls after it fail too, as those to a full disk do.
enum class Lasts { once, from_then_on };

struct Fault {
  Call call;
  std::size_t nth = 1;       // 1: the next call of this kind
  std::exception_ptr error;  // what it throws
  Effect effect = Effect::absent;
  Lasts lasts = Lasts::once;
};

//   FaultyStorage storage{disk};
//   storage.fail(Call::publish, 3, repo::OutOfSpace("disk full"));
//
// Ownership      borrows `inner`.
// Threads        all members from many threads.
class FaultyStorage : public repo::Storage {
 public:
  explicit FaultyStorage(repo::Storage& inner);

  void add(Fault fault);

  // The usual case: the nth call from now on fails once, without effect.
  template <typename Error>
  void fail(Call call, std::size_t nth, Error error) {
    add({.call = call,
         .nth = nth,
         .error = std::make_exception_ptr(std::move(error))});
  }

  // How often a kind was called, failed calls included.
  [[nodiscard]] std::size_t count(Call call) const;

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

  // Runs `inner_call` or throws what a fault demands, or both.
  template <typename InnerCall>
  auto perform(Call call, InnerCall inner_call) const;

  struct Demand {
    std::exception_ptr error;  // null: none
    Effect effect = Effect::absent;
  };
  [[nodiscard]] Demand count_and_look_up(Call call) const;

  repo::Storage& inner_;
  mutable std::mutex mutex_;  // guards the members below
  std::vector<Fault> faults_;
  mutable std::array<std::size_t, 9> counts_{};  // by Call
};

}  // namespace cairn::testing_support
