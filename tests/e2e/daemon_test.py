#!/usr/bin/python3
"""cairn daemon: jobs run when they are due, and end when they are told to."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import harness
from harness import FAILED, LOCKED, OK, USAGE, needs, wait_until


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.env["CAIRN_CONFIG"] = str(self.config)
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]
        self.data = self.folder / "data"
        self.data.mkdir()
        (self.data / "file").write_bytes(harness.prose(100))

    def configure(self, *jobs, sources=""):
        self.config.write_text(f"""version: 1
host: stack
repositories:
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  data: {{type: files, paths: [{self.data}]}}
{sources}
jobs:
""" + "".join(f"  {job}\n" for job in jobs))

    def begin(self, *words):
        """A daemon, and what it says into a file."""
        said = self.folder / f"said-{time.monotonic_ns()}"
        with open(said, "wb") as file:
            process = subprocess.Popen(
                [harness.PROGRAM, "daemon", *words], stdin=subprocess.DEVNULL,
                stdout=file, stderr=file, env=self.environment(None))
        process.said = said.read_text

        def end():
            if process.poll() is None:
                process.kill()
            process.wait()

        self.addCleanup(end)
        return process

    def wait_for(self, daemon, what, seconds=60):
        def is_said():
            self.assertIsNone(daemon.poll(), daemon.said())
            return re.search(what, daemon.said())

        return wait_until(is_said, f"{what} in what the daemon says", seconds)

    def end(self, daemon, code=OK):
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(60), code, daemon.said())

    def series(self):
        return sorted(x["series"] for x in
                      self.cairn("snapshots", "--json").value)


class Runs(Case):
    def test_what_was_missed_at_once_and_then_what_is_due(self):
        self.configure("minutely: {sources: all, schedule: '* * * * *'}",
                       "yearly: {sources: all, schedule: '0 3 1 1 *'}")
        daemon = self.begin()
        self.wait_for(daemon, r"job yearly begins; it was due .*, and missed")
        self.wait_for(daemon, r"job yearly is done")
        self.wait_for(daemon, r"(?s)job minutely is done.*minutely is done",
                      150)
        self.end(daemon)

        begins = re.findall(r"minutely begins; it was due (\S+ \S+)",
                            daemon.said())
        self.assertEqual(len(set(begins)), len(begins))
        self.assertEqual(self.series().count("stack/yearly"), 1)
        self.assertGreaterEqual(self.series().count("stack/minutely"), 2)

    def test_once_what_is_due_and_ends(self):
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}",
                       "by_hand: {sources: all}")
        self.cairn("daemon", "--once")
        self.assertEqual(self.series(), ["stack/yearly"])
        self.cairn("daemon", "--once")
        self.assertEqual(self.series(), ["stack/yearly"])

    def test_jobs_by_the_words_of_the_command_line(self):
        self.configure("yearly: {sources: all}", "other: {sources: all}")
        self.cairn("daemon", "--once", code=USAGE)
        self.cairn("daemon", "--once", "other", "--frequency", "monthly",
                   "--retention", "30")
        self.assertEqual(self.series(), ["stack/other"])

    def test_the_others_when_one_fails(self):
        self.configure(
            "bad: {sources: [failing], schedule: '0 3 1 1 *'}",
            "good: {sources: [data], schedule: '0 3 1 1 *'}",
            sources="  failing: {type: command, command: ['false']}")
        ran = self.cairn("daemon", "--once", code=FAILED)
        self.assertRegex(ran.err, r"job bad failed: exited with 15")
        self.assertIn("job good is done", ran.err)
        self.assertEqual(self.series(), ["stack/good"])

    def test_hand_on_the_variables_that_secrets_come_from(self):
        password = self.folder / "password"
        password.write_text("sesame")
        password.chmod(0o600)
        self.cairn("-r", self.repo, "key", "add",
                   env={"CAIRN_NEW_PASSWORD_FILE": password,
                        "CAIRN_KEY_FILE": self.key, "CAIRN_CONFIG": None})
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")
        self.config.write_text(self.config.read_text().replace(
            f"key: {{file: {self.key}}}", "password: {env: MY_SECRET}"))
        ran = self.cairn("daemon", "--once", env={"MY_SECRET": "sesame"})
        self.assertIn("job yearly is done", ran.err)

    def test_tell_programs_what_happens(self):
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")
        ran = self.cairn("--json", "daemon", "--once")
        self.assertEqual([(x["type"], x["job"]) for x in ran.lines],
                         [("job_begin", "yearly"), ("job_end", "yearly")])
        self.assertTrue(ran.lines[0]["was_missed"])
        self.assertIsNone(ran.lines[1]["failure"])


class Ends(Case):
    def test_with_the_runs_that_are_at_work(self):
        self.configure(
            "slow: {sources: [sleeping], schedule: '0 3 1 1 *'}",
            sources="  sleeping: {type: command, command: [sh, -c, "
            f"'echo $$ > {self.folder}/pid; exec sleep 300']}}")
        daemon = self.begin()
        pid = wait_until(
            lambda: (self.folder / "pid").exists()
            and (self.folder / "pid").read_text().strip(),
            "the source is at work")
        self.end(daemon)

        self.assertRegex(daemon.said(), r"waits for the end of 1 job\n")
        self.assertRegex(daemon.said(), r"job slow failed: exited with 143")
        self.assertFalse(os.path.exists(f"/proc/{pid}"))

    def test_a_second_one_at_once(self):
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")
        daemon = self.begin()
        self.wait_for(daemon, "yearly is done")
        ran = self.cairn("daemon", code=LOCKED)
        self.assertIn("another daemon watches over", ran.err)
        self.assertEqual(self.cairn("daemon", "--once").err, "")
        self.end(daemon)
        self.assertEqual(self.series(), ["stack/yearly"])

    def test_before_it_begins_where_runs_would_have_no_key(self):
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")
        ran = self.cairn("daemon", env={"CAIRN_PASSWORD": "x y z"}, code=USAGE)
        self.assertIn("CAIRN_PASSWORD is not handed on", ran.err)
        self.assertNotIn("x y z", ran.err)


class Jobs(Case):
    def test_belong_to_one_daemon_whatever_their_file_is_called(self):
        self.configure("one: {sources: all, schedule: '0 3 1 1 *'}",
                       "two: {sources: all, schedule: '0 3 1 1 *'}")
        link = self.folder / "link.yaml"
        link.symlink_to(self.config)
        daemon = self.begin("one")
        self.wait_for(daemon, "job one is done")

        for words in ([], ["one"], ["-c", str(link)], ["two", "one"]):
            ran = self.cairn("daemon", *words, code=LOCKED)
            self.assertIn("another daemon watches over", ran.err)
            self.assertIn("it has one", ran.err)
        ran = self.cairn("-c", str(link), "daemon", "--once")
        self.assertNotIn("job one", ran.err)
        self.assertIn("job two is done", ran.err)
        self.end(daemon)
        self.assertEqual(self.series(), ["stack/one", "stack/two"])


class Memory(Case):
    """Of what ran: the state folder's, and where that is of no use."""

    def spoil_log(self):
        """Of the runs so far: what cannot be read, whoever reads."""
        logs = [x for x in (self.state / "cairn/runs").iterdir()
                if x.suffix == ".jsonl"]
        for log in logs:
            log.unlink()
            log.mkdir()
        self.assertTrue(logs)

    def test_that_cannot_be_read_keeps_no_job_from_running(self):
        self.configure("yearly: {sources: [failing], schedule: '0 3 1 1 *'}",
                       sources="  failing: {type: command, command: ['false']}")
        self.cairn("daemon", "--once", code=FAILED)
        self.spoil_log()
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")

        ran = self.cairn("daemon", "--once")
        self.assertIn("runs cannot be remembered", ran.err)
        self.assertIn("job yearly is done", ran.err)
        # cron wakes it again: there is a snapshot now.
        ran = self.cairn("daemon", "--once")
        self.assertNotIn("job yearly", ran.err)
        self.assertEqual(self.series(), ["stack/yearly"])

    def test_that_cannot_be_read_keeps_no_file_from_being_read_again(self):
        self.configure("two: {sources: all, schedule: '0 3 1 1 *'}")
        self.cairn("run", "two", code=OK)
        self.spoil_log()
        self.configure("one: {sources: all, schedule: '0 3 1 1 *'}")
        daemon = self.begin()
        self.wait_for(daemon, "job one is done")

        self.configure("one: {sources: all, schedule: '0 3 1 1 *'}",
                       "two: {sources: all, schedule: '0 3 1 1 *'}",
                       "three: {sources: all, schedule: '0 3 1 1 *'}")
        self.wait_for(daemon, r"read .* again: 3 jobs")
        self.wait_for(daemon, "job three is done")
        self.end(daemon)
        self.assertEqual(self.series(),
                         ["stack/one", "stack/three", "stack/two"])

    @harness.needs_root
    @needs("unshare")
    def test_that_cannot_be_written_has_snapshots_say_what_ran(self):
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")
        self.state.mkdir(exist_ok=True)
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-euc",
             f"mount -t tmpfs -o size=1m none {self.state}\n"
             "\"$CAIRN\" run yearly\n"
             f"rm -r {self.state}/cairn/runs\n"
             f"dd if=/dev/zero of={self.state}/full 2> /dev/null || :\n"
             "echo == >&2\n\"$CAIRN\" daemon --once\n"],
            env={**self.env, "CAIRN": harness.PROGRAM}, capture_output=True,
            text=True, timeout=harness.TIMEOUT)
        if "unshare failed" in ran.stderr or "mount:" in ran.stderr:
            self.skipTest("no mount namespace: " + ran.stderr.strip())
        again = ran.stderr.split("==\n")[1]
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("No space left on device: runs cannot be remembered",
                      again)
        self.assertNotIn("job yearly", again)
        self.assertEqual(self.series(), ["stack/yearly"])

    def test_of_a_run_that_was_cut_short_has_it_made_up_for(self):
        self.configure(
            "slow: {sources: [sleeping], schedule: '0 3 1 1 *'}",
            sources="  sleeping: {type: command, command: [sh, -c, "
            f"'echo $$ >> {self.folder}/pids; test -e {self.folder}/fast || "
            "exec sleep 300']}")
        pids = self.folder / "pids"
        for count in (1, 2):
            daemon = self.begin()
            wait_until(lambda: pids.exists()
                       and len(pids.read_text().split()) == count,
                       "the source is at work")
            self.end(daemon)
        (self.folder / "fast").touch()
        self.assertIn("job slow is done", self.cairn("daemon", "--once").err)
        self.assertNotIn("slow", self.cairn("daemon", "--once").err)


    def test_of_a_run_that_was_refused_has_it_made_up_for(self):
        self.configure("yearly: {sources: all, schedule: '0 3 1 1 *'}")
        self.cairn("run", "yearly")
        self.assertNotIn("yearly", self.cairn("daemon", "--once").err)
        log, = self.state.rglob("runs/*.jsonl")
        lines = [json.loads(x) for x in log.read_text().splitlines()]
        ended = [x for x in lines if "outcome" in x]
        self.assertTrue(ended)
        for line in ended:
            line.update(outcome="failed", exit_code=11, refused=True)
        # However often: what was refused did nothing.
        log.write_text("".join(json.dumps(x) + "\n" for x in lines + 4 * ended))
        self.assertIn("job yearly is done", self.cairn("daemon", "--once").err)


    def test_of_a_run_that_was_refused_while_the_daemon_goes_on(self):
        hold = self.folder / "hold"
        due = time.time() + 20
        self.configure(
            time.strftime("daily: {sources: all, schedule: '%M %H * * *'}",
                          time.gmtime(due + 60)),
            sources="  slow: {type: command, as: slow, command: "
            f"[sh, -c, 'echo x; while [ -e {hold} ]; do sleep 0.1; done']}}")
        self.config.write_text(self.config.read_text() + "time_zone: UTC\n")
        daemon = self.begin()
        self.wait_for(daemon, "job daily is done")
        hold.touch()
        process = self.start("run", "daily")
        self.wait_for(daemon, "job daily failed: exited with 11", 120)
        hold.unlink()
        harness.Case.end(self, process)
        self.wait_for(daemon, "(?s)exited with 11.*job daily is done", 90)
        self.end(daemon)
        self.assertEqual(self.series(), ["stack/daily"] * 3)


class Killed(Case):
    """Runs, by the kernel for want of memory, say."""

    def setUp(self):
        super().setUp()
        self.told = self.folder / "told"
        self.pids = self.folder / "pids"
        self.fast = self.folder / "fast"
        self.configure(
            "slow: {sources: [sleeping], schedule: '0 3 1 1 *'}",
            sources="  sleeping: {type: command, command: [sh, -c, "
            f"'echo $PPID $$ >> {self.pids}; test -e {self.fast} || "
            "exec sleep 300']}")
        with open(self.config, "a") as file:
            file.write("monitoring: {command: [sh, -c, "
                       f"'cat >> {self.told}; echo >> {self.told}']}}\n")

    def at_work(self):
        """The processes of the run, and of its source."""
        def pids():
            lines = (self.pids.read_text().splitlines()
                     if self.pids.exists() else [])
            return lines and [int(x) for x in lines[-1].split()]

        return wait_until(pids, "the source is at work")

    def calls(self):
        return [json.loads(x) for x in self.told.read_text().splitlines()
                if x] if self.told.exists() else []

    def kill(self, *pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # with the one before
                pass

    def test_are_told_at_once(self):
        daemon = self.begin()
        self.kill(*self.at_work())
        self.wait_for(daemon, r"job slow failed: died by signal 9")
        call, = wait_until(self.calls, "somebody is told")
        self.assertEqual((call["type"], call["job"]), ("run_failed", "slow"))
        self.assertIn("it was killed", call["message"])
        self.end(daemon)
        self.assertEqual(len(self.calls()), 1)

    def test_together_with_their_daemon_are_told_and_made_up_for(self):
        daemon = self.begin()
        run, source = self.at_work()
        daemon.kill()
        daemon.wait()
        self.kill(run, source)
        wait_until(lambda: not os.path.exists(f"/proc/{run}"), "it is dead")
        self.assertEqual(self.calls(), [])
        self.fast.touch()

        ran = self.cairn("daemon", "--once")
        self.assertIn("job slow is done", ran.err)
        self.assertEqual([x["type"] for x in self.calls()],
                         ["run_failed", "run_recovered"])
        self.assertNotIn("slow", self.cairn("daemon", "--once").err)

    def test_always_are_not_begun_for_ever(self):
        for _ in range(3):
            if self.pids.exists():
                self.pids.unlink()
            daemon = self.begin("--once")
            self.kill(*self.at_work())
            self.assertEqual(daemon.wait(60), FAILED, daemon.said())
        self.assertNotIn("slow", self.cairn("daemon", "--once").err)

    def test_and_those_that_one_is_in_the_way_of_are_told(self):
        self.fast.touch()
        self.cairn("run", "slow")
        shutil.rmtree(self.state / "cairn/runs")
        lock, = (self.state / "cairn/jobs").glob("*.lock")
        with open(lock, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            ran = self.cairn("daemon", "--once", code=FAILED)
        self.assertIn(f"job slow failed: exited with {LOCKED}", ran.err)
        self.assertEqual([(x["type"], x["exit_code"]) for x in self.calls()],
                         [("run_failed", LOCKED)])

    def test_are_not_those_at_work(self):
        run = self.start("run", "slow")
        _, source = self.at_work()
        self.assertNotIn("slow", self.cairn("daemon", "--once").err)
        self.assertEqual(self.calls(), [])
        run.send_signal(signal.SIGTERM)
        run.wait()
        self.assertFalse(os.path.exists(f"/proc/{source}"))


class Reads(Case):
    def test_the_file_again_when_it_changes(self):
        self.configure("one: {sources: all, schedule: '0 3 1 1 *'}")
        daemon = self.begin()
        self.wait_for(daemon, "job one is done")

        self.configure("one: {sources: all, schedule: '0 3 1 1 *'}",
                       "two: {sources: all, schedule: '0 3 1 1 *'}")
        self.wait_for(daemon, "job two is done")
        self.end(daemon)
        self.assertEqual(self.series(), ["stack/one", "stack/two"])

    def test_no_file_with_a_mistake(self):
        self.configure(
            "one: {sources: all, schedule: '0 3 1 1 *'}",
            "next: {sources: all, schedule: '* * * * *'}")
        daemon = self.begin()
        self.wait_for(daemon, "(?s)job next is done")
        right = self.config.read_text()
        self.config.write_text(right.replace("'* * * * *'", "'* * * * 8'"))
        daemon.send_signal(signal.SIGHUP)
        self.wait_for(daemon, r"weekday '8': 8 is not within 0 to 7")
        self.wait_for(daemon, r"is not used; what it said before goes on")
        self.wait_for(daemon, r"(?s)goes on.*job next is done", 150)

        self.config.write_text(right.replace("one:", "three:"))
        daemon.send_signal(signal.SIGHUP)
        self.wait_for(daemon, r"read .* again: 2 jobs")
        self.wait_for(daemon, "job three is done")
        self.end(daemon)
        self.assertNotIn("failed", daemon.said())
        self.assertEqual(list((self.state / "cairn/daemon").iterdir()), [])


if __name__ == "__main__":
    harness.main()
