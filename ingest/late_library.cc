#include "ingest/late_library.h"

#include <dlfcn.h>

#include <utility>

#include "ingest/byte_stream.h"

namespace cairn::ingest {

LateLibrary::LateLibrary(std::string name, const std::string& otherwise)
    : name_(std::move(name)),
      library_(::dlopen(name_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (library_ != nullptr) return;
  throw ProducerFailed(otherwise + ", or what holds " + name_ + ": " +
                       std::string(::dlerror()));
}

LateLibrary::Symbol LateLibrary::find(const char* symbol) const {
  void* const address = ::dlsym(library_, symbol);
  if (address == nullptr) {
    throw ProducerFailed(name_ + " lacks " + std::string(symbol));
  }
  return Symbol(address);
}

}  // namespace cairn::ingest
