#include "tests/support/faulty_storage.h"

#include <cassert>
#include <utility>

namespace cairn::testing_support {

FaultyStorage::FaultyStorage(repo::Storage& inner) : inner_(inner) {}

void FaultyStorage::add(Fault fault) {
  assert(fault.nth >= 1 && fault.error);
  std::lock_guard lock(mutex_);
  fault.nth += counts_.at(static_cast<std::size_t>(fault.call));
  faults_.push_back(std::move(fault));
}

std::size_t FaultyStorage::count(Call call) const {
  std::lock_guard lock(mutex_);
  return counts_.at(static_cast<std::size_t>(call));
}

FaultyStorage::Demand FaultyStorage::count_and_look_up(Call call) const {
  std::lock_guard lock(mutex_);
  const std::size_t number = ++counts_.at(static_cast<std::size_t>(call));
  for (const auto& fault : faults_) {
    if (fault.call != call) continue;
    if (number == fault.nth ||
        (number > fault.nth && fault.lasts == Lasts::from_then_on)) {
      return {fault.error, fault.effect};
    }
  }
  return {};
}

template <typename InnerCall>
auto FaultyStorage::perform(Call call, InnerCall inner_call) const {
  const Demand demand = count_and_look_up(call);
  if (!demand.error) return inner_call();
  if (demand.effect == Effect::present) (void)inner_call();
  std::rethrow_exception(demand.error);
}

class FaultyStorage::Staged final : public repo::StagedObject {
 public:
  Staged(FaultyStorage& storage, std::unique_ptr<repo::StagedObject> inner)
      : storage_(storage), inner_(std::move(inner)) {}

  void append(std::span<const std::byte> bytes) override {
    storage_.perform(Call::append, [&] { inner_->append(bytes); });
  }

  repo::Created publish(std::string_view name) override {
    return storage_.perform(Call::publish,
                            [&] { return inner_->publish(name); });
  }

 private:
  FaultyStorage& storage_;
  std::unique_ptr<repo::StagedObject> inner_;
};

repo::Created FaultyStorage::create(std::string_view name,
                                    std::span<const std::byte> bytes) {
  return perform(Call::create, [&] { return inner_.create(name, bytes); });
}

std::unique_ptr<repo::StagedObject> FaultyStorage::stage() {
  return perform(Call::stage, [&]() -> std::unique_ptr<repo::StagedObject> {
    return std::make_unique<Staged>(*this, inner_.stage());
  });
}

void FaultyStorage::get(std::string_view name, std::uint64_t offset,
                        std::span<std::byte> out) const {
  perform(Call::get, [&] { inner_.get(name, offset, out); });
}

std::optional<std::uint64_t> FaultyStorage::size(std::string_view name) const {
  return perform(Call::size, [&] { return inner_.size(name); });
}

void FaultyStorage::list(
    std::string_view folder,
    const std::function<void(const repo::ListedObject&)>& visit) const {
  perform(Call::list, [&] { inner_.list(folder, visit); });
}

void FaultyStorage::remove(std::string_view name) {
  perform(Call::remove, [&] { inner_.remove(name); });
}

void FaultyStorage::remove_unfinished() {
  perform(Call::remove_unfinished, [&] { inner_.remove_unfinished(); });
}

std::string FaultyStorage::description() const { return inner_.description(); }

}  // namespace cairn::testing_support
