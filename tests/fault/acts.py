"""What happens to a process that waits before one of its calls: others collect
garbage, the cache is damaged, a bit of its memory changes."""

import os
import shutil

import calls
from place import DAMAGE, OK, expect
from tracer import Fault

# It sleeps while others prune; while they forget as well, and prune twice; while
# they repair packs, and prune.
SLEEPS = ("asleep", "asleep-long", "asleep-repaired")
# Bytes of the cache change; a file of it or all of it goes.
CACHE_DAMAGE = ("cache-bytes", "cache-file", "cache-gone")
# A bit changes of what is about to be written to the repository.
FLIPS = ("bit",)

DAMAGED_BYTES = 64


def fault_of(kind, number, where, judge, chance):
    if kind in SLEEPS:
        return Fault(number, "acts", act=lambda *_: collect(
            where, judge, kind))
    if kind in CACHE_DAMAGE:
        return Fault(number, "acts", act=lambda *_: damage_cache(
            where.here / "cache", kind, chance))
    return Fault(number, "acts", names=calls.FROM_MEMORY,
                 act=lambda _, tid, arguments: flip_bit(
                     tid, arguments[1], arguments[2], chance))


def collect(where, judge, kind):
    """All of it, as on another machine, where nobody can tell whether the
    process that waits is alive. What is damaged until the operation has
    repaired it may end a prune."""
    code = None if judge.operation.is_repair else OK
    shutil.rmtree(where.elsewhere)
    where.elsewhere.mkdir()
    is_long = kind == "asleep-long"
    if kind == "asleep-repaired":
        ran = where.cairn_elsewhere("repair", "packs", code=None)
        expect(ran.code in (OK, DAMAGE), "others cannot repair packs", ran)
    for _ in range(1 + is_long):
        gone = judge.leans_on() if is_long else None
        if gone:
            where.cairn_elsewhere("forget", "-y", gone)
            judge.is_forgotten(gone)
        ran = where.cairn_elsewhere("prune", "--revoke-after", "0s",
                                    "--max-unused", "0%", "--wait", "0s",
                                    code=code)
        expect(ran.code in (OK, DAMAGE), "others cannot prune", ran)


def damage_cache(cache, kind, chance):
    if kind == "cache-gone":
        shutil.rmtree(cache, ignore_errors=True)
        return
    files = sorted(p for p in cache.rglob("*") if p.is_file())
    if not files:
        return
    path = chance.choice(files)
    if kind == "cache-file":
        path.unlink()
        return
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(chance.randrange(max(1, size - DAMAGED_BYTES)))
        file.write(chance.randbytes(DAMAGED_BYTES))


def flip_bit(pid, address, size, chance):
    """In the memory of a process. False: there is none to change."""
    at = address + chance.randrange(max(1, size))
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        byte, = os.pread(fd, 1, at)
        os.pwrite(fd, bytes([byte ^ 1 << chance.randrange(8)]), at)
        return True
    except (OSError, ValueError):
        return False
    finally:
        os.close(fd)
