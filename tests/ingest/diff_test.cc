#include "ingest/diff.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/test_repository.h"

namespace cairn::ingest {

// For messages of failed tests.
void PrintTo(Change change, std::ostream* out) {
  *out << std::array{"added", "removed", "content", "metadata",
                     "type"}[static_cast<std::size_t>(change)];
}

namespace {

using repo::Entry;
using repo::EntryType;
using repo::TreeEntry;
using testing_support::bytes_of;
using testing_support::StateWriter;
using testing_support::TestRepository;

// Folders by name; anything else is a leaf.
struct Item {
  EntryType type = EntryType::file;
  std::string content;  // of a symlink: its target
  std::uint32_t mode = 0644;
  std::map<std::string, Item> children;
};
using Items = std::map<std::string, Item>;

Item file(std::string content, std::uint32_t mode = 0644) {
  return {EntryType::file, std::move(content), mode, {}};
}

Item folder(Items children, std::uint32_t mode = 0755) {
  return {EntryType::folder, "", mode, std::move(children)};
}

Item symlink(std::string target) {
  return {EntryType::symlink, std::move(target), 0777, {}};
}

// Paths with what happened to them.
using Changes = std::map<std::string, Change>;

// The slow and obvious way.
void compare(const std::string& path, const Item* before, const Item* after,
             Changes& changes) {
  if (before == nullptr) {
    changes[path] = Change::added;
  } else if (after == nullptr) {
    changes[path] = Change::removed;
  } else if (before->type != after->type) {
    changes[path] = Change::type;
  } else if (before->content != after->content) {
    changes[path] = Change::content;
  } else if (before->mode != after->mode) {
    changes[path] = Change::metadata;
  }
  std::map<std::string, std::pair<const Item*, const Item*>> children;
  if (before != nullptr) {
    for (const auto& [name, item] : before->children) {
      children[name].first = &item;
    }
  }
  if (after != nullptr) {
    for (const auto& [name, item] : after->children) {
      children[name].second = &item;
    }
  }
  for (const auto& [name, sides] : children) {
    compare(path.empty() ? name : path + "/" + name, sides.first, sides.second,
            changes);
  }
}

class Diff : public ::testing::Test {
 protected:
  TreeEntry store(const Item& root) {
    StateWriter writer(repository);
    for (const auto& [name, item] : root.children) write(writer, name, item);
    writer.commit(at(++hours_));
    const auto list = repository.snapshots(at(0));
    auto blobs = repository.blobs();
    return *repo::TreeReader(blobs).find(
        {repo::BlobKind::links, list.snapshots.back().snapshot.header.root, 0},
        "");
  }

  Changes changes_between(const TreeEntry& before, const TreeEntry& after) {
    Changes changes;
    diff(repository, {before}, {after},
         [&](const Difference& difference) {
           EXPECT_TRUE(
               changes.emplace(difference.path, difference.change).second);
           EXPECT_EQ(difference.before == nullptr,
                     difference.change == Change::added);
           EXPECT_EQ(difference.after == nullptr,
                     difference.change == Change::removed);
           return repo::Visit::go_on;
         },
         {});
    return changes;
  }

  Changes changes_between(const Item& before, const Item& after) {
    return changes_between(store(before), store(after));
  }

  static repo::Timestamp at(int hours) {
    return testing_support::at_hour(hours);
  }

  TestRepository stored;
  repo::Repository repository = stored.open();

 private:
  void write(StateWriter& writer, const std::string& name, const Item& item) {
    Entry entry;
    entry.name = name;
    entry.type = item.type;
    entry.mode = item.mode;
    if (item.type == EntryType::folder) {
      writer.begin_folder(entry);
      for (const auto& [child_name, child] : item.children) {
        write(writer, child_name, child);
      }
      writer.end_folder();
    } else if (item.type == EntryType::symlink) {
      entry.symlink_target = item.content;
      writer.add(entry);
    } else if (item.content.empty()) {
      writer.add(entry);
    } else {
      entry.size = item.content.size();
      const repo::Link chunk = writer.chunk(bytes_of(item.content));
      writer.add(entry, std::span(&chunk, 1));
    }
  }

  int hours_ = 0;
};

TEST_F(Diff, NamesEachKindOfChange) {
  const Item before = folder({{"same", file("same")},
                              {"content", file("old")},
                              {"mode", file("m", 0600)},
                              {"gone", folder({{"inside", file("i")}})},
                              {"link", symlink("here")},
                              {"type", file("was a file")}});
  const Item after = folder({{"same", file("same")},
                             {"content", file("new!")},
                             {"mode", file("m", 0640)},
                             {"new", folder({{"inside", file("i")}})},
                             {"link", symlink("there")},
                             {"type", folder({{"inside", file("i")}})}});

  EXPECT_EQ(changes_between(before, after),
            (Changes{{"content", Change::content},
                     {"mode", Change::metadata},
                     {"gone", Change::removed},
                     {"gone/inside", Change::removed},
                     {"new", Change::added},
                     {"new/inside", Change::added},
                     {"link", Change::content},
                     {"type", Change::type},
                     {"type/inside", Change::added}}));
}

TEST_F(Diff, GivesTheEntriesWithTheirSizes) {
  const auto before = store(folder({{"file", file("old")}}));
  const auto after = store(folder({{"file", file("longer")}}));
  std::uint64_t size_before = 0;
  std::uint64_t size_after = 0;

  diff(repository, {before}, {after},
       [&](const Difference& difference) {
         size_before += difference.before->entry.size;
         size_after += difference.after->entry.size;
         return repo::Visit::go_on;
       },
       {});

  EXPECT_EQ(size_before, 3u);
  EXPECT_EQ(size_after, 6u);
}

TEST_F(Diff, TwoFilesAreComparedAsThemselves) {
  const auto root = store(folder({{"a", file("x")}, {"b", file("y")}}));
  auto blobs = repository.blobs();
  repo::TreeReader tree(blobs);

  EXPECT_EQ(changes_between(*tree.find(root.rows.front(), "a"),
                            *tree.find(root.rows.front(), "b")),
            (Changes{{"", Change::content}}));
}

TEST_F(Diff, StopsWhenNoMoreIsWanted) {
  const auto before = store(folder({}));
  const auto after = store(folder({{"a", file("")}, {"b", file("")}}));
  int visits = 0;

  diff(repository, {before}, {after},
       [&](const Difference&) {
         ++visits;
         return repo::Visit::stop;
       },
       {});

  EXPECT_EQ(visits, 1);
}

TEST_F(Diff, StopsWhenItIsTold) {
  const auto before = store(folder({}));
  const auto after = store(folder({{"a", file("")}}));
  std::stop_source stop;
  stop.request_stop();

  EXPECT_THROW(diff(
                   repository, {before}, {after},
                   [](const Difference&) { return repo::Visit::go_on; },
                   stop.get_token()),
               repo::Cancelled);
}

// What is equal is not read: neither folders nor the nodes of a large one.
TEST_F(Diff, ReadsOnlyWhatDiffers) {
  Item tree = folder({});
  for (int i = 0; i < 40; ++i) {
    Item& small = tree.children[std::to_string(i)] = folder({});
    for (int j = 0; j < 5; ++j) small.children[std::to_string(j)] = file("x");
  }
  Item& large = tree.children["large"] = folder({});
  for (int i = 0; i < 20'000; ++i) {
    large.children[std::to_string(100'000 + i)] = file("x");
  }
  const auto before = store(tree);
  large.children["107000"] = file("changed");
  tree.children["17"].children["3"] = file("changed");
  const auto after = store(tree);
  auto storage =
      std::make_unique<testing_support::FaultyStorage>(stored.disk());
  const auto& counting = *storage;
  auto opened = stored.open_through(std::move(storage));
  (void)opened.index();
  const auto reads_before = counting.count(testing_support::Call::get);

  Changes changes;
  diff(opened, {before}, {after},
       [&](const Difference& difference) {
         changes.emplace(difference.path, difference.change);
         return repo::Visit::go_on;
       },
       {});

  EXPECT_EQ(changes, (Changes{{"17/3", Change::content},
                              {"large/107000", Change::content}}));
  // In each tree the nodes of the root and of both folders, and where a list
  // begins its first node; not some hundred nodes of the large one.
  EXPECT_LE(counting.count(testing_support::Call::get) - reads_before, 40u);
}

TEST_F(Diff, ATreeThatCannotBeReadIsNoAnswer) {
  const auto before = store(folder({{"a", folder({{"b", file("x")}})}}));
  const auto after = store(folder({}));
  auto damaged = before;
  damaged.rows.front().id.bytes[0] ^= std::byte{1};

  EXPECT_THROW((void)changes_between(damaged, after), repo::CorruptionError);
}

Item random_item(std::mt19937_64& random, unsigned levels) {
  const auto kind = random() % 8;
  if (levels > 0 && kind < 3) {
    Item item = folder({}, random() % 2 == 0 ? 0755 : 0700);
    const auto children = random() % 9;
    for (std::uint64_t i = 0; i < children; ++i) {
      item.children[std::to_string(random() % 30)] =
          random_item(random, levels - 1);
    }
    return item;
  }
  if (kind == 3) return symlink(std::to_string(1 + random() % 2));
  return file(std::string(random() % 3, 'x'), 0600 + random() % 2);
}

void change(Item& item, std::mt19937_64& random) {
  for (auto at = item.children.begin(); at != item.children.end();) {
    const auto what = random() % 20;
    if (what == 0) {
      at = item.children.erase(at);
      continue;
    }
    if (what == 1) at->second = random_item(random, 2);
    if (what == 2) at->second.mode ^= 0010;
    if (at->second.type == EntryType::folder) {
      change(at->second, random);
    }
    ++at;
  }
  if (random() % 4 == 0) {
    item.children[std::to_string(random() % 60)] = random_item(random, 2);
  }
}

TEST_F(Diff, AgreesWithTheObviousWay) {
  testing_support::for_each_seed(40, [&](auto& random) {
    constexpr unsigned kLevels = 12;
    Item before = folder({});
    // Deeper than the folders whose nodes are held.
    Item* deep = &before;
    for (unsigned i = 0; i < kLevels; ++i) {
      for (int j = 0; j < 6; ++j) {
        deep->children[std::to_string(random() % 30)] = random_item(random, 2);
      }
      deep = &(deep->children["15 deep"] = folder({}));
    }
    Item after = before;
    change(after, random);

    Changes expected;
    compare("", &before, &after, expected);
    EXPECT_EQ(changes_between(before, after), expected);
  });
}

}  // namespace
}  // namespace cairn::ingest
