#!/usr/bin/python3
"""Compares our retention with restic's `forget` on the same snapshots.

    retention_against_restic.py DRIVER [RESTIC]

DRIVER is tests/support/retention_driver.cc, compiled. RESTIC is the restic to
ask, by default the one on the PATH; without one the test is skipped (exit 77).

A restic repository gets snapshots at chosen times in several time zones, around
the days on which clocks change above all. Then `forget --dry-run` judges them,
whole histories and random parts, by many policies. Not only the snapshots that
stay must be the same, but also the rules that keep each of them.

What differs on purpose, or between restic's versions, is accounted for:
  - we always keep the last complete snapshot, restic from 0.17 on refuses to
    forget all;
  - restic keeps the oldest snapshot while a rule has places left from 0.16 on,
    and says so in its reasons from 0.17 on. Its counters tell what older ones
    would have kept;
  - "all of them" is written `unlimited` from 0.16 on.
"""

import base64
import concurrent.futures
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

SKIPPED = 77
SEED = int(os.environ.get("CAIRN_SEED", "1"))
POLICIES_PER_HISTORY = 60
RULES = ["last", "hourly", "daily", "weekly", "monthly", "yearly"]
COHORTS = 4  # each snapshot is in one, by tag: parts of a history to judge
WRITERS = 16  # restic waits most of the time, for its own locks
ALL = -1

# A new repository whose password is "x". Made by `restic init`; then the master
# key was wrapped again with the cheapest scrypt there is, so that a thousand
# runs of restic take seconds and not minutes.
CONFIG = (
    "sTlT4AXEbSbajludxcVMcF3wrqedo37wInuit9pIypeisFjdOSdYEWbS//vZA5a534EVa6If9gfL"
    "BOpysWXYujCE7vdxQmMhtNf1ZvNdKWWmk+RvGGPOBaDqxEbAeXPOCi3O70aujIzmjCz6tRjlRhdq"
    "UkcKeymHi25yaVjePY9r+DhTdVhWwjBwQIw/qLynF2TJz3ffZohvZPg=")
KEY = {
    "created": "2026-01-01T00:00:00Z",
    "username": "x",
    "hostname": "x",
    "kdf": "scrypt", "N": 2, "r": 1, "p": 1,
    "salt": "gvTrEqybmERS9rPRWyt8zHhM81TzAHwq00Qsgf6/Niro584tHJEyX04nGKt1DvuKp3Q"
            "vq0yQ84TwEMt0vIMLVg==",
    "data": "fMBuFOZ4yKOtYn2JTndSIM2DPSUUpHTbm1S4Y+TyP6ImVztBTGHhYZjYy51JqQ5KNf4"
            "Dj6k4UZKxT/D9p7GQpglrMNZi4stmp7FzHHFiK68VD7rcP7K617zbWJQ39fmzFOIhwK"
            "NG11q/vop6imyukQJBSJWosARq07gztjEsRmXvZW5Diri/vi7J+z5gg6NEshUkIJzQ/"
            "+Wtv/ou9KLylQ==",
}


class Restic:
    def __init__(self, program, folder):
        self.program = program
        self.file = folder / "file"
        self.file.write_text("tiny")
        said = subprocess.run([program, "version"], capture_output=True,
                              text=True, check=True).stdout
        self.version = tuple(map(int, re.findall(r"\d+", said)[:2]))
        self.repositories = [folder / f"repository{i}" for i in range(WRITERS)]
        for repository in self.repositories:
            self.init(repository)

    @staticmethod
    def init(repository):
        for name in ["data", "index", "keys", "locks", "snapshots", "tmp"]:
            (repository / name).mkdir(parents=True)
        (repository / "config").write_bytes(base64.b64decode(CONFIG))
        key = json.dumps(KEY).encode()
        name = hashlib.sha256(key).hexdigest()
        (repository / "keys" / name).write_bytes(key)

    def run(self, repository, zone, *words):
        environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": "x",
                       "RESTIC_REPOSITORY": str(repository), "TZ": zone}
        return subprocess.run([self.program, "--no-cache", *words],
                              env=environment, capture_output=True, text=True)

    def fill(self, wanted):
        """Makes snapshots of (history, moment, tags), all in one repository.

        Each writer works in a repository of its own: they have the same key, so
        that a snapshot of one is a snapshot of any.
        """
        def write(part):
            for each in wanted[part::WRITERS]:
                self.backup(self.repositories[part], *each)

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        for repository in self.repositories[1:]:
            for snapshot in (repository / "snapshots").iterdir():
                snapshot.rename(
                    self.repositories[0] / "snapshots" / snapshot.name)

    def backup(self, repository, history, moment, tags):
        local = moment.astimezone(ZoneInfo(history.zone))
        zone = history.zone
        if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
            # Shown twice by the clock: only a fixed offset says which is meant.
            hours = local.utcoffset() // timedelta(hours=1)
            zone = f"Etc/GMT{-hours:+d}"
        words = [word for tag in tags for word in ("--tag", tag)]
        done = self.run(repository, zone, "backup", "--quiet", "--force",
                        "--host", history.name,
                        "--time", f"{local:%Y-%m-%d %H:%M:%S}",
                        *words, str(self.file))
        if done.returncode != 0:
            sys.exit(f"restic backup: {done.stderr}")

    def forget(self, history, cohort, policy):
        """What stays and why: {id: reasons}, and all snapshots judged."""
        words = ["forget", "--dry-run", "--json", "--no-lock", "--group-by", "",
                 "--host", history.name]
        if cohort is not None:
            words += ["--tag", f"cohort{cohort}"]
        done = self.run(self.repositories[0], history.zone, *words,
                        *self.flags(policy))
        if "refusing to delete last snapshot" in done.stderr:
            return None
        if done.returncode != 0:
            sys.exit(f"restic forget: {done.stderr}")
        group, = json.loads(done.stdout)
        keep, remove = group["keep"] or [], group["remove"] or []
        reasons = {kept["id"]: {wording(match) for match in reason["matches"]}
                   for kept, reason in zip(keep, group["reasons"] or [])}
        snapshots = sorted(keep + remove, key=seconds_of, reverse=True)
        if self.version < (0, 16) and keep:
            self.add_oldest(group["reasons"][-1], snapshots[-1]["id"], reasons)
        return reasons, snapshots

    def add_oldest(self, last_reason, oldest, reasons):
        for rule, places in last_reason["counters"].items():
            kept_by = reasons.get(oldest, set())
            if places > 0 and f"{rule} snapshot" not in kept_by:
                reasons.setdefault(oldest, set()).add(f"oldest {rule} snapshot")

    def flags(self, policy):
        unlimited = "unlimited" if self.version >= (0, 16) else "1000000"
        for flag, value in policy:
            yield flag
            yield unlimited if value == ALL else str(value)


class History:
    """Snapshots of one host in one time zone."""

    def __init__(self, name, zone, moments, policies=()):
        self.name = name
        self.zone = zone
        self.moments = sorted(set(moments))
        self.policies = list(policies)  # to be tried besides the random ones


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def every(step, first, last):
    moment = utc(first)
    while moment <= utc(last):
        yield moment
        moment += step


def scattered(rng, count, first, last):
    span = int((utc(last) - utc(first)).total_seconds())
    return [utc(first) + timedelta(seconds=rng.randrange(span))
            for _ in range(count)]


def histories(rng):
    half_hour = timedelta(minutes=30)
    # 30 March 2025 had no 02:30 in Berlin, and 26 October two; 9 March 2025 had
    # none in New York, and 2 November two 01:30. The spans lead just there, one
    # of them to the very second of a snapshot.
    berlin = History(
        "berlin", "Europe/Berlin",
        [*every(half_hour, "2025-10-25T20:05", "2025-10-26T04:00"),
         utc("2025-10-26T01:30"), utc("2025-11-05T01:30"),
         *scattered(rng, 25, "2025-10-20T00:00", "2025-11-05T00:00")],
        [[("--keep-within", span)] for span in ("10d", "10d1h", "9d23h")])
    berlin_spring = History(
        "berlin-spring", "Europe/Berlin",
        [*every(half_hour, "2025-03-29T22:05", "2025-03-30T04:00"),
         utc("2025-04-30T00:30"),
         *scattered(rng, 25, "2025-03-20T00:00", "2025-04-30T00:00")],
        [[("--keep-within", span)] for span in ("1m", "31d", "30d23h", "32d")])
    new_york = History(
        "new-york", "America/New_York",
        [*every(half_hour, "2025-11-02T02:05", "2025-11-02T09:00"),
         utc("2025-12-02T06:30"),
         *scattered(rng, 25, "2025-10-25T00:00", "2025-12-02T00:00")],
        [[("--keep-within", span)] for span in ("1m", "30d", "29d23h")])
    new_york_spring = History(
        "new-york-spring", "America/New_York",
        [*every(half_hour, "2025-03-09T03:05", "2025-03-09T10:00"),
         utc("2025-04-09T06:30"),
         *scattered(rng, 25, "2025-03-01T00:00", "2025-04-09T00:00")],
        [[("--keep-within", span)] for span in ("1m", "31d", "30d23h")])
    # Ends of years: week 53 of 2015 and 2020, leap days, short months.
    years = History(
        "years", "Asia/Kolkata",
        [*every(timedelta(days=1), "2020-12-24T18:45", "2021-01-06T00:00"),
         *every(timedelta(days=1), "2024-02-26T12:00", "2024-03-03T00:00"),
         utc("2015-12-31T20:00"), utc("2016-01-03T12:00"),
         utc("2016-01-03T19:00"), utc("2024-03-31T05:00"),
         *scattered(rng, 50, "2014-06-01T00:00", "2024-03-31T00:00")],
        [[("--keep-within", span)] for span in ("1m", "2m", "1y1m", "4y")])
    # Two hours back: 02:59 was followed by 01:00, and 01 and 02 came twice.
    troll = History(
        "troll", "Antarctica/Troll",
        [*every(half_hour, "2025-10-25T20:05", "2025-10-26T04:00")])
    dense = History(
        "dense", "UTC", scattered(rng, 60, "2026-02-01T00:00",
                                  "2026-02-08T00:00"))
    ahead = History(  # some claim to be of years to come
        "ahead", "Pacific/Auckland",
        scattered(rng, 30, "2024-01-01T00:00", "2026-01-01T00:00") +
        scattered(rng, 3, "2030-01-01T00:00", "2036-01-01T00:00"))
    return [berlin, berlin_spring, new_york, new_york_spring, troll, years,
            dense, ahead]


def random_policy(rng):
    policy = []
    while not policy:
        for rule in RULES:
            if rng.random() < 0.35:
                count = rng.choice([1, 2, 3, 4, 5, 6, 7, 12, 24, 30, ALL])
                policy.append((f"--keep-{rule}", count))
        if rng.random() < 0.25:
            span = "".join(f"{rng.randint(1, most)}{unit}"
                           for unit, most in zip("ymdh", (3, 14, 40, 30))
                           if rng.random() < 0.4)
            if span:
                policy.append(("--keep-within", span))
        for tag in ("red", "blue"):
            if rng.random() < 0.12:
                policy.append(("--keep-tag", tag))
    return policy


def wording(match):
    """A reason of restic's in our words."""
    return re.sub(r"^has tags \[(.*)\]$", r"has tag \1", match)


def seconds_of(snapshot):
    text = snapshot["time"].replace("Z", "+00:00")
    return int(datetime.fromisoformat(text).timestamp())


def ours(driver, snapshots, zone, policy, now):
    lines = [" ".join([s["id"], str(seconds_of(s)), str(now),
                       *(s.get("tags") or [])]) for s in snapshots]
    words = [str(word) for rule in policy for word in rule]
    done = subprocess.run([driver, "--time-zone", zone, *words],
                          input="\n".join(lines), capture_output=True,
                          text=True, check=True)
    verdicts = {}
    for line in done.stdout.splitlines():
        snapshot, verdict, reasons = line.split(" ", 2)
        if verdict == "keep":
            verdicts[snapshot] = set(reasons.split("; "))
    return verdicts


def expected(reasons, snapshots):
    """restic's reasons, and ours for the newest: all arrived at one time."""
    newest = snapshots[0]["id"]
    verdicts = {id: set(matches) for id, matches in reasons.items()}
    verdicts.setdefault(newest, set()).add("last complete of its series")
    return verdicts


def without_oldest(verdicts):
    return {id: {reason.removeprefix("oldest ") for reason in reasons}
            for id, reasons in verdicts.items()}


def report(history, cohort, policy, snapshots, theirs, mine):
    print(f"{history.name}, cohort {cohort}, zone {history.zone}: "
          + " ".join(f"{flag} {value}" for flag, value in policy))
    for snapshot in snapshots:
        id = snapshot["id"]
        if theirs.get(id) != mine.get(id):
            print(f"  {snapshot['time']}  restic {theirs.get(id)}  "
                  f"we {mine.get(id)}")


def tagged(rng, all_histories):
    return [(history, moment,
             [f"cohort{rng.randrange(COHORTS)}"] +
             [tag for tag in ("red", "blue") if rng.random() < 0.15])
            for history in all_histories for moment in history.moments]


def judge(restic, driver, history, cohort, policy):
    answer = restic.forget(history, cohort, policy)
    if answer is None:
        return None
    reasons, snapshots = answer
    theirs = expected(reasons, snapshots)
    mine = ours(driver, snapshots, history.zone, policy, int(time.time()))
    if restic.version[:2] == (0, 16):
        theirs, mine = without_oldest(theirs), without_oldest(mine)
    if theirs != mine:
        report(history, cohort, policy, snapshots, theirs, mine)
    return theirs == mine, len(snapshots)


def main():
    driver = sys.argv[1]
    program = sys.argv[2] if len(sys.argv) > 2 else shutil.which("restic")
    if not program:
        print("restic is not installed")
        return SKIPPED

    rng = random.Random(SEED)
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast) as folder:
        restic = Restic(program, Path(folder))
        if restic.version < (0, 14):
            print("restic is older than this repository's format")
            return SKIPPED
        all_histories = histories(rng)
        wanted = tagged(rng, all_histories)
        restic.fill(wanted)

        jobs = []
        for history in all_histories:
            jobs += [(history, None, policy) for policy in history.policies]
            jobs += [(history, rng.choice([None, *range(COHORTS)]),
                      random_policy(rng)) for _ in range(POLICIES_PER_HISTORY)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = list(pool.map(
                lambda job: judge(restic, driver, *job), jobs))

    judged = [answer for answer in answers if answer is not None]
    equal = sum(same for same, _ in judged)
    print(f"restic {'.'.join(map(str, restic.version))}, seed {SEED}: "
          f"{len(wanted)} snapshots, {len(judged)} policies, "
          f"{sum(count for _, count in judged)} verdicts; "
          f"{len(judged) - equal} policies differ")
    return 0 if equal == len(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
