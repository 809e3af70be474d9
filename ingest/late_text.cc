#include "ingest/late_text.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace cairn::ingest {
namespace {

class LateText : public ByteStream {
 public:
  explicit LateText(MakeText make) : make_(std::move(make)) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    if (make_) text_ = std::exchange(make_, nullptr)(stop);
    const std::size_t size = std::min(out.size(), text_.size() - at_);
    std::ranges::copy(std::as_bytes(std::span(text_)).subspan(at_, size),
                      out.begin());
    at_ += size;
    return size;
  }
  void finish(std::stop_token) override {}

 private:
  MakeText make_;
  std::string text_;
  std::size_t at_ = 0;
};

}  // namespace

std::unique_ptr<ByteStream> late_text(MakeText make) {
  return std::make_unique<LateText>(std::move(make));
}

}  // namespace cairn::ingest
