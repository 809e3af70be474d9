#!/bin/sh
# All tests of the release build. CAIRN_SANITIZERS=1 (make sanitize) runs before
# that the units under the address and undefined behaviour sanitizers, and those
# with several threads or processes under the thread sanitizer; the release comes
# last, so that its summary closes the output.
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

build() {  # PRESET TARGET [OPTION...]
  preset=$1 target=$2
  shift 2
  cmake --preset "$preset" -DCAIRN_BUILD_TESTS=ON "$@" \
    >"build/$preset.configure.log" ||
    { cat "build/$preset.configure.log"; exit 1; }
  cmake --build --preset "$preset" -j "$jobs" --target "$target"
}

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
  step "address and undefined behaviour sanitizers: building the unit tests"
  build asan unit_tests
  step "address and undefined behaviour sanitizers: running them"
  ctest --preset asan -j "$jobs" -L unit

  step "thread sanitizer: building the tests with several threads"
  build tsan thread_tests
  step "thread sanitizer: running them"
  $fixed_addresses ctest --preset tsan -j "$jobs" -L threads
fi

step "release: building"
build release all -DCAIRN_BUILD_BENCHMARKS=ON
step "release: running all tests"
exec ctest --preset release -j "$jobs"
