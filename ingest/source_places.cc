#include "ingest/source_places.h"

#include <map>
#include <stdexcept>

#include "repo/error.h"
#include "repo/node.h"

namespace cairn::ingest {
namespace {

std::vector<std::string> places_of(const Source& source) {
  if (const auto* const stream = std::get_if<StreamToBackUp>(&source)) {
    std::string place;
    for (const auto& name : names_of_stream(stream->name)) place += "/" + name;
    return {place};
  }
  if (std::holds_alternative<TreeToBackUp>(source)) return {"/"};
  const auto& files = std::get<FilesToBackUp>(source);
  try {
    return FileSource(files.paths, files.options).paths();
  } catch (const repo::Error&) {
    return {};  // one is not there: the source will fail
  }
}

bool is_within(std::string_view inner, std::string_view outer) {
  return outer == "/" || inner == outer ||
         (inner.starts_with(outer) && inner[outer.size()] == '/');
}

void require_apart(const std::string& one, const std::string& other) {
  if (is_within(one, other) || is_within(other, one)) {
    throw std::invalid_argument("two sources are in each other's way: " + one +
                                " and " + other);
  }
}

}  // namespace

std::vector<std::string> names_of_stream(std::string_view name) {
  std::string_view rest = name;
  while (rest.starts_with('/')) rest.remove_prefix(1);
  std::vector<std::string> names;
  for (;;) {
    const auto slash = rest.find('/');
    names.emplace_back(rest.substr(0, slash));
    if (!repo::is_valid_name(names.back())) {
      throw std::invalid_argument("\"" + std::string(name) +
                                  "\": not a name that a stream can have");
    }
    if (slash == std::string_view::npos) return names;
    rest.remove_prefix(slash + 1);
  }
}

std::set<std::string> shared_folders(std::span<const Source> sources) {
  std::vector<std::string> earlier;
  std::map<std::string, std::size_t> last_source;  // by folder
  std::set<std::string> shared;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto places = places_of(sources[i]);
    for (const auto& place : places) {
      for (const auto& other : earlier) require_apart(place, other);
      for (auto slash = place.find('/', 1); slash != std::string::npos;
           slash = place.find('/', slash + 1)) {
        const auto folder = place.substr(0, slash);
        const auto [found, is_new] = last_source.try_emplace(folder, i);
        if (!is_new && found->second != i) shared.insert(folder);
      }
    }
    earlier.insert(earlier.end(), places.begin(), places.end());
  }
  return shared;
}

}  // namespace cairn::ingest
