// A Redis server as a source of a job: in a folder that is called as it,
//
//   dump.rdb        the dump, by replication
//   keys.json       what is in it (redis_keys_document.h)
//   appendonlydir/  its append-only files, if the configuration names them
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "ingest/backup.h"
#include "ingest/redis_dump.h"

namespace cairn::cli {

// Ownership      borrows the configuration and the context.
// Threads        one thread; while the sources are backed up, none but those
//                that read them.
class RedisSource {
 public:
  RedisSource(std::string name, const config::Redis& wanted, Context& context);

  // Adds to `opened` what is read by the lane, once. The server is asked when
  // its turn comes, but append-only files are opened now. What is wrong becomes
  // what reading says.
  void open(unsigned lane, std::vector<ingest::Source>& opened);

  // What whoever restores should know; complete once all was backed up.
  [[nodiscard]] std::vector<std::string> notes() const;

  // Asks the server, and looks into the folder. Throws ingest::ProducerFailed
  // when there would be no dump.
  struct Outlook {
    // "redis 7.0.15, 1,234 keys, 5.2 MiB of memory": how large the dump will
    // be, none of its numbers says.
    std::string what;
    std::optional<std::string> problem;  // with its append-only files
  };
  [[nodiscard]] Outlook outlook(const std::stop_token& stop) const;

  // Where the server is, if anybody listens there; it is told nothing.
  [[nodiscard]] std::optional<std::string> place_if_it_answers(
      const std::stop_token& stop) const;

 private:
  [[nodiscard]] ingest::RedisAddress address() const;
  [[nodiscard]] ingest::RedisServer server() const;
  void open_dump(unsigned lane, std::vector<ingest::Source>& opened);
  void open_aof(unsigned lane, std::vector<ingest::Source>& opened);
  [[nodiscard]] std::optional<std::string> note_of_stale_aof() const;
  [[nodiscard]] ingest::KnownRedisNames names() const;

  std::string name_;
  const config::Redis& wanted_;
  Context& context_;
  std::unique_ptr<ingest::RedisDump> dump_;
  std::optional<repo::Timestamp> aof_written_;  // last, if they were opened
  ingest::KnownRedisNames found_;               // with them
};

}  // namespace cairn::cli
