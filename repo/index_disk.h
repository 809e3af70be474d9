// The file system under RocksDB, which tells it of no failed write. As Debian
// builds it, RocksDB asserts that nothing more is done to a file after one,
// does it all the same, and takes the program along. So from the first failure
// on nothing more is written, as after a crash, and whoever uses the database
// asks for the failure. Nor does it open a table that it would stumble over
// (index_table.h).
//
// Threads        all members from many threads.
#pragma once

#include <memory>

namespace rocksdb {
class Env;
}

namespace cairn::repo {

class IndexDisk {
 public:
  IndexDisk();
  ~IndexDisk();
  IndexDisk(IndexDisk&&) noexcept;
  IndexDisk& operator=(IndexDisk&&) noexcept;

  // For one database. Lives as long as this, which has to outlive the database.
  [[nodiscard]] rocksdb::Env& env() const;

  // Throws OutOfSpace or IoError when something could not be written.
  void require_written() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
