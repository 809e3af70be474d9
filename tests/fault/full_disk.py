#!/usr/bin/python3
"""Real small disks, in memory or ext4 in a file: backups until there is no
room, then forget and prune have to make some. On the disk lie the repository
alone, or cache and state as well; it is left as the last backup left it, or
stuffed to the last byte.

Mounts are made in a mount namespace of this process, and go with it.
"""

import argparse
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import place  # noqa: E402
import tracer  # noqa: E402
from known import reason_on_full_disk  # noqa: E402
from place import Finding, NO_SPACE, OK, expect, noise  # noqa: E402

KIB = 1 << 10
STREAM = 150 * KIB
SMALLEST = {"tmpfs": 2500, "ext4": 4600}  # KiB, with room for two backups
SPAN = 2000  # KiB, between the smallest and the largest of chance
INSIDE = "CAIRN_FAULT_INSIDE"  # of the namespace


def mount(kind, where, size, image):
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none",
                        where], check=True)
        return
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-b", "1024", "-J", "size=1",
                    image], check=True)
    subprocess.run(["mount", "-o", "loop", image, where], check=True)
    (where / "lost+found").rmdir()


def why_not(kind):
    """Why there is no disk of that kind here, or None."""
    if kind == "tmpfs":
        return None
    if not shutil.which("mkfs.ext4"):
        return "there is no mkfs.ext4"
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder) / "disk"
        where.mkdir()
        try:
            mount(kind, where, 8 << 20, pathlib.Path(folder) / "image")
        except subprocess.CalledProcessError:
            return "no file can be mounted here"
        subprocess.run(["umount", where], check=True)
    return None


def free(where):
    status = os.statvfs(where)
    return status.f_bavail * status.f_frsize


def stuff(where):
    with open(where / "stuffing", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


def fill(where):
    """Answers what each snapshot holds that was reported."""
    held = {}
    for i in range(100):
        data = noise(STREAM, i)
        ran = where.cairn("--json", "backup", "--stdin", "--as", "db",
                          stdin=data, code=None)
        if ran.code != OK:
            expect(ran.code == NO_SPACE, "a full disk is taken for something "
                   "else", ran)
            expect("error: " in ran.err, "it does not say why", ran)
            return held
        held[place.lines_of(ran)[-1]["snapshot_id"]] = data
    raise Finding("the disk is never full")


def judge(where, held):
    listed = [s["id"] for s in where.snapshots()]
    expect(set(held) <= set(listed), f"{set(held) - set(listed)} are lost")
    for snapshot, data in held.items():
        expect(where.restored(snapshot)["db"][-1] == data,
               f"{snapshot} differs")
    return listed


def try_size(where, kind, size, has_all, is_stuffed):
    shutil.rmtree(where.here)
    where.here.mkdir()
    disk = where.here if has_all else where.here / "repo"
    disk.mkdir(exist_ok=True)
    mount(kind, disk, size, where.top / "image")
    try:
        where.cairn("init", "--recovery-key-out", "{here}/owner.key")
        held = fill(where)
        expect(len(held) > 1, f"only {len(held)} backups find room")
        if is_stuffed:
            stuff(disk)
        judge(where, held)
        left = list(held)[-1]
        where.cairn("forget", "-y", *list(held)[:-1])
        ran, tries = None, 0
        while sum(where.objects("packs").values()) > 2 * STREAM:
            expect(tries < 3, f"{tries} prunes do not free what was forgotten, "
                   f"with {free(disk)} bytes free", ran)
            ran = where.cairn("prune", "--max-unused", "0%", code=None)
            expect(ran.code in (OK, NO_SPACE), "a prune fails", ran)
            tries += 1
        judge(where, {left: held[left]})
        where.cairn("check", "--level", "data")
        where.cairn("backup", "--stdin", "--as", "db", stdin=noise(STREAM, 99))
        where.cairn("prune")
        expect(where.objects().get("reserve") == 1 << 20, "no reserve")
        return len(held), tries
    finally:
        subprocess.run(["umount", disk], check=True)


def sizes(options):
    """In KiB: so many steps, or numbered ones of chance as long as there is
    time."""
    smallest = options.smallest or SMALLEST[options.disk]
    if options.time is None:
        yield from range(smallest, smallest + options.steps * options.step,
                         options.step)
        return
    deadline = time.monotonic() + options.time
    for number in itertools.count(options.first):
        if time.monotonic() > deadline:
            return
        chance = random.Random(f"{options.seed} {number}")
        yield smallest + 4 * chance.randrange(SPAN // 4)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disk", choices=SMALLEST, default="tmpfs")
    parser.add_argument("--smallest", type=int, help="KiB")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--step", type=int, default=44, help="KiB")
    parser.add_argument("--time", type=int, help="seconds, instead of steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="first",
                        help="the number of the first size of chance")
    return parser.parse_args()


def main():
    options = arguments()
    if reason := tracer.why_not():
        print(f"skipped: {reason}")
        return 77
    if not os.environ.get(INSIDE):
        if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
            print("skipped: no mount namespace can be made here")
            return 77
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])
    if reason := why_not(options.disk):
        print(f"skipped: {reason}")
        return 77
    findings = tried = steps = 0
    with place.Place() as where:
        for size in sizes(options):
            steps += 1
            for has_all in (False, True):
                for is_stuffed in (False, True):
                    what = (f"{size} KiB, "
                            f"{'all' if has_all else 'repository alone'}"
                            f"{', stuffed' * is_stuffed}")
                    tried += 1
                    try:
                        count, tries = try_size(where, options.disk,
                                                size * KIB, has_all, is_stuffed)
                        print(f"{what}: {count} backups, room again after "
                              f"{tries} prunes", flush=True)
                    except Finding as finding:
                        reason = reason_on_full_disk(str(finding))
                        findings += not reason
                        print(f"{'KNOWN: ' + reason if reason else 'FINDING'}"
                              f": {what}: {finding}", flush=True)
    print(f"{tried} full disks of {options.disk}, {findings} findings, next "
          f"{options.first + steps}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
