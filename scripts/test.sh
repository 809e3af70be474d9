#!/bin/sh
# All tests: the units under the address and undefined behaviour sanitizers,
# those with several threads or processes under the thread sanitizer, and what
# drives the built program in the release build. That comes last, so that its
# summary closes the output (docs/decisions/0050).
#
# Installs what is missing.
set -eu
cd "$(dirname "$0")/.."

jobs=$(nproc)
# Many tests wait: for a server, a clock, a disk, each other.
at_once=$((jobs * 2))
began=$(date +%s)

step() {
  now=$(($(date +%s) - began))
  printf '\ntest: [%d:%02d] %s\n' $((now / 60)) $((now % 60)) "$*"
}

build() {  # PRESET TARGETS [OPTION...]
  preset=$1 targets=$2
  shift 2
  cmake --preset "$preset" -DCAIRN_BUILD_TESTS=ON "$@" \
    >"build/$preset.configure.log" ||
    { cat "build/$preset.configure.log"; exit 1; }
  # shellcheck disable=SC2086  # a list, split into words
  cmake --build --preset "$preset" -j "$jobs" --target $targets
}

# With much randomness in its addresses the kernel puts memory where g++ 12's
# sanitizers do not expect it.
fixed_addresses=
if setarch "$(uname -m)" -R true 2>/dev/null; then
  fixed_addresses="setarch $(uname -m) -R"
fi

# A container may forbid what a sanitizer needs: fixed addresses, or to look
# into its own threads. Without the former some programs start and some do not.
can_run() {  # SANITIZERS
  probe=build/probe
  echo 'int main() {}' |
    clang++-16 -x c++ -fsanitize="$1" -o "$probe" - || return 1
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    $fixed_addresses "$probe" || return 1
  done
}

# What it changed for the time being is put back by itself.
stop_installation() {
  [ -n "$installation" ] || return 0
  kill "$installation" 2>/dev/null || true
  wait "$installation" || true
}

installation=
await_installation() {
  [ -n "$installation" ] || return 0
  wait "$installation" || { cat build/install.log; exit 1; }
  installation=
}

sanitized=
under_sanitizers() {  # PRESET SANITIZERS TARGET LABEL
  if ! can_run "$2"; then
    step "$1: LEFT OUT, this machine cannot run programs with -fsanitize=$2"
    return
  fi
  step "$1: building $3 with -fsanitize=$2"
  build "$1" "$3"
  await_installation
  step "$1: running them"
  $fixed_addresses ctest --preset "$1" -j "$at_once" -L "$4"
  sanitized="$sanitized $1"
}

mkdir -p build
step "installing what building needs, and meanwhile what testing needs"
scripts/install-deps.sh --build-tests
if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
  trap stop_installation EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  scripts/install-deps.sh --test >build/install.log 2>&1 &
  installation=$!
else  # it may ask for a password
  scripts/install-deps.sh --test
fi

under_sanitizers asan address,undefined unit_tests unit
under_sanitizers tsan thread thread_tests threads

# What ran there is not built and run once more, but for what picks its code by
# the processor (crypto, chunker).
targets=all
precompile=OFF
but=nothing
case $sanitized in
  *asan*)
    targets='program_tests benchmark_programs'
    precompile=ON
    but='repo|ingest|service|cli|fuzz'
    ;;
esac
await_installation
step "release: building $targets"
build release "$targets" -DCAIRN_BUILD_BENCHMARKS=ON \
  -DCAIRN_PRECOMPILE=$precompile
step "release: running its tests"
exec ctest --preset release -C Seeds -j "$at_once" -LE "^($but)\$"
