"""Runs a program and interferes with one of its system calls, or with all from
one on: a tracer for x86-64 Linux in ptrace(2) and seccomp(2).

strace injects faults too, but counts each call of each thread by itself and
cannot look at where it goes: it kills at the first fdatasync of the thread that
publishes packs only if no other thread had a first one before, and the main
thread always has. Here the calls of all threads that change something are
counted in one row, and a process can be killed after a call as well as before
it. (Nor does strace 6.1 deliver signals with --seccomp-bpf, which is fast.)
"""

import ctypes
import dataclasses
import errno
import os
import platform
import re
import signal
import time

TIMEOUT = 60  # seconds; a run takes a tenth of one

# Name -> number, and how its arguments name files: "f0" is a descriptor in the
# first, "p1" a path there, "a1,2" a path in the third beneath the second.
MUTATING = {
    "write": (1, "f0"), "pwrite64": (18, "f0"), "writev": (20, "f0"),
    "pwritev": (296, "f0"), "pwritev2": (328, "f0"),
    "copy_file_range": (326, "f2"), "sendfile": (40, "f0"),
    "fsync": (74, "f0"), "fdatasync": (75, "f0"), "syncfs": (306, "f0"),
    "sync_file_range": (277, "f0"), "fallocate": (285, "f0"),
    "ftruncate": (77, "f0"), "truncate": (76, "p0"),
    "open": (2, "p0"), "creat": (85, "p0"), "openat": (257, "a0,1"),
    "openat2": (437, "a0,1"),
    "rename": (82, "p1"), "renameat": (264, "a2,3"),
    "renameat2": (316, "a2,3"), "link": (86, "p1"), "linkat": (265, "a2,3"),
    "symlink": (88, "p1"), "symlinkat": (266, "a1,2"),
    "unlink": (87, "p0"), "unlinkat": (263, "a0,1"), "rmdir": (84, "p0"),
    "mkdir": (83, "p0"), "mkdirat": (258, "a0,1"),
    "mknod": (133, "p0"), "mknodat": (259, "a0,1"),
    "chmod": (90, "p0"), "fchmod": (91, "f0"), "fchmodat": (268, "a0,1"),
    "chown": (92, "p0"), "fchown": (93, "f0"), "utimensat": (280, "a0,1"),
    "setxattr": (188, "p0"), "fsetxattr": (190, "f0"),
}
NAMES = {number: name for name, (number, _) in MUTATING.items()}
# Where flags lie in calls that change nothing without one of these.
FLAGS = {"open": (1, os.O_CREAT | os.O_TRUNC),
         "openat": (2, os.O_CREAT | os.O_TRUNC),
         "sync_file_range": (3, 7)}
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")

SYNCS = {"fsync", "fdatasync", "syncfs"}
# Where a disk without room says so; it removes as ever.
NEEDS_SPACE = SYNCS | {"write", "pwrite64", "writev", "pwritev", "pwritev2",
               "copy_file_range", "fallocate", "ftruncate", "open", "creat",
               "openat", "openat2", "rename", "renameat", "renameat2", "link",
               "linkat", "symlink", "symlinkat", "mkdir", "mkdirat"}

WALL = 0x40000000
TRACEME, CONT, GETREGS, SETREGS = 0, 7, 12, 13
SYSCALL, SETOPTIONS = 24, 0x4200
# Syscall stops marked; fork, vfork, clone, exec, seccomp; killed with us.
OPTIONS = 1 | 2 | 4 | 8 | 16 | 1 << 7 | 1 << 20
EVENT_SECCOMP = 7
AT_FDCWD = -100


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax "
        "rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                        ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def why_not():
    """Why this machine cannot do it, or None."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "the tracer knows only Linux on x86-64"
    if os.geteuid() != 0:
        return "needs root: the program hides its memory from others"
    return None


@dataclasses.dataclass
class Call:
    """One that changes something: the `number`th of a run, from 1."""
    number: int
    name: str
    path: str

    def __str__(self):
        return f"{self.name} {self.path}"

    @property
    def write(self):
        """The same for two runs, which draw different random names."""
        return f"{self.name} {without_names(self.path)}"


@dataclasses.dataclass
class Fault:
    """`kind` is before, after (both kill), EIO, ENOSPC or EDQUOT ...; `at` a
    number or a test of a Call; sticky ones hit all that follow too."""
    at: object
    kind: str
    is_sticky: bool = False

    def hits(self, call, has_hit):
        if self.kind == "ENOSPC" and call.name not in NEEDS_SPACE:
            return False
        if has_hit:
            return self.is_sticky
        return self.at(call) if callable(self.at) else call.number == self.at


@dataclasses.dataclass
class Traced:
    """How a run ended: its code, or minus the signal; TIMEOUT ends it too."""
    code: int
    out: bytes
    err: str
    calls: list
    hit: Call = None  # None: the run ended before
    has_hung: bool = False


def filter_program():
    """Seccomp: stop at what changes something, let the rest pass."""
    steps = [(0x20, 0, 0, 0)]  # load the number
    numbers = list(NAMES)
    for i, number in enumerate(numbers):
        steps.append((0x15, len(numbers) - i, 0, number))  # equal: to the end
    steps += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x7ff00000)]
    return b"".join(code.to_bytes(2, "little") + bytes([yes, no]) +
                    k.to_bytes(4, "little") for code, yes, no, k in steps)


class Tracer:
    """Of one run. One thread at a time, and no other child that may end."""

    def __init__(self, below, fault=None):
        self.below = below  # a test of a path
        self.fault = fault
        self.calls, self.hit = [], None
        self.main, self.tids, self.leaving = None, set(), set()

    def run(self, argv, env, stdin, out, err):
        """Of open files. Answers the wait status and whether it hung."""
        program = filter_program()
        code = ctypes.create_string_buffer(program)
        header = ctypes.create_string_buffer(
            (len(program) // 8).to_bytes(8, "little") +
            ctypes.addressof(code).to_bytes(8, "little"))
        self.main = os.fork()
        if self.main == 0:
            try:
                for fd, to in ((stdin, 0), (out, 1), (err, 2)):
                    os.dup2(fd, to)
                libc.ptrace(TRACEME, 0, None, None)
                os.kill(os.getpid(), signal.SIGSTOP)
                if libc.prctl(22, 2, header, 0, 0) != 0:
                    os._exit(126)
                os.execve(argv[0], argv, env)
            finally:
                os._exit(127)
        os.waitpid(self.main, WALL)
        libc.ptrace(SETOPTIONS, self.main, None, OPTIONS)
        self.tids.add(self.main)
        self.go_on(self.main)
        return self.wait_for_all()

    def wait_for_all(self):
        ended, has_hung = None, False
        deadline = time.monotonic() + TIMEOUT
        previous = signal.signal(signal.SIGALRM, lambda *_: self.kill())
        signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
        try:
            while self.tids:
                tid, status = os.waitpid(-1, WALL)
                if os.WIFSTOPPED(status):
                    self.stopped(tid, status)
                    continue
                self.tids.discard(tid)
                if tid == self.main:
                    ended = status
            has_hung = time.monotonic() >= deadline
        except BaseException:
            self.kill()
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        return os.waitstatus_to_exitcode(ended), has_hung

    def stopped(self, tid, status):
        number, event = os.WSTOPSIG(status), status >> 16
        is_new = tid not in self.tids
        self.tids.add(tid)
        if event == EVENT_SECCOMP:
            self.entering(tid)
        elif number == signal.SIGTRAP | 0x80:
            if tid in self.leaving:
                self.kill()
            self.go_on(tid)
        elif event or (is_new and number == signal.SIGSTOP):
            self.go_on(tid)
        else:
            self.go_on(tid, 0 if number == signal.SIGTRAP else number)

    def entering(self, tid):
        registers = Registers()
        libc.ptrace(GETREGS, tid, None, ctypes.byref(registers))
        call = self.call_of(tid, registers)
        fault = self.fault
        if not call or not fault or not fault.hits(call, self.hit):
            return self.go_on(tid)
        self.hit = self.hit or call
        if fault.kind == "before":
            return self.kill()
        if fault.kind == "after":
            self.leaving.add(tid)
            return libc.ptrace(SYSCALL, tid, None, None)
        registers.orig_rax = 2**64 - 1  # no call at all
        registers.rax = 2**64 - getattr(errno, fault.kind)
        libc.ptrace(SETREGS, tid, None, ctypes.byref(registers))
        return self.go_on(tid)

    def kill(self):
        try:
            os.kill(self.main, signal.SIGKILL)
        except ProcessLookupError:
            pass

    @staticmethod
    def go_on(tid, number=0):
        libc.ptrace(CONT, tid, None, int(number))  # gone: we shall hear of it

    def call_of(self, tid, registers):
        """None: it changes nothing of interest."""
        name = NAMES[registers.orig_rax]
        arguments = [getattr(registers, name) for name in ARGUMENTS]
        at, wanted = FLAGS.get(name, (0, None))
        if wanted and not arguments[at] & wanted:
            return None
        path = path_of(tid, MUTATING[name][1], arguments)
        if not self.below(path):
            return None
        self.calls.append(Call(len(self.calls) + 1, name, path))
        return self.calls[-1]


def path_of(tid, how, arguments):
    places = [int(i) for i in how[1:].split(",")]
    try:
        if how[0] == "f":
            return os.readlink(f"/proc/{tid}/fd/{arguments[places[0]]}")
        with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
            path = string_at(memory, arguments[places[-1]])
        if path.startswith("/"):
            return path
        folder = ctypes.c_int(arguments[places[0]]).value
        if how[0] == "p" or folder == AT_FDCWD:
            return os.path.join(os.readlink(f"/proc/{tid}/cwd"), path)
        return os.path.join(os.readlink(f"/proc/{tid}/fd/{folder}"), path)
    except OSError:
        return ""


def string_at(memory, address):
    text = b""
    while b"\0" not in text:
        memory.seek(address + len(text))
        text += memory.read(4096 - (address + len(text)) % 4096)
    return os.fsdecode(text[:text.index(b"\0")])


def run(argv, env, folder, stdin=b"", below=None, fault=None):
    """What the program wrote is kept in `folder` while it runs."""
    names = [os.path.join(folder, name) for name in ("in", "out", "err")]
    with open(names[0], "wb") as file:
        file.write(stdin)
    fds = [os.open(names[0], os.O_RDONLY)] + [
        os.open(n, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for n in names[1:]]
    tracer = Tracer(below or (lambda path: True), fault)
    try:
        code, has_hung = tracer.run(argv, env, *fds)
        out, err = (os.pread(fd, 1 << 24, 0) for fd in fds[1:])
    finally:
        for fd in fds:
            os.close(fd)
    return Traced(code, out, err.decode(errors="backslashreplace"),
                  tracer.calls, tracer.hit, has_hung)


def without_names(path):
    """Stars for random names, N for numbers of RocksDB's files."""
    path = re.sub(r"^.*/here/", "", path)
    path = re.sub(r"\b[0-9a-f]{16,}\b", "*", path)
    path = re.sub(r"[0-9]{6}|(?<=#)[0-9]+", "N", path)
    return re.sub(r"\b[0-9a-f]{2}/\*", "**/*", path)
