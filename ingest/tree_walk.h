// The walk of a FileSource from "/" through the given paths. It keeps a stack
// of its own, so that a deep tree costs memory and no stack.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/exclude_rules.h"
#include "ingest/file_metadata.h"
#include "ingest/file_source.h"
#include "ingest/folder_chain.h"
#include "ingest/folder_names.h"
#include "ingest/xattrs.h"
#include "repo/entry.h"

namespace cairn::ingest {

// The slash before all other bytes, so that what lies in a folder follows the
// folder itself: "/a", "/a/b", "/a-b".
[[nodiscard]] bool precedes_in_tree(std::string_view a, std::string_view b);

// One walk: made, run, gone.
//
// Ownership      borrows everything it is given.
class TreeWalk {
 public:
  // Requires: `given` is sorted by precedes_in_tree, each path once.
  TreeWalk(std::span<const std::string> given, const ExcludeRules& rules,
           const FileSourceOptions& options, FileVisitor& visitor);

  void run(const std::stop_token& stop);

 private:
  class Opener;
  class Look;

  // One open folder.
  struct Frame {
    FolderNames names;
    std::size_t next = 0;
    std::size_t path_size = 0;  // how much of path_ is its path

    // The given path it belongs to: rules are relative to it. Nothing: a parent
    // of given paths, or a folder left out that holds some.
    struct Base {
      std::size_t path_size = 0;
      dev_t device = 0;
    };
    std::optional<Base> base;

    std::span<const std::string> given_below;
  };

  // What of a folder's entries is visited: all, or only the way to paths that
  // were given by themselves.
  enum class Scope { all, given_paths };

  void begin_at_root();
  void visit(const Frame& frame, std::size_t index, int looks = 1);
  bool is_left_out(const Frame& frame, std::size_t index, Look& look) const;
  void visit_folder(const char* name, const struct stat& seen, Scope scope,
                    const std::optional<Frame::Base>& base,
                    std::span<const std::string> given_below);
  void leave();

  void list(Frame& frame, int folder);
  void add_given(Frame& frame) const;
  std::span<const std::string> given_in(const Frame& frame) const;
  void describe_entry(const char* name, const struct stat& status);

  const std::span<const std::string> given_;
  const ExcludeRules& rules_;
  const FileSourceOptions& options_;
  FileVisitor& visitor_;

  OwnerNames owners_;
  XattrReader xattrs_;
  FolderChain folders_;
  std::vector<Frame> frames_;  // as deep as the chain; the first is "/"
  std::string path_;           // of the entry being visited; "/" is ""
  repo::Entry entry_;          // likewise, kept for its buffers
  // Of all waiting for leases, so that nobody can hold up a walk for long by
  // taking one on each of many files.
  std::chrono::milliseconds patience_ = std::chrono::minutes(10);
};

}  // namespace cairn::ingest
