#!/usr/bin/python3
"""What forget keeps by its rules, what it refuses, and that holds hold."""

import datetime
import os
import shutil

import harness
from harness import FAILED, OK, REFUSED, USAGE

FIRST, LAST = datetime.date(2015, 10, 20), datetime.date(2015, 12, 31)


def opened_to_write(pipe):
    """Its descriptor, once somebody reads."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


class Rules(harness.Case):
    """Snapshots of ten weeks of 2015, daily at 02:00 UTC. The last day is a
    Thursday in week 53; 27 December was the last Sunday."""

    has_repository = False

    @classmethod
    def setUpClass(cls):
        maker = harness.Case()
        maker.setUp()
        cls.addClassCleanup(maker.doCleanups)
        cls.made = maker.folder
        day = FIRST
        while day <= LAST:
            tags = ["--tag", "release"] if day.day == 11 else []
            maker.back_up_bytes(str(day).encode(), "db", *tags, "--time",
                                f"{day}T02:00:00Z")
            day += datetime.timedelta(1)

    def setUp(self):
        super().setUp()
        shutil.copytree(self.made, self.folder, dirs_exist_ok=True)

    def kept(self, *flags, env=None):
        """Days as "1231", newest first, by a dry run."""
        verdicts = self.cairn("forget", "-n", "--json", *flags, env=env).value
        self.assertEqual(len(verdicts), 73)
        for verdict in verdicts:
            self.assertIn("time", verdict)
            if verdict["keep"]:
                self.assertTrue(verdict["reasons"], verdict)
        days = [v["time"][5:10].replace("-", "") for v in verdicts if v["keep"]]
        return " ".join(sorted(days, reverse=True))

    def test_each_rule_keeps_what_it_says(self):
        new_york = {"TZ": "America/New_York"}
        nameless = {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
        oldest = ["--prefer", "oldest"]
        sundays = ["--week-on", "sunday"]
        for flags, expected, env in (
                ("--keep-last 3", "1231 1230 1229", None),
                ("--keep-hourly 5", "1231 1230 1229 1228 1227", None),
                ("--keep-daily 7", "1231 1230 1229 1228 1227 1226 1225", None),
                ("--keep-weekly 4", "1231 1227 1220 1213", None),
                ("--keep-monthly 2", "1231 1130", None),
                # While places are left the oldest stays too.
                ("--keep-monthly 12", "1231 1130 1031 1020", None),
                ("--keep-yearly 1", "1231", None),
                ("--keep-yearly 10", "1231 1020", None),
                ("--keep-within 3d", "1231 1230 1229", None),
                ("--keep-within 1m", " ".join(
                    f"12{d:02}" for d in range(31, 1, -1)), None),
                ("--keep-tag release", "1231 1211 1111", None),
                ("--keep-tag nothing", "1231", None),
                ("--keep-last 1 --keep-weekly 2 --keep-monthly 2",
                 "1231 1227 1130", None),
                (["--keep-weekly", "4", *sundays], "1231 1227 1220 1213", None),
                (["--keep-weekly", "4", *sundays, *oldest],
                 "1231 1228 1227 1220 1213", None),
                (["--keep-monthly", "3", *sundays, *oldest],
                 "1231 1206 1101 1025", None),
                (["--keep-monthly", "3", *sundays], "1231 1227 1129 1025", None),
                (["--keep-monthly", "2", *oldest], "1231 1201 1101", None),
                ("--keep-monthly 2 --time-zone America/New_York", "1231 1201",
                 None),
                ("--keep-monthly 2", "1231 1201", new_york),
                ("--keep-monthly 2 --time-zone UTC", "1231 1130", new_york),
                ("--keep-monthly 2", "1231 1201", {"TZ": "XXX+5"}),
                ("--keep-last 3", "1231 1230 1229", nameless),
                ("--keep-monthly 2 --time-zone UTC", "1231 1130", nameless),
                ("--keep-daily unlimited", " ".join(sorted((
                    f"{FIRST + datetime.timedelta(i):%m%d}" for i in
                    range(73)), reverse=True)), None)):
            with self.subTest(flags=flags, env=env):
                words = flags.split() if isinstance(flags, str) else flags
                self.assertEqual(self.kept(*words, env=env), expected)

    def test_an_empty_tag_is_no_rule(self):
        self.cairn("forget", "-n", "--keep-tag", "", code=USAGE)
        self.cairn("forget", "-n", "--keep-tag=", "--keep-last", "1",
                   code=USAGE)
        for words in (["backup", "--stdin", "--as", "db"], ["run"],
                      ["pg", "dump"], ["snapshots"]):
            with self.subTest(words):
                ran = self.cairn(*words, "--tag", "", code=USAGE)
                self.assertIn("--tag: an empty word", ran.err)

    def test_rules_by_a_clock_without_a_name_are_refused(self):
        ran = self.cairn("forget", "-n", "--keep-daily", "3", code=USAGE,
                         env={"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"})
        self.assertIn("give --time-zone", ran.err)

    def test_what_no_rule_keeps_goes_and_the_rest_restores(self):
        plan = self.kept("--keep-daily", "3", "--keep-weekly", "2")

        self.cairn("forget", "--keep-daily", "3", "--keep-weekly", "2")

        left = self.snapshots()
        self.assertEqual(" ".join(sorted((
            s["time"][5:10].replace("-", "") for s in left), reverse=True)),
            plan)
        self.cairn("prune")
        self.assertEqual([s["id"] for s in self.snapshots()],
                         [s["id"] for s in left])
        self.assert_sound()
        for snapshot in left:
            self.assertEqual(self.cat(f"{snapshot['id']}:db").decode(),
                             snapshot["time"][:10])

    def test_people_see_each_verdict_with_its_reason(self):
        text = self.cairn("forget", "-n", "--keep-last", "2").text
        self.assertEqual((text.count("\nkeep "), text.count("\nforget ")),
                         (2, 71))
        self.assertIn("last", text)
        self.assertEqual(len(self.snapshots()), 73)


class Caution(harness.Case):
    def setUp(self):
        super().setUp()
        for i in range(3):
            self.back_up_bytes(b"%d" % i, "db")
        self.back_up_bytes(b"x", "other")
        self.ids = [s["id"] for s in self.snapshots()]

    def left(self):
        return [self.ids.index(s["id"]) for s in self.snapshots()]

    def test_without_rule_or_name_it_is_a_usage_error(self):
        for words in ([], ["--series", "db"], ["--week-on", "sunday"],
                      ["--prefer", "oldest"], ["--keep-last", "0"],
                      ["--keep-daily", "x"], ["--keep-daily", "-1"],
                      ["--keep-last", "1", self.ids[0]],
                      ["--keep-last", "1", "--time-zone", "Mars/Olympus"],
                      ["--keep-last", "1", "--week-on", "someday"],
                      ["--keep-last", "1", "--prefer", "best"],
                      ["--keep-within", "soon"]):
            with self.subTest(words):
                self.cairn("forget", *words, code=USAGE)
        self.assertEqual(self.left(), [0, 1, 2, 3])

    def test_each_series_is_judged_by_itself(self):
        self.cairn("forget", "--keep-last", "1")
        self.assertEqual(self.left(), [2, 3])

    def test_one_series_can_be_picked(self):
        verdicts = self.cairn("forget", "--json", "--keep-last", "1",
                              "--series", "other").value
        self.assertEqual([v["keep"] for v in verdicts], [True])
        self.assertEqual(self.left(), [0, 1, 2, 3])

    def test_a_named_one_goes(self):
        self.cairn("forget", self.ids[0][:8], f"{self.ids[1]}")
        self.assertEqual(self.left(), [2, 3])
        self.cairn("cat", f"{self.ids[0]}:db", code=FAILED)

    def test_the_last_complete_one_goes_only_when_named_and_confirmed(self):
        for _ in range(2):
            ran = self.cairn("forget", "latest", code=REFUSED)
            self.assertIn("-y", ran.err)
        self.assertEqual(self.left(), [0, 1, 2, 3])
        self.cairn("forget", "-y", "latest")
        self.assertEqual(self.left(), [0, 1, 2])
        self.cairn("forget", self.ids[0], self.ids[1], self.ids[2],
                   code=REFUSED)
        self.assertEqual(self.left(), [0, 1, 2])

    def test_rules_never_drop_the_one_that_arrived_last(self):
        # Its time says that it is older than all others.
        old = self.back_up_bytes(b"copied in", "db", "--time",
                                 "2020-01-01T00:00:00Z")
        self.cairn("forget", "--keep-last", "1")
        self.assertIn(old, [s["id"] for s in self.snapshots()])
        self.assertEqual(self.left_of_known(), [2, 3])

    def left_of_known(self):
        return [self.ids.index(s["id"]) for s in self.snapshots()
                if s["id"] in self.ids]

    def test_a_dry_run_forgets_nothing(self):
        before = self.objects("marks")
        self.cairn("forget", "-n", "--keep-last", "1")
        self.cairn("forget", "-n", self.ids[0])
        self.cairn("forget", "-n", "--keep-last", "1", "--prune")
        self.assertEqual(self.left(), [0, 1, 2, 3])
        self.assertEqual(self.objects("marks"), before)

    def test_a_held_one_stays_until_it_is_let_go(self):
        self.cairn("hold", "add", self.ids[0], "--reason", "audit")
        hold, = self.cairn("hold", "list", "--json").value
        self.assertEqual((hold["snapshot"], hold["reason"]),
                         (self.ids[0], "audit"))
        self.assertIn("audit", self.cairn("hold", "list").text)
        self.assertTrue(self.snapshots()[0]["holds"])

        self.cairn("forget", "-y", self.ids[0], code=REFUSED)
        self.cairn("forget", "-y", self.ids[1], self.ids[0], code=REFUSED)
        self.cairn("forget", "--keep-last", "1")
        self.assertEqual(self.left(), [0, 2, 3])
        self.cairn("prune")
        self.assertEqual(self.cat(f"{self.ids[0]}:db"), b"0")

        self.cairn("hold", "remove", hold["id"])
        self.assertEqual(self.cairn("hold", "list", "--json").value, [])
        self.cairn("forget", "--keep-last", "1")
        self.assertEqual(self.left(), [2, 3])

    def test_a_hold_that_comes_too_late_says_so(self):
        snap, *_ = self.snapshots()
        key, = self.state.rglob("signing-key")
        text = key.read_bytes()
        key.unlink()
        os.mkfifo(key, 0o600)  # here the hold waits, with the list in its hands
        holding = self.start("hold", "add", snap["id"])
        pipe = harness.wait_until(lambda: opened_to_write(key),
                                  "hold add reads its key")
        self.cairn("forget", "-y", snap["id"], env={
            "XDG_STATE_HOME": self.folder / "another state"})

        os.write(pipe, text)
        os.close(pipe)

        _, err = holding.communicate(timeout=harness.TIMEOUT)
        self.assertEqual(holding.returncode, REFUSED, err)
        self.assertIn(b"forgotten meanwhile", err)

    def test_holds_end_by_themselves_and_by_the_snapshot_s_name(self):
        for until, code in (("2020-01-01", USAGE), ("soon", USAGE),
                            ("90d", OK), ("2999-12-31", OK)):
            self.cairn("hold", "add", self.ids[0], "--until", until, code=code)
        self.assertEqual(len(self.cairn("hold", "list", "--json").value), 2)
        self.cairn("hold", "remove", self.ids[0])
        self.assertEqual(self.cairn("hold", "list", "--json").value, [])
        self.cairn("hold", "remove", self.ids[0], code=FAILED)
        self.cairn("hold", "remove", "00000000", code=FAILED)

    def test_forget_and_prune_in_one(self):
        ran = self.cairn("forget", "--json", "--keep-last", "1", "--prune")
        self.assertEqual(len(ran.value), 4)
        self.assertEqual(self.left(), [2, 3])
        self.assertEqual(len(self.objects("snapshots")), 2)
        self.assert_sound()


if __name__ == "__main__":
    harness.main()
