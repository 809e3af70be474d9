#!/bin/sh
# Formatting (.clang-format) of all tracked C++ files; with --tidy also the
# checks of .clang-tidy, which need a configured build/release.
set -eu
cd "$(dirname "$0")/.."

tool() {
  command -v "$1-14" || command -v "$1" || {
    echo "check-style: $1 is not installed (Debian: $1-14)" >&2
    exit 1
  }
}

format=$(tool clang-format)
git ls-files '*.h' '*.cc' | xargs "$format" --dry-run -Werror
echo "check-style: formatting is as .clang-format says"

if [ "${1-}" = --tidy ]; then
  tidy=$(tool clang-tidy)
  git ls-files '*.cc' | grep -v '^tests/golden/' |
    xargs -P "$(nproc)" -n 1 "$tidy" -p build/release --quiet
fi
