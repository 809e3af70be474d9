"""Tar streams: as Python and GNU tar make them, and such that break off or hold
something else too."""

import io
import os
import struct
import subprocess
import tarfile

from harness import KIB, MIB, noise, prose

TIME = 1795132800


def postgres_pages(count, seed):
    """A heap file of PostgreSQL, as far as its page headers go."""
    page = struct.Struct("<QHHHHHHI4x")
    return b"".join(
        page.pack(seed << 32 | i, 0, 4, 28, 8192 - 7000, 8192, 8192 | 4, 0) +
        bytes(8192 - 7000 - page.size) + noise(7000, seed + i)
        for i in range(count))


def make_tree(top, state=0):
    """Many small files, large ones, page files, long names, and what has no
    content. Another state is 60 seconds later and differs a little."""
    small, deep = top / "small", top / "/".join(["deep folder" * 5] * 4)
    for folder in (small, deep):
        folder.mkdir(parents=True)
    for i in range(1500):
        changed = state if i % 100 == 7 else 0
        (small / f"file {i}").write_bytes(noise(i * 7 % 4000, i + changed))
    large = noise(3 * MIB, 5) + prose(9000, 6)
    (top / "large").write_bytes(large[:MIB] + b"%d" % state + large[MIB:])
    (top / "base" / "16384").mkdir(parents=True)
    for i in range(3):
        pages = postgres_pages(40 + i, i)
        (top / "base" / "16384" / f"{2600 + i}").write_bytes(
            pages[:8192 * 5] + postgres_pages(1, 90 + state) +
            pages[8192 * 6:])
    (deep / ("n" * 250)).write_bytes(noise(20 * KIB, 7))
    (top / "na\u00efve \u0438\u043c\u044f").write_bytes(b"in pax a header")
    (top / "empty").touch()
    (top / "symlink").symlink_to("x" * 300)
    os.link(top / "large", top / "small" / "linked")
    os.mkfifo(top / "fifo")
    with open(top / "sparse", "wb") as file:
        for i in range(30):  # more than one sparse header holds
            file.seek(i * 128 * KIB)
            file.write(noise(5000, i))
    for folder, _, files in os.walk(top, topdown=False):
        for name in files + ["."]:
            ns = (TIME + 60 * state) * 10**9 + 123456789
            os.utime(os.path.join(folder, name), ns=(ns, ns),
                     follow_symlinks=False)


def python_tar(top, form):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        if form == tarfile.PAX_FORMAT:
            archive.pax_headers = {"comment": "of the whole archive"}
        archive.add(top, "tree")
        again = archive.gettarinfo(top / "large", "with a size in pax")
        again.pax_headers["size"] = str(again.size)
        with open(top / "large", "rb") as file:
            archive.addfile(again, file)
    return out.getvalue()


def gnu_tar(top, *options):
    return subprocess.run(
        ["tar", "--create", "--file=-", "--sort=name", *options,
         "--directory", top, "."], capture_output=True, check=True).stdout


def streams(top):
    """By name. All begin with a header."""
    made = {
        "python gnu": python_tar(top, tarfile.GNU_FORMAT),
        "python pax": python_tar(top, tarfile.PAX_FORMAT),
        "gnu": gnu_tar(top, "--format=gnu"),
        "gnu sparse": gnu_tar(top, "--format=gnu", "--sparse"),
        "posix": gnu_tar(top, "--format=posix"),
        "posix sparse": gnu_tar(top, "--format=posix", "--sparse"),
    }
    whole = made["gnu"]
    middle = len(whole) // 1024 * 512
    return made | {
        "broken off": whole[:middle + 77],
        "without its end": whole.rstrip(b"\0"),
        "two": whole + made["python pax"],
        "with noise behind": whole + noise(700 * KIB),
        "with noise within": whole[:middle] + noise(1000) + whole[middle:],
        "header and noise": whole[:512] + noise(2 * MIB),
    }
