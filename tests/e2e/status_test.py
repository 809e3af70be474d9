#!/usr/bin/python3
"""cairn status, and what follows a run: the log, metrics, calls, and the
verification of what is stored."""

import datetime
import http.server
import json
import os
import shutil
import signal
import stat
import subprocess
import threading

import harness
from harness import (DAMAGE, INTERRUPTED, LOCKED, NO_REPOSITORY, OK, PARTIAL,
                     REFUSED, SOURCE_FAILED, TERMINATED, USAGE, flip, needs,
                     noise, wait_until)
from servers import Postgres, needs_postgres
from wal_case import WalCase

OVERDUE = 6
WRONG_KEY, UNREACHABLE, HOOK_FAILED = 12, 13, 17
HOUR = 3600


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.env["CAIRN_CONFIG"] = str(self.config)
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]
        self.data = self.folder / "data"
        self.data.mkdir()
        (self.data / "file").write_bytes(noise(100_000))
        self.fails = self.folder / "fails"
        # A source that fails while a file is there.
        self.fragile = (f"  fragile: {{type: command, command: [test, '!', -e, "
                        f"{self.fails}]}}")
        # The log has whole seconds; what was before this run is older.
        self.now = datetime.datetime.now(datetime.timezone.utc)

    def configure(self, rest="", sources="", jobs="  nightly: {sources: all}"):
        self.config.write_text(f"""version: 1
host: stack
repositories:
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  files: {{type: files, paths: [{self.data}]}}
{sources}
jobs:
{jobs}
{rest}
""")

    def state_files(self, folder):
        top = self.state / "cairn" / folder
        if not top.exists():
            top = self.state / folder
        return sorted(p for p in top.glob("*") if p.suffix != ".lock")

    def status(self, *words, code=OK, **how):
        return self.cairn("--json", "status", *words, code=code, **how).value

    def saved_at(self, *ages, series="stack/nightly"):
        """States of so many seconds ago, the oldest first."""
        for age in sorted(ages, reverse=True):
            time = self.now - datetime.timedelta(seconds=age)
            self.cairn("backup", self.data, "--series", series, "--time",
                       time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                       env={"CAIRN_REPO": self.repo, "CAIRN_KEY_FILE": self.key})


class Status(Case):
    def test_says_that_everything_is_safe(self):
        self.configure()
        self.cairn("run")
        text = self.cairn("status", "--check").text
        self.assertEqual(text.splitlines()[0], "everything is safe")
        self.assertRegex(text, r"files +nightly +ok +just now")
        self.assertRegex(text, "repository local: 1 snapshot, disk")

        status = self.status()
        self.assertTrue(status["safe"])
        source, = status["sources"]
        self.assertEqual((source["source"], source["job"], source["bytes"]),
                         ("files", "nightly", 100_000))
        self.assertIsNotNone(source["verified"])
        self.assertLess(source["age_seconds"], 100)
        self.assertEqual(status["jobs"][0]["last_run"]["outcome"], "complete")

    def test_says_what_was_never_saved(self):
        self.configure()
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertEqual(
            ran.text.splitlines()[0],
            "1 of 1 source is not safe: files was never saved whole")
        self.cairn("status")

    def test_says_what_is_overdue_by_its_usual_rhythm(self):
        self.configure()
        self.saved_at(*(n * HOUR for n in (27, 28, 29, 30)))
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertEqual(ran.text.splitlines()[0],
                         "1 of 1 source is not safe: files was last saved 27 hours "
                         "ago, due every hour")
        source, = self.status()["sources"]
        self.assertEqual((source["interval_seconds"], source["overdue"]),
                         (HOUR, True))

    def test_gives_a_daily_one_twenty_five_hours(self):
        self.configure()
        days = [n * 24 * HOUR for n in (1, 2, 3, 4)]
        self.saved_at(*(n + 50 * 60 for n in days))  # ten minutes to go
        self.cairn("status", "--check")
        self.configure("thresholds: {overdue: 30m}")
        self.cairn("status", "--check", code=OVERDUE)

    def test_holds_one_with_a_schedule_against_when_it_was_due(self):
        self.saved_at(3 * HOUR)
        self.configure(jobs="  nightly: {sources: all, schedule: '0 * * * *'}")
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertIn("files was last saved 3 hours ago, due every hour",
                      ran.text)
        source, = self.status()["sources"]
        self.assertEqual((source["interval_seconds"], source["has_schedule"]),
                         (HOUR, True))
        self.configure(jobs="  nightly: {sources: all, schedule: '0 * * * *'}",
                       rest="thresholds: {overdue: 3h}")
        self.cairn("status", "--check")

    def test_counts_a_part_of_a_job_that_was_saved_by_itself(self):
        self.configure()
        self.saved_at(*(n * HOUR for n in (27, 28, 29, 30)))
        self.saved_at(0, series="stack/nightly/files")
        self.cairn("status", "--check")

    def test_tells_of_a_source_that_fails_and_which_is_well(self):
        self.configure(sources=self.fragile)
        self.cairn("run")
        self.fails.touch()
        self.cairn("run", code=PARTIAL)
        status = self.status("--check", code=OVERDUE)
        safe = {s["source"]: s["safe"] for s in status["sources"]}
        self.assertEqual(safe, {"files": True, "fragile": False})
        self.assertIn("1 of 2 sources is not safe: fragile was last saved just now, "
                      "and then failed: test: exited with 1",
                      status["summary"])
        self.fails.unlink()
        self.cairn("run")
        self.cairn("status", "--check")

    def test_tells_of_a_run_that_left_no_snapshot(self):
        self.configure(jobs="  nightly:\n    sources: all\n    before: "
                            f"[{{run: [test, '!', -e, {self.fails}]}}]")
        self.cairn("run")
        self.fails.touch()
        self.cairn("run", code=HOOK_FAILED)
        status = self.status("--check", code=OVERDUE)
        self.assertIn("hook test: exited with 1", status["summary"])

    def test_tells_of_a_size_that_is_not_usual_and_is_no_alarm(self):
        self.configure()
        self.saved_at(*(n * HOUR for n in (2, 3, 4, 5)))
        (self.data / "file").write_bytes(noise(40_000))
        self.saved_at(HOUR)
        ran = self.cairn("status", "--check")
        self.assertRegex(ran.err, "files has 39.1 KiB, 60 % less than usual")
        self.configure("thresholds: {size_change: 70%}")
        self.assertNotIn("usual", self.cairn("status").err)

    def test_tells_of_a_disk_that_is_full(self):
        self.configure("thresholds: {repository_used: 0%}")
        self.cairn("run")
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertRegex(ran.text, "all sources were saved, but the disk of "
                                   r"repository local is \d+ % full")

    def test_says_that_the_repository_is_gone(self):
        self.configure()
        self.cairn("run")
        shutil.move(self.repo, self.folder / "elsewhere")
        ran = self.cairn("status", code=UNREACHABLE)
        self.assertIn("repository local cannot be reached", ran.text)
        self.assertRegex(ran.text, "files +nightly +ok")  # as the log has it
        status = self.status(code=UNREACHABLE)
        self.assertFalse(status["safe"])
        self.assertFalse(status["repositories"][0]["reachable"])

    def test_believes_no_time_to_come(self):
        self.configure()
        self.saved_at(-5 * HOUR)
        ran = self.cairn("status", "--check")
        self.assertIn("claims to be saved in the future", ran.err)
        self.assertLess(self.status()["sources"][0]["age_seconds"], 60)

    def test_tells_of_failures_though_a_state_claims_the_future(self):
        self.configure(sources=self.fragile)
        self.cairn("run")
        self.cairn("backup", self.data, "--series", "stack/nightly",
                   "--time", "2036-01-01T00:00:00Z",
                   env={"CAIRN_REPO": self.repo, "CAIRN_KEY_FILE": self.key})
        self.fails.touch()
        self.cairn("run", code=PARTIAL)
        status = self.status("--check", code=OVERDUE)
        self.assertIn("fragile was last saved", status["summary"])
        for source in status["sources"]:
            self.assertLess(source["last_good"], "2036")
        file = self.folder / "own.prom"
        self.cairn("status", "--prometheus", file)
        last = [float(line.split()[-1]) for line in file.read_text().split("\n")
                if line.startswith("backup_last_success_timestamp{")]
        self.assertEqual(len(last), 2)
        self.assertLess(max(last), self.now.timestamp() + HOUR)

    def test_tells_of_a_hook_that_failed_after_all_was_saved(self):
        self.configure(jobs="  nightly:\n    sources: all\n    after: "
                            f"[{{run: [test, '!', -e, {self.fails}]}}]")
        self.fails.touch()
        self.cairn("run", code=HOOK_FAILED)
        status = self.status("--check", code=OVERDUE)
        self.assertIn("all sources were saved, but the last run of nightly "
                      "failed: hook test: exited with 1", status["summary"])
        self.fails.unlink()
        self.cairn("run")
        self.cairn("status", "--check")

    def test_tells_of_a_failure_before_a_run_that_was_interrupted(self):
        slow = self.folder / "slow"
        self.configure(sources="  slow: {type: command, command: [sh, -c, "
                               f"'test ! -e {slow} || exec sleep 60']}}",
                       jobs="  nightly:\n    sources: all\n    before: "
                            f"[{{run: [test, '!', -e, {self.fails}]}}]")
        self.cairn("run")
        self.fails.touch()
        self.cairn("run", code=HOOK_FAILED)
        self.fails.unlink()
        slow.touch()
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        process.send_signal(signal.SIGINT)
        self.end(process, INTERRUPTED)
        status = self.status("--check", code=OVERDUE)
        self.assertIn("hook test: exited with 1", status["summary"])

    def test_tells_of_a_refused_run_until_the_one_in_its_way_ends(self):
        slow = self.folder / "slow"
        self.configure(sources="  slow: {type: command, command: [sh, -c, "
                               f"'test ! -e {slow} || exec sleep 60; echo']}}")
        self.cairn("run")
        slow.touch()
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        self.cairn("run", code=LOCKED)
        status = self.status("--check", code=OVERDUE)
        self.assertIn(f"is at work, process {process.pid}", status["summary"])
        process.send_signal(signal.SIGTERM)
        self.end(process, TERMINATED)
        self.cairn("status", "--check")

    def test_tells_of_a_part_that_fails(self):
        self.configure(sources="  settings: {type: command, part: config, "
                               f"command: [test, '!', -e, {self.fails}]}}")
        self.cairn("run")
        self.fails.touch()
        self.cairn("run", "--only", "config", code=SOURCE_FAILED)
        status = self.status("--check", code=OVERDUE)
        self.assertIn("the last run of nightly/config failed",
                      status["summary"])
        self.fails.unlink()
        self.cairn("run", "--only", "config")
        self.cairn("status", "--check")

    def test_tells_what_it_can_where_the_log_cannot_be_read(self):
        self.configure()
        self.cairn("run")
        log, = self.state_files("runs")
        log.unlink()
        log.mkdir()
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertIn("the log of the runs of nightly cannot be read", ran.text)
        self.assertRegex(ran.text, "files +nightly +ok")
        self.assertIn("the run is not in the log", self.cairn("run").err)

    def test_tells_that_there_can_be_no_log(self):
        self.configure()
        self.cairn("run")
        log, = self.state_files("runs")
        shutil.rmtree(log.parent)
        log.parent.write_text("in the way")
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertIn("the log of the runs of nightly cannot be read", ran.text)

    def test_tells_of_other_repositories_where_a_key_is_wrong(self):
        other = self.folder / "other"
        other_key = self.folder / "other.key"
        self.cairn("init", "--recovery-key-out", other_key,
                   env={"CAIRN_REPO": other, "CAIRN_KEY_FILE": other_key})
        self.config.write_text(f"""version: 1
host: stack
repositories:
  wrong: {{path: {other}, key: {{file: {self.key}}}}}
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  files: {{type: files, paths: [{self.data}]}}
jobs:
  elsewhere: {{sources: all, to: wrong}}
  nightly: {{sources: all, to: local}}
""")
        self.cairn("run", "nightly")
        status = self.status("--check", code=WRONG_KEY)
        self.assertEqual({s["job"]: s["safe"] for s in status["sources"]},
                         {"elsewhere": False, "nightly": True})
        self.assertTrue(any("repository wrong cannot be opened" in p
                            for p in status["problems"]))

    def test_tells_of_a_source_that_is_in_no_job(self):
        self.configure(sources=self.fragile,
                       jobs="  nightly: {sources: [files]}")
        self.cairn("run")
        ran = self.cairn("status", "--check")
        self.assertIn("source fragile is in no job, and is not saved", ran.err)

    def test_passes_over_damage_in_its_log_and_says_so(self):
        self.configure()
        self.cairn("run")
        log, = self.state_files("runs")
        log.write_bytes(b"\xff\x00garbage\n" + log.read_bytes() + b'{"began":1')
        ran = self.cairn("status", "--check")
        self.assertIn("2 damaged lines", ran.err)
        self.cairn("run")
        self.assertEqual(self.status()["jobs"][0]["damaged_lines"], 2)

    def test_takes_the_log_for_what_a_key_may_not_read(self):
        write_key = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write_key,
                   env={"CAIRN_REPO": self.repo, "CAIRN_KEY_FILE": self.key})
        self.key = write_key
        self.configure()
        self.cairn("run")
        self.cairn("status", "--check")

    def test_refuses_a_job_that_there_is_not(self):
        self.configure()
        ran = self.cairn("status", "nihgtly", code=USAGE)
        self.assertIn("did you mean 'nightly'?", ran.err)


@needs_postgres
class Wal(Case, WalCase):
    def test_is_late_when_it_waits_and_not_when_a_receiver_has_stored_it(self):
        self.config.write_text(f"""version: 1
host: stack
repositories:
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  cluster: {{type: postgres_base, dsn: '{self.server.dsn()}'}}
jobs:
  pg: {{sources: all}}
thresholds: {{wal_lag: 0s}}
""")
        self.cairn("run")
        receiver = self.receive("--series", "stack/pg")
        self.server.sql("postgres", "create table t as select 1")
        self.flush(receiver)

        def is_stored():
            wal, = self.status()["wal"]
            return wal["waiting_bytes"] == 0 and wal
        wal = wait_until(is_stored, "all WAL in the repository")
        self.assertEqual((wal["series"], wal["receiver"], wal["lag_seconds"],
                          wal["late"]), ("stack/pg/wal", True, 0, False))
        source, = self.status()["sources"]
        self.assertGreaterEqual(source["lost_since"], source["last_good"])

        self.finish(receiver)

        def is_late():
            wal, = self.status()["wal"]
            return wal["late"] and wal
        wal = wait_until(is_late, "a lag")
        self.assertFalse(wal["receiver"])
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertIn("no receiver is at work on this host", ran.text)

    def test_stays_in_metrics_that_a_run_writes_which_does_not_look(self):
        other, other_key = self.folder / "other", self.folder / "other.key"
        self.cairn("init", "--recovery-key-out", other_key,
                   env={"CAIRN_REPO": other, "CAIRN_KEY_FILE": other_key})
        file = self.folder / "cairn.prom"
        hold, begun = self.folder / "hold", self.folder / "begun"
        self.config.write_text(f"""version: 1
host: stack
repositories:
  one: {{path: {self.repo}, key: {{file: {self.key}}}}}
  two: {{path: {other}, key: {{file: {other_key}}}}}
sources:
  cluster: {{type: postgres_base, dsn: '{self.server.dsn()}'}}
  files: {{type: files, paths: [{self.data}]}}
jobs:
  pg:
    sources: [cluster]
    to: one
    before: [{{run: [sh, -c, 'touch {begun}; while test -e {hold}; do sleep 0.05; done']}}]
  files_only: {{sources: [files], to: two}}
monitoring: {{prometheus: {{textfile: {file}}}}}
""")
        self.cairn("run", "pg")
        receiver = self.receive(
            "--series", "stack/pg",
            env={"CAIRN_REPO": self.repo, "CAIRN_KEY_FILE": self.key})
        self.server.sql("postgres", "create table t as select 1")
        self.flush(receiver)
        self.finish(receiver)
        self.cairn("run", "pg")

        def lines():
            return [line for line in file.read_text().splitlines()
                    if "cairn_wal_" in line]
        told = lines()
        self.assertEqual(len(told), 9, told)
        self.cairn("run", "files_only")
        self.assertEqual(lines(), told)

        hold.touch()
        begun.unlink()
        process = self.start("run", "pg")
        wait_until(begun.exists, "the hook")
        self.cairn("run", "pg", code=LOCKED)
        self.assertEqual(lines(), told)
        hold.unlink()
        self.end(process)


class Log(Case):
    def runs(self):
        log, = self.state_files("runs")
        lines = [json.loads(x) for x in log.read_text().splitlines()]
        return [x for x in lines if "begins" not in x]

    def test_has_runs_however_they_ended(self):
        self.configure(sources=self.fragile)
        self.cairn("run")
        self.fails.touch()
        self.cairn("run", code=PARTIAL)
        self.configure(sources=self.fragile,
                       jobs="  nightly: {sources: [fragile]}")
        self.cairn("run", code=SOURCE_FAILED)
        self.configure(sources="  slow: {type: command, command: [sleep, 60]}")
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        process.send_signal(signal.SIGINT)
        self.end(process, INTERRUPTED)

        self.assertEqual(
            [(r["outcome"], r["exit_code"]) for r in self.runs()],
            [("complete", OK), ("partial", PARTIAL), ("failed", SOURCE_FAILED),
             ("interrupted", INTERRUPTED)])
        first, second = self.runs()[:2]
        self.assertTrue(first["verified"])
        self.assertEqual(first["snapshot"], self.snapshots()[0]["id"])
        self.assertEqual([s["outcome"] for s in second["sources"]],
                         ["complete", "failed"])
        self.assertIn("seconds", first["sources"][1])

    def test_has_a_run_that_another_one_was_in_the_way_of(self):
        self.configure(sources="  slow: {type: command, command: [sleep, 60]}")
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        self.cairn("run", code=LOCKED)
        process.send_signal(signal.SIGTERM)
        process.wait()
        refused, interrupted = self.runs()
        self.assertEqual((refused["outcome"], refused["exit_code"]),
                         ("failed", LOCKED))
        self.assertTrue(refused["refused"])
        self.assertEqual(interrupted["exit_code"], 143)

    def test_has_a_run_that_was_killed(self):
        slow = self.folder / "slow"
        slow.touch()
        self.configure(sources="  slow: {type: command, command: [sh, -c, "
                               f"'test ! -e {slow} || exec sleep 60']}}")
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        process.kill()
        process.wait()
        self.assertEqual(self.runs(), [])
        slow.unlink()
        ran = self.cairn("run")
        self.assertIn("it never came to its end", ran.err)

        killed, good = self.runs()
        self.assertEqual((killed["outcome"], killed["exit_code"]),
                         ("failed", 1))
        self.assertEqual(good["outcome"], "complete")
        self.assertNotIn("never came", self.cairn("run").err)

    def test_that_cannot_be_written_is_a_warning(self):
        self.configure()
        self.cairn("run")
        log, = self.state_files("runs")
        shutil.rmtree(log.parent)
        log.parent.write_text("in the way")
        ran = self.cairn("run")
        self.assertIn("the run is not in the log", ran.err)


class Hooks(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if self.server.is_silent:
            self.server.released.wait(60)
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


class Receiver(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Hooks)
        self.got, self.answer, self.is_silent = [], 200, False
        self.released = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def url(self, path="/hook"):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def bodies(self):
        return [json.loads(body) for _, _, body in self.got]

    def end(self):
        self.released.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


@needs("curl")
class Calls(Case):
    def setUp(self):
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.end)
        self.told = self.folder / "told"

    def configure_call(self, url=None, rest=""):
        url = url or self.receiver.url()
        self.configure(sources=self.fragile,
                       rest=f"monitoring:\n  webhook: {{url: {url}, timeout: 5s}}"
                            f"\n{rest}")

    def run_well(self, **how):
        self.fails.unlink(missing_ok=True)
        return self.cairn("run", **how)

    def run_badly(self):
        self.fails.touch()
        return self.cairn("run", code=PARTIAL)

    def test_one_for_three_failures_and_one_for_the_recovery(self):
        self.configure_call()
        self.run_well()
        for _ in range(3):
            self.run_badly()
        self.run_well()
        self.run_well()

        failed, recovered = self.receiver.bodies()
        self.assertEqual((failed["type"], failed["job"], failed["outcome"],
                          failed["exit_code"], failed["v"]),
                         ("run_failed", "nightly", "partial", PARTIAL, 1))
        self.assertEqual([s["name"] for s in failed["sources"]], ["fragile"])
        self.assertEqual(recovered["type"], "run_recovered")
        path, headers, _ = self.receiver.got[0]
        self.assertEqual((path, headers["Content-Type"]),
                         ("/hook", "application/json"))

    def test_again_after_the_next_run_where_nobody_answered(self):
        self.receiver.answer = 503
        self.configure_call()
        ran = self.run_badly()
        self.assertIn("it answered 503", ran.err)
        first, = self.receiver.bodies()
        self.receiver.answer = 204
        self.run_well()
        self.assertEqual([(b["type"], b["id"] == first["id"])
                          for b in self.receiver.bodies()[1:]],
                         [("run_failed", True), ("run_recovered", False)])
        self.run_well()
        self.assertEqual(len(self.receiver.got), 3)

    def test_to_an_address_as_it_stands(self):
        self.configure_call(f'"{self.receiver.url("/a{b,c}[1-2]")}"')
        self.run_badly()
        self.assertEqual([g[0] for g in self.receiver.got], ["/a{b,c}[1-2]"])

    def test_though_it_cannot_be_remembered(self):
        self.configure_call()
        self.run_well()
        for folder in ("alerts", "runs"):
            for file in self.state_files(folder):
                file.unlink()
                file.mkdir()
        for _ in range(2):
            ran = self.run_badly()
            self.assertIn("may be told again", ran.err)
        self.assertEqual([b["type"] for b in self.receiver.bodies()],
                         ["run_failed"] * 2)

    def test_of_a_run_that_could_not_lock_its_job(self):
        self.configure_call()
        self.run_well()
        jobs, = self.state.rglob("jobs")
        shutil.rmtree(jobs)
        jobs.write_text("in the way")
        self.cairn("run", code=1)
        self.assertEqual([b["type"] for b in self.receiver.bodies()],
                         ["run_failed"])

    def test_none_that_a_redirect_takes_elsewhere(self):
        self.receiver.answer = 302
        self.configure_call()
        self.assertIn("it answered 302", self.run_badly().err)
        self.assertEqual([g[0] for g in self.receiver.got], ["/hook"])

    def test_none_for_which_a_run_waits_long(self):
        self.receiver.is_silent = True
        self.configure(sources=self.fragile,
                       rest="monitoring: {webhook: "
                            f"{{url: {self.receiver.url()}, timeout: 1s}}}}")
        ran = self.run_badly()
        self.assertIn("monitoring.webhook: ", ran.err)
        self.assertIn("told again after the next run", ran.err)

    def test_keeps_the_url_to_itself(self):
        secret = self.folder / "url"
        secret.write_text("http://127.0.0.1:1/secret-of-the-hook\n")
        secret.chmod(0o600)
        bin_dir = self.folder / "bin"
        bin_dir.mkdir()
        seen = self.folder / "arguments"
        (bin_dir / "curl").write_text(
            f'#!/bin/sh\necho "$@" >> {seen}\nexec /usr/bin/curl "$@"\n')
        (bin_dir / "curl").chmod(0o755)
        self.env["PATH"] = f"{bin_dir}:{self.env['PATH']}"
        self.configure(sources=self.fragile,
                       rest=f"monitoring: {{webhook: {{url: {{file: {secret}}}}}}}")
        ran = self.run_badly()
        self.assertIn("connect", ran.err)
        for text in (ran.err, ran.text, seen.read_text(),
                     *(p.read_text() for p in self.state_files("alerts")),
                     *(p.read_text() for p in self.state_files("runs")),
                     self.cairn("config", "show").text):
            self.assertNotIn("secret-of-the-hook", text)

    def test_to_a_program(self):
        program = self.folder / "page-me"
        program.write_text(f"#!/bin/sh\ntest ! -e {self.folder}/deaf || exit 9\n"
                           f"cat >> {self.told}\n")
        program.chmod(0o755)
        self.configure(sources=self.fragile,
                       rest=f"monitoring: {{command: [{program}]}}")
        (self.folder / "deaf").touch()
        self.assertIn("monitoring.command: ", self.run_badly().err)
        (self.folder / "deaf").unlink()
        self.run_badly()
        self.run_well()
        self.assertEqual([json.loads(line)["type"] for line in
                          self.told.read_text().splitlines()],
                         ["run_failed", "run_recovered"])

    def test_of_a_run_that_was_killed(self):
        slow = self.folder / "slow"
        slow.touch()
        self.fragile = ("  fragile: {type: command, command: [sh, -c, "
                        f"'test ! -e {slow} || exec sleep 60']}}")
        self.configure_call()
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        process.kill()
        process.wait()
        slow.unlink()
        self.run_well()
        failed, recovered = self.receiver.bodies()
        self.assertEqual((failed["type"], failed["outcome"]),
                         ("run_failed", "failed"))
        self.assertIn("it was killed", failed["message"])
        self.assertEqual(recovered["type"], "run_recovered")

    def test_of_a_run_that_a_hanging_one_was_in_the_way_of(self):
        self.fragile = "  fragile: {type: command, command: [sleep, 60]}"
        self.configure_call()
        process = self.start("run")
        wait_until(lambda: self.objects("sessions"), "a session")
        self.cairn("run", code=LOCKED)
        failed, = self.receiver.bodies()
        process.terminate()
        process.wait()
        self.assertEqual((failed["type"], failed["exit_code"]),
                         ("run_failed", LOCKED))
        self.assertIn("is at work", failed["message"])

    def test_once_though_two_runs_end_while_one_is_told_of(self):
        go, begun = self.folder / "go", self.folder / "begun"
        release = self.folder / "release"
        page = self.folder / "page-me"
        page.write_text(f"#!/bin/sh\ncat >> {self.told}\n"
                        f"while ! test -e {release}; do sleep 0.05; done\n")
        page.chmod(0o755)
        self.configure(sources="  slow: {type: command, command: [sh, -c, "
                               f"'touch {begun}; while ! test -e {go}; do "
                               "sleep 0.05; done; echo']}",
                       rest=f"monitoring: {{command: [{page}]}}")
        first = self.start("run")
        wait_until(begun.exists, "the source to be read")
        refused = self.start("run")
        wait_until(self.told.exists, "the program to be told")
        go.touch()
        self.end(first)  # it leaves its word to the one that is telling
        release.touch()
        self.end(refused, LOCKED)
        self.cairn("run")
        told = [json.loads(line) for line in
                self.told.read_text().splitlines()]
        self.assertEqual([b["type"] for b in told],
                         ["run_failed", "run_recovered"])

    def test_none_for_a_name_that_is_taken(self):
        self.configure_call()
        self.run_well()
        self.cairn("run", "--name", "up")
        ran = self.cairn("run", "--name", "up", code=REFUSED)
        self.assertIn("has the name 'up' already", ran.err)
        self.assertEqual(self.receiver.bodies(), [])
        self.cairn("status", "--check")
        self.run_well()
        self.assertEqual(self.receiver.bodies(), [])

    def test_of_one_with_a_name_that_finds_no_repository(self):
        self.configure_call()
        self.run_well()
        shutil.move(self.repo, self.folder / "elsewhere")
        self.cairn("run", "--name", "up", code=(NO_REPOSITORY, UNREACHABLE))
        self.assertEqual([b["type"] for b in self.receiver.bodies()],
                         ["run_failed"])

    def test_after_a_crash_between_the_run_and_the_call(self):
        self.configure_call()
        self.run_well()
        self.configure(sources=self.fragile)  # nobody is told: as if killed
        self.run_badly()
        self.configure_call()
        self.run_well()
        self.assertEqual([b["type"] for b in self.receiver.bodies()],
                         ["run_failed", "run_recovered"])


class Metrics(Case):
    def setUp(self):
        super().setUp()
        self.file = self.folder / "textfile" / "cairn.prom"
        self.file.parent.mkdir()
        self.rest = f"monitoring: {{prometheus: {{textfile: {self.file}}}}}"

    def value(self, metric, file=None, **labels):
        """Of the one sample that has all these labels; None: there is none."""
        found = []
        for line in (file or self.file).read_text().splitlines():
            name, _, rest = line.partition("{")
            if line.startswith("#") or name.split(" ")[0] != metric:
                continue
            if all(f'{k}="{v}"' in rest for k, v in labels.items()):
                found.append(float(line.rsplit(" ", 1)[1]))
        self.assertLessEqual(len(found), 1, metric)
        return found[0] if found else None

    def test_are_written_after_each_run(self):
        self.configure(self.rest, self.fragile)
        self.cairn("run")
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o644)
        self.assertEqual(os.listdir(self.file.parent), ["cairn.prom"])
        first = self.value("backup_last_success_timestamp", database="fragile")
        self.assertAlmostEqual(first, self.now.timestamp(), delta=60)
        self.assertEqual(self.value("backup_size_bytes", database="files"),
                         100_000)
        self.assertIsNotNone(
            self.value("backup_duration_seconds", database="fragile"))
        self.assertEqual(self.value("cairn_run_outcome", outcome="complete"), 1)
        self.assertEqual(
            self.value("cairn_repository_packs_never_verified"), 0)

        self.fails.touch()
        self.cairn("run", code=PARTIAL)
        self.assertEqual(self.value("cairn_run_outcome", outcome="partial"), 1)
        self.assertEqual(self.value("cairn_source_failing", source="fragile"), 1)
        self.assertEqual(
            self.value("backup_last_success_timestamp", database="fragile"),
            first)

    def test_are_written_by_status(self):
        self.configure()
        self.cairn("run")
        file = self.folder / "own.prom"
        self.cairn("status", "--prometheus", file)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o644)
        self.assertEqual(self.value("cairn_repository_snapshots", file=file), 1)

    def test_are_missed_by_no_run_where_their_folder_is_not_there(self):
        self.file.parent.rmdir()
        self.configure(self.rest)
        ran = self.cairn("run")
        self.assertIn("metrics were not written", ran.err)
        self.cairn("status", "--check")

    def test_of_a_repository_stay_when_a_run_saves_to_another(self):
        other, other_key = self.folder / "other", self.folder / "other.key"
        self.cairn("init", "--recovery-key-out", other_key,
                   env={"CAIRN_REPO": other, "CAIRN_KEY_FILE": other_key})
        self.config.write_text(f"""version: 1
host: stack
repositories:
  one: {{path: {self.repo}, key: {{file: {self.key}}}}}
  two: {{path: {other}, key: {{file: {other_key}}}}}
sources:
  files: {{type: files, paths: [{self.data}]}}
jobs:
  first: {{sources: all, to: one}}
  second: {{sources: all, to: two}}
{self.rest}
""")
        self.cairn("run", "first")
        largest = max(self.paths_of("packs"), key=lambda p: p.stat().st_size)
        flip(largest, 3000)
        for file in self.state_files("verified"):
            file.unlink()
        self.cairn("run", "first", code=DAMAGE)
        self.assertEqual(self.value("cairn_repository_packs_damaged",
                                    repository="one"), 1)
        self.cairn("run", "second")
        self.assertEqual(self.value("cairn_repository_packs_damaged",
                                    repository="one"), 1)
        self.assertEqual(self.value("cairn_repository_packs_damaged",
                                    repository="two"), 0)

    def test_tell_of_a_source_that_was_never_saved(self):
        self.configure(self.rest, self.fragile)
        self.fails.touch()
        self.cairn("run", code=PARTIAL)
        self.assertEqual(self.value("cairn_source_overdue", source="fragile"), 1)
        self.assertEqual(self.value("cairn_source_overdue", source="files"), 0)

    @needs("promtool")
    def test_are_such_that_prometheus_reads_them(self):
        self.configure(self.rest, self.fragile)
        self.cairn("run")
        with open(self.file, "rb") as metrics:
            checked = subprocess.run(["promtool", "check", "metrics"],
                                     stdin=metrics, capture_output=True,
                                     check=False)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr),
                         (0, b"", b""))

    @needs_postgres
    def test_are_of_each_database(self):
        server = Postgres()
        self.addCleanup(server.stop)
        server.sql("postgres", "create database shop")
        self.configure(self.rest,
                       f"  pg: {{type: postgres, dsn: 'host={server.folder} "
                       "user=postgres', databases: [shop]}")
        self.cairn("run")
        self.assertIsNotNone(self.value("backup_last_success_timestamp",
                                        database="shop", source="pg"))
        self.assertGreater(self.value("backup_size_bytes", database="shop",
                                      source="pg"), 0)
        self.assertGreater(self.value("backup_duration_seconds",
                                      database="shop", source="pg"), 0)
        self.assertGreater(self.value("backup_size_bytes", database="pg"), 0)

    @needs_postgres
    def test_are_of_no_database_that_was_dropped(self):
        server = Postgres()
        self.addCleanup(server.stop)
        server.sql("postgres", "create database shop")
        server.sql("postgres", "create database gone")
        self.configure(self.rest,
                       f"  pg: {{type: postgres, dsn: 'host={server.folder} "
                       "user=postgres'}")
        self.cairn("run")
        self.assertIsNotNone(self.value("backup_last_success_timestamp",
                                        database="gone"))
        server.sql("postgres", "drop database gone")
        self.cairn("run")
        self.assertIsNone(self.value("backup_last_success_timestamp",
                                     database="gone"))
        self.assertIsNotNone(self.value("backup_last_success_timestamp",
                                        database="shop"))


class Verification(Case):
    def run_job(self, code=OK):
        """What it says of verifying, and its findings."""
        lines = self.cairn("--json", "run", code=code).lines
        verified, = [x for x in lines if x["type"] == "verification"]
        return verified, [x for x in lines if x["type"] == "finding"]

    def packs(self):
        return {p: p.stat().st_size for p in self.paths_of("packs")}

    def test_reads_what_was_written(self):
        self.configure()
        verified, _ = self.run_job()
        self.assertEqual(
            (verified["written_packs"], verified["written_bytes"]),
            (len(self.packs()), sum(self.packs().values())))
        self.assertEqual(verified["other_packs"], 0)

        (self.data / "more").write_bytes(noise(50_000, seed=2))
        before = set(self.packs())
        verified, _ = self.run_job()
        self.assertEqual(verified["written_packs"],
                         len(set(self.packs()) - before))

    def test_finds_damage_in_an_old_pack_within_the_cycle(self):
        self.configure("checks: {data: {cycle: 1h}}")
        self.run_job()
        largest = max(self.packs(), key=lambda p: p.stat().st_size)
        (self.data / "more").write_bytes(noise(50_000, seed=2))
        self.run_job()
        flip(largest, 3000)
        self.make_older(2 * HOUR)

        verified, findings = self.run_job(code=DAMAGE)
        self.assertEqual(verified["damaged_packs"], 1)
        damage = [f for f in findings if f["severity"] == "damage"]
        self.assertTrue(any(largest.name in f["object"] for f in damage))
        self.assertTrue(any(str(self.data / "file") in "/" + p.lstrip("/")
                            for f in damage for p in f["paths"]), damage)
        hurt = {i for f in damage for i in f["snapshots"]}
        self.assertEqual(len(hurt), 3)  # all hold that file

        status = self.status("--check", code=OVERDUE)
        self.assertTrue(any("damage in repository local" in p
                            for p in status["problems"]))
        self.assertEqual(status["repositories"][0]["packs_damaged"], 1)
        self.run_job(code=DAMAGE)  # until it is sound again
        flip(largest, 3000)
        self.run_job()
        self.cairn("status", "--check")

    def test_takes_a_pack_that_is_gone_for_damage(self):
        self.configure(jobs="  nightly: {sources: all, retention: thin}",
                       rest="retention:\n  thin: {keep: {last: 1}}")
        self.run_job()
        largest = max(self.packs(), key=lambda p: p.stat().st_size)
        elsewhere = self.folder / "elsewhere"
        shutil.move(largest, elsewhere)
        (self.data / "file").write_bytes(noise(100_000, seed=2))
        before = {s["id"] for s in self.snapshots()}
        ran, _ = self.run_job(code=DAMAGE)
        self.assertEqual(ran["damaged_packs"], 1)
        self.assertLessEqual(before, {s["id"] for s in self.snapshots()})
        status = self.status("--check", code=OVERDUE)
        self.assertEqual(status["repositories"][0]["packs_damaged"], 1)
        shutil.move(elsewhere, largest)
        self.run_job()
        self.cairn("status", "--check")

    def test_fails_no_backup_where_its_memory_cannot_be_written(self):
        self.configure()
        self.run_job()
        memory, = self.state_files("verified")
        shutil.rmtree(memory.parent)
        memory.parent.write_text("in the way")
        ran = self.cairn("run")
        self.assertIn("what was verified is not remembered", ran.err)
        ran = self.cairn("status", "--check", code=OVERDUE)
        self.assertIn("what was verified of repository local cannot be read",
                      ran.text)

    def test_reads_no_more_than_its_budget(self):
        self.configure("checks: {data: {cycle: 1h, budget: 0B}}")
        self.run_job()
        self.make_older(2 * HOUR)
        verified, _ = self.run_job()
        self.assertEqual(verified["other_packs"], 0)
        status = self.status()
        self.assertGreater(status["repositories"][0]["packs_late"], 0)
        self.assertTrue(any("were not read within the cycle" in n
                            for n in status["notices"]))

    def make_older(self, seconds):
        """As if all that was read had been read earlier."""
        for file in self.state_files("verified"):
            lines = file.read_text().splitlines()
            aged = [" ".join([*line.split(" ")[:-1],
                              str(int(line.split(" ")[-1]) - seconds)])
                    for line in lines[1:]]
            file.write_text("\n".join([lines[0], *aged]) + "\n")


if __name__ == "__main__":
    harness.main()
