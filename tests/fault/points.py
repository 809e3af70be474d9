"""Points: an operation, which of its calls that change something, and what goes
wrong there. "prune:17:EIO+" is one: from the 17th call on all of them fail."""

import dataclasses
import random
import time

import acts
import calls
import oracle
import power
import tracer
from place import Finding

# Killed before a call or after it; the call fails, or it and all that follow;
# it is done and said to have failed, as network file systems do; it does half.
KILLS = ("before", "after")
ERRORS = ("EIO", "EIO+", "ENOSPC", "ENOSPC+", "lost", "short")
GROUPS = {"killed": KILLS, "failed": ERRORS, "asleep": acts.SLEEPS,
          "power cut": power.CUTS, "cache damaged": acts.CACHE_DAMAGE,
          "bit flipped": acts.FLIPS}
GROUP_OF = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
KINDS = tuple(GROUP_OF)


@dataclasses.dataclass(frozen=True)
class Point:
    operation: str
    number: int
    kind: str

    def __str__(self):
        return f"{self.operation}:{self.number}:{self.kind}"

    @staticmethod
    def parse(text):
        operation, number, kind = text.split(":")
        return Point(operation, int(number), kind)

    @property
    def group(self):
        return GROUP_OF[self.kind]

    def fault(self, where, judge, chance):
        if self.kind in KILLS + ERRORS:
            return tracer.Fault(self.number, self.kind.rstrip("+"),
                                self.kind.endswith("+"))
        return acts.fault_of(self.kind, self.number, where, judge, chance)


@dataclasses.dataclass
class Outcome:
    point: Point
    hit: calls.Call  # None: the run ended before
    finding: str = None
    seconds: float = 0
    state: str = None  # of the disk after a power cut

    @property
    def where(self):
        """Which write it was, whatever random names were drawn."""
        return self.hit.write if self.hit else "-"


class Points:
    """Of the operations on prepared repositories in one place."""

    def __init__(self, where, bases, operations, seed):
        self.where, self.bases, self.seed = where, bases, seed
        self.operations = {o.name: o for o in operations}
        self.recorded = {}  # operation -> its calls

    def all_of(self, name, kinds=KINDS):
        """Of an operation that has been recorded. One call more or less depends
        on random names, so those that were not recorded are tried as well."""
        count = len(self.recorded[name]) + 2
        return [Point(name, number, kind) for number in range(1, count + 1)
                for kind in kinds if self.may_hit(name, number, kind)]

    def may_hit(self, name, number, kind):
        """Whether that call, or one that may take its place, can fail so."""
        near = self.recorded[name][max(0, number - 2):number + 1]
        by = tracer.CAN_FAIL_BY.get(kind.rstrip("+"))
        if kind in acts.FLIPS:
            return any(call.name in calls.FROM_MEMORY and
                       "/repo/" in call.path for call in near)
        if kind in acts.CACHE_DAMAGE:
            return not self.operations[name].is_without_cache
        return by is None or any(call.name in by for call in near)

    def record(self, name):
        """Runs it without a fault, which is judged as well."""
        return self.try_point(Point(name, 0, "before"))

    def try_point(self, point):
        began = time.monotonic()
        outcome = Outcome(point, None)
        try:
            self.run_operation(point, outcome)
        except Finding as finding:
            outcome.finding = str(finding)
        outcome.seconds = time.monotonic() - began
        return outcome

    def run_operation(self, point, outcome):
        operation = self.operations[point.operation]
        self.where.load(operation.base)
        judge = oracle.Oracle(self.where, self.bases, operation)
        chance = random.Random(f"{self.seed} {point}")
        if point.group == "power cut":
            return self.cut_power(operation, judge, point, outcome, chance)
        fault = point.fault(self.where, judge, chance)
        ran = self.where.traced(operation.words, operation.stdin,
                                operation.key, fault)
        outcome.hit = ran.hit
        if not ran.hit:
            self.recorded[operation.name] = ran.calls
        return judge.judge(ran, fault, point.kind)

    def cut_power(self, operation, judge, point, outcome, chance):
        where = self.where
        recorder = power.Recorder(where.here, where.top / "io" / "out")
        ran = where.traced(operation.words, operation.stdin, operation.key,
                           recorder=recorder)
        judge.judge_end(ran, None, None)
        if point.number > len(ran.calls):
            return
        outcome.hit = ran.calls[point.number - 1]
        is_over = point.number == len(ran.calls)
        disk = power.Disk(recorder, point.number)
        cut = power.Cut(disk, point.kind, chance)
        outcome.state = cut.digest()
        cut.write(where.here)
        judge.judge_place(dataclasses.replace(
            ran, code=ran.code if is_over else -9, out=disk.said,
            hit=outcome.hit))
