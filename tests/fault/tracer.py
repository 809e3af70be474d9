"""Runs a program and interferes with one of its system calls, or with all from
one on: a tracer for x86-64 Linux in ptrace(2) and seccomp(2).

strace injects faults too, but counts each call of each thread by itself and
cannot look at where it goes: it kills at the first fdatasync of the thread that
publishes packs only if no other thread had a first one before, and the main
thread always has. Here the calls of all threads that change something are
counted in one row, and a process can be killed after a call as well as before
it. (Nor does strace 6.1 deliver signals with --seccomp-bpf, which is fast.)
"""

import collections
import ctypes
import dataclasses
import errno
import os
import platform
import signal
import time

import calls

TIMEOUT = 60  # seconds; a run takes a tenth of one

CAN_FAIL_BY = {"ENOSPC": calls.NEEDS_SPACE, "short": {"write", "pwrite64"}}

WALL = 0x40000000
TRACEME, CONT, GETREGS, SETREGS = 0, 7, 12, 13
SYSCALL, SETOPTIONS = 24, 0x4200
# Syscall stops marked; fork, vfork, clone, exec, seccomp; killed with us.
OPTIONS = 1 | 2 | 4 | 8 | 16 | 1 << 7 | 1 << 20
EVENT_SECCOMP = 7
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
NO_CALL = 2**64 - 1


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax "
        "rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()]


def arguments_of(registers):
    return [getattr(registers, name) for name in ARGUMENTS]


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
class Fault:
    """`at` is a number or a test of a Call; sticky ones hit all that follow
    too. Kinds: before, after (both kill); EIO, ENOSPC or another error; lost
    (done, and said to have failed); short (half of what was to be written);
    acts (the whole process waits before the call until `act` is done, which
    gets the Call, the thread and the call's arguments)."""
    at: object
    kind: str
    is_sticky: bool = False
    act: object = None
    names: frozenset = frozenset(calls.MUTATING)  # that it may hit

    def hits(self, call, has_hit):
        if call.name not in CAN_FAIL_BY.get(self.kind, self.names):
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
    hit: calls.Call = None  # None: the run ended before
    has_hung: bool = False


def filter_program():
    """Seccomp: stop at what changes something, let the rest pass."""
    steps = [(0x20, 0, 0, 0)]  # load the number
    numbers = list(calls.NAMES)
    for i, number in enumerate(numbers):
        steps.append((0x15, len(numbers) - i, 0, number))  # equal: to the end
    steps += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x7ff00000)]
    return b"".join(code.to_bytes(2, "little") + bytes([yes, no]) +
                    k.to_bytes(4, "little") for code, yes, no, k in steps)


class Tracer:
    """Of one run. One thread at a time, and no other child that may end. A
    recorder sees each call before and after it, and none meanwhile."""

    def __init__(self, below, fault=None, recorder=None):
        self.below = below  # a test of a path
        self.fault = fault
        self.recorder = recorder
        self.recorded, self.waiting = None, collections.deque()
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
                if tid == self.recorded:
                    self.record_next()
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
            self.left(tid)
        elif event or (is_new and number == signal.SIGSTOP):
            self.go_on(tid)
        else:
            self.go_on(tid, 0 if number == signal.SIGTRAP else number)

    def entering(self, tid):
        if self.recorded:
            return self.waiting.append(tid)
        registers = Registers()
        libc.ptrace(GETREGS, tid, None, ctypes.byref(registers))
        call = self.call_of(tid, registers)
        if self.recorder:
            self.recorded = tid
            self.recorder.before(len(self.calls), tid,
                                 calls.NAMES[registers.orig_rax],
                                 arguments_of(registers))
            return libc.ptrace(SYSCALL, tid, None, None)
        fault = self.fault
        if not call or not fault or not fault.hits(call, self.hit):
            return self.go_on(tid)
        self.hit = self.hit or call
        if fault.kind == "before":
            return self.kill()
        if fault.kind == "acts":
            fault.act(call, tid, arguments_of(registers))
            return self.go_on(tid)
        if fault.kind in ("after", "lost"):
            self.leaving.add(tid)
            return libc.ptrace(SYSCALL, tid, None, None)
        if fault.kind == "short":
            registers.rdx = max(1, registers.rdx // 2)
        else:
            registers.orig_rax = NO_CALL
            registers.rax = 2**64 - getattr(errno, fault.kind)
        libc.ptrace(SETREGS, tid, None, ctypes.byref(registers))
        return self.go_on(tid)

    def record_next(self):
        self.recorded = None
        if self.waiting:
            self.entering(self.waiting.popleft())

    def left(self, tid):
        if tid == self.recorded:
            registers = Registers()
            libc.ptrace(GETREGS, tid, None, ctypes.byref(registers))
            self.recorder.after(ctypes.c_long(registers.rax).value)
            self.go_on(tid)
            return self.record_next()
        if tid in self.leaving and self.fault.kind == "after":
            self.kill()
        elif tid in self.leaving:
            registers = Registers()
            libc.ptrace(GETREGS, tid, None, ctypes.byref(registers))
            registers.rax = 2**64 - errno.EIO
            libc.ptrace(SETREGS, tid, None, ctypes.byref(registers))
        self.leaving.discard(tid)
        self.go_on(tid)

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
        name, path = calls.name_and_path(tid, registers.orig_rax,
                                         arguments_of(registers))
        if not path or not self.below(path):
            return None
        self.calls.append(calls.Call(len(self.calls) + 1, name, path))
        return self.calls[-1]


def run(argv, env, folder, stdin=b"", below=None, fault=None, recorder=None):
    """What the program wrote is kept in `folder` while it runs."""
    names = [os.path.join(folder, name) for name in ("in", "out", "err")]
    with open(names[0], "wb") as file:
        file.write(stdin)
    fds = [os.open(names[0], os.O_RDONLY)] + [
        os.open(n, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for n in names[1:]]
    tracer = Tracer(below or (lambda path: True), fault, recorder)
    try:
        code, has_hung = tracer.run(argv, env, *fds)
        out, err = (os.pread(fd, 1 << 24, 0) for fd in fds[1:])
    finally:
        for fd in fds:
            os.close(fd)
    return Traced(code, out, err.decode(errors="backslashreplace"),
                  tracer.calls, tracer.hit, has_hung)
