#!/usr/bin/python3
"""What the program says: which thing, what is wrong, what to do next."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import DAMAGE, FAILED, REFUSED, USAGE, WRONG_KEY


class Keys(harness.Case):
    def test_a_repository_without_keys_is_damaged_and_says_so(self):
        for path in self.paths_of("keys"):
            path.unlink()
        ran = self.cairn("--json", "check", "--no-key", code=DAMAGE)
        self.assertIn("no-owner-key",
                      [x.get("code") for x in ran.lines])
        ran = self.cairn("snapshots", code=DAMAGE)
        self.assertIn("no key slots at all", ran.err)

    def test_a_write_key_alone_is_no_owner(self):
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        self.cairn("check", "--no-key")
        for key in self.cairn("key", "list", "--json").value:
            if key["role"] == "owner":
                (self.repo / "keys" / key["id"]).unlink()
        self.cairn("check", "--no-key", code=DAMAGE)

    def test_a_series_that_cannot_be_read_is_null_and_has_its_tag(self):
        self.back_up_bytes(b"x", "x", "--series", "a")
        self.back_up_bytes(b"x", "x", "--series", "a")
        owner = self.snapshots()
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        seen = self.cairn("snapshots", "--json",
                          env={"CAIRN_KEY_FILE": write}).value
        self.assertEqual([s["series"] for s in seen], [None, None])
        for s in owner + seen:
            self.assertRegex(s["series_tag"], "^[0-9a-f]{32}$")
        self.assertEqual({s["series_tag"] for s in owner},
                         {s["series_tag"] for s in seen})

    def test_whose_loss_loses_the_backups(self):
        env = {"CAIRN_REPO": self.folder / "new"}
        ran = self.cairn("init", "--no-recovery-key", env=env)
        self.assertIn("whoever loses the key file loses", ran.err)
        self.cairn("init", "--recovery-key-out", "", code=USAGE,
                   env={"CAIRN_REPO": self.folder / "other"})
        self.assertFalse((self.folder / "other").exists())


    def test_a_key_that_does_not_fit_is_told_with_its_origin(self):
        other = self.folder / "other.key"
        self.cairn("-r", self.folder / "other", "init", "--recovery-key-out",
                   other, env={"CAIRN_KEY_FILE": other})
        password = self.folder / "password"
        password.write_text("wrong")
        password.chmod(0o600)
        absent = self.folder / "absent"
        for env, told in (
                ({"CAIRN_KEY_FILE": other}, f"CAIRN_KEY_FILE={other}"),
                ({"CAIRN_KEY_FILE": absent}, f"CAIRN_KEY_FILE={absent}"),
                ({"CAIRN_PASSWORD_FILE": password},
                 f"CAIRN_PASSWORD_FILE={password}"),
                ({"CAIRN_PASSWORD_COMMAND": "echo wrong"},
                 "CAIRN_PASSWORD_COMMAND"),
                ({"CAIRN_PASSWORD": "sesame"}, "CAIRN_PASSWORD")):
            ran = self.cairn("snapshots", env={"CAIRN_KEY_FILE": None, **env},
                             code=WRONG_KEY)
            self.assertEqual(ran.err.count(told), 1, ran.err)
            self.assertNotIn("sesame", ran.err)

    def test_a_role_that_may_not_is_named_with_the_one_that_may(self):
        self.back_up_bytes(b"x")
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        ran = self.cairn("ls", "latest", env={"CAIRN_KEY_FILE": write},
                         code=WRONG_KEY)
        self.assertIn("of the write role, may not read names; an owner's key",
                      ran.err)


class Checks(harness.Case):
    def test_damage_is_told_with_what_to_do(self):
        self.back_up_bytes(b"x")
        for path in self.paths_of("packs"):
            path.unlink()
        ran = self.cairn("cat", "latest:data", code=DAMAGE)
        self.assertIn("'cairn check'", ran.err)
        self.assertIn("second copy", ran.err)

    def test_a_check_without_key_counts_and_heeds_the_level(self):
        self.back_up_bytes(b"x")
        whole = self.cairn("--json", "check", "--no-key").lines[-1]
        self.assertEqual(whole["snapshots"], 1)
        small = self.cairn("--json", "check", "--no-key", "--level",
                           "index").lines[-1]
        self.assertEqual((small["packs_read"], small["packs"]),
                         (0, whole["packs"]))
        self.assertLess(small["bytes_read"], whole["bytes_read"])
        self.assertIn("1 snapshot;", self.cairn("check").text)

    def test_a_newer_program_s_object_is_called_so_once(self):
        (self.repo / "settings").mkdir()
        (self.repo / "settings" / "1").write_bytes(b"x")
        text = self.cairn("check", code=REFUSED).text
        self.assertIn("unsupported", text)
        self.assertNotRegex(text, "unsupported +unsupported")
        self.assertIn("1 thing;", text)


class Wording(harness.Case):
    def test_one_is_not_many(self):
        tree = self.folder / "tree"
        tree.mkdir()
        (tree / "file").write_text("x")
        self.assertIn("in 1 file: 1 new", self.cairn("backup", tree).text)
        told = self.cairn("restore", "latest", "--to", self.folder / "out").err
        self.assertIn(": 1 file, ", told)
        self.assertIn("would back up 1 file and ",
                      self.cairn("-n", "backup", tree).err)

    def test_a_hold_lasts_to_the_end_of_its_last_day(self):
        self.back_up_bytes(b"x")
        dry = self.cairn("-n", "hold", "add", "latest", "--until",
                         "2999-12-31").err
        self.assertRegex(dry, "would hold snapshot [0-9a-f]{8} until "
                              r"2999-12-31 23:59:59 \+00:00\n")
        hold = self.cairn("--json", "hold", "add", "latest", "--until",
                          "2999-12-31").value
        self.assertEqual(hold["until"], "2999-12-31T23:59:59Z")
        self.assertIn("until the hold is removed",
                      self.cairn("-n", "hold", "add", "latest").err)

    def test_a_dry_run_of_forget_ends_with_a_total(self):
        for _ in range(3):
            self.back_up_bytes(b"x")
        self.assertIn("would forget 2 of 3 snapshots", self.cairn(
            "-n", "forget", "--keep-last", "1").err)

    def test_an_unknown_noun_gets_the_nouns_there_are(self):
        ran = self.cairn("hold", "rm", code=USAGE)
        self.assertIn("'hold rm'; there are add, list, remove", ran.err)

    def test_a_flag_s_refusal_names_command_and_flag(self):
        for words in (["check", "--subset", "5/3"],
                      ["forget", "--keep-last", "1", "--time-zone",
                       "Nowhere/Land"]):
            ran = self.cairn(*words, code=USAGE)
            self.assertIn(words[0] + ": " + words[-2] + ": ", ran.err)

    def test_help_names_what_there_is_and_nothing_else(self):
        text = self.cairn("help").text
        for name in ("CAIRN_NEW_PASSWORD_FILE", "CAIRN_LIKE_KEY_FILE",
                     "CAIRN_LIKE_PASSWORD_FILE"):
            self.assertIn(name, text)
        self.assertIn("answered at the terminal",
                      re.sub(r"\s+", " ", self.cairn("forget", "-h").text))
        prune = re.sub(r"\s+", " ", self.cairn("prune", "-h").text)
        self.assertIn("then ends with 0, and the next prune goes on", prune)

    def test_prune_says_what_it_waits_for(self):
        gone = self.back_up_bytes(b"x")
        self.cairn("forget", "-y", gone)
        writer = self.begin_stream(b"x")
        ran = self.cairn("prune", "--wait", "1s")
        self.assertIn("waiting for its end", ran.err)
        self.assertIn("goes with the next prune once that has ended", ran.err)
        self.end(writer)

    def test_a_missing_path_is_told_as_typed_with_where_to_look(self):
        made = self.back_up_bytes(b"x")
        for words in (["cat"], ["ls"], ["restore", "--to", self.folder / "o"]):
            ran = self.cairn(*words, f"{made[:8]}:/no/such", code=FAILED)
            self.assertIn("holds no /no/such; 'cairn ls " + made[:8], ran.err)


if __name__ == "__main__":
    harness.main()
