#!/bin/sh
# Builds the release preset: build/release/bin/cairn, and nothing that needs
# the packages of the tests. What an earlier `make test` had switched on in the
# same folder stays on where those packages are.
set -eu
cd "$(dirname "$0")/.."

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

tests=OFF
if installed libgtest-dev && installed libgmock-dev; then tests=ON; fi
benchmarks=OFF
if installed libbenchmark-dev; then benchmarks=ON; fi

echo "build: configuring"
cmake --preset release -DCAIRN_BUILD_TESTS=$tests \
  -DCAIRN_BUILD_BENCHMARKS=$benchmarks
echo "build: compiling, on $(nproc) core(s)"
cmake --build --preset release --target "${1:-cairn}" -j "$(nproc)"
