#!/bin/sh
# All tests of the release build. CAIRN_SANITIZERS=1 (make sanitize) runs the
# folders' tests under the address and the thread sanitizer before that; the
# release comes last, so that its summary closes the output.
#
# Installs what is missing.
set -eu
cd "$(dirname "$0")/.."

jobs=$(nproc)
began=$(date +%s)

step() {
  now=$(($(date +%s) - began))
  printf '\ntest: [%d:%02d] %s\n' $((now / 60)) $((now % 60)) "$*"
}

configure_and_build() {
  cmake --preset "$1" -DCAIRN_BUILD_TESTS=ON $2 >"build/$1.configure.log" ||
    { cat "build/$1.configure.log"; exit 1; }
  cmake --build --preset "$1" -j "$jobs"
}

# Unit and property tests live in the folders' own names and fuzz targets
# replay their corpora; end-to-end tests drive the release program.
folders='^(crypto|chunker|repo|ingest|service|cli|fuzz)\.'

# With much randomness in its addresses the kernel puts memory where g++ 12's
# thread sanitizer does not expect it.
fixed_addresses=
if setarch "$(uname -m)" -R true 2>/dev/null; then
  fixed_addresses="setarch $(uname -m) -R"
fi

step "installing what building and testing need"
scripts/install-deps.sh --test
mkdir -p build

if [ -n "${CAIRN_SANITIZERS-}" ]; then
  for preset in asan tsan; do
    step "$preset: building"
    configure_and_build $preset ''
    step "$preset: running the tests of the folders"
    $fixed_addresses ctest --preset $preset -j "$jobs" -R "$folders"
  done
fi

step "release: building"
configure_and_build release -DCAIRN_BUILD_BENCHMARKS=ON
step "release: running all tests"
exec ctest --preset release -j "$jobs"
