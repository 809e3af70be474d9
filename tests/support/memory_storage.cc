#include "tests/support/memory_storage.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "repo/error.h"

namespace cairn::testing_support {

namespace {

// The same demand that a folder makes, so that a bad name fails in every test.
bool is_object_name(std::string_view name) {
  const bool plain = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
  });
  return plain && !name.empty() && name.front() != '/' && name.back() != '/' &&
         name.front() != '.' && name.find("//") == std::string_view::npos &&
         name.find("/.") == std::string_view::npos && name != "tmp" &&
         !name.starts_with("tmp/");
}

}  // namespace

class MemoryStorage::Staged final : public repo::StagedObject {
 public:
  explicit Staged(std::shared_ptr<Objects> objects)
      : objects_(std::move(objects)) {}

  void append(std::span<const std::byte> bytes) override {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  repo::Created publish(std::string_view name) override {
    return add(*objects_, name, std::move(bytes_));
  }

 private:
  std::shared_ptr<Objects> objects_;
  std::vector<std::byte> bytes_;
};

MemoryStorage::MemoryStorage() : objects_(std::make_shared<Objects>()) {}

MemoryStorage::MemoryStorage(const MemoryStorage& other) : MemoryStorage() {
  std::lock_guard lock(other.objects_->mutex);
  objects_->by_name = other.objects_->by_name;
}

MemoryStorage& MemoryStorage::operator=(const MemoryStorage& other) {
  objects_ = MemoryStorage(other).objects_;
  return *this;
}

repo::Created MemoryStorage::create(std::string_view name,
                                    std::span<const std::byte> bytes) {
  return add(*objects_, name, {bytes.begin(), bytes.end()});
}

std::unique_ptr<repo::StagedObject> MemoryStorage::stage() {
  return std::make_unique<Staged>(objects_);
}

void MemoryStorage::get(std::string_view name, std::uint64_t offset,
                        std::span<std::byte> out) const {
  const Object object = find(name);
  if (!object) throw repo::NotFound(std::string(name) + ": no such object");
  if (offset > object->size() || out.size() > object->size() - offset) {
    throw repo::CorruptionError(std::string(name) + ": is " +
                                std::to_string(object->size()) +
                                " bytes long, expected at least " +
                                std::to_string(offset + out.size()));
  }
  if (!out.empty()) {
    std::memcpy(out.data(), object->data() + offset, out.size());
  }
}

std::optional<std::uint64_t> MemoryStorage::size(std::string_view name) const {
  const Object object = find(name);
  if (!object) return std::nullopt;
  return object->size();
}

void MemoryStorage::list(
    std::string_view folder,
    const std::function<void(const repo::ListedObject&)>& visit) const {
  assert(folder.empty() || is_object_name(folder));
  const std::string prefix = folder.empty() ? "" : std::string(folder) + "/";
  std::vector<repo::ListedObject> found;
  {
    std::lock_guard lock(objects_->mutex);
    for (auto it = objects_->by_name.lower_bound(prefix);
         it != objects_->by_name.end() && it->first.starts_with(prefix); ++it) {
      found.push_back({it->first, it->second->size()});
    }
  }
  for (const auto& object : found) visit(object);  // may call us
}

void MemoryStorage::remove(std::string_view name) {
  assert(is_object_name(name));
  std::lock_guard lock(objects_->mutex);
  const auto it = objects_->by_name.find(name);
  if (it != objects_->by_name.end()) objects_->by_name.erase(it);
}

void MemoryStorage::remove_unfinished() {}  // they die with their owners

std::string MemoryStorage::description() const { return "memory"; }

void MemoryStorage::flip_bit(std::string_view name, std::uint64_t offset,
                             unsigned bit) {
  assert(bit < 8);
  auto bytes = existing(name);
  bytes.at(offset) ^= std::byte{1} << bit;
  replace(name, bytes);
}

void MemoryStorage::truncate(std::string_view name, std::uint64_t size) {
  auto bytes = existing(name);
  assert(size <= bytes.size());
  bytes.resize(size);
  replace(name, bytes);
}

void MemoryStorage::replace(std::string_view name,
                            std::span<const std::byte> bytes) {
  std::lock_guard lock(objects_->mutex);
  const auto it = objects_->by_name.find(name);
  assert(it != objects_->by_name.end());
  it->second = std::make_shared<const std::vector<std::byte>>(bytes.begin(),
                                                              bytes.end());
}

MemoryStorage::Object MemoryStorage::find(std::string_view name) const {
  assert(is_object_name(name));
  std::lock_guard lock(objects_->mutex);
  const auto it = objects_->by_name.find(name);
  return it == objects_->by_name.end() ? nullptr : it->second;
}

std::vector<std::byte> MemoryStorage::existing(std::string_view name) const {
  const Object object = find(name);
  assert(object);
  return *object;
}

repo::Created MemoryStorage::add(Objects& objects, std::string_view name,
                                 std::vector<std::byte> bytes) {
  assert(is_object_name(name));
  auto object =
      std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  std::lock_guard lock(objects.mutex);
  const bool added =
      objects.by_name.try_emplace(std::string(name), std::move(object)).second;
  return added ? repo::Created::created : repo::Created::exists;
}

}  // namespace cairn::testing_support
