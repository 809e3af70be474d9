#!/usr/bin/python3
"""Tries points in an order drawn from a seed, as many as there is time for:
first each write to the repository of backup, forget and prune with a fault of
each group, then all others. A share of the time goes to the programs beside
it.

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

import beside  # noqa: E402
import operations  # noqa: E402
import place  # noqa: E402
import points  # noqa: E402
import tracer  # noqa: E402
from known import reason_of  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EVIDENCE = ROOT / "docs" / "evidence.md"

FIRST = {"backup", "forget", "forget-prune", "prune"}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smh]?)", text).groups()
    return int(number) * {"s": 1, "": 1, "m": 60, "h": 3600}[unit]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", type=seconds, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operations", help="only these, with commas")
    parser.add_argument("--kinds", help="only these faults, with commas")
    parser.add_argument("--beside", action="store_true",
                        help="run the programs beside it as well")
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

    def add(self, name, where):
        """Of a point, or of a program beside it, where it goes on."""
        self.done[name] = f"{where};"
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{name} {where};\n")

    def points(self):
        """Those that were hit, with the write that each of them hit."""
        return [(points.Point.parse(name), where[:-1])
                for name, where in self.done.items()
                if ":" in name and where != "-;"]


def replay(point, seed):
    return (f"CAIRN_PROGRAM={place.PROGRAM} {sys.executable} "
            f"{pathlib.Path(__file__).resolve()} --seed {seed} "
            f"--points {point}")


class Torture:
    def __init__(self, options, where):
        self.options = options
        bases = operations.Bases(where)
        self.points = points.Points(where, bases, operations.operations(),
                                    options.seed)
        self.state = State(options.state, options.seed)
        self.outcomes, self.findings, self.known = [], [], []
        self.beside = []  # what the programs said

    def all_points(self):
        names = (self.options.operations or
                 ",".join(self.points.operations)).split(",")
        kinds = (self.options.kinds or
                 ",".join(points.KINDS)).split(",")
        drawn = []
        for name in names:
            self.take(self.points.record(name))
            drawn += self.points.all_of(name, kinds)
        random.Random(self.options.seed).shuffle(drawn)
        had, ranks = collections.Counter(), {}
        for point in drawn:
            place_and_fault = self.call_at(point), point.group
            ranks[point] = (self.comes_later(point),
                            point.operation not in FIRST or
                            had[place_and_fault] > 0)
            had[place_and_fault] += 1
        return sorted(drawn, key=ranks.get)

    def call_at(self, point):
        """An operation and a write of it."""
        calls = self.points.recorded[point.operation]
        return (point.operation, calls[point.number - 1].write
                if point.number <= len(calls) else None)

    def comes_later(self, point):
        """What goes to the cache or the state of the host, or may not come."""
        _, write = self.call_at(point)
        return write is None or " repo" not in write

    def run(self):
        deadline = time.monotonic() + self.options.time
        if self.options.beside and not self.options.points:
            self.run_beside()
        for point in self.options.points or self.all_points():
            if str(point) in self.state.done and not self.options.points:
                continue
            if time.monotonic() > deadline and not self.options.points:
                return
            self.take(self.points.try_point(point))

    def run_beside(self):
        for program in beside.programs():
            first = int(self.state.done.get(program.name, "0;")[:-1])
            said = program.run(self.options.time, self.options.seed, first)
            self.state.add(program.name, said.goes_on)
            self.beside.append(said)
            print(f"{program.name}: {said.summary}", *said.findings, sep="\n",
                  flush=True)

    def take(self, outcome):
        self.outcomes.append(outcome)
        if outcome.point.number and \
                (not outcome.finding or reason_of(outcome)):
            self.state.add(str(outcome.point), outcome.where)
        if not outcome.finding:
            return
        reason = reason_of(outcome)
        (self.known if reason else self.findings).append(outcome)
        if reason and not self.options.points:
            return
        print(f"{'KNOWN: ' + reason if reason else 'FINDING'}: "
              f"{outcome.point}, at {outcome.where}\n  {outcome.finding}\n"
              f"  {replay(outcome.point, self.options.seed)}", flush=True)

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
        states = {o.state for o in hit if o.state}
        groups = collections.Counter(o.point.group for o in hit)
        kinds = ", ".join(f"{count:,} {group}"
                          for group, count in groups.most_common())
        return (f"{len(hit):,} points ({kinds}; {len(states):,} states of a "
                f"disk) in {took / 60:.0f} minutes "
                f"({took / max(1, len(self.outcomes)):.2f} s each), "
                f"{missed} not reached, "
                f"{self.count_findings()} findings, {len(self.known)} of known "
                f"kinds", rows)

    def count_findings(self):
        return len(self.findings) + sum(len(s.findings) for s in self.beside)

    def covered(self, name):
        """By all runs with this seed: points; of the writes to the repository
        how many each group of faults has hit."""
        calls = self.points.recorded.get(name, [])
        writes = {call.write for call in calls if " repo" in call.write}
        hit = {group: set() for group in points.GROUPS}
        count = 0
        for point, write in self.state.points():
            if point.operation == name:
                count += 1
                hit[point.group].add(write)
        return (f"{count:,}", f"{len(writes)}",
                *(f"{len(hit[group] & writes)}" for group in points.GROUPS))


HEAD = (f"| operation | points | with this seed so far | writes to the "
        f"repository | {' | '.join(points.GROUPS)} |")


def write_evidence(seed, summary, rows, torture):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    kinds = collections.Counter(reason_of(o) for o in torture.known)
    text = [f"\n## {day} UTC, commit {commit.stdout.strip()}, seed {seed}\n",
            summary + "." + "".join(f" {s.summary}." for s in torture.beside) +
            "\n", HEAD, re.sub(r"[^|]+", "---", HEAD), *rows, ""]
    text += [f"- {line}" for s in torture.beside for line in s.findings]
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
    return 1 if torture.count_findings() else 0


if __name__ == "__main__":
    sys.exit(main())
