#!/usr/bin/python3
"""What a person at a terminal meets: questions, a bar, colours, Ctrl-C; and
that no secret ever shows."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import fcntl

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import (HUNG_UP, INTERRUPTED, REFUSED, TERMINATED, WRONG_KEY,
                     noise)

CANARY = "canary-Zq7-passphrase"


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, case, *words, env=None, stdout=None):
        self.case = case
        self.main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 24, 100, 0, 0))
        self.process = subprocess.Popen(
            [harness.PROGRAM, *words], stdin=side, stdout=stdout or side,
            stderr=side, start_new_session=True,
            env=case.environment({"TERM": "xterm-256color", **(env or {})}))
        self.side = side
        self.shown = b""
        case.addCleanup(self.close)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.main, self.side):
            os.close(fd)

    def read(self, seconds=0.1):
        if select.select([self.main], [], [], seconds)[0]:
            self.shown += os.read(self.main, 65536)

    def expect(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while text.encode() not in self.shown:
            self.case.assertLess(time.monotonic(), deadline,
                                 (text, self.shown))
            self.read()

    def echoes(self):
        return bool(termios.tcgetattr(self.side)[3] & termios.ECHO)

    def answer(self, question, text):
        """Types once the question stands there and nothing typed shows."""
        self.expect(question)
        if question.startswith(("Passphrase", "New", "The same")):
            harness.wait_until(lambda: not self.echoes(), "a silent terminal")
        self.shown = b""
        os.write(self.main, text.encode() + b"\n")

    def end(self, code=0):
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            self.case.assertLess(time.monotonic(), deadline, self.shown)
            self.read()
        self.read(0)
        self.case.assertEqual(self.process.returncode, code, self.shown)
        return self.shown.decode(errors="replace")


class Asking(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        self.env["CAIRN_KEY_FILE"] = ""

    def make(self):
        at = Terminal(self, "init", "--no-recovery-key")
        at.answer("New passphrase", CANARY)
        at.answer("The same again", CANARY)
        at.end()

    def test_a_passphrase_is_asked_for_twice_and_never_shown(self):
        at = Terminal(self, "init")
        at.answer("File to write it to", str(self.key))
        at.answer("New passphrase", CANARY)
        at.answer("The same again", CANARY)
        self.assertNotIn(CANARY, at.end())
        self.assertTrue(at.echoes())
        self.cairn("snapshots", env={"CAIRN_KEY_FILE": self.key})

        at = Terminal(self, "snapshots")
        at.answer("Passphrase for", CANARY)
        self.assertNotIn(CANARY, at.end())

    def test_two_different_passphrases_make_nothing(self):
        at = Terminal(self, "init", "--no-recovery-key")
        at.answer("New passphrase", "one")
        at.answer("The same again", "other")
        at.end(WRONG_KEY)
        self.assertFalse(self.repo.exists())

    def test_a_wrong_answer_is_a_wrong_key(self):
        self.make()
        at = Terminal(self, "snapshots")
        at.answer("Passphrase for", "guess")
        at.end(WRONG_KEY)

    def test_ctrl_c_at_the_prompt_gives_the_echo_back(self):
        self.make()
        at = Terminal(self, "snapshots")
        at.expect("Passphrase for")
        harness.wait_until(lambda: not at.echoes(), "a silent terminal")
        at.process.send_signal(signal.SIGINT)
        at.end(INTERRUPTED)
        self.assertTrue(at.echoes())

    def test_a_question_is_answered_at_the_terminal(self):
        self.make()
        env = {"CAIRN_PASSWORD": CANARY}
        self.back_up_bytes(b"x", env=env)
        at = Terminal(self, "forget", "latest", env=env)
        at.answer("Forget it?", "n")
        at.end(REFUSED)
        at = Terminal(self, "forget", "latest", env=env)
        at.answer("Forget it?", "y")
        at.end()
        self.assertEqual(self.cairn("snapshots", "--json", env=env).value, [])


    def test_a_question_cannot_command_the_terminal(self):
        self.make()
        env = {"CAIRN_PASSWORD": CANARY}
        self.back_up_bytes(b"x", "x", "--series", "evil\x1b[5m/x", env=env)
        at = Terminal(self, "-q", "forget", "latest",
                      env={**env, "NO_COLOR": "1"})
        at.expect("Forget it?")
        self.assertNotIn(b"\x1b", at.shown)
        self.assertIn(b"evil\\x1b[5m/x", at.shown)
        at.answer("Forget it?", "n")
        at.end(REFUSED)


class Looks(harness.Case):
    def test_colours_on_a_terminal_unless_they_are_not_wanted(self):
        self.back_up_bytes(b"x")

        def has_colour(**env):
            return "\x1b[" in Terminal(self, "snapshots", env=env).end()
        self.assertTrue(has_colour())
        self.assertFalse(has_colour(NO_COLOR="1"))
        self.assertTrue(has_colour(NO_COLOR=""))
        self.assertFalse(has_colour(TERM="dumb"))

    def test_a_bar_on_a_terminal_and_none_behind_it(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        at = Terminal(self, "backup", "--as", "x", "--from-command", "--",
                      "cat", fifo)
        with open(fifo, "wb") as feed:
            feed.write(noise(3 << 20))
            feed.flush()
            at.expect("MiB/s")
        shown = at.end()
        self.assertIn("snapshot ", shown)
        # The bar is gone before the summary begins.
        self.assertRegex(shown, r"\r\x1b\[Ksnapshot ")

    def test_a_first_backup_of_files_shows_how_much_there_is(self):
        folder = self.folder / "files"
        folder.mkdir()
        for i in range(8):
            (folder / f"{i}").write_bytes(noise(24 << 20, i))
        at = Terminal(self, "backup", folder)
        at.expect(" of 192 MiB")
        self.assertRegex(at.end(), r"[0-9]%  [0-9.]+ MiB of 192 MiB")

    def test_lines_on_a_terminal_that_can_show_no_bar(self):
        for term in ("dumb", ""):
            at = Terminal(self, "backup", "--as", "x", "--from-command", "--",
                          "sh", "-c", "echo x; sleep 1; echo y",
                          env={"TERM": term})
            self.assertNotIn("\x1b", at.end())

    def test_no_bar_beside_quiet_or_json(self):
        for flag in ("-q", "--json"):
            at = Terminal(self, flag, "backup", "--as", "x",
                          "--from-command", "--", "sh", "-c",
                          "echo x; sleep 1; echo y")
            self.assertNotIn("\r\x1b[K", at.end())


class Stopping(harness.Case):
    def test_the_first_signal_ends_a_backup_in_order(self):
        for number, code in ((signal.SIGINT, INTERRUPTED),
                             (signal.SIGTERM, TERMINATED),
                             (signal.SIGHUP, HUNG_UP)):
            process = self.begin_stream(noise(100000))
            process.send_signal(number)
            self.assertEqual(process.wait(timeout=60), code)
            error = process.stdout.read().splitlines()[-1]
            self.assertIn(b'"exit_error"', error)
            self.assertEqual(self.objects("sessions"), [])
        self.assertEqual(self.snapshots(), [])
        self.assert_sound()

    def test_the_second_signal_ends_it_at_once(self):
        process = self.begin_stream(noise(100000))
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        # Whichever the kernel delivers first asks, the other one kills; if the
        # first was quick enough, the program ended by itself.
        self.assertIn(process.wait(timeout=60),
                      (-signal.SIGINT, -signal.SIGTERM, INTERRUPTED,
                       TERMINATED))
        self.assertEqual(self.snapshots(), [])

    def test_the_command_that_is_read_from_ends_too(self):
        marker = f"sleep 1234.{os.getpid()}"
        process = self.start("backup", "--as", "x", "--from-command", "--",
                             *marker.split())

        def is_running():
            return subprocess.run(["pgrep", "-fx", marker], check=False,
                                  stdout=subprocess.PIPE).stdout.split()
        harness.wait_until(is_running, "the command")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), TERMINATED)
        harness.wait_until(lambda: not is_running(), "the command's end")

    def test_an_interrupt_that_was_ignored_from_the_start_stays_ignored(self):
        process = self.begin_stream(
            noise(1000), prefix=["sh", "-c", "trap '' INT; exec \"$@\"", "-"])
        process.send_signal(signal.SIGINT)
        self.end(process)


class Secrets(harness.Case):
    has_repository = False

    def test_no_secret_shows_in_any_output_or_lies_in_the_repository(self):
        """A canary passphrase, the key file's digits, names and contents."""
        password = self.folder / "password"
        password.write_text(CANARY + "\n")
        password.chmod(0o600)
        self.env["CAIRN_KEY_FILE"] = ""
        self.env["CAIRN_PASSWORD_FILE"] = str(password)
        tree = self.folder / "tree"
        tree.mkdir()
        (tree / "canary-name-Kx3").write_text("canary-content-Wp9" * 100)
        shown = []

        def run(*words, code=(0,), **how):
            ran = self.cairn(*words, code=tuple(range(20)), **how)
            shown.append(ran.out + ran.err.encode())

        run("-v", "init", "--recovery-key-out", self.key)
        digits = re.sub("[^0-9a-f]", "", self.key.read_text().split()[1])
        write = self.folder / "write.key"
        run("-v", "key", "add", "--role", "write", "--key-file-out", write)
        run("-v", "key", "add", env={"CAIRN_NEW_PASSWORD_FILE": password})
        for mode in ([], ["--json"]):
            run("-v", *mode, "backup", tree, "--tag", "canary-tag-Jd5")
            for words in (["snapshots"], ["stats"], ["key", "list"],
                          ["check", "--level", "data"], ["prune"],
                          ["forget", "--keep-last", "1"], ["nonsense"],
                          ["ls", "nonsense"], ["repair", "index"],
                          ["hold", "add", "latest"], ["hold", "list"]):
                run("-v", *mode, *words)
            run(*mode, "snapshots",
                env={"CAIRN_PASSWORD_FILE": "", "CAIRN_PASSWORD": CANARY})
            run(*mode, "snapshots", env={"CAIRN_KEY_FILE": self.key})
            run(*mode, "snapshots", env={"CAIRN_KEY_FILE": write})
            run(*mode, "snapshots", env={"CAIRN_KEY_FILE": password})

        everything = b"".join(shown)
        self.assertNotIn(CANARY.encode(), everything)
        for key in (digits, digits[:32], digits[32:64]):
            self.assertNotIn(key.encode(),
                             re.sub(rb"[^0-9a-f]", b"", everything))
        hidden = [CANARY, digits, "canary-name-Kx3", "canary-content-Wp9",
                  "canary-tag-Jd5", str(tree), os.uname().nodename + "/files"]
        for path in self.repo.rglob("*"):
            if not path.is_file():
                continue
            data = path.read_bytes()
            for secret in hidden:
                self.assertNotIn(secret.encode(), data, path)

    def test_the_environment_of_the_process_shows_no_passphrase(self):
        self.env["CAIRN_KEY_FILE"] = ""
        self.cairn("init", "--no-recovery-key",
                   env={"CAIRN_PASSWORD": CANARY})
        process = self.begin_stream(b"x", env={"CAIRN_PASSWORD": CANARY})
        try:
            with open(f"/proc/{process.pid}/environ", "rb") as file:
                self.assertNotIn(CANARY.encode(), file.read())
        except PermissionError:
            pass  # better still
        self.end(process)


if __name__ == "__main__":
    harness.main()
