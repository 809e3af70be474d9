"""Programs that `make torture` runs beside its points, each with a share of
the time. The last line of what each says is what it did, with "next" and the
number at which it goes on; findings begin with FINDING."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import place

HERE = pathlib.Path(__file__).resolve().parent
FLIPS = pathlib.Path(place.PROGRAM).parent / "fault_flips"


@dataclasses.dataclass
class Said:
    summary: str
    findings: list
    goes_on: int


@dataclasses.dataclass
class Program:
    name: str
    command: list
    share: float  # of the time

    def run(self, seconds, seed, first):
        ended = subprocess.run(
            [*map(str, self.command), str(max(1, int(seconds * self.share))),
             "--seed", str(seed), "--from", str(first)],
            capture_output=True, text=True, check=False)
        lines = ended.stdout.splitlines() or [""]
        findings = [line for line in lines if line.startswith("FINDING")]
        if ended.returncode == 77:
            return Said(f"{self.name} {lines[-1]}", [], first)
        if ended.returncode != 0 and not findings:
            findings = [f"FINDING: {self.name} ends with {ended.returncode}: "
                        f"{ended.stderr.strip()[-300:]}"]
        goes_on = re.search(r"(.*), next (\d+)$", lines[-1])
        if not goes_on:
            return Said(lines[-1], findings, first)
        return Said(goes_on[1], findings, int(goes_on[2]))


def programs():
    memory = [sys.executable, HERE / "memory.py"]
    found = [Program("memory", [*memory, "--time"], 0.06),
             Program("ids", [*memory, "--at", "ids", "--time"], 0.04)]
    if os.access(FLIPS, os.X_OK):  # where tests are built
        found.append(Program("flips", [FLIPS, "--seconds"], 0.08))
    for disk in ("tmpfs", "ext4"):
        found.append(Program(f"disks-{disk}", [
            sys.executable, HERE / "full_disk.py", "--disk", disk, "--time"],
            0.04))
    return found
