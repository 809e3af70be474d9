// The folder in which a Redis server keeps its data, as a place to restore to:
//
//   dump.rdb                                  what a server without append-only
//                                             files reads when it starts
//   appendonlydir/appendonly.aof.manifest     and one with them: those alone,
//   appendonlydir/appendonly.aof.1.base.rdb   whatever dump.rdb says
//   appendonly.aof                            the same before Redis 7
//
// An RDB that lies there as dump.rdb alone is ignored by a server with
// append-only files, and one that runs writes over it when it ends. So the RDB
// is put in both places (the last where there is one), while no server runs
// there, and what was there is moved aside. All of these names may be other
// ones, and which they are no file here says: what is there, or the saved
// server, does, or else it is refused.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ingest/redis_names.h"
#include "ingest/unique_fd.h"

namespace cairn::ingest {

// Throws repo::RefusedForSafety when a program, whatever its name, works in the
// folder or has a file of its data open, or a Redis server is there of which
// nobody may tell us where it works. Shells, ourselves and who started us may
// work there.
void require_no_redis_in(const std::filesystem::path& folder);

// Whether that could see every program of the machine: not from a container,
// nor where /proc hides those of others.
[[nodiscard]] bool sees_all_programs();

// What the server of the folder calls its data: as they are called that lie
// there; else as `saved` says, which is what the server did that they are of;
// else as by default. Throws repo::RefusedForSafety where files lie there that
// a server might read instead, since its settings are in a file of which we
// know nothing: append-only files that are there several times, or a dump by
// neither the saved name nor the usual one, or beside another.
[[nodiscard]] RedisNames redis_names_in(const std::filesystem::path& folder,
                                        const KnownRedisNames& saved);

// Whether any server has kept data there.
[[nodiscard]] bool has_redis_data(const std::filesystem::path& folder);

// Since Redis 7, and before.
enum class AofLayout { folder, one_file };

// What is restored lies in a folder of its own inside until put_in_place(): it
// is ours alone, though the folder around it belongs to a server's user, who
// may put anything in the place of any name there. So all is done by
// descriptors, and nothing becomes his before it is put in its place.
//
// Threads        one thread at a time.
// Failure        repo::RefusedForSafety, repo::IoError, repo::OutOfSpace.
// Abandonment    destroyed before put_in_place(), it leaves all as it was.
class RedisDataFolder {
 public:
  // Makes the folder if it is not there, as that of the owner of what it is in.
  // Its names are redis_names_in() it.
  explicit RedisDataFolder(std::filesystem::path folder,
                           const KnownRedisNames& saved = {});
  RedisDataFolder(const RedisDataFolder&) = delete;
  RedisDataFolder& operator=(const RedisDataFolder&) = delete;
  ~RedisDataFolder();

  // More of the RDB.
  void write(std::span<const std::byte> bytes);

  // Once that is whole: makes it durable, and the base of append-only files.
  void complete();

  // A copy that a server of the owner's may work in, until the next call or the
  // end. What it changes there changes nothing else.
  [[nodiscard]] std::filesystem::path copy_to_try(AofLayout layout);

  [[nodiscard]] const RedisNames& names() const noexcept { return names_; }

  struct Owner {
    uid_t user = 0;
    gid_t group = 0;
  };
  [[nodiscard]] Owner owner() const noexcept { return owner_; }
  // It was not there.
  [[nodiscard]] bool is_new() const noexcept { return is_new_; }

  // Moves what is there aside, to names that end with `suffix`, which are
  // answered, and what was restored into its place. Each of the places holds
  // the old or the new at any moment; where one cannot be changed, all get back
  // what they had. Requires: complete().
  [[nodiscard]] std::vector<std::string> put_in_place(
      const std::string& suffix);

 private:
  // A folder of ours alone.
  struct Inside {
    std::string name;
    UniqueFd fd;
  };
  struct Move {
    std::string name;
    std::optional<std::string> aside;  // nothing: there was none
  };

  [[nodiscard]] Inside make_inside(const char* pattern) const;
  void remove_inside(Inside& inside) const noexcept;
  void make_aof_in(const UniqueFd& folder) const;
  void make_old_aof_in(const UniqueFd& folder, const std::string& name) const;
  void give_to_owner(const UniqueFd& fd) const;
  [[nodiscard]] Move put(const std::string& name, const std::string& suffix);
  [[nodiscard]] Move put_in_two_steps(const std::string& name,
                                      const std::string& aside);
  void take_back(const std::vector<Move>& moves, const std::string& why);

  const std::filesystem::path folder_;
  UniqueFd fd_;
  Inside staging_;
  Inside trial_;
  UniqueFd rdb_;
  RedisNames names_;
  Owner owner_;
  bool is_new_ = false;
};

}  // namespace cairn::ingest
