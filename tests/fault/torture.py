#!/usr/bin/python3
"""Tries points in an order drawn from a seed, as many as there is time for:
first those where something is written to the repository.

Which are done is kept in a file, so that a run goes on where the last one of
the same seed and the same program ended. What was done is added to
docs/evidence.md, if that is asked for. Ends with 1 when there is a finding.
"""

import argparse
import collections
import hashlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import operations  # noqa: E402
import place  # noqa: E402
import points  # noqa: E402
import tracer  # noqa: E402
from known import reason_of  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EVIDENCE = ROOT / "docs" / "evidence.md"


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smh]?)", text).groups()
    return int(number) * {"s": 1, "": 1, "m": 60, "h": 3600}[unit]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", type=seconds, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operations", help="only these, with commas")
    parser.add_argument("--kinds", help="only these faults, with commas")
    parser.add_argument("--state", type=pathlib.Path,
                        help="keep here which points are done")
    parser.add_argument("--evidence", action="store_true",
                        help="add what was done to docs/evidence.md")
    parser.add_argument("--points", nargs="+", metavar="POINT",
                        type=points.Point.parse, help="try just these")
    parser.add_argument("--list", metavar="OPERATION",
                        help="show its calls and end")
    return parser.parse_args()


def program():
    """What is tried: points of another one count anew."""
    with open(place.PROGRAM, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class State:
    """Which points are done. One line each, so that being killed costs one."""

    def __init__(self, path, seed):
        self.path, self.done = path, {}
        self.head = f"program {program()}, seed {seed}"
        if path and path.exists():
            lines = path.read_text().splitlines()
            if lines and lines[0] == self.head:
                self.done = dict(line.split(" ", 1) for line in lines[1:]
                                 if line.endswith(";"))
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(line + "\n" for line in [
                self.head, *map(" ".join, self.done.items())]))

    def add(self, outcome):
        where = outcome.where + ";"
        self.done[str(outcome.point)] = where
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{outcome.point} {where}\n")


def replay(point):
    return (f"CAIRN_PROGRAM={place.PROGRAM} {sys.executable} "
            f"{pathlib.Path(__file__).resolve()} --points {point}")


class Torture:
    def __init__(self, options, where):
        self.options = options
        bases = operations.Bases(where)
        self.points = points.Points(where, bases, operations.operations())
        self.state = State(options.state, options.seed)
        self.outcomes, self.findings, self.known = [], [], []

    def all_points(self):
        names = (self.options.operations or
                 ",".join(self.points.operations)).split(",")
        kinds = (self.options.kinds or
                 ",".join(points.KILLS + points.ERRORS)).split(",")
        drawn = []
        for name in names:
            self.take(self.points.record(name))
            drawn += self.points.all_of(name, kinds)
        random.Random(self.options.seed).shuffle(drawn)
        return sorted(drawn, key=self.comes_later)

    def comes_later(self, point):
        """What goes to the cache or the state of the host, or may not come."""
        calls = self.points.recorded[point.operation]
        return point.number > len(calls) or \
            "/repo" not in calls[point.number - 1].path

    def run(self):
        deadline = time.monotonic() + self.options.time
        for point in self.options.points or self.all_points():
            if str(point) in self.state.done and not self.options.points:
                continue
            if time.monotonic() > deadline and not self.options.points:
                return
            self.take(self.points.try_point(point))

    def take(self, outcome):
        self.outcomes.append(outcome)
        if outcome.point.number and \
                (not outcome.finding or reason_of(outcome)):
            self.state.add(outcome)
        if not outcome.finding:
            return
        reason = reason_of(outcome)
        (self.known if reason else self.findings).append(outcome)
        if reason and not self.options.points:
            return
        print(f"{'KNOWN: ' + reason if reason else 'FINDING'}: "
              f"{outcome.point}, at {outcome.where}\n  {outcome.finding}\n"
              f"  {replay(outcome.point)}", flush=True)

    def report(self):
        """A sentence, and the rows of a table."""
        hit = [o for o in self.outcomes if o.hit]
        missed = sum(not o.hit and o.point.number > 0 for o in self.outcomes)
        took = sum(o.seconds for o in self.outcomes)
        rows = []
        for name in self.points.operations:
            count = sum(o.point.operation == name for o in hit)
            if count:
                rows.append(f"| {name} | {count:,} | "
                            f"{' | '.join(self.covered(name))} |")
        return (f"{len(hit):,} points in {took / 60:.0f} minutes "
                f"({took / max(1, len(self.outcomes)):.2f} s each), "
                f"{missed} not reached, "
                f"{len(self.findings)} findings, {len(self.known)} of known "
                f"kinds", rows)

    def covered(self, name):
        """By all runs with this seed: points; calls that it was killed at;
        which writes these were, and which ones failed."""
        killed, failed, numbers, count = set(), set(), set(), 0
        for text, write in self.state.done.items():
            point = points.Point.parse(text)
            if point.operation != name or write == "-;":
                continue
            count += 1
            if point.kind in points.KILLS:
                killed.add(write[:-1])
                numbers.add(point.number)
            else:
                failed.add(write[:-1])
        calls = self.points.recorded.get(name, [])
        writes = {call.write for call in calls}
        return (f"{count:,}", f"{len(numbers)} of {len(calls)}",
                f"{len(killed & writes)} of {len(writes)}",
                f"{len(failed & writes)} of {len(writes)}")


def write_evidence(seed, summary, rows, torture):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    kinds = collections.Counter(reason_of(o) for o in torture.known)
    text = [f"\n## {day} UTC, commit {commit.stdout.strip()}, seed {seed}\n",
            summary + ".\n",
            "| operation | points | with this seed so far | killed at calls | "
            "at writes | failed at writes |",
            "|---|---|---|---|---|---|", *rows, ""]
    text += [f"- finding: {o.point} at {o.where}: "
             f"{o.finding.splitlines()[0][:300]}" for o in torture.findings]
    text += [f"- known, {count} times: {reason}"
             for reason, count in kinds.most_common()]
    with open(EVIDENCE, "a", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")


def main():
    options = arguments()
    if reason := tracer.why_not():
        print(f"skipped: {reason}")
        return 77
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with place.Place() as where:
        torture = Torture(options, where)
        if options.list:
            torture.points.record(options.list)
            for call in torture.points.recorded[options.list]:
                print(call.number, call.name,
                      os.path.relpath(call.path, where.here))
            return 0
        try:
            torture.run()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        summary, rows = torture.report()
    print(summary, *rows, sep="\n")
    if options.evidence and torture.outcomes:
        write_evidence(options.seed, summary, rows, torture)
    return 1 if torture.findings else 0


if __name__ == "__main__":
    sys.exit(main())
