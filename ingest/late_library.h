// A shared library that is loaded when it is first needed: every run of any
// command would pay for what few of them use (docs/decisions/0029, 0043).
#pragma once

#include <string>

namespace cairn::ingest {

// Ownership      it stays loaded to the program's end.
// Threads        const members from many threads.
// Failure        ProducerFailed.
class LateLibrary {
 public:
  // `name` as "libpq.so.5". Where it cannot be loaded, `otherwise` says which
  // one it is, and what to install.
  LateLibrary(std::string name, const std::string& otherwise);

  // What it calls so, as a pointer to whatever function that is taken for.
  class Symbol {
   public:
    explicit Symbol(void* address) : address_(address) {}
    template <typename Function>
    operator Function*() const {
      return reinterpret_cast<Function*>(address_);
    }

   private:
    void* address_;
  };
  [[nodiscard]] Symbol find(const char* symbol) const;

 private:
  std::string name_;
  void* library_;
};

}  // namespace cairn::ingest
