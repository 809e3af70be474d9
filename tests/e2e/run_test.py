#!/usr/bin/python3
"""cairn run: the sources of a job in one snapshot, hooks, locks, retention."""

import json
import os
import re
import signal
import subprocess
import time

import harness
from harness import (INTERRUPTED, LOCKED, OK, PARTIAL, REFUSED, SOURCE_FAILED,
                     USAGE, WRONG_KEY, wait_until)
from servers import Postgres, free_port, needs_postgres

HOOK_FAILED = 17


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.env["CAIRN_CONFIG"] = str(self.config)
        self.env["PGPASSFILE"] = "/nonexistent"
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]
        self.data = self.folder / "data"
        self.data.mkdir()
        (self.data / "file").write_bytes(harness.prose(1000))
        self.settings = self.folder / "settings"
        self.settings.mkdir()
        (self.settings / ".env").write_text("SECRET=1")

    def configure(self, jobs, sources="", retention="", key=None):
        self.config.write_text(f"""version: 1
host: stack
repositories:
  local: {{path: {self.repo}, key: {{file: {key or self.key}}}}}
sources:
  data: {{type: files, paths: [{self.data}]}}
  settings: {{type: files, part: config, paths: [{self.settings}]}}
{sources}
jobs:
{jobs}
{retention}
""")

    def run_job(self, *words, code=OK, **how):
        """What its summary says."""
        ran = self.cairn("--json", "run", *words, code=code, **how)
        return [x for x in ran.lines if x["type"] == "summary"][-1]

    def paths(self, what="latest"):
        return {x["path"].strip("/") for x in
                self.cairn("ls", what, "--recursive", "--json").lines}


class Saves(Case):
    def test_all_sources_of_a_job_in_one_snapshot(self):
        self.configure("  nightly: {sources: all, tags: [full]}",
                       "  export: {type: command, command: [printf, '%s', no]}")
        summary = self.run_job()

        self.assertEqual(summary["job"], "nightly")
        self.assertEqual(summary["series"], "stack/nightly")
        self.assertEqual([s["name"] for s in summary["sources"]],
                         ["data", "settings", "export"])
        snapshot, = self.snapshots()
        self.assertEqual((snapshot["series"], snapshot["host"]),
                         ("stack/nightly", "stack"))
        self.assertEqual(snapshot["tags"], ["full"])
        self.assertRegex(self.cairn("snapshots").text,
                         "stack/nightly  data, settings, export  ")
        self.assertEqual(self.cat("latest:export"), b"no")
        self.assertEqual(self.cat(f"latest:{self.settings}/.env"), b"SECRET=1")

    def test_the_others_when_one_fails(self):
        self.configure("  nightly: {sources: all}",
                       "  export: {type: command, command: [false]}\n"
                       "  absent: {type: files, paths: [/absent/x]}\n"
                       "  gone: {type: command, command: [/no/such/program]}")
        summary = self.run_job(code=PARTIAL)

        self.assertEqual({s["name"]: s["status"] for s in summary["sources"]},
                         {"data": "complete", "settings": "complete",
                          "export": "failed", "absent": "failed",
                          "gone": "failed"})
        self.assertEqual(self.cat(f"latest:{self.settings}/.env"), b"SECRET=1")
        self.assertIn("FAILED", self.cairn("run", code=PARTIAL).text)

    def test_of_a_source_what_is_there(self):
        self.configure("  nightly: {sources: [some]}",
                       f"  some: {{type: files, paths: [{self.settings}, "
                       "/absent/x]}")
        self.run_job(code=PARTIAL)
        self.assertEqual(self.cat(f"latest:{self.settings}/.env"), b"SECRET=1")

    def test_one_in_part_beside_others_that_vouch_for_nothing_of_it(self):
        self.configure("  nightly: {sources: all}")
        whole = self.run_job()["snapshot_id"]
        (self.data / "file").unlink()  # a volume that is not mounted
        (self.settings / ".env").write_text("SECRET=2")
        newest = self.run_job(code=PARTIAL)["snapshot_id"]

        for place in (self.data, self.folder):
            ran = self.cairn("ls", "-R", f"latest:{place}")
            self.assertIn(f"{self.data}/file\n", ran.text)
            self.assertRegex(ran.err, f"{newest[:8]} of .* is newer than "
                             f"{whole[:8]} and holds it too, but not all")
        ran = self.cairn("cat", f"latest:{self.settings}/.env")
        self.assertEqual((ran.text, ran.err), ("SECRET=2", ""))
        for what in ("latest", f"{newest[:8]}:{self.data}"):
            ran = self.cairn("restore", what, "--to", self.folder / what[:6])
            self.assertIn(f"{newest[:8]} is incomplete: data: is empty, and",
                          ran.err)

    def test_nothing_where_all_fail(self):
        self.configure("  nightly: {sources: [a, b]}",
                       "  a: {type: command, command: [false]}\n"
                       "  b: {type: files, paths: [/absent/x]}")
        ran = self.cairn("run", code=SOURCE_FAILED)
        self.assertIn("nothing was backed up", ran.err)
        self.assertEqual(self.snapshots(), [])

    def test_what_rules_leave_in(self):
        (self.data / "x.log").write_text("")
        self.configure("  nightly: {sources: [some]}",
                       f"  some: {{type: files, paths: [{self.data}], "
                       "exclude: ['*.log']}")
        self.run_job()
        self.assertFalse([p for p in self.paths() if p.endswith(".log")])

    def test_a_command_only_when_its_turn_has_come(self):
        stamp = self.folder / "stamp"
        self.configure("  nightly: {sources: [first, second]}",
                       f"  first: {{type: command, command: [sh, -c, "
                       f"'sleep 0.3; touch {stamp}']}}\n"
                       f"  second: {{type: command, command: [ls, {stamp}]}}")
        self.run_job()
        self.assertEqual(self.cat("latest:second"), f"{stamp}\n".encode())

    def test_under_a_name_once(self):
        self.configure("  nightly: {sources: all}")
        self.run_job("--name", "before-upgrade", "--tag", "by-hand")
        self.assertEqual(self.snapshots("--tag", "name:before-upgrade")[0]
                         ["tags"], ["by-hand", "name:before-upgrade"])
        ran = self.cairn("run", "--name", "before-upgrade", code=REFUSED)
        self.assertIn("has the name 'before-upgrade' already", ran.err)


class Parts(Case):
    def test_go_to_a_series_of_their_own(self):
        self.configure("  nightly: {sources: all}",
                       "  export: {type: command, command: [echo]}")
        for words, series, sources in (
                (["--only", "config"], "stack/nightly/config", ["settings"]),
                (["--only", "data"], "stack/nightly/data", ["data", "export"]),
                (["data"], "stack/nightly/data", ["data"]),
                (["nightly", "export", "settings"],
                 "stack/nightly/settings+export", ["settings", "export"])):
            summary = self.run_job(*words)
            self.assertEqual(summary["series"], series)
            self.assertEqual([s["name"] for s in summary["sources"]], sources)

    def test_are_refused_where_they_make_no_sense(self):
        self.configure("  nightly: {sources: all}\n"
                       "  hourly: {sources: [settings]}")
        for words, said in (([], "which job? There are nightly, hourly"),
                            (["settings"], "which job?"),
                            (["nihgtly"], "did you mean 'nightly'?"),
                            (["nightly", "hourly"], "one job at a time"),
                            (["hourly", "data"], "not all of data"),
                            (["hourly", "--only", "data"], "of the part data"),
                            (["--only", "dat"], "is none of")):
            self.assertIn(said, self.cairn("run", *words, code=USAGE).err)
        self.run_job("hourly")
        self.assertEqual(self.run_job("data")["series"], "stack/nightly/data")

    def test_need_a_configuration_file(self):
        self.env["XDG_CONFIG_HOME"] = str(self.folder)
        ran = self.cairn("run", code=USAGE, env={"CAIRN_CONFIG": None})
        self.assertIn("cairn config init", ran.err)


class DryRun(Case):
    def test_tells_the_true_sizes_and_does_nothing(self):
        stamp = self.folder / "stamp"
        self.configure(
            f"  nightly: {{sources: all, before: [{{run: [touch, {stamp}]}}]}}",
            f"  export: {{type: command, command: [touch, {stamp}]}}")
        line = self.cairn("--json", "-n", "run").lines[-1]

        size = {s["name"]: s["bytes"] for s in line["sources"]}
        self.assertEqual(size, {"data": (self.data / "file").stat().st_size,
                                "settings": 8, "export": None})
        self.assertEqual(line["series"], "stack/nightly")
        self.assertFalse(stamp.exists())
        self.assertEqual(self.snapshots(), [])
        self.assertRegex(self.cairn("-n", "run").text, r"settings +8 B +1 file\n")

    def test_tells_what_would_fail(self):
        self.configure("  nightly: {sources: all}",
                       "  absent: {type: files, paths: [/absent/x]}")
        ran = self.cairn("-n", "run", code=PARTIAL)
        self.assertIn("/absent/x: no such file", ran.err)
        self.cairn("-n", "run", "absent", code=SOURCE_FAILED)


class Hooks(Case):
    def hooks(self, before, after, sources="all"):
        log = self.folder / "log"
        self.configure(
            f"  nightly:\n    sources: {sources}\n    before:\n" +
            "".join(f"      - {x}\n" for x in before) + "    after:\n" +
            "".join(f"      - {x}\n" for x in after),
            "  failing: {type: command, command: [false]}")

        def said():
            text = log.read_text() if log.exists() else ""
            log.unlink(missing_ok=True)
            return text.split()
        return said

    def say(self, word, more=""):
        return (f"{{run: [sh, -c, 'echo {word} >>{self.folder}/log']{more}}}")

    def test_run_before_and_after_as_they_are_meant(self):
        said = self.hooks([self.say("a"), self.say("b")],
                          [self.say("always"),
                           self.say("good", ", when: success"),
                           self.say("bad", ", when: failure")],
                          "[data, settings]")
        self.run_job()
        self.assertEqual(said(), ["a", "b", "always", "good"])

    def test_are_told_of_a_run_that_was_not_complete(self):
        said = self.hooks([], [self.say("good", ", when: success"),
                               self.say("bad", ", when: failure")])
        self.config.write_text(self.config.read_text().replace(
            "    before:\n", ""))
        self.run_job(code=PARTIAL)
        self.assertEqual(said(), ["bad"])
        self.run_job("failing", code=SOURCE_FAILED)
        self.assertEqual(said(), ["bad"])

    def test_that_fail_before_end_the_run(self):
        said = self.hooks(["{run: [sh, -c, 'exit 9']}", self.say("late")],
                          [self.say("always"),
                           self.say("good", ", when: success")])
        ran = self.cairn("run", code=HOOK_FAILED)
        self.assertIn("hook sh: exited with 9", ran.err)
        self.assertEqual(said(), ["always"])
        self.assertEqual(self.snapshots(), [])

    def test_that_fail_after_leave_what_was_saved(self):
        self.hooks([self.say("a")], ["{run: [/no/such/program]}"],
                   "[data, settings]")
        self.cairn("run", code=HOOK_FAILED)
        self.assertEqual(len(self.snapshots()), 1)

    def test_that_take_too_long_are_ended_with_all_they_started(self):
        mark = self.folder / "late"
        self.hooks([f"{{run: [sh, -c, '(sleep 3; touch {mark}) & sleep 60'], "
                    "timeout: 1s}"], [self.say("always")])
        began = time.monotonic()
        ran = self.cairn("run", code=HOOK_FAILED)
        self.assertLess(time.monotonic() - began, 30)
        self.assertIn("took longer than 0:01", ran.err)
        wait_until(lambda: time.monotonic() - began > 4, "what it started")
        self.assertFalse(mark.exists())

    def test_may_leave_a_program_running(self):
        self.hooks(["{run: [sh, -c, 'sleep 20 2>&- & echo begun'], timeout: 10s}"],
                   [self.say("always")], "[data]")
        began = time.monotonic()
        ran = self.cairn("run")
        self.assertLess(time.monotonic() - began, 15)
        self.assertIn("sh: begun", ran.err)

    def test_write_no_data(self):
        self.hooks(["{run: [printf, 'one\\ntwo']}"], [self.say("always")],
                   "[data]")
        ran = self.cairn("--json", "run")
        self.assertEqual([x["type"] for x in ran.lines],
                         ["summary", "verification"])
        self.assertIn("printf: one\n", ran.err)
        self.assertIn("printf: two\n", ran.err)

    def test_follow_an_interruption(self):
        said = self.hooks([], [self.say("always")], "[slow]")
        begun = self.folder / "begun"
        text = self.config.read_text().replace("    before:\n", "")
        self.config.write_text(text.replace(
            "jobs:", f"  slow: {{type: command, command: [sh, -c, "
            f"'touch {begun}; sleep 60']}}\njobs:"))
        process = self.start("run")
        wait_until(begun.exists, "the source to be read")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), INTERRUPTED)
        self.assertEqual(said(), ["always"])
        self.assertEqual(self.snapshots(), [])


class Locks(Case):
    def begin(self):
        """A run that waits until the folder has a file `go`."""
        self.go = self.folder / "go"
        begun = self.folder / "begun"
        self.configure(
            "  slow: {sources: [slow]}\n  other: {sources: [data]}",
            f"  slow: {{type: command, command: [sh, -c, 'touch {begun}; "
            f"while ! test -e {self.go}; do sleep 0.05; done']}}")
        # A source and a job of one name are refused.
        self.config.write_text(self.config.read_text().replace(
            "  slow: {sources", "  waiting: {sources"))
        process = self.start("run", "waiting")
        wait_until(begun.exists, "the source to be read")
        return process

    def test_let_one_run_of_a_job_work_at_a_time(self):
        process = self.begin()
        ran = self.cairn("run", "waiting", code=LOCKED)
        self.assertIn(f"is at work, process {process.pid}", ran.err)
        self.cairn("run", "other")
        self.go.touch()
        self.end(process)
        self.cairn("run", "waiting")
        self.assertEqual(len(self.snapshots("--series", "stack/waiting")), 2)

    def test_are_waited_for(self):
        process = self.begin()
        began = time.monotonic()
        self.cairn("run", "waiting", "--wait", "1s", code=LOCKED)
        self.assertGreaterEqual(time.monotonic() - began, 1)
        second = self.start("run", "waiting", "--wait", "60s")
        self.go.touch()
        self.end(process)
        self.end(second)
        self.assertEqual(len(self.snapshots()), 2)

    def test_go_with_a_process_that_was_killed(self):
        process = self.begin()
        process.kill()
        process.wait()
        self.go.touch()
        self.cairn("run", "waiting")


class Retention(Case):
    LAST = "retention: {last: {keep: {last: 1}}}"

    def test_follows_a_complete_run(self):
        self.configure("  nightly: {sources: [data], retention: last}",
                       retention=self.LAST)
        first = self.run_job()["snapshot_id"]
        self.assertEqual(len(self.snapshots()), 1)
        (self.data / "file").write_bytes(harness.noise(harness.MIB))
        ran = self.cairn("--json", "run")
        forgot = [x for x in ran.lines if x["type"] == "forget"][0]

        self.assertEqual((forgot["forgotten"], forgot["kept"],
                          forgot["policy"]), ([first], 1, "last"))
        self.assertEqual(len(self.snapshots()), 1)
        self.assert_sound()

    def test_frees_the_space_unless_told_otherwise(self):
        sizes = []
        for prune in ("true", "false"):
            self.configure("  nightly: {sources: [data], retention: last}",
                           retention="retention: {last: {keep: {last: 1}, "
                           f"prune: {prune}}}}}")
            for seed in (1, 2):
                (self.data / "file").write_bytes(
                    harness.noise(4 * harness.MIB, seed + len(sizes)))
                self.run_job()
            sizes.append(harness.bytes_below(self.repo / "packs"))
        self.assertLess(sizes[0], 6 * harness.MIB)
        self.assertGreater(sizes[1], 7 * harness.MIB)

    def test_never_follows_a_run_that_was_not_complete(self):
        self.configure("  nightly: {sources: [data, export], retention: last}",
                       "  export: {type: command, command: [sh, -c, "
                       f"'test -e {self.folder}/good']}}", self.LAST)
        (self.folder / "good").touch()
        self.run_job()
        (self.folder / "good").unlink()
        for _ in range(2):
            self.run_job(code=PARTIAL)
        self.assertEqual(len(self.snapshots()), 3)
        (self.folder / "good").touch()
        self.run_job()
        self.assertEqual(len(self.snapshots()), 1)

    def test_never_follows_a_hook_that_failed(self):
        self.configure("  nightly: {sources: [data], retention: last, "
                       "after: [{run: ['false']}]}", retention=self.LAST)
        for _ in range(2):
            self.cairn("run", code=HOOK_FAILED)
        self.assertEqual(len(self.snapshots()), 2)

    def test_of_a_part_leaves_the_whole_alone(self):
        self.configure("  nightly: {sources: all, retention: last}",
                       retention=self.LAST)
        self.run_job()
        for _ in range(2):
            self.run_job("--only", "config")
        self.assertEqual(sorted(s["series"] for s in self.snapshots()),
                         ["stack/nightly", "stack/nightly/config"])

    def test_needs_the_owners_key_and_saves_all_the_same(self):
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write,
                   env={"CAIRN_REPO": self.repo, "CAIRN_KEY_FILE": self.key,
                        "CAIRN_CONFIG": None})
        self.configure("  nightly: {sources: [data], retention: last}",
                       retention=self.LAST, key=write)
        ran = self.cairn("run", code=WRONG_KEY)
        self.assertIn("retention: none", ran.err)
        self.assertEqual(len(self.snapshots()), 1)


class Policies(Case):
    POLICY = "retention: {default: {keep: {daily: 3, weekly: 2}}}"

    def back_up_days(self):
        """The first fifteen days of March 2026, oldest first."""
        env = {"CAIRN_CONFIG": None, "CAIRN_REPO": self.repo,
               "CAIRN_KEY_FILE": self.key}
        return [self.backup(self.settings, "--series", "stack/nightly",
                            "--time", f"2026-03-{day:02}T02:00:00Z",
                            env=env)["snapshot_id"] for day in range(1, 16)]

    def test_explain_why_a_snapshot_stays_and_until_when(self):
        self.configure("  nightly: {sources: all}", retention=self.POLICY)
        ids = self.back_up_days()
        newest = self.cairn("--json", "policy", "explain", ids[-1]).value
        second = self.cairn("--json", "policy", "explain", ids[-2]).value
        first = self.cairn("--json", "policy", "explain", ids[0]).value

        self.assertEqual(newest["every_seconds"], 86400)
        self.assertEqual(newest["reasons"],
                         ["daily snapshot", "weekly snapshot",
                          "last complete of its series"])
        self.assertGreater(newest["until"], newest["phases"][-1]["from"])
        self.assertEqual(second["reasons"], ["daily snapshot"])
        self.assertEqual((first["keep"], first["reasons"]), (False, []))
        text = self.cairn("policy", "explain", ids[-1]).text
        self.assertRegex(text, r"now +daily snapshot, weekly snapshot")
        self.assertIn("nothing: forgotten", text)

    def test_go_by_the_schedule_of_the_job(self):
        self.configure("  nightly: {sources: all, schedule: '0 3 * * sun'}",
                       retention=self.POLICY)
        ids = self.back_up_days()
        newest = self.cairn("--json", "policy", "explain", ids[-1]).value
        steady = self.cairn("--json", "policy", "explain", ids[-1],
                            "--every", "1d").value

        self.assertEqual(newest["schedule"], "0 3 * * sun")
        self.assertIsNone(steady["schedule"])
        self.assertGreater(newest["until"], steady["until"])
        ran = self.cairn("policy", "simulate", "--for", "30d")
        self.assertIn("runs by its schedule, 0 3 * * sun by policy default",
                      ran.err)

    def test_give_way_to_keep_within(self):
        self.configure("  nightly: {sources: all}", retention=self.POLICY)
        self.back_up_days()
        now = self.run_job("--keep-within", "1d")["snapshot_id"]
        left = self.cairn("snapshots", "--json").value
        self.assertEqual([s["id"] for s in left], [now])
        for span in ("30", "0d", "x"):
            self.cairn("run", "--keep-within", span, code=USAGE)

    def test_agree_with_what_is_forgotten(self):
        self.configure("  nightly: {sources: all}", retention=self.POLICY)
        ids = self.back_up_days()
        kept = {i for i in ids if self.cairn(
            "--json", "policy", "explain", i).value["keep"]}
        forget = self.cairn("-n", "forget", "--keep-daily", "3",
                            "--keep-weekly", "2", "--json").value
        self.assertEqual(kept, {s["id"] for s in forget if s["keep"]})

    def test_say_of_what_no_policy_touches_that_it_stays(self):
        self.configure("  nightly: {sources: all}")
        self.run_job()
        self.assertIn("has no policy",
                      self.cairn("policy", "explain", "latest").text)
        self.cairn("backup", self.settings)
        self.assertIn("saves to its series",
                      self.cairn("policy", "explain", "latest").text)

    def test_are_simulated_without_a_repository(self):
        self.configure("  nightly: {sources: all}", retention=self.POLICY,
                       key="/absent")
        left = self.cairn("--json", "policy", "simulate", "--for", "1y",
                          "--from", "2026-01-01T02:00:00Z").value
        self.assertEqual([s["time"][:10] for s in left],
                         ["2027-01-01", "2026-12-31", "2026-12-30",
                          "2026-12-27"])
        text = self.cairn("policy", "simulate", "--for", "30d", "--every",
                          "6h")
        self.assertIn("runs every 6h by policy default", text.err)
        for words in (["--for", "x"], ["--every", "0"], ["nihgtly"],
                      ["--for", "100y", "--every", "1h"]):
            self.cairn("policy", "simulate", *words, code=USAGE)


@needs_postgres
class Databases(Case):
    def serve(self, **how):
        server = Postgres(**how)
        self.addCleanup(server.stop)
        server.sql("postgres", "CREATE DATABASE shop")
        server.sql("shop", "CREATE TABLE orders AS SELECT i, md5(i::text) AS t "
                   "FROM generate_series(1, 1000) i")
        return server

    def source(self, server, more=""):
        return ("  db: {type: postgres, dsn: 'host=" + str(server.folder) +
                f" user=postgres'{more}}}")

    def test_lie_in_a_folder_beside_the_files(self):
        server = self.serve()
        self.configure("  nightly: {sources: all}", self.source(server))
        summary = self.run_job()

        self.assertIn("db/shop.dump", [s["name"] for s in summary["sources"]])
        self.assertTrue({"db/globals.sql", "db/shop.dump", "db/postgres.dump",
                         "db/shop.tables.json"} <= self.paths())
        tables = json.loads(self.cat("latest:db/shop.tables.json"))
        self.assertEqual(tables["rows"], 1000)
        server.sql("postgres", "CREATE DATABASE again")
        dump = self.folder / "shop.dump"
        dump.write_bytes(self.cat("latest:db/shop.dump"))
        subprocess.run([server.client("pg_restore"),
                        *server.where("-d", "again", str(dump))], check=True)
        self.assertEqual(server.sql("again", "SELECT count(*) FROM orders"),
                         "1000")

    def test_are_sized_before(self):
        server = self.serve()
        self.configure("  nightly: {sources: [db]}",
                       self.source(server, ", databases: [shop]"))
        line = self.cairn("--json", "-n", "run").lines[-1]
        self.assertEqual(line["sources"][0]["what"], "shop")
        self.assertEqual(line["bytes"], int(server.sql(
            "postgres", "SELECT pg_database_size('shop')")))

    def test_that_do_not_answer_fail_alone(self):
        server = self.serve()
        self.configure("  nightly: {sources: all}",
                       self.source(server) + "\n  down: {type: postgres, "
                       f"dsn: 'host={self.folder}'}}")
        summary = self.run_job(code=PARTIAL)
        status = {s["name"]: s["status"] for s in summary["sources"]}
        self.assertEqual(status["down"], "failed")
        self.assertEqual(status["db/shop.dump"], "complete")
        self.run_job("down", code=SOURCE_FAILED)

    def test_get_a_password_that_nobody_sees(self):
        server = self.serve(port=free_port())
        server.sql("postgres", "CREATE ROLE guarded LOGIN SUPERUSER "
                   "PASSWORD 'pass:wo\\rd''s'")
        secret = self.folder / "secret"
        secret.write_text("pass:wo\\rd's\n")
        secret.chmod(0o600)
        for dsn in (f"host=127.0.0.1 port={server.port} user=guarded "
                    "dbname=postgres",
                    f"postgresql://guarded@127.0.0.1:{server.port}/postgres"):
            for place, env in ((f"{{file: {secret}}}", {}),
                               ("{env: PG_SECRET}",
                                {"PG_SECRET": "pass:wo\\rd's"})):
                self.configure("  nightly: {sources: [db]}",
                               f"  db: {{type: postgres, dsn: '{dsn}', "
                               f"password: {place}, databases: [shop]}}")
                ran = self.cairn("run", env=env)
                self.assertNotIn("wo\\rd", ran.err + ran.text)
        self.configure("  nightly: {sources: [db]}",
                       f"  db: {{type: postgres, dsn: '{dsn}', "
                       "password: {env: PG_SECRET}}")
        ran = self.cairn("run", code=SOURCE_FAILED,
                         env={"PG_SECRET": "wrong-one"})
        self.assertNotIn("wrong-one", ran.err)
        self.cairn("run", code=SOURCE_FAILED)  # the variable is not set
        # The environment goes before the file.
        self.run_job(env={"PG_SECRET": "wrong-one",
                          "PGPASSWORD": "pass:wo\\rd's"})

    def test_get_it_by_a_file_that_goes_with_the_run(self):
        server = self.serve(port=free_port())
        server.sql("postgres", "CREATE ROLE guarded LOGIN SUPERUSER "
                   "PASSWORD 'hunter2'")
        secret = self.folder / "secret"
        secret.write_text("hunter2\n")
        secret.chmod(0o600)
        programs, log = self.folder / "programs", self.folder / "log"
        programs.mkdir()
        for name in ("psql", "pg_dump", "pg_dumpall", "pg_restore"):
            program = programs / name
            program.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} >>{log}\n'
                               f'exec {server.client(name)} "$@"\n')
            program.chmod(0o755)
        self.configure(
            "  nightly: {sources: [db]}",
            f"  db: {{type: postgres, bin_dir: {programs}, databases: [shop], "
            f"dsn: 'host=127.0.0.1 port={server.port} user=guarded "
            f"dbname=postgres', password: {{file: {secret}}}}}")
        self.run_job()
        seen = log.read_text()
        self.assertNotIn("hunter2", seen)
        files = set(re.findall(r"passfile='([^']+)'", seen))
        self.assertEqual(len(files), 1, seen)
        self.assertFalse(os.path.exists(files.pop()))

    def test_are_saved_as_a_cluster(self):
        server = self.serve()
        self.configure("  base: {sources: [cluster], retention: last}",
                       "  cluster: {type: postgres_base, dsn: "
                       f"'host={server.folder} user=postgres'}}",
                       "retention: {last: {keep: {last: 1}}}")
        self.assertIn("cluster ", self.cairn("-n", "run", "base").text)
        for _ in range(2):
            summary = self.run_job("base")
        self.assertEqual(summary["series"], "stack/base")
        self.assertIn("PG_VERSION", self.paths())
        self.assertEqual(len(self.snapshots()), 1)
        server.end()
        self.cairn("run", "base", code=SOURCE_FAILED)


if __name__ == "__main__":
    harness.main()
