#!/usr/bin/python3
"""cairn schedule: units of systemd and lines of cron as the file says, and
nothing of anybody else's."""

import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import FAILED, OK, REFUSED, USAGE, needs

HAS_SYSTEMD = os.path.isdir("/run/systemd/system")
CRONTABS = "/var/spool/cron/crontabs"


class Case(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.env["CAIRN_CONFIG"] = str(self.config)
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]
        self.units = self.folder / "units"
        self.configure("nightly: {sources: all, "
                       "schedule: {cron: 30 2 * * *, jitter: 3m}}",
                       "hourly: {sources: all, schedule: hourly}",
                       "by_hand: {sources: all}")

    def configure(self, *jobs):
        self.config.write_text(f"""version: 1
host: stack
time_zone: Europe/Berlin
repositories:
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  etc: {{type: files, paths: [/etc/hostname]}}
jobs:
""" + "".join(f"  {job}\n" for job in jobs))

    def schedule(self, *words, code=OK, **how):
        return self.cairn("schedule", *words, code=code, **how)

    def in_units(self, verb, *words, code=OK):
        return self.schedule(verb, *words, "--dir", str(self.units), code=code)

    def states(self, code):
        ran = self.cairn("--json", "schedule", "status", "--dir",
                         str(self.units), code=code)
        return {x["job"]: x["state"] for x in ran.value}

    def unit(self, name):
        return (self.units / name).read_text()


class Units(Case):
    def test_are_written_for_each_job_that_has_a_schedule(self):
        self.in_units("install")

        self.assertEqual(
            sorted(x.name for x in self.units.iterdir()),
            ["cairn-hourly.service", "cairn-hourly.timer",
             "cairn-nightly.service", "cairn-nightly.timer"])
        timer = self.unit("cairn-nightly.timer")
        self.assertIn("\nOnCalendar=*-*-* 02:30:00 Europe/Berlin\n", timer)
        self.assertIn("\nRandomizedDelaySec=180s\n", timer)
        self.assertIn("\nOnCalendar=*-*-* *:00:00 UTC\n",
                      self.unit("cairn-hourly.timer"))
        service = self.unit("cairn-nightly.service")
        self.assertIn(f" --config {self.config} run nightly\n", service)
        self.assertIn(f"ReadWritePaths=-{self.repo} ", service)
        self.assertEqual(self.states(OK), {"nightly": "installed",
                                           "hourly": "installed"})

    def test_may_write_metrics_and_what_a_program_that_is_told_may_write(self):
        plain = self.config.read_text()
        self.config.write_text(plain + "monitoring: {prometheus: {textfile: "
                               "/var/lib/node/cairn.prom}}\n")
        self.in_units("install")
        self.assertRegex(self.unit("cairn-nightly.service"),
                         "\nReadWritePaths=.* -/var/lib/node\n")
        self.config.write_text(plain + "monitoring: {command: [page-me]}\n")
        self.in_units("install")
        self.assertNotIn("ReadWritePaths", self.unit("cairn-nightly.service"))

    @needs("systemd-analyze")
    def test_are_sound_to_systemd(self):
        self.in_units("install")

        verify = subprocess.run(
            ["systemd-analyze", "verify",
             *sorted(str(x) for x in self.units.iterdir())],
            capture_output=True, text=True)

        self.assertEqual(verify.returncode, 0, verify.stderr)
        self.assertNotIn("cairn-", verify.stderr)

    def test_change_only_when_the_file_does(self):
        self.in_units("install")
        before = {x.name: x.stat().st_ino for x in self.units.iterdir()}
        self.in_units("install")
        self.assertEqual(
            {x.name: x.stat().st_ino for x in self.units.iterdir()}, before)

        self.configure("nightly: {sources: all, schedule: '0 3 * * *'}",
                       "weekly: {sources: all, schedule: weekly}",
                       "hourly: {sources: all}")
        self.assertEqual(
            self.states(FAILED),
            {"nightly": "differs from the file",
             "hourly": "has no schedule in the file any more",
             "weekly": "not installed"})
        self.in_units("install")
        self.assertEqual(self.states(OK), {"nightly": "installed",
                                           "weekly": "installed"})
        self.assertFalse((self.units / "cairn-hourly.timer").exists())

    def test_of_others_are_left_alone(self):
        self.units.mkdir()
        theirs = self.units / "cairn-hourly.service"
        theirs.write_text("[Service]\nExecStart=/bin/true\n")

        ran = self.in_units("install", code=REFUSED)
        self.assertIn("is not one that cairn made", ran.err)
        self.assertEqual([x.name for x in self.units.iterdir()],
                         [theirs.name])
        self.in_units("install", "nightly")
        other = self.folder / "other.yaml"
        shutil.copy(self.config, other)
        ran = self.schedule("install", "nightly", "--dir", str(self.units),
                            "-c", str(other), code=REFUSED)
        self.assertIn(f"belongs to {self.config}", ran.err)

        self.in_units("remove")
        self.assertEqual([x.name for x in self.units.iterdir()],
                         [theirs.name])

    def add(self, text):
        self.config.write_text(self.config.read_text() + text)

    def test_let_metrics_be_written(self):
        self.add("monitoring: {prometheus: {textfile: /srv/metrics/cairn.prom}}\n")
        self.in_units("install")
        self.assertRegex(self.unit("cairn-nightly.service"),
                         r"\nReadWritePaths=.* -/srv/metrics\n")

    def test_leave_programs_that_are_told_and_asked_room(self):
        whole = self.config.read_text()
        for text in ("monitoring: {command: [logger]}\n",
                     "monitoring: {webhook: {url: {command: cat x}}}\n",
                     None):
            if text is None:
                text = whole.replace("key: {file", "password: {command")
                self.config.write_text(text)
            else:
                self.config.write_text(whole + text)
            self.in_units("install")
            service = self.unit("cairn-nightly.service")
            self.assertNotIn("ReadWritePaths", service, text)

    def test_of_a_secret_that_no_unit_has_are_warned_of(self):
        self.config.write_text(self.config.read_text().replace(
            f"key: {{file: {self.key}}}", "password: {env: THE_WORD}"))
        self.add("monitoring: {webhook: {url: {env: THE_URL}}}\n")
        ran = self.in_units("install")
        for name in ("THE_WORD", "THE_URL"):
            self.assertRegex(
                ran.err, rf"cairn\.yaml:\d+.*: job nightly has a secret from "
                rf"the variable {name}, .*say {{file: F}}")

    def test_are_not_made_for_another_repository_than_the_file_says(self):
        other = str(self.folder / "other")
        ran = self.in_units("install", "-r", other, code=USAGE)
        self.assertIn(f"names {other}, but job nightly", ran.err)
        self.env["CAIRN_REPO"] = other
        self.in_units("install", code=USAGE)
        self.assertFalse(self.units.exists())
        self.env["CAIRN_REPO"] = str(self.repo)
        self.in_units("install")

    def test_find_a_key_file_that_was_named_from_here(self):
        here = os.path.relpath(self.key)
        self.env["CAIRN_KEY_FILE"] = here
        self.in_units("install")
        self.assertIn(f'Environment="CAIRN_KEY_FILE={self.key}"\n',
                      self.unit("cairn-nightly.service"))

    def test_are_removed_job_by_job(self):
        self.in_units("install")
        self.in_units("remove", "nightly")
        self.assertEqual(self.states(FAILED), {"hourly": "installed",
                                               "nightly": "not installed"})
        self.in_units("remove", "nightly", code=USAGE)
        self.in_units("remove", "-n")
        self.assertTrue((self.units / "cairn-hourly.timer").exists())

    def test_are_only_shown_by_print_and_dry_run(self):
        shown = self.in_units("install", "--print").text
        self.assertIn("OnCalendar=*-*-* 02:30:00 Europe/Berlin", shown)
        self.assertEqual(self.in_units("install", "-n").text, shown)
        self.assertFalse(self.units.exists())


class Words(Case):
    def test_of_the_command_line_go_before_the_file(self):
        self.configure("nightly: {sources: all}")
        self.in_units("install", "--frequency", "daily", "--retention", "30")

        self.assertIn(" run nightly --keep-within 30d\n",
                      self.unit("cairn-nightly.service"))
        self.assertIn("\nOnCalendar=*-*-* 02:00:00 Europe/Berlin\n",
                      self.unit("cairn-nightly.timer"))
        self.assertEqual(self.states(OK), {"nightly": "installed"})

    def test_without_a_job_mean_the_one_of_that_name(self):
        self.in_units("install", "--frequency", "hourly", "--retention", "7")
        self.assertIn("run hourly --keep-within 7d",
                      self.unit("cairn-hourly.service"))
        ran = self.in_units("install", "--frequency", "daily", code=USAGE)
        self.assertIn("which job is daily? There are nightly, hourly, by_hand",
                      ran.err)

    def test_that_are_wrong_are_refused_with_what_would_do(self):
        for words, part in (
                (["nigthly"], "did you mean 'nightly'?"),
                (["by_hand"], "has no schedule"),
                (["--frequency", "dayly"], "did you mean 'daily'?"),
                (["--retention", "0"], "no days at all"),
                (["--retention", "30d"], "30d")):
            self.assertIn(part, self.in_units("install", *words,
                                              code=USAGE).err)
        self.configure("nightly: {sources: all}")
        self.assertIn("or say --frequency daily",
                      self.in_units("install", code=USAGE).err)

    def test_of_a_line_with_a_mistake_have_its_place(self):
        self.configure("nightly: {sources: all, schedule: 0 2 * * mom}")
        self.assertIn(
            "cairn.yaml:9:37: jobs.nightly.schedule.cron: weekday 'mom': "
            "'mom' is no name of cron's; did you mean 'mon'?",
            self.schedule("show", code=USAGE).err)

    def test_show_when_jobs_are_due(self):
        shown = self.cairn("--json", "schedule", "show", "nightly").value
        self.assertEqual([(x["job"], x["schedule"], x["time_zone"],
                           x["jitter_seconds"], len(x["next"]))
                          for x in shown],
                         [("nightly", "30 2 * * *", "Europe/Berlin", 180, 3)])
        self.assertRegex(shown[0]["next"][0],
                         r"T(00:30|01:30|01:00):00Z$")
        self.assertIn("hourly", self.schedule("show").text)


@unittest.skipIf(HAS_SYSTEMD, "systemd runs here, which goes before cron")
class Cron(Case):
    @unittest.skipIf(shutil.which("crontab", path="/usr/sbin:/usr/bin:/bin"),
                     "cron is installed")
    def test_is_not_there_and_the_daemon_named(self):
        self.assertIn("cairn daemon", self.schedule("install",
                                                    code=FAILED).err)

    def within(self, script):
        """Of sh, where the crontabs are a folder that vanishes with it."""
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-euc",
             f"mount -t tmpfs -o mode=1730,gid=crontab none {CRONTABS}\n"
             + script],
            env={**self.env, "CAIRN": harness.PROGRAM}, cwd=self.folder,
            capture_output=True, text=True, timeout=harness.TIMEOUT)
        if "unshare failed" in ran.stderr or "mount:" in ran.stderr:
            self.skipTest("no mount namespace: " + ran.stderr.strip())
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout

    @harness.needs_root
    @needs("crontab", "unshare")
    def test_gets_a_block_and_keeps_all_other_lines(self):
        out = self.within(r"""
            printf '%s\n' 'MAILTO=root' '5 4 * * * date +\%s' | crontab -
            crontab -l > before
            "$CAIRN" schedule install 2> /dev/null
            crontab -l; echo ==
            crontab -l > one; "$CAIRN" schedule install 2> /dev/null
            crontab -l > two; cmp one two
            "$CAIRN" schedule status > /dev/null 2>&1
            "$CAIRN" schedule remove nightly 2> /dev/null
            crontab -l; echo ==
            "$CAIRN" schedule remove 2> /dev/null
            crontab -l > after; cmp before after
            """)
        whole, less, _ = out.split("==\n")
        self.assertTrue(whole.startswith("MAILTO=root\n5 4 * * * date +\\%s\n"))
        self.assertIn("\n# job nightly: 30 2 * * * in Europe/Berlin\n0,30 * * "
                      "* * ", whole)
        self.assertIn(f" --quiet --config {self.config} daemon --once hourly\n",
                      whole)
        self.assertNotIn("nightly", less)
        self.assertIn("hourly", less)

    @harness.needs_root
    @needs("crontab", "unshare")
    def test_with_a_line_of_others_in_the_block_is_left_alone(self):
        said = self.within(r"""
            "$CAIRN" schedule install 2> /dev/null
            crontab -l | sed '/^# END/i 5 4 * * * save-photos' | crontab -
            crontab -l > before
            code=0; "$CAIRN" schedule install 2>&1 || code=$?
            echo "install $code"
            code=0; "$CAIRN" schedule remove 2>&1 || code=$?
            echo "remove $code"
            crontab -l > after; cmp before after
            """)
        self.assertIn("a line that cairn did not write: "
                      "'5 4 * * * save-photos'", said)
        self.assertIn(f"install {REFUSED}\n", said)
        self.assertIn(f"remove {REFUSED}\n", said)


if __name__ == "__main__":
    harness.main()
