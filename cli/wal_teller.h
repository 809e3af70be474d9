// Words on a screen about WAL that comes in and is stored.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "cli/context.h"
#include "cli/json.h"
#include "ingest/wal_drain.h"

namespace cairn::cli {

// Threads        as WalEvents; sum_up() once the others are done.
class WalTeller : public ingest::WalEvents {
 public:
  // Borrows the context.
  WalTeller(Context& context, std::string series);

  void receiving(const ingest::WalStart& start) override;
  void flushed(const ingest::WalFlush& flush) override;
  void gap(const ingest::WalGap& gap) override;
  void note(const std::string& text) override;
  void warning(const std::string& text) override;

  void sum_up();

 private:
  // Whoever follows reads each line when it is written.
  void print(const Json& json);

  Context& context_;
  const std::string series_;
  std::mutex mutex_;  // guards standard output and the sums
  std::uint64_t flushes_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t bytes_stored_ = 0;
};

}  // namespace cairn::cli
