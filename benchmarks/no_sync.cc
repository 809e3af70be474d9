// Preloaded into a program, makes it wait for no disk: what a program gains by
// that is what its syncing costs (benchmarks/durability). For measuring alone.
#include <fcntl.h>
#include <unistd.h>

extern "C" {

int fsync(int /*fd*/) { return 0; }
int fdatasync(int /*fd*/) { return 0; }
int syncfs(int /*fd*/) noexcept { return 0; }
int sync_file_range(int /*fd*/, off64_t /*offset*/, off64_t /*size*/,
                    unsigned /*flags*/) {
  return 0;
}
// Before it reads back what it wrote, a program drops it from the memory of the
// system, so that the disk has to say it.
int posix_fadvise(int /*fd*/, off_t /*offset*/, off_t /*size*/,
                  int /*advice*/) noexcept {
  return 0;
}

}  // extern "C"
