#!/usr/bin/python3
"""The command line as a contract: words, exit codes, JSON, streams."""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import (DAMAGE, FAILED, NO_REPOSITORY, NO_SPACE, OK,
                     PARTIAL, REFUSED, SOURCE_FAILED, USAGE, WRONG_KEY, flip)

HOST = os.uname().nodename
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Words(harness.Case):
    has_repository = False

    def failure(self, *words, **how):
        ran = self.cairn(*words, code=USAGE, **how)
        self.assertEqual(ran.out, b"")
        self.assertEqual(ran.err.count("\n"), 1, ran.err)
        return ran.err

    def test_a_mistyped_command_gets_the_nearest_as_answer(self):
        self.assertIn("did you mean 'snapshots'?", self.failure("snapshot"))
        self.assertIn("did you mean 'key list'?", self.failure("key", "lst"))

    def test_what_makes_no_sense_is_a_usage_error_in_one_line(self):
        for words in ([], ["-q"], ["--nonsense"], ["snapshots", "--nonsense"],
                      ["snapshots", "extra"], ["ls"], ["restore", "latest"],
                      ["backup"], ["backup", "--stdin"],
                      ["backup", "--as", "x", "/etc"],
                      ["backup", "--as", "x", "--from-command"],
                      ["backup", "--stdin", "--as", "x", "/etc"],
                      ["backup", "/etc", "--time", "yesterday"],
                      ["backup", "/etc", "--time", "2026-11-20T14:30:00"],
                      ["forget"], ["forget", "--keep-daily", "many"],
                      ["forget", "--keep-daily", "-1"],
                      ["forget", "latest", "--keep-daily", "1"],
                      ["forget", "--keep-last", "1", "--week-on", "someday"],
                      ["check", "--level", "deep"],
                      ["check", "--subset", "5/3"],
                      ["check", "--level", "index", "--subset", "5%"],
                      ["check", "--no-key", "--level", "index", "--subset",
                       "1/3"],
                      ["prune", "--max-unused", "10"],
                      ["--progress", "dots", "snapshots"],
                      ["key"], ["key", "add", "--role", "admin"],
                      ["restore", "latest", "--to", "x", "--overwrite", "yes"],
                      ["help", "nonsense"]):
            with self.subTest(words=words):
                self.failure(*words)

    def test_no_repository_named_is_a_usage_error(self):
        self.assertIn("CAIRN_REPO",
                      self.failure("snapshots", env={"CAIRN_REPO": None}))

    def test_storage_that_is_not_there_yet_is_a_usage_error(self):
        for repo in ("s3:https://host/bucket", "sftp://user@host/path",
                     "rest:https://host/"):
            self.assertIn("not available yet",
                          self.failure("-r", repo, "snapshots"))

    def test_no_address_becomes_a_folder(self):
        for repo, hint in (("http://foo", "rest:http:"), ("ssh://h/p", "sftp:"),
                           ("stfp://h/p", "sftp:"), ("b2:bucket", "./b2:"),
                           ("file:///srv/x", "by its path"), ("://x", "./:"),
                           ("host:/srv/backup", "./host:")):
            for words in (["init", "--no-recovery-key"], ["snapshots"]):
                self.assertIn(hint, self.failure(
                    "-r", repo, *words, cwd=self.folder,
                    env={"CAIRN_PASSWORD": "x", "CAIRN_KEY_FILE": None}))
        self.assertEqual(os.listdir(self.folder), [])
        self.cairn("-r", "./a:b", "init", "--no-recovery-key", cwd=self.folder,
                   env={"CAIRN_PASSWORD": "x", "CAIRN_KEY_FILE": None})
        self.assertTrue((self.folder / "a:b" / "config").exists())

    def test_help_and_version_answer_on_standard_output(self):
        for words in (["--help"], ["help"], ["backup", "--help"],
                      ["help", "key", "add"], ["key", "--help"],
                      ["--version"], ["version"], ["snapshots", "--version"]):
            ran = self.cairn(*words)
            self.assertNotEqual(ran.out, b"")
            self.assertEqual(ran.err, "")

    def test_a_help_flag_before_the_verb_explains_the_verb(self):
        restore = self.cairn("restore", "--help").out
        for words in (["--help", "restore"], ["-h", "restore"],
                      ["-h", "restore", "latest"], ["restore", "-h"]):
            self.assertEqual(self.cairn(*words).out, restore)
        self.assertEqual(self.cairn("-h", "key", "add").out,
                         self.cairn("key", "add", "-h").out)
        self.assertEqual(self.cairn("-h", "key").out,
                         self.cairn("key", "-h").out)
        self.assertEqual(self.cairn("-h").out, self.cairn("help").out)

    def test_the_version_is_json_for_programs_wherever_that_is_said(self):
        for words in (["--version", "--json"], ["--json", "--version"],
                      ["version", "--json"]):
            self.assertEqual(self.cairn(*words).value["type"], "version")

    def test_two_words_in_quotes_are_told_so(self):
        self.assertIn("two words: cairn key add", self.failure("key add"))

    def test_a_configuration_file_is_not_passed_over_in_silence(self):
        self.assertIn("x.yaml: No such file",
                      self.failure("-c", "x.yaml", "snapshots"))
        # Only what needs one looks for it where nobody named one.
        self.cairn("version", env={"CAIRN_CONFIG": "/x.yaml"})
        self.assertIn("/x.yaml: No such file", self.failure(
            "snapshots", env={"CAIRN_CONFIG": "/x.yaml", "CAIRN_REPO": None}))

    def test_what_is_no_repository_is_told_once_and_what_it_is(self):
        empty, file = self.folder / "empty", self.folder / "file"
        empty.mkdir()
        file.write_text("x")
        for repo, told in ((empty, "no repository here"),
                           (self.folder / "absent", "no such folder"),
                           (file, "a file, and a repository is a folder")):
            ran = self.cairn("-r", repo, "snapshots", code=NO_REPOSITORY)
            self.assertIn(told, ran.err)
            self.assertLessEqual(ran.err.count("init"), 1)

    def test_every_command_explains_itself_with_examples(self):
        listed = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ",
                            self.cairn("help").text, re.MULTILINE)
        self.assertIn("backup", listed)
        self.assertIn("repair index", listed)
        for command in listed:
            text = self.cairn("help", *command.split()).text
            self.assertIn("Examples:", text, command)
            self.assertTrue(all(len(x) <= 80 for x in text.splitlines()), text)

    def test_a_fatal_error_is_one_json_object_for_programs(self):
        for code, words in ((USAGE, ["snapshots", "--nonsense"]),
                            (USAGE, ["nonsense"]),
                            (NO_REPOSITORY, ["snapshots"])):
            ran = self.cairn("--json", *words, code=code)
            error, = ran.lines
            self.assertEqual((error["type"], error["code"], error["v"]),
                             ("exit_error", code, 1))
            self.assertRegex(error["time"], RFC3339)
            self.assertIn(error["message"], ran.err)


class Init(harness.Case):
    has_repository = False

    def password_env(self):
        path = self.folder / "password"
        path.write_text("a passphrase\n")
        path.chmod(0o600)
        return {"CAIRN_KEY_FILE": None, "CAIRN_PASSWORD_FILE": path}

    def test_without_a_terminal_the_recovery_key_must_be_decided(self):
        ran = self.cairn("init", code=USAGE, env=self.password_env())
        self.assertIn("--no-recovery-key", ran.err)
        self.assertIn("--recovery-key-out", ran.err)
        self.assertFalse(self.repo.exists())

    def test_without_a_terminal_or_a_key_nothing_is_asked(self):
        ran = self.cairn("init", "--no-recovery-key", code=WRONG_KEY,
                         env={"CAIRN_KEY_FILE": None})
        self.assertIn("CAIRN_PASSWORD_FILE", ran.err)
        self.assertFalse(self.repo.exists())

    def test_the_recovery_key_opens_alone_and_is_its_owners_only(self):
        env = self.password_env()
        self.cairn("init", "--recovery-key-out", self.key, env=env)
        self.assertEqual(self.key.stat().st_mode & 0o777, 0o600)
        self.cairn("snapshots", env=env)
        self.cairn("snapshots")  # by CAIRN_KEY_FILE

    def test_a_recovery_key_takes_no_other_files_place(self):
        self.key.write_text("precious")
        self.cairn("init", "--recovery-key-out", self.key, code=REFUSED,
                   env=self.password_env())
        self.assertEqual(self.key.read_text(), "precious")
        self.assertFalse(self.repo.exists())

    def test_a_second_init_is_refused(self):
        env = self.password_env()
        self.cairn("init", "--no-recovery-key", env=env)
        before = self.objects(".")
        self.cairn("init", "--no-recovery-key", code=REFUSED, env=env)
        self.cairn("init", "--recovery-key-out", self.key, code=REFUSED,
                   env=env)
        self.assertEqual(self.objects("."), before)
        self.assertFalse(self.key.exists())

    def test_a_folder_with_other_things_is_refused(self):
        self.repo.mkdir()
        (self.repo / "thesis.tex").write_text("x")
        self.cairn("init", "--no-recovery-key", code=REFUSED,
                   env=self.password_env())

    def test_a_failed_init_leaves_no_recovery_key_behind(self):
        self.repo.parent.joinpath("file").write_text("x")
        self.cairn("-r", self.folder / "file" / "repo", "init",
                   "--recovery-key-out", self.key, code=(FAILED, REFUSED),
                   env=self.password_env())
        self.assertFalse(self.key.exists())

    def test_a_sister_shares_names_and_opens_with_its_own_key(self):
        env = self.password_env()
        self.cairn("init", "--no-recovery-key", env=env)
        sister = self.folder / "sister"
        other = self.folder / "other password"
        other.write_text("another one")
        other.chmod(0o600)
        ran = self.cairn(
            "--json", "-r", sister, "init", "--no-recovery-key", "--like",
            self.repo, env={**env, "CAIRN_PASSWORD_FILE": other,
                            "CAIRN_LIKE_PASSWORD_FILE":
                            env["CAIRN_PASSWORD_FILE"]})
        self.assertEqual(ran.value["type"], "initialized")
        self.cairn("-r", sister, "snapshots",
                   env={**env, "CAIRN_PASSWORD_FILE": other})
        self.cairn("-r", sister, "snapshots", code=WRONG_KEY, env=env)

    def test_a_dry_run_makes_nothing(self):
        self.cairn("-n", "init", "--recovery-key-out", self.key,
                   env=self.password_env())
        self.assertFalse(self.repo.exists())
        self.assertFalse(self.key.exists())

    def test_what_is_made_is_closed_to_others_whatever_the_umask(self):
        subprocess.run(
            ["sh", "-c", "umask 0; exec \"$0\" init --recovery-key-out \"$1\"",
             harness.PROGRAM, self.key], env=self.environment(
                 self.password_env()), check=True, capture_output=True)
        self.cairn("backup", "-q", "--stdin", "--as", "x", stdin=b"x")
        for top in (self.repo, self.cache, self.state):
            for path in [top, *top.rglob("*")]:
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)


class Opening(harness.Case):
    def test_a_wrong_passphrase_and_a_wrong_key_are_told(self):
        self.cairn("snapshots", code=WRONG_KEY,
                   env={"CAIRN_KEY_FILE": None, "CAIRN_PASSWORD": "wrong"})
        other = self.folder / "other.key"
        self.cairn("-r", self.folder / "other", "init", "--recovery-key-out",
                   other, env={"CAIRN_KEY_FILE": other})
        self.cairn("snapshots", code=WRONG_KEY, env={"CAIRN_KEY_FILE": other})

    def test_what_cannot_be_read_as_a_key_is_a_wrong_key(self):
        for name, text in (("CAIRN_KEY_FILE", "no key"),
                           ("CAIRN_PASSWORD_FILE", ""),
                           ("CAIRN_PASSWORD_FILE", "x" * 10000)):
            path = self.folder / "bad"
            path.write_text(text)
            path.chmod(0o600)
            env = {"CAIRN_KEY_FILE": None, name: path}
            self.cairn("snapshots", code=WRONG_KEY, env=env)
            env[name] = self.folder / "absent"
            self.cairn("snapshots", code=WRONG_KEY, env=env)

    def test_each_source_of_a_passphrase_opens_and_the_key_file_goes_first(
            self):
        new = self.folder / "new"
        new.write_bytes(b"gr\xc3\xbcn und spitz\r\n")
        new.chmod(0o600)
        self.cairn("key", "add", env={"CAIRN_NEW_PASSWORD_FILE": new})
        good = "grün und spitz"
        for env in ({"CAIRN_PASSWORD": good}, {"CAIRN_PASSWORD_FILE": new},
                    {"CAIRN_PASSWORD_COMMAND": f"echo '{good}'"},
                    {"CAIRN_PASSWORD": good, "CAIRN_PASSWORD_FILE": "/absent"}):
            self.cairn("snapshots", env={"CAIRN_KEY_FILE": None, **env})
        self.cairn("snapshots", env={"CAIRN_PASSWORD": "wrong"})

    def test_a_password_command_that_fails_opens_nothing(self):
        for command in ("echo right; exit 1", "true", "kill -9 $$"):
            self.cairn("snapshots", code=WRONG_KEY,
                       env={"CAIRN_KEY_FILE": None,
                            "CAIRN_PASSWORD_COMMAND": command})

    def test_a_password_command_cannot_swallow_the_data(self):
        new = self.folder / "new"
        new.write_text("word")
        new.chmod(0o600)
        self.cairn("key", "add", env={"CAIRN_NEW_PASSWORD_FILE": new})
        self.cairn("backup", "--stdin", "--as", "x", stdin=b"precious",
                   env={"CAIRN_KEY_FILE": None,
                        "CAIRN_PASSWORD_COMMAND": "cat >/dev/null; echo word"})
        self.assertEqual(self.cat("latest:x"), b"precious")

    def test_a_key_that_others_may_read_earns_a_warning(self):
        self.assertNotIn("warning", self.cairn("snapshots").err)
        self.key.chmod(0o640)
        self.assertIn("chmod 600", self.cairn("snapshots").err)

    def test_no_repository_is_told_apart_from_a_damaged_one(self):
        self.cairn("-r", self.folder / "absent", "snapshots",
                   code=NO_REPOSITORY)
        empty = self.folder / "empty"
        empty.mkdir()
        self.cairn("-r", empty, "snapshots", code=NO_REPOSITORY)
        for name in ("config", "config.2"):
            flip(self.repo / name, 40)
        self.cairn("snapshots", code=DAMAGE)

    def test_a_damaged_key_slot_is_damage_not_a_wrong_key(self):
        slot, = self.paths_of("keys")
        flip(slot, 60)
        self.cairn("snapshots", code=DAMAGE)

    def test_the_last_owner_key_stays(self):
        slot, = self.cairn("key", "list", "--json").value
        self.assertEqual((slot["role"], slot["method"]), ("owner", "key file"))
        self.cairn("key", "remove", slot["id"], code=REFUSED)
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        self.cairn("key", "remove", slot["id"][:8], code=REFUSED)

        second = self.folder / "second.key"
        self.cairn("key", "add", "--key-file-out", second, "--label", "mine")
        self.cairn("key", "remove", slot["id"][:8], code=REFUSED)
        self.cairn("key", "remove", slot["id"][:8],
                   env={"CAIRN_KEY_FILE": second})
        self.cairn("snapshots", code=WRONG_KEY)
        self.cairn("snapshots", env={"CAIRN_KEY_FILE": second})

    def test_a_write_key_backs_up_and_changes_nothing_else(self):
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        first = self.back_up_bytes(b"by the owner")
        env = {"CAIRN_KEY_FILE": write}
        second = self.back_up_bytes(b"by the writer", env=env)

        for words in (["forget", first], ["forget", "--keep-last", "1"],
                      ["hold", "add", first], ["prune"], ["key", "add"],
                      ["cat", f"{second}:data"], ["ls", second]):
            self.cairn(*words, code=WRONG_KEY, env=env)
        listed = self.cairn("snapshots", "--json", env=env).value
        self.assertEqual([s["id"] for s in listed], [first, second])
        self.assertEqual(self.cat(f"{second}:data"), b"by the writer")


class Naming(harness.Case):
    def setUp(self):
        super().setUp()
        self.ids = [
            self.back_up_bytes(b"day %d" % day, "db.sql", "--time",
                               f"2026-11-{day:02}T12:00:00Z")
            for day in (1, 2, 3)]

    def test_unknown_and_ambiguous_names_fail_with_the_candidates(self):
        unknown = self.cairn("ls", "ffffffffff", code=FAILED)
        self.assertIn(self.ids[2][:8], unknown.err)
        for name in ("yesterday", "abc", "", "@2026-11-20", "latest~3",
                     "@2026-10-01T00:00"):
            self.cairn("ls", name, code=FAILED)
        for path in ("nope", "db.sql/below"):
            self.cairn("cat", f"latest:{path}", code=FAILED)
            self.cairn("cat", f"{self.ids[0]}:{path}", code=FAILED)
            self.cairn("restore", f"latest:{path}", "--to",
                       self.folder / "out", code=FAILED)
            self.assertFalse((self.folder / "out").exists())

    def test_snapshots_are_found_by_place_id_and_time(self):
        for name, day in (("latest", 3), ("latest~1", 2), ("latest~2", 1),
                          (self.ids[1], 2), (self.ids[0][:8], 1),
                          (self.ids[0][:8].upper(), 1),
                          ("@2026-11-02T12:00", 2), ("@2026-11-02T11:59Z", 1),
                          ("@2026-11-30T00:00:00+14:00", 3)):
            self.assertEqual(self.cat(f"{name}:db.sql"), b"day %d" % day, name)

    def test_latest_of_a_name_passes_over_failures_and_other_names(self):
        self.back_up_bytes(b"other", "cache.rdb")
        self.cairn("backup", "--as", "db.sql", "--from-command", "--", "sh",
                   "-c", "echo partial; exit 1", code=SOURCE_FAILED)
        self.assertEqual(self.cat("latest:db.sql"), b"day 3")

    def test_a_damaged_newest_snapshot_is_never_silently_passed_over(self):
        flip(self.repo / "snapshots" / self.ids[2], 100)
        latest = self.cairn("cat", "latest:db.sql", code=DAMAGE)
        self.assertEqual(latest.out, b"day 2")
        self.assertIn("warning", latest.err)
        self.cairn("cat", f"{self.ids[0]}:db.sql")  # named exactly
        listed = self.cairn("snapshots", "--json", code=DAMAGE).lines
        self.assertEqual(len(listed[0]), 2)
        self.cairn("forget", "--keep-last", "1", code=DAMAGE)
        self.cairn("forget", self.ids[0], code=DAMAGE)


class Output(harness.Case):
    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        (self.top / "sub").mkdir(parents=True)
        (self.top / "a.txt").write_text("a")
        (self.top / "sub" / "b.txt").write_text("bb")
        self.id = self.backup(self.top, "--tag", "one", "--tag", "two")[
            "snapshot_id"]

    def test_snapshots_is_one_array_with_the_promised_fields(self):
        snapshot, = self.snapshots()
        self.assertEqual(snapshot["id"], self.id)
        self.assertRegex(snapshot["time"], RFC3339)
        self.assertEqual(snapshot["series"], f"{HOST}/files")
        self.assertEqual(snapshot["host"], HOST)
        self.assertEqual(snapshot["tags"], ["one", "two"])
        self.assertEqual(snapshot["paths"], [str(self.top)])
        self.assertEqual(snapshot["logical_bytes"], 3)
        self.assertGreater(snapshot["stored_bytes"], 0)
        self.assertTrue(snapshot["complete"])

    def test_snapshots_can_be_filtered(self):
        self.back_up_bytes(b"x", "db", "--tag", "two")
        self.back_up_bytes(b"x", "db", "--series", "other/db")
        count = lambda *words: len(self.snapshots(*words))
        self.assertEqual(count(), 3)
        self.assertEqual(count("--series", "db"), 1)
        self.assertEqual(count("--series", f"{HOST}/db"), 1)
        self.assertEqual(count("--series", "other/db"), 1)
        self.assertEqual(count("--tag", "two"), 2)
        self.assertEqual(count("--tag", "one", "--tag", "none"), 1)
        self.assertEqual(count("--host", HOST), 3)
        self.assertEqual(count("--host", "elsewhere"), 0)
        self.assertEqual(count("--last", "2"), 2)

    def test_stats_is_one_object_with_the_promised_fields(self):
        self.backup(self.top)
        stats = self.cairn("stats", "--json").value
        self.assertEqual(stats["snapshots"], 2)
        self.assertEqual(stats["logical_bytes"], 6)
        self.assertEqual(stats["stored_bytes"], harness.bytes_below(self.repo))
        self.assertEqual(stats["chunks"], 2)
        self.assertEqual(stats["packs"], len(self.objects("packs")))

    def test_every_json_line_has_type_time_and_version(self):
        self.back_up_bytes(b"x")
        for words in (["backup", self.top], ["ls", "latest~1"],
                      ["find", "*.txt"], ["diff", "latest~1", "latest"],
                      ["restore", self.id, "--to", self.folder / "out"],
                      ["stats"], ["prune"], ["prune", "-n"], ["version"],
                      ["hold", "add", "latest"], ["repair", "index"],
                      ["check"], ["check", "--no-key"]):
            lines = self.cairn("--json", *words).lines
            self.assertNotEqual(lines, [], words)
            for line in lines:
                self.assertIsInstance(line["type"], str)
                self.assertRegex(line["time"], RFC3339)
                self.assertEqual(line["v"], 1)

    def test_ls_shows_whole_paths(self):
        shown = lambda *words: self.cairn("ls", *words).text.splitlines()
        self.assertEqual(shown(f"latest:{self.top}"),
                         [f"{self.top}/a.txt", f"{self.top}/sub"])
        self.assertEqual(shown("--recursive", f"latest:{self.top}/sub/"),
                         [f"{self.top}/sub/b.txt"])
        self.assertEqual(shown(f"latest:{self.top}/a.txt"),
                         [f"{self.top}/a.txt"])
        line, = shown("-l", f"latest:{self.top}/a.txt")
        self.assertRegex(line, r"^-rw.* 1 B .*\+00:00  /.*a\.txt$")

    def test_find_matches_names_and_paths_in_all_snapshots(self):
        (self.top / "sub" / "b.txt").write_text("changed")
        second = self.backup(self.top)["snapshot_id"]
        found = lambda *words: [
            (line["snapshot"], line["path"])
            for line in self.cairn("--json", "find", *words).lines]
        b = f"{self.top}/sub/b.txt"
        self.assertEqual(found("b.*"), [(self.id, b), (second, b)])
        self.assertEqual(found("sub/*.txt"), [(self.id, b), (second, b)])
        self.assertEqual(found(b, "--snapshot", "latest"), [(second, b)])
        self.assertEqual(found("/sub/*.txt"), [])
        self.assertEqual(found("nothing"), [])
        self.cairn("find", "[", code=USAGE)

    def test_diff_names_each_change_once(self):
        (self.top / "sub" / "b.txt").write_text("changed")
        (self.top / "new").write_text("x")
        (self.top / "a.txt").unlink()
        self.backup(self.top)
        ran = self.cairn("diff", f"latest~1:{self.top}",
                         f"latest:{self.top}")
        lines = [line for line in ran.text.splitlines()
                 if not line.startswith("U")]
        self.assertEqual(lines, [f"-  {self.top}/a.txt", f"+  {self.top}/new",
                                 f"M  {self.top}/sub/b.txt"])

    def test_names_cannot_command_a_terminal(self):
        (self.top / "evil\x1b[2J\nname").write_text("x")
        (self.top / "latin\udce9".encode(
            "utf-8", "surrogateescape").decode(
                "utf-8", "surrogateescape")).write_text("x")
        self.backup(self.top)
        for words in (["ls", f"latest:{self.top}"], ["find", "evil*"],
                      ["find", "latin*"], ["diff", "latest~1", "latest"]):
            text = self.cairn(*words).text
            self.assertNotIn("\x1b", text)
            self.assertTrue("evil\\x1b[2J\\nname" in text or
                            "latin\\xe9" in text, text)
        line = self.cairn("--json", "find", "latin*").lines[0]
        self.assertIn("path_b64", line)

    def test_a_series_cannot_command_a_terminal(self):
        evil = "evil\x1b]0;title\x07/x\u009b2J"
        for _ in range(2):
            self.back_up_bytes(b"x", "x", "--series", evil)
        for words in (["snapshots"], ["forget", "-n", "--keep-last", "1"],
                      ["forget", "--keep-last", "1", "-n", "--json"],
                      ["snapshots", "--json"]):
            ran = self.cairn(*words)
            for bad in (b"\x1b", b"\x07", "\u009b".encode()):
                self.assertNotIn(bad, ran.out, words)
            self.assertIn(b"evil", ran.out)

    def test_no_colour_where_there_is_no_terminal(self):
        for words in (["snapshots"], ["ls", "latest"], ["check"],
                      ["diff", "latest", "latest"], ["nonsense"]):
            ran = self.cairn(*words, code=(0, USAGE),
                             env={"TERM": "xterm-256color"})
            self.assertNotIn(b"\x1b", ran.out)
            self.assertNotIn("\x1b", ran.err)

    def test_quiet_says_nothing_when_all_is_well(self):
        for words in (["backup", self.top], ["check"], ["prune"],
                      ["forget", "--keep-last", "5"],
                      ["restore", "latest", "--to", self.folder / "out"]):
            ran = self.cairn("-q", *words)
            self.assertEqual((ran.out, ran.err), (b"", ""), words)

    def test_data_that_nobody_takes_ends_the_program_quietly(self):
        for words in (["snapshots"], ["cat", "latest:data"]):
            self.back_up_bytes(harness.noise(200000))
            process = self.start(*words)
            process.stdout.close()
            error = process.stderr.read()
            self.assertEqual(process.wait(timeout=60), -13, words)
            self.assertEqual(error, b"")

    def test_a_full_standard_output_is_an_error(self):
        with open("/dev/full", "wb") as full:
            for words in (["snapshots"], ["--json", "snapshots"], ["help"]):
                ran = subprocess.run(
                    [harness.PROGRAM, *words], stdout=full, check=False,
                    stderr=subprocess.PIPE, env=self.environment())
                self.assertEqual(ran.returncode, NO_SPACE)
                self.assertEqual(ran.stderr.count(b"\n"), 1, ran.stderr)
                self.assertIn(b"standard output", ran.stderr)

    def run_without_output(self, closed, *words, code, says):
        """Through a shell; `closed` says what standard output is there."""
        command = (f'set -o pipefail; sleep 0.2 | "$@" {closed}'
                   if "|" in closed else f'"$@" {closed}')
        ran = subprocess.run(
            ["bash", "-c", command, "-", harness.PROGRAM, *words],
            env=self.environment(), check=False, stderr=subprocess.PIPE)
        self.assertEqual(ran.returncode, code, ran.stderr)
        self.assertIn(says, ran.stderr)
        self.assertNotIn(b"directory", ran.stderr)  # an errno of before

    def test_output_that_is_lost_before_a_last_message_is_an_error(self):
        self.back_up_bytes(b"1")
        self.back_up_bytes(b"2")
        for words in (["diff", "latest~1", "latest"],
                      ["forget", "-n", "--keep-last", "1"],
                      ["forget", "-n", "--keep-last", "1", "--prune"],
                      ["prune", "-n"]):
            with self.subTest(words):
                self.run_without_output(">/dev/full", *words, code=NO_SPACE,
                                        says=b"standard output: No space")
                # Whether it writes before its reader ends is not certain.
                process = self.start(*words)
                process.stdout.close()
                process.stderr.read()
                self.assertEqual(process.wait(timeout=60), -13)
        self.assertEqual(len(self.snapshots("--series", "data")), 2)

    def test_what_was_forgotten_and_pruned_is_no_failure_without_output(self):
        for closed, says in ((">/dev/full", b"standard output: No space"),
                             ("| true", b"")):
            for words in (["forget", "--keep-last", "1"],
                          ["forget", "--keep-last", "1", "--json"],
                          ["forget", "--keep-last", "1", "--prune"],
                          ["prune"], ["prune", "--json"]):
                with self.subTest(closed, words=words):
                    self.back_up_bytes(b"1")
                    self.back_up_bytes(b"2")
                    if words[0] == "prune":
                        self.cairn("forget", "--keep-last", "1")
                    self.run_without_output(closed, *words, code=OK, says=says)
                    left = self.snapshots()
                    self.assertEqual([s["series"].rpartition("/")[2]
                                      for s in left], ["files", "data"])
                    if "prune" in " ".join(words):
                        self.assertEqual(self.objects("snapshots"),
                                         sorted(s["id"] for s in left))

    def test_a_backup_that_is_saved_succeeds_without_standard_output(self):
        for closed, words, code, says in (
                (">&-", [], OK, b"standard output: "),
                (">/dev/full", [], OK, b"standard output: "),
                (">/dev/full", ["--json"], OK, b"standard output: "),
                (">/dev/full", ["/nowhere"], PARTIAL, b"standard output: "),
                ("| true", [], OK, b"")):
            with self.subTest(closed, words=words):
                before = len(self.snapshots())
                self.run_without_output(closed, "backup", self.top, *words,
                                        code=code, says=says)
                self.assertEqual(len(self.snapshots()), before + 1)

    def test_what_follows_a_document_goes_to_standard_error(self):
        self.back_up_bytes(b"x")
        self.back_up_bytes(b"x")
        for pack in (self.repo / "packs").glob("*/*"):
            flip(pack, -40)
        ran = self.cairn("--json", "forget", "--keep-last", "1", "--prune",
                         code=DAMAGE)
        self.assertEqual(len(ran.value), 3)
        self.assertIn('"exit_error"', ran.err)

    def test_without_standard_streams_no_repository_file_is_one(self):
        tree = self.top
        for closed, words, fails in (
                ("0<&-", ["backup", "--stdin", "--as", "x"], True),
                ("0<&- 1>&- 2>&-", ["backup", tree], False),
                ("2>&-", ["-v", "backup", tree, self.folder / "gone"], True),
                ("1>&-", ["snapshots"], True),
                ("0<&- 2>&-", ["-v", "backup", tree], False)):
            ran = subprocess.run(
                ["sh", "-c", f"exec \"$@\" {closed}", "-", harness.PROGRAM,
                 *words], env=self.environment(), check=False,
                stderr=subprocess.PIPE, stdout=subprocess.PIPE)
            self.assertEqual(ran.returncode != 0, fails, (closed, ran))
            self.assertGreaterEqual(ran.returncode, 0)
        self.cairn("check", "--level", "data")

    @harness.needs_root  # to see what a process that holds keys has open
    def test_the_place_of_a_missing_stream_is_taken(self):
        writer = self.begin_stream(
            b"x", prefix=["sh", "-c", "exec \"$@\" 2>&-", "-"])
        self.assertEqual(os.readlink(f"/proc/{writer.pid}/fd/2"), "/dev/null")
        self.end(writer)

    def test_progress_for_programs_goes_to_standard_error(self):
        process = self.start("--json", "--progress", "json", "backup",
                             "--stdin", "--as", "slow",
                             stdin=subprocess.PIPE)
        process.stdin.write(b"x" * 100000)
        process.stdin.flush()
        status = json.loads(process.stderr.readline())
        self.assertEqual((status["type"], status["v"]), ("status", 1))
        self.assertIn("bytes_done", status)
        out, _ = process.communicate(timeout=60)
        self.assertEqual(json.loads(out)["type"], "summary")


class BackingUp(harness.Case):
    def test_the_output_of_a_command_is_taken_as_it_is(self):
        self.cairn("backup", "--as", "out", "--from-command", "--", "printf",
                   "%s-%s", "-r", "--json")
        self.assertEqual(self.cat("latest:out"), b"-r---json")

    def test_a_failing_command_is_our_failure_and_leaves_nothing(self):
        for command in (["sh", "-c", "echo x; exit 3"], ["/absent/program"],
                        ["sh", "-c", "echo x; kill -9 $$"]):
            ran = self.cairn("--json", "backup", "--as", "out",
                             "--from-command", "--", *command,
                             code=SOURCE_FAILED)
            self.assertEqual(ran.lines[-1]["code"], SOURCE_FAILED)
        self.assertEqual(self.snapshots(), [])

    def test_a_path_that_is_not_there_fails_alone(self):
        tree = self.folder / "tree"
        tree.mkdir()
        (tree / "file").write_text("x")
        ran = self.cairn("backup", self.folder / "gone", tree, code=PARTIAL)
        self.assertIn("gone", ran.err)
        snapshot, = self.snapshots()
        self.assertFalse(snapshot["complete"])
        self.assertEqual(self.cat(f"latest:{tree}/file"), b"x")
        self.cairn("backup", self.folder / "gone", code=SOURCE_FAILED)
        self.assertEqual(len(self.snapshots()), 1)

    def test_the_passphrase_reaches_no_program_that_is_started(self):
        new = self.folder / "new"
        new.write_text("topsecretword")
        new.chmod(0o600)
        self.cairn("key", "add", env={"CAIRN_NEW_PASSWORD_FILE": new})
        self.cairn("backup", "--as", "env", "--from-command", "--", "env",
                   env={"CAIRN_KEY_FILE": None,
                        "CAIRN_PASSWORD": "topsecretword"})
        self.assertNotIn(b"topsecretword", self.cat("latest:env"))

    def test_time_tags_and_series_are_kept(self):
        self.back_up_bytes(b"x", "d/db.sql", "--time",
                           "2020-02-29T23:00:00-05:00", "--tag", "t")
        snapshot, = self.snapshots()
        self.assertEqual(snapshot["time"], "2020-03-01T04:00:00Z")
        self.assertEqual(snapshot["series"], f"{HOST}/d/db.sql")
        self.assertEqual(self.cat("latest:d/db.sql"), b"x")

    def test_a_time_in_the_future_is_warned_of_and_flagged(self):
        self.back_up_bytes(b"x", "now")
        ran = self.cairn("backup", "--stdin", "--as", "later", "--time",
                         "2999-01-01T00:00:00Z", stdin=b"x")
        self.assertIn("lies in the future", ran.err)
        self.assertEqual([s["future"] for s in self.snapshots()],
                         [False, True])
        now, later = self.cairn("snapshots").text.splitlines()[1:]
        self.assertNotIn("future", now)
        self.assertIn("future", later)

    def test_a_dry_run_reads_and_writes_nothing(self):
        (self.folder / "tree").mkdir()
        (self.folder / "tree" / "file").write_text("12345")
        before = self.objects(".")
        line = self.cairn("--json", "-n", "backup",
                          self.folder / "tree").value
        self.assertEqual((line["type"], line["files"], line["bytes"]),
                         ("dry_run", 1, 5))
        self.cairn("-n", "backup", "--stdin", "--as", "x")
        self.assertEqual(self.objects("."), before)

    def test_the_repository_is_no_part_of_what_is_backed_up(self):
        (self.folder / "file").write_text("x")
        self.backup(self.folder)
        listed = self.cairn("ls", "-R", f"latest:{self.folder}").text
        self.assertIn("/file\n", listed)
        self.assertNotIn("/repo/config", listed)
        self.assertNotIn("/cache/", listed)


class Keeping(harness.Case):
    def setUp(self):
        super().setUp()
        self.ids = [
            self.back_up_bytes(b"day %d" % day, "db", "--time",
                               f"2026-11-{day:02}T12:00:00Z")
            for day in range(1, 6)]

    def valid(self):
        return [s["id"] for s in self.snapshots()]

    def test_forget_tells_the_fate_of_every_snapshot_and_why(self):
        told = self.cairn("forget", "--keep-last", "2", "--json").value
        self.assertEqual([s["id"] for s in told], self.ids[::-1])
        self.assertEqual([s["keep"] for s in told], [True] * 2 + [False] * 3)
        for snapshot in told:
            self.assertEqual(snapshot["series"], f"{HOST}/db")
            self.assertRegex(snapshot["time"], RFC3339)
            self.assertNotEqual(snapshot["reasons"], [])
        self.assertEqual(self.valid(), self.ids[3:])

    def test_a_dry_run_tells_the_same_and_forgets_nothing(self):
        dry = self.cairn("-n", "forget", "--keep-last", "2", "--json").value
        self.assertEqual(self.valid(), self.ids)
        self.assertEqual(
            self.cairn("forget", "--keep-last", "2", "--json").value, dry)

    def test_unlimited_keeps_one_of_every_period(self):
        self.cairn("forget", "--keep-daily", "unlimited")
        self.assertEqual(self.valid(), self.ids)
        self.cairn("forget", "--keep-yearly", "unlimited")
        self.assertEqual(self.valid(), [self.ids[0], self.ids[4]])

    def test_days_begin_where_the_time_zone_says(self):
        self.cairn("forget", "--keep-last", "1", "--time-zone",
                   "Nowhere/Land", code=USAGE)
        self.cairn("forget", "--keep-last", "1", "--time-zone",
                   "Europe/Berlin")

    def test_only_the_series_that_is_named_is_judged(self):
        other = self.back_up_bytes(b"x", "other")
        told = self.cairn("forget", "--keep-last", "1", "--series", "db",
                          "--json").value
        self.assertEqual(len(told), 5)
        self.assertEqual(sorted(self.valid()), sorted([self.ids[4], other]))

    def test_named_snapshots_go(self):
        self.cairn("forget", self.ids[0], self.ids[2][:8])
        self.assertEqual(self.valid(),
                         [self.ids[1], self.ids[3], self.ids[4]])
        self.cairn("forget", self.ids[0], code=FAILED)

    def test_the_last_complete_one_goes_only_when_named_and_with_yes(self):
        ran = self.cairn("forget", "latest", code=REFUSED)
        self.assertIn("-y", ran.err)
        self.assertEqual(self.valid(), self.ids)
        self.cairn("forget", *self.ids, code=REFUSED)
        self.assertEqual(self.valid(), self.ids)
        self.cairn("forget", *self.ids, "-y")
        self.assertEqual(self.valid(), [])

    def test_what_is_held_stays_until_the_hold_goes(self):
        self.cairn("hold", "add", self.ids[0], "--reason", "audit")
        self.cairn("forget", self.ids[0], "-y", code=REFUSED)
        self.cairn("forget", "--keep-last", "1")
        self.assertEqual(self.valid(), [self.ids[0], self.ids[4]])
        hold, = self.cairn("hold", "list", "--json").value
        self.assertEqual((hold["snapshot"], hold["reason"], hold["until"]),
                         (self.ids[0], "audit", None))

        self.cairn("hold", "remove", hold["id"][:8])
        self.assertEqual(self.cairn("hold", "list", "--json").value, [])
        self.cairn("hold", "remove", self.ids[0], code=FAILED)
        self.cairn("forget", self.ids[0])
        self.assertEqual(self.valid(), [self.ids[4]])

    def test_a_text_that_is_no_text_is_a_usage_error(self):
        for words in (["hold", "add", "latest", "--reason"],
                      ["backup", "--stdin", "--as", "x", "--tag"],
                      ["backup", "--stdin", "--as", "x", "--series"],
                      ["forget", "--keep-last", "1", "--series"]):
            for text in (b"x\xff", b"x" * 10000):
                ran = self.cairn(*words, text, code=USAGE)
                self.assertIn(words[-1], ran.err)
        self.assertEqual(self.cairn("hold", "list", "--json").value, [])
        self.assertEqual(self.valid(), self.ids)

    def test_a_hold_ends_when_it_was_said_to(self):
        self.cairn("hold", "add", "latest", "--until", "2020-01-01",
                   code=USAGE)
        self.cairn("hold", "add", "latest", "--until", "soon", code=USAGE)
        self.cairn("hold", "add", "latest", "--until", "30d")
        self.assertIsNotNone(
            self.cairn("hold", "list", "--json").value[0]["until"])

    def test_prune_frees_the_space_and_a_dry_run_says_how_much(self):
        self.cairn("forget", "--keep-last", "1")
        before = harness.bytes_below(self.repo)
        plan, = self.cairn("--json", "-n", "prune").lines
        self.assertEqual(plan["type"], "plan")
        self.assertGreater(plan["bytes_freed"], 0)
        self.assertEqual(harness.bytes_below(self.repo), before)

        summary = self.cairn("--json", "prune").lines[-1]
        self.assertEqual(summary["type"], "summary")
        self.assertLess(harness.bytes_below(self.repo), before)
        self.assertEqual(self.cat("latest:db"), b"day 5")

    def test_prune_waits_for_a_backup_as_long_as_it_is_told_to(self):
        self.cairn("forget", "--keep-last", "1")
        writer = self.begin_stream(b"x")
        waits, = self.cairn("--json", "prune", "--wait",
                            "0s").lines[-1]["waits_for"]
        self.assertIn("a backup is at work", waits)
        self.assertIn("a backup is at work",
                      self.cairn("prune", "--wait", "1s").err)
        process = self.start("-v", "prune", "--wait", "60s")
        self.assertIn(b"a backup is at work", process.stderr.readline())
        self.end(writer)
        self.assertEqual(process.wait(timeout=60), 0)

    def test_prune_keeps_what_goes_in_the_trash_when_it_is_told_to(self):
        self.cairn("forget", "--keep-last", "1")
        before = harness.bytes_below(self.repo / "packs")
        told = self.cairn("--json", "prune", "--trash", "7d").lines[-1]
        self.assertGreater(told["trash"]["bytes"], 0)
        self.assertGreaterEqual(harness.bytes_below(self.repo / "packs"),
                                before)
        self.cairn("check", "--level", "data")
        told = self.cairn("--json", "prune", "--trash", "0d").lines[-1]
        self.assertEqual(told["trash"]["bytes"], 0)
        self.assertLess(harness.bytes_below(self.repo / "packs"), before)

    def test_forget_can_prune_at_once_and_its_json_stays_one_array(self):
        before = harness.bytes_below(self.repo)
        told = self.cairn("--json", "forget", "--keep-last", "1",
                          "--prune").value
        self.assertEqual(len(told), 5)
        self.assertLess(harness.bytes_below(self.repo), before)
        self.cairn("check", "--level", "data")


class Restoring(harness.Case):
    def test_a_folder_with_something_in_it_is_refused(self):
        self.back_up_bytes(b"new", "data")
        out = self.folder / "out"
        out.mkdir()
        (out / "data").write_bytes(b"old")
        self.cairn("restore", "latest", "--to", out, code=REFUSED)
        self.assertEqual((out / "data").read_bytes(), b"old")
        self.cairn("restore", "latest", "--to", out, "--overwrite", "never")
        self.assertEqual((out / "data").read_bytes(), b"old")
        summary = self.restore("latest", out, "--overwrite", "always",
                               "--verify")
        self.assertEqual((out / "data").read_bytes(), b"new")
        self.assertEqual(summary["files_verified"], 1)

    def test_no_folder_is_not_the_root_folder(self):
        self.back_up_bytes(b"new", "no-such-file-in-root")
        for extra in ([], ["-n"], ["--overwrite", "never"]):
            self.cairn("restore", "latest", "--to", "", *extra, code=USAGE)
            self.cairn("restore", "latest", "--to=", *extra, code=USAGE)
        self.assertFalse(os.path.exists("/no-such-file-in-root"))

    def test_a_cache_that_cannot_be_written_stops_no_rescue(self):
        self.back_up_bytes(b"data", "data")
        self.back_up_bytes(b"data", "data")
        (self.folder / "file").write_text("x")
        temporary = self.folder / "temporary"
        temporary.mkdir()
        env = {"CAIRN_CACHE_DIR": self.folder / "file" / "cache",
               "TMPDIR": temporary}
        for words in (["snapshots"], ["ls", "latest"], ["cat", "latest:data"],
                      ["find", "data"], ["diff", "latest~1", "latest"],
                      ["stats"], ["check", "--level", "data"],
                      ["restore", "latest", "--to", self.folder / "out"]):
            ran = self.cairn(*words, env=env)
            self.assertIn("takes its place", ran.err)
        self.assertEqual((self.folder / "out" / "data").read_bytes(), b"data")
        self.assertEqual(os.listdir(temporary), [])

    def test_a_dry_run_writes_nothing(self):
        self.back_up_bytes(b"new", "data")
        out = self.folder / "out"
        self.cairn("-n", "restore", "latest:data", "--to", out)
        self.cairn("-n", "restore", "latest:nope", "--to", out, code=FAILED)
        self.assertFalse(out.exists())

    def test_damage_is_told_and_the_rest_restored(self):
        top = self.folder / "tree"
        top.mkdir()
        (top / "small").write_bytes(b"small")
        self.backup(top)
        known = set(self.objects("packs"))
        (top / "large").write_bytes(harness.noise(400000))
        self.backup(top)
        fresh = [p for p in self.paths_of("packs") if p.name not in known]
        flip(max(fresh, key=lambda p: p.stat().st_size), 200000)

        summary = self.restore(f"latest:{top}", self.folder / "out",
                               code=DAMAGE)

        self.assertEqual(summary["damage_count"], 1)
        self.assertEqual((self.folder / "out" / "small").read_bytes(),
                         b"small")
        self.assertFalse((self.folder / "out" / "large").exists())
        self.cairn("check", "--level", "data", code=DAMAGE)
        self.cairn("check", "--no-key", code=DAMAGE)
        self.cairn("cat", f"latest:{top}/large", code=DAMAGE)


if __name__ == "__main__":
    harness.main()
