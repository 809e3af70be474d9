#!/bin/sh
# Tries what a kill, a failing disk or a full one does at each system call of
# the program that changes something: torture.sh [TIME [SEED]]. A run goes on
# where the last one with that seed ended, and adds what it did to
# docs/evidence.md.
set -eu
cd "$(dirname "$0")/.."

seed=${2:-1}
CAIRN_PROGRAM=$PWD/build/release/bin/cairn
export CAIRN_PROGRAM
exec /usr/bin/python3 tests/fault/torture.py --time "${1:-60m}" \
  --seed "$seed" --state "build/torture-$seed" --evidence
