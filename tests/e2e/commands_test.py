#!/usr/bin/python3
"""What commands take, say and answer: to people, to programs, on terminals."""

import json
import os
import pty
import re
import time

import harness
from harness import (FAILED, MIB, NO_REPOSITORY, REFUSED, SOURCE_FAILED, USAGE,
                     WRONG_KEY, noise, settle)

CANNOT_TELL = 126  # of pg wal-fetch

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Words(harness.Case):
    has_repository = False

    def test_a_mistyped_word_is_met_with_the_right_one(self):
        for words, meant in ((["bakcup"], "backup"), (["snapshot"], "snapshots"),
                             (["restor"], "restore"), (["key", "ad"], "key add"),
                             (["backup", "--exclud", "x"], "--exclude"),
                             (["forget", "--keep-dayly", "1"], "--keep-daily")):
            with self.subTest(words):
                ran = self.cairn(*words, code=USAGE)
                self.assertIn(meant, ran.err)
                self.assertEqual(ran.out, b"")

    def test_what_makes_no_sense_is_a_usage_error(self):
        for words in ([], ["frobnicate"], ["key"], ["restore", "latest"],
                      ["restore"], ["cat"], ["ls", "a", "b", "c"],
                      ["snapshots", "--last", "x"], ["check", "--level", "deep"],
                      ["check", "--subset", "7/3"], ["check", "--subset", "x"],
                      ["prune", "--max-unused", "much"], ["backup", "--tag"],
                      ["backup", "/", "--time", "yesterday"],
                      ["--progress", "loud", "snapshots"],
                      ["restore", "latest", "--to", "x", "--overwrite", "some"],
                      ["init", "--no-recovery-key", "--recovery-key-out", "x"]):
            with self.subTest(words):
                self.assertIn("cairn: ", self.cairn(*words, code=USAGE).err)

    def test_help_and_version_need_no_repository(self):
        env = {"CAIRN_REPO": None, "CAIRN_KEY_FILE": None}
        everything = self.cairn("--help", env=env).text
        for verb in ("init", "backup", "snapshots", "ls", "cat", "find", "diff",
                     "stats", "restore", "check", "forget", "prune", "hold add",
                     "hold remove", "hold list", "key add", "key remove",
                     "key list", "repair index", "repair keys", "repair packs",
                     "repair snapshots", "copy", "pg dump"):
            with self.subTest(verb):
                self.assertIn(f"\n  {verb} ", everything)
                told = self.cairn(*verb.split(), "--help", env=env).text
                self.assertIn(f"Usage: cairn {verb}", told)
                self.assertEqual(self.cairn("help", *verb.split(), env=env).text,
                                 told)
        self.assertIn("draft 3", self.cairn("--version", env=env).text)

    def test_without_a_repository_named_that_is_said(self):
        ran = self.cairn("snapshots", code=USAGE, env={"CAIRN_REPO": None})
        self.assertIn("CAIRN_REPO", ran.err)

    def test_words_of_other_commands_do_not_change_how_one_ends(self):
        env = {"CAIRN_REPO": self.folder / "nowhere"}
        for words in (["find", "--series", "pg", "wal-fetch"],
                      ["ls", "wal-fetch"]):
            self.cairn(*words, env=env, code=NO_REPOSITORY)
        for words in (["pg", "wal-fetch"], ["-q", "pg", "wal-fetch", "--odd"],
                      ["-r", "x", "pg", "--json", "wal-fetch", "a", "b"]):
            self.cairn(*words, env=env, code=CANNOT_TELL)

    def test_where_there_is_no_repository_init_is_named(self):
        for place in ("nowhere", "empty", "full"):
            with self.subTest(place):
                path = self.folder / place
                if place != "nowhere":
                    path.mkdir()
                if place == "full":
                    (path / "file").write_text("x")
                ran = self.cairn("-r", path, "snapshots", code=NO_REPOSITORY)
                self.assertIn("init", ran.err)
                self.assertIn(str(path), ran.err)

    def test_init_asks_nothing_without_a_terminal(self):
        ran = self.cairn("init", code=USAGE)
        self.assertIn("--no-recovery-key", ran.err)
        ran = self.cairn("init", "--no-recovery-key", code=WRONG_KEY,
                         env={"CAIRN_KEY_FILE": None})
        self.assertIn("CAIRN_PASSWORD", ran.err)
        self.assertFalse(self.repo.exists())

    def test_init_takes_no_folder_that_is_in_use(self):
        self.repo.mkdir()
        (self.repo / "file").write_text("mine")
        self.cairn("init", "--recovery-key-out", self.key, code=REFUSED)
        self.assertEqual(os.listdir(self.repo), ["file"])
        self.assertFalse(self.key.exists())


class Repository(harness.Case):
    def test_a_second_init_is_refused_and_changes_nothing(self):
        before = {p: p.read_bytes() for p in self.repo.rglob("*")
                  if p.is_file()}
        self.cairn("init", "--recovery-key-out", self.folder / "other",
                   code=REFUSED)
        self.assertFalse((self.folder / "other").exists())
        self.assertEqual(before, {p: p.read_bytes() for p in
                                  self.repo.rglob("*") if p.is_file()})

    def test_global_flags_stand_before_or_behind_the_verb(self):
        env = {"CAIRN_REPO": None}
        for words in (["-r", self.repo, "snapshots", "--json"],
                      ["snapshots", "--json", "-r", self.repo],
                      ["--json", "snapshots", f"--repo={self.repo}"],
                      [f"-r{self.repo}", "--json", "snapshots"]):
            self.assertEqual(self.cairn(*words, env=env).value, [])

    def test_a_repository_of_another_draft_is_refused_by_name(self):
        self.back_up_bytes(b"x")
        for name in ("config", "config.2"):
            path = self.repo / name
            data = bytearray(path.read_bytes())
            self.assertEqual(data[9], 0x83)
            data[9] = 0x87
            data[-32:] = harness.sha256(data[:-32])
            path.write_bytes(data)
        for words in (["snapshots"], ["cat", "latest:data"], ["prune"],
                      ["check"], ["check", "--no-key"],
                      ["backup", "--stdin", "--as", "x"]):
            with self.subTest(words):
                ran = self.cairn(*words, code=REFUSED)
                self.assertIn("draft 7", ran.out.decode() + ran.err)

    def test_a_failure_is_one_json_object_for_programs(self):
        self.back_up_bytes(b"x")
        bad_key = self.folder / "bad.key"
        bad_key.write_text("CAIRN-KEY-1 nonsense\n")
        os.chmod(bad_key, 0o600)
        cases = [
            (["frobnicate"], USAGE, {}),
            (["snapshots"], NO_REPOSITORY, {"CAIRN_REPO": self.folder / "no"}),
            (["snapshots"], WRONG_KEY, {"CAIRN_KEY_FILE": bad_key}),
            (["ls", "00000000"], FAILED, {}),
            (["ls", "latest:nothing"], FAILED, {}),
            (["backup", "/nowhere at all"], SOURCE_FAILED, {}),
            (["init", "--no-recovery-key"], REFUSED, {}),
        ]
        for words, code, env in cases:
            with self.subTest(words):
                ran = self.cairn("--json", *words, code=code, env=env)
                last = ran.lines[-1]
                self.assertEqual([x["type"] for x in ran.lines].count(
                    "exit_error"), 1)
                self.assertEqual((last["type"], last["code"]),
                                 ("exit_error", code))
                self.assertTrue(last["message"])
                self.assertRegex(last["time"], RFC3339)
                self.assertIn(last["message"][:20], ran.err)


class Looking(harness.Case):
    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        (self.top / "etc").mkdir(parents=True)
        (self.top / "etc" / "app.conf").write_text("a = 1\n")
        (self.top / "etc" / "gone.conf").write_text("x\n")
        (self.top / "etc" / "mode").write_text("x\n")
        (self.top / "data").write_bytes(noise(2 * MIB))
        os.symlink("data", self.top / "link")
        self.first = self.backup(self.top, "--tag", "nightly", "--tag",
                                 "two words")["snapshot_id"]
        (self.top / "etc" / "app.conf").write_text("a = 2, changed\n")
        (self.top / "etc" / "gone.conf").unlink()
        (self.top / "etc" / "new.conf").write_text("new\n")
        os.chmod(self.top / "etc" / "mode", 0o600)
        (self.top / "link").unlink()
        (self.top / "link").write_text("a file now")
        settle()
        self.second = self.backup(self.top)["snapshot_id"]

    def test_snapshots_are_one_array_with_what_is_promised(self):
        first, second = self.snapshots()
        self.assertEqual([first["id"], second["id"]],
                         [self.first, self.second])
        self.assertEqual(first["tags"], ["nightly", "two words"])
        self.assertEqual(first["paths"], [str(self.top)])
        self.assertEqual(first["host"], os.uname().nodename)
        self.assertEqual(first["series"], f"{first['host']}/files")
        self.assertEqual(first["logical_bytes"], 2 * MIB + 6 + 2 + 2)
        self.assertGreater(first["stored_bytes"], 2 * MIB)
        self.assertLess(second["stored_bytes"], 100000)
        self.assertRegex(first["time"], RFC3339)

    def test_snapshots_can_be_picked(self):
        self.back_up_bytes(b"x", "other")
        for words, count in ((["--tag", "nightly"], 1), (["--tag", "none"], 0),
                             (["--series", "files"], 2), (["--last", "1"], 1),
                             (["--host", "elsewhere"], 0), ([], 3)):
            self.assertEqual(len(self.snapshots(*words)), count, words)

    def test_the_table_for_people_names_them_all(self):
        text = self.cairn("snapshots").text
        for word in (self.first[:8], self.second[:8], "nightly", "MiB",
                     str(self.top)):
            self.assertIn(word, text)

    def test_ls_lists_a_folder_or_everything_below(self):
        top = str(self.top)
        self.assertEqual(
            self.cairn("ls", f"{self.first}:{top}/etc").text.split(),
            [f"{top}/etc/{n}" for n in ("app.conf", "gone.conf", "mode")])
        entries = {x["path"]: x for x in self.cairn(
            "ls", "-R", "--json", f"latest:{top}").lines}
        self.assertEqual(set(entries), {f"{top}/{n}" for n in (
            "data", "link", "etc", "etc/app.conf", "etc/mode",
            "etc/new.conf")})
        data = entries[f"{top}/data"]
        self.assertEqual((data["type"], data["kind"], data["size"],
                          data["v"]), ("entry", "file", 2 * MIB, 1))
        self.assertRegex(data["modified"], RFC3339)
        long = self.cairn("ls", "-l", f"{self.first}:{top}").text
        self.assertRegex(long, r"lrwxrwxrwx .*/link -> data\n")
        self.assertRegex(long, r"drwx.* /.*/etc\n")

    def test_find_says_in_which_snapshots(self):
        found = self.cairn("find", "--json", "*.conf").lines
        self.assertEqual(
            sorted((os.path.basename(x["path"]), x["snapshot"])
                   for x in found),
            sorted([("app.conf", self.first), ("gone.conf", self.first),
                    ("app.conf", self.second), ("new.conf", self.second)]))
        ran = self.cairn("find", "--json", "--snapshot", "latest", "new*")
        self.assertEqual(len(ran.lines), 1)
        ran = self.cairn("find", "--json", f"{self.top}/etc/g*")
        self.assertEqual([x["snapshot"] for x in ran.lines], [self.first])
        self.assertEqual(self.cairn("find", "nothing.like.it").out, b"")

    def test_find_looks_below_a_path_and_at_nothing_twice(self):
        def found(*snaps):
            words = [w for s in snaps for w in ("--snapshot", s)]
            return [os.path.relpath(x["path"], self.top) for x in
                    self.cairn("find", "--json", *words, "*e*").lines]
        below = found(f"latest:{self.top}/etc")
        self.assertEqual(below, ["etc/mode", "etc/new.conf"])
        self.assertEqual(found(f"latest:{self.top}/etc/mode"), ["etc/mode"])
        self.assertEqual(found(f"latest:{self.top}/etc/mode",
                               f"latest:{self.top}/etc/",
                               f"{self.second}:{self.top}/etc"), below)
        self.assertEqual(found("latest", "latest"), found("latest"))
        ran = self.cairn("find", "--snapshot", f"latest:{self.top}/etc",
                         f"{self.top}/*")
        self.assertEqual(ran.out, b"")
        self.cairn("find", "--snapshot", f"{self.second}:nothing", "*",
                   code=FAILED)

    def test_only_whole_snapshots_are_held(self):
        for action in ("add", "remove"):
            ran = self.cairn("hold", action, f"latest:{self.top}", code=USAGE)
            self.assertIn("only whole snapshots", ran.err)
        self.assertEqual(self.cairn("hold", "list", "--json").value, [])

    def test_diff_says_what_differs_and_how(self):
        *changes, summary = self.cairn("diff", "--json", "latest~1",
                                       "latest").lines
        below = len(str(self.top)) + 1
        self.assertEqual(
            {x["path"][below:]: x["change"] for x in changes
             if x["path"].startswith(str(self.top) + "/")},
            {"etc": "metadata", "etc/app.conf": "content",
             "etc/gone.conf": "removed", "etc/mode": "metadata",
             "etc/new.conf": "added", "link": "type"})
        self.assertEqual(
            [summary[k] for k in ("type", "added", "removed", "content",
                                  "type_changed")],
            ["summary", 1, 1, 1, 1])
        text = self.cairn("diff", f"latest~1:{self.top}/etc",
                          f"latest:{self.top}/etc").text
        self.assertRegex(text, r"(?m)^\+ +/.*/etc/new\.conf$")
        self.assertRegex(text, r"(?m)^- +/.*/etc/gone\.conf$")
        self.assertEqual(self.cairn("diff", "latest", "latest").out, b"")

    def test_stats_are_an_object_with_what_is_promised(self):
        stats = self.cairn("stats", "--json").value
        self.assertEqual(stats["snapshots"], 2)
        self.assertEqual(stats["logical_bytes"], sum(
            s["logical_bytes"] for s in self.snapshots()))
        self.assertEqual(stats["packs"], len(self.objects("packs")))
        self.assertEqual(stats["stored_bytes"],
                         harness.bytes_below(self.repo))
        self.assertGreater(stats["chunks"], 10)
        self.assertIn("ratio", self.cairn("stats").text)

    def test_all_that_lies_in_the_repository_counts_as_stored(self):
        self.cairn("forget", self.first)
        self.cairn("prune")
        self.cairn("-y", "key", "rotate")
        self.back_up_bytes(b"x")
        self.assertTrue(self.objects("epochs") and self.objects("generations"))
        stats = self.cairn("stats", "--json").value
        self.assertEqual(stats["stored_bytes"],
                         harness.bytes_below(self.repo))
        self.assertEqual(stats["pack_bytes"],
                         harness.bytes_below(self.repo / "packs"))

    def test_a_backup_s_summary_adds_up(self):
        told = self.backup(self.top, "--series", "new one")
        self.assertEqual(told["logical_bytes"], sum(
            p.stat().st_size for p in self.top.rglob("*") if p.is_file()))
        self.assertEqual(
            (told["files_new"], told["files_changed"], told["v"]), (5, 0, 1))
        self.assertGreater(told["seconds"], 0)
        text = self.cairn("backup", self.top).text
        self.assertRegex(text, r"snapshot [0-9a-f]{8} of ")
        self.assertEqual(self.cairn("-q", "backup", self.top).out, b"")

    def test_unknown_names_are_failures(self):
        for snap in ("0123abcd", "latest~2", "@2001-01-01T00:00:00Z"):
            for words in (["ls", snap], ["restore", snap, "--to", "x"],
                          ["forget", snap], ["diff", snap, "latest"],
                          ["hold", "add", snap], ["cat", snap + ":x"]):
                with self.subTest(words):
                    self.cairn(*words, code=FAILED)
        self.cairn("ls", "latest:nothing", code=FAILED)
        self.cairn("cat", f"latest:{self.top}/etc", code=FAILED)

    def test_a_closed_pipe_is_no_error_worth_a_word(self):
        process = self.start("ls", "-R", "latest")
        process.stdout.close()
        process.wait(harness.TIMEOUT)
        self.assertEqual(process.stderr.read(), b"")
        self.assertNotEqual(process.returncode, 0)


class Screens(harness.Case):
    def on_terminal(self, *words, env=None, until=None):
        """What a terminal of 80 columns gets to see, or the beginning of it up
        to `until`; Enter is never pressed."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(harness.PROGRAM, [harness.PROGRAM,
                                        *map(os.fspath, words)],
                      self.environment({"TERM": "xterm", **(env or {})}))
        seen = b""
        while not (until and until in seen):
            try:
                some = os.read(fd, 4096)
            except OSError:  # EIO: the other side is gone
                break
            if not some:
                break
            seen += some
        if until:
            os.kill(pid, 2)
        os.close(fd)
        os.waitpid(pid, 0)
        return seen

    def test_colours_are_for_terminals_that_want_them(self):
        self.back_up_bytes(b"x")
        self.assertIn(b"\x1b[", self.on_terminal("snapshots"))
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn(b"\x1b[", self.on_terminal("snapshots", env=env))
        self.assertNotIn(b"\x1b[", self.cairn(
            "snapshots", env={"TERM": "xterm"}).out)

    def test_an_error_on_a_terminal_without_colour_is_plain(self):
        seen = self.on_terminal("ls", "00000000", env={"NO_COLOR": "1"})
        self.assertNotIn(b"\x1b[", seen)
        self.assertIn(b"error", seen)

    def test_a_passphrase_is_asked_for_and_not_shown(self):
        env = {"CAIRN_KEY_FILE": None, "CAIRN_PASSWORD": None}
        seen = self.on_terminal("snapshots", env=env, until=b": ")
        self.assertIn(b"assphrase", seen)

    def test_a_bar_shows_what_is_being_read(self):
        path = self.folder / "big"
        path.write_bytes(noise(MIB) * 300)
        seen = self.on_terminal("backup", path)
        self.assertRegex(seen.decode(), r"MiB.*iB/s")
        self.assertIn(b"big", seen)
        self.assertNotIn(b"/s", self.on_terminal(
            "backup", path, "--series", "2", "--progress", "none"))

    def test_progress_goes_to_logs_and_programs_as_they_want_it(self):
        styles = ("lines", "json", "none", "auto")
        running = {s: self.start("--progress", s, "backup", "--stdin", "--as",
                                 s, stdin=-1) for s in styles}
        for process in running.values():
            process.stdin.write(noise(3 * MIB))
            process.stdin.flush()
        time.sleep(6)  # a first plain line comes after five seconds
        told = {s: self.end(p).err for s, p in running.items()}

        self.assertIn("MiB", told["lines"])
        self.assertIn("MiB", told["auto"])
        self.assertEqual(told["none"], "")
        statuses = [json.loads(line) for line in told["json"].splitlines()]
        self.assertGreaterEqual(len(statuses), 3)
        for status in statuses:
            self.assertEqual((status["type"], status["v"]), ("status", 1))
        self.assertEqual(statuses[-1]["bytes_done"], 3 * MIB)
        for text in told.values():
            self.assertNotIn("\x1b", text)
            self.assertNotIn("\r", text)

    def test_quiet_leaves_data_and_errors(self):
        self.assertEqual(self.cairn("-q", "backup", self.key).err, "")
        self.assertTrue(self.cairn("-q", "ls", "00000000", code=FAILED).err)
        self.assertTrue(self.cairn("-q", "snapshots").out)


if __name__ == "__main__":
    harness.main()
