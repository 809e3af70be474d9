#!/bin/sh
# Tries what a kill, a failing disk, a power cut, a long sleep or a flipped bit
# does at each system call of the program that changes something, and what it
# does to bits in memory, on small disks and in a small repository: torture.sh
# [TIME [SEED]]. A run goes on where the last one with that seed ended, and adds
# what it did to docs/evidence.md.
set -eu
cd "$(dirname "$0")/.."

seed=${2:-1}
CAIRN_PROGRAM=$PWD/build/release/bin/cairn
export CAIRN_PROGRAM
# Where tests are switched on; without it, that part is left out.
cmake --build --preset release --target fault_flips || true
exec /usr/bin/python3 tests/fault/torture.py --time "${1:-60m}" \
  --seed "$seed" --state "build/torture-$seed" --evidence --beside
