"""Points: an operation, which of its calls that change something, and what goes
wrong there. "prune:17:EIO+" is one: from the 17th call on all of them fail."""

import dataclasses
import time

import calls
import oracle
import tracer
from place import Finding

# Killed before a call or after it; the call fails, or it and all that follow;
# it is done and said to have failed, as network file systems do; it does half.
KILLS = ("before", "after")
ERRORS = ("EIO", "EIO+", "ENOSPC", "ENOSPC+", "lost", "short")


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
    def fault(self):
        return tracer.Fault(self.number, self.kind.rstrip("+"),
                            self.kind.endswith("+"))


@dataclasses.dataclass
class Outcome:
    point: Point
    hit: calls.Call  # None: the run ended before
    finding: str = None
    seconds: float = 0

    @property
    def where(self):
        """Which write it was, whatever random names were drawn."""
        return self.hit.write if self.hit else "-"


class Points:
    """Of the operations on prepared repositories in one place."""

    def __init__(self, where, bases, operations):
        self.where, self.bases = where, bases
        self.operations = {o.name: o for o in operations}
        self.recorded = {}  # operation -> its calls

    def all_of(self, name, kinds=KILLS + ERRORS):
        """Of an operation that has been recorded. One call more or less depends
        on random names, so those that were not recorded are tried as well."""
        count = len(self.recorded[name]) + 2
        return [Point(name, number, kind) for number in range(1, count + 1)
                for kind in kinds if self.may_hit(name, number, kind)]

    def may_hit(self, name, number, kind):
        """Whether that call, or one that may take its place, can fail so."""
        near = self.recorded[name][max(0, number - 2):number + 1]
        by = tracer.CAN_FAIL_BY.get(kind.rstrip("+"))
        return by is None or any(call.name in by for call in near)

    def record(self, name):
        """Runs it without a fault, which is judged as well."""
        return self.try_point(Point(name, 0, "before"))

    def try_point(self, point):
        began = time.monotonic()
        outcome = Outcome(point, None)
        try:
            self.run_operation(self.operations[point.operation], point.fault,
                               outcome)
        except Finding as finding:
            outcome.finding = str(finding)
        outcome.seconds = time.monotonic() - began
        return outcome

    def run_operation(self, operation, fault, outcome):
        self.where.load(operation.base)
        judge = oracle.Oracle(self.where, self.bases, operation)
        ran = self.where.traced(operation.words, operation.stdin,
                                operation.key, fault)
        outcome.hit = ran.hit
        if not ran.hit:
            self.recorded[operation.name] = ran.calls
        judge.judge(ran, fault)
