#!/usr/bin/python3
"""Real small disks: backups until there is no room, then forget and prune have
to make some. On the disk lie the repository alone, or cache and state as well;
it is left as the last backup left it, or stuffed to the last byte.

Mounts are made in a mount namespace of this process, and go with it.
"""

import argparse
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True

import place  # noqa: E402
import tracer  # noqa: E402
from known import reason_on_full_disk  # noqa: E402
from place import Finding, NO_SPACE, OK, expect, noise  # noqa: E402

KIB = 1 << 10
STREAM = 150 * KIB
INSIDE = "CAIRN_FAULT_INSIDE"  # of the namespace


def mount(where, size):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none",
                    where], check=True)


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


def try_size(where, size, has_all, is_stuffed):
    shutil.rmtree(where.here)
    where.here.mkdir()
    disk = where.here if has_all else where.here / "repo"
    disk.mkdir(exist_ok=True)
    mount(disk, size)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", type=int, default=2500, dest="first",
                        help="KiB of the smallest disk")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--step", type=int, default=44, help="KiB")
    options = parser.parse_args()
    if reason := tracer.why_not():
        print(f"skipped: {reason}")
        return 77
    if not os.environ.get(INSIDE):
        if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
            print("skipped: no mount namespace can be made here")
            return 77
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])
    findings = tried = 0
    with place.Place() as where:
        for i in range(options.steps):
            size = (options.first + i * options.step) * KIB
            for has_all in (False, True):
                for is_stuffed in (False, True):
                    what = (f"{size >> 10} KiB, "
                            f"{'all' if has_all else 'repository alone'}"
                            f"{', stuffed' * is_stuffed}")
                    tried += 1
                    try:
                        count, tries = try_size(where, size, has_all,
                                                is_stuffed)
                        print(f"{what}: {count} backups, room again after "
                              f"{tries} prunes", flush=True)
                    except Finding as finding:
                        reason = reason_on_full_disk(str(finding))
                        findings += not reason
                        print(f"{'KNOWN: ' + reason if reason else 'FINDING'}"
                              f": {what}: {finding}", flush=True)
    print(f"{tried} disks, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
