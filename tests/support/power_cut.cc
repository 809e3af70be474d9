#include "tests/support/power_cut.h"

#include <utility>

#include "repo/error.h"

namespace cairn::testing_support {

namespace {

[[noreturn]] void go_dark() { throw repo::IoError("power cut"); }

}  // namespace

PowerCut::PowerCut(repo::Storage& inner, std::size_t writes_allowed,
                   CutFalls falls)
    : inner_(inner), falls_(falls), writes_left_(writes_allowed) {}

bool PowerCut::has_happened() const {
  std::lock_guard lock(mutex_);
  return happened_;
}

void PowerCut::need_power() const {
  if (has_happened()) go_dark();
}

bool PowerCut::hits_this_write() {
  std::lock_guard lock(mutex_);
  if (happened_) go_dark();
  happened_ = writes_left_ == 0;
  if (!happened_) --writes_left_;
  return happened_;
}

template <typename Write>
auto PowerCut::write(Write inner_write) {
  if (!hits_this_write()) return inner_write();
  if (falls_ == CutFalls::after_effect) (void)inner_write();
  go_dark();
}

class PowerCut::Staged final : public repo::StagedObject {
 public:
  Staged(PowerCut& power, std::unique_ptr<repo::StagedObject> inner)
      : power_(power), inner_(std::move(inner)) {}

  void append(std::span<const std::byte> bytes) override {
    power_.need_power();
    inner_->append(bytes);
  }

  repo::Created publish(std::string_view name) override {
    return power_.write([&] { return inner_->publish(name); });
  }

 private:
  PowerCut& power_;
  std::unique_ptr<repo::StagedObject> inner_;
};

repo::Created PowerCut::create(std::string_view name,
                               std::span<const std::byte> bytes) {
  return write([&] { return inner_.create(name, bytes); });
}

std::unique_ptr<repo::StagedObject> PowerCut::stage() {
  need_power();
  return std::make_unique<Staged>(*this, inner_.stage());
}

void PowerCut::get(std::string_view name, std::uint64_t offset,
                   std::span<std::byte> out) const {
  need_power();
  inner_.get(name, offset, out);
}

std::optional<std::uint64_t> PowerCut::size(std::string_view name) const {
  need_power();
  return inner_.size(name);
}

void PowerCut::list(
    std::string_view folder,
    const std::function<void(const repo::ListedObject&)>& visit) const {
  need_power();
  inner_.list(folder, visit);
}

void PowerCut::remove(std::string_view name) {
  write([&] { inner_.remove(name); });
}

void PowerCut::remove_unfinished() {
  need_power();
  inner_.remove_unfinished();
}

std::string PowerCut::description() const { return inner_.description(); }

}  // namespace cairn::testing_support
