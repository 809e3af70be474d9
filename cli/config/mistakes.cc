#include "cli/config/mistakes.h"

#include <algorithm>

namespace cairn::cli::config {

std::string text_of(const Mistake& mistake, const std::string& file) {
  std::string text = file + ":";
  if (mistake.place.line > 0) {
    text += std::to_string(mistake.place.line) + ":" +
            std::to_string(mistake.place.column) + ":";
  }
  if (!mistake.path.empty()) text += " " + mistake.path + ":";
  return text + " " + mistake.text;
}

void sort_by_place(Mistakes& mistakes) {
  std::ranges::stable_sort(mistakes, {}, &Mistake::place);
}

}  // namespace cairn::cli::config
