// A storage that tells of reads and writes before they happen: to make it slow,
// to let one kind of object fail, or to do something at that very moment.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "repo/storage.h"

namespace cairn::testing_support {

// Ownership      borrows `inner`.
// Threads        all members from many threads, as far as the functions are.
class ObservedStorage : public repo::Storage {
 public:
  explicit ObservedStorage(repo::Storage& inner) : inner_(inner) {}

  // Called with the name that create, publish or remove was given, or get.
  // What they throw, the call throws.
  std::function<void(std::string_view name)> before_write;
  std::function<void(std::string_view name)> before_read;

  repo::Created create(std::string_view name,
                       std::span<const std::byte> bytes) override {
    tell(name);
    return inner_.create(name, bytes);
  }
  std::unique_ptr<repo::StagedObject> stage() override {
    return std::make_unique<Staged>(*this, inner_.stage());
  }
  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override {
    if (before_read) before_read(name);
    inner_.get(name, offset, out);
  }
  std::optional<std::uint64_t> size(std::string_view name) const override {
    return inner_.size(name);
  }
  void list(std::string_view folder,
            const std::function<void(const repo::ListedObject&)>& visit)
      const override {
    inner_.list(folder, visit);
  }
  void remove(std::string_view name) override {
    tell(name);
    inner_.remove(name);
  }
  void remove_unfinished() override { inner_.remove_unfinished(); }
  std::string description() const override { return inner_.description(); }

 private:
  class Staged final : public repo::StagedObject {
   public:
    Staged(ObservedStorage& storage, std::unique_ptr<repo::StagedObject> inner)
        : storage_(storage), inner_(std::move(inner)) {}
    void append(std::span<const std::byte> bytes) override {
      inner_->append(bytes);
    }
    repo::Created publish(std::string_view name) override {
      storage_.tell(name);
      return inner_->publish(name);
    }

   private:
    ObservedStorage& storage_;
    std::unique_ptr<repo::StagedObject> inner_;
  };

  void tell(std::string_view name) const {
    if (before_write) before_write(name);
  }

  repo::Storage& inner_;
};

}  // namespace cairn::testing_support
