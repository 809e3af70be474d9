#include "repo/scratch_array.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>

namespace cairn::repo {
namespace {

// Segment k begins at kFirst * (2^k - 1) and is kFirst * 2^k long.
struct Place {
  std::size_t segment;
  std::uint64_t offset;  // within it
};

constexpr std::uint64_t size_of(std::size_t segment) {
  return ScratchBytes::kFirstSegmentBytes << segment;
}

constexpr std::uint64_t begin_of(std::size_t segment) {
  return size_of(segment) - ScratchBytes::kFirstSegmentBytes;
}

constexpr Place place_of(std::uint64_t offset) {
  const std::uint64_t steps = offset / ScratchBytes::kFirstSegmentBytes + 1;
  const auto segment = static_cast<std::size_t>(std::bit_width(steps) - 1);
  return {segment, offset - begin_of(segment)};
}

// A file without a name; -1 where there can be none.
int open_nameless(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string pattern = folder / "scratch-XXXXXX";
  const int named = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(pattern.c_str());
  return named;
}

}  // namespace

ScratchBytes::ScratchBytes(const std::filesystem::path& folder)
    : fd_(open_nameless(folder)) {}

ScratchBytes::ScratchBytes(ScratchBytes&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      segments_(std::exchange(other.segments_, {})) {}

ScratchBytes::~ScratchBytes() {
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    ::munmap(segments_[i], size_of(i));
  }
  if (fd_ >= 0) ::close(fd_);
}

void ScratchBytes::reserve(std::uint64_t size) {
  while (begin_of(segments_.size()) < size) add_segment();
}

std::byte* ScratchBytes::at(std::uint64_t offset) const {
  const Place place = place_of(offset);
  return segments_[place.segment] + place.offset;
}

void ScratchBytes::add_segment() {
  const std::size_t segment = segments_.size();
  const auto begin = static_cast<off_t>(begin_of(segment));
  const auto size = static_cast<off_t>(size_of(segment));
  segments_.reserve(segment + 1);
  void* mapped = MAP_FAILED;
  if (fd_ >= 0 && ::posix_fallocate(fd_, begin, size) == 0) {
    mapped = ::mmap(nullptr, size_of(segment), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd_, begin);
  }
  if (mapped == MAP_FAILED) {
    mapped = ::mmap(nullptr, size_of(segment), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  segments_.push_back(static_cast<std::byte*>(mapped));
}

}  // namespace cairn::repo
