#!/usr/bin/python3
"""What opens a repository, for what, and how that is changed."""

import os
import pathlib
import signal

import harness
from harness import (DAMAGE, INTERRUPTED, MIB, NO_REPOSITORY, OK, PASSPHRASE,
                     REFUSED, TERMINATED, USAGE, WRONG_KEY, flip, noise,
                     wait_until)


class KeyCase(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        self.by_passphrase = {"CAIRN_KEY_FILE": None,
                              "CAIRN_PASSWORD": PASSPHRASE}

    def secret(self, name, data):
        """A file that only its owner may read."""
        path = self.folder / name
        path.write_bytes(data)
        os.chmod(path, 0o600)
        return path

    def keys(self):
        return self.cairn("key", "list", "--json").value


class Sisters(KeyCase):
    def test_a_sister_cuts_as_its_model(self):
        golden = pathlib.Path(__file__).resolve().parent.parent / "golden"
        key = self.secret("golden key", (golden / "owner.key").read_bytes())
        self.cairn("init", "--no-recovery-key", "--like", golden / "repository",
                   env={**self.by_passphrase, "CAIRN_LIKE_KEY_FILE": str(key)})
        # FORMAT.md, 6.3: field 6 is an array of three, field 7 a number.
        sizes = [bytes.fromhex("06 83 1a00080000 1a00100000 1a00800000"),
                 bytes.fromhex("07 19 4000")]
        for repo in (golden / "repository", self.repo):
            config = (repo / "config").read_bytes()
            self.assertIn(b"".join(sizes), config)


class CutShort(KeyCase):
    """Of an init that is stopped nothing is left that stops the next one."""

    def init(self, **how):
        return self.cairn("init", "--recovery-key-out", self.key,
                          env=self.by_passphrase, **how)

    def test_a_signal_leaves_neither_a_key_nor_half_a_repository(self):
        for number, code in ((signal.SIGINT, INTERRUPTED),
                             (signal.SIGTERM, TERMINATED),
                             (signal.SIGINT, INTERRUPTED)):
            process = self.start("init", "--recovery-key-out", self.key,
                                 env=self.by_passphrase)
            wait_until(self.key.exists, "the recovery key")
            process.send_signal(number)
            self.assertIn("stopped", self.end(process, code=code).err)
            self.assertFalse(self.key.exists())
            self.assertEqual(list(self.repo.glob("*")), [])
        self.init()
        self.back_up_bytes(b"x")

    def test_a_later_one_says_what_is_left_of_a_killed_one(self):
        self.init()
        for name in ("config", "config.2"):
            (self.repo / name).unlink()
        self.key.unlink()
        for words in (["snapshots"], ["init", "--no-recovery-key"]):
            ran = self.cairn(*words, env=self.by_passphrase,
                             code=(NO_REPOSITORY, REFUSED))
            self.assertIn("cut short, remove the folder", ran.err)

    def test_with_one_config_it_is_a_repository(self):
        self.init()
        (self.repo / "config").unlink()
        ran = self.cairn("init", "--no-recovery-key", env=self.by_passphrase,
                         code=REFUSED)
        self.assertIn("a repository here already", ran.err)
        self.back_up_bytes(b"x")


class Passphrases(KeyCase):
    def setUp(self):
        super().setUp()
        self.cairn("init", "--no-recovery-key", env=self.by_passphrase)

    def opens(self, code=OK, **env):
        return self.cairn("snapshots", code=code,
                          env={"CAIRN_KEY_FILE": None, **env})

    def test_variable_file_and_command_each_open_alone(self):
        path = self.secret("passphrase", PASSPHRASE.encode() + b"\n")
        self.opens(CAIRN_PASSWORD=PASSPHRASE)
        self.assertEqual(self.opens(CAIRN_PASSWORD_FILE=path).err.count("\n"),
                         1)
        self.opens(CAIRN_PASSWORD_COMMAND=f"cat {path}")
        self.opens(CAIRN_PASSWORD_COMMAND=f"printf '{PASSPHRASE}'")

    def test_a_wrong_one_is_told_from_none(self):
        wrong = self.opens(code=WRONG_KEY, CAIRN_PASSWORD="wrong")
        self.assertIn("passphrase", wrong.err)
        none = self.opens(code=WRONG_KEY)
        self.assertIn("CAIRN_PASSWORD_FILE", none.err)
        for env in ({"CAIRN_PASSWORD_FILE": self.folder / "nowhere"},
                    {"CAIRN_PASSWORD_FILE": self.secret("empty", b"\n")},
                    {"CAIRN_PASSWORD_COMMAND": "false"},
                    {"CAIRN_PASSWORD_COMMAND": "true"},
                    {"CAIRN_PASSWORD": PASSPHRASE + " "},
                    {"CAIRN_PASSWORD": PASSPHRASE.upper()}):
            with self.subTest(env):
                self.opens(code=WRONG_KEY, **env)

    def test_a_key_file_comes_first(self):
        self.opens(code=WRONG_KEY, CAIRN_PASSWORD=PASSPHRASE,
                   CAIRN_KEY_FILE=self.folder / "nowhere")

    def test_a_file_that_others_may_read_is_warned_about(self):
        path = self.secret("passphrase", PASSPHRASE.encode())
        os.chmod(path, 0o644)
        self.assertIn("chmod 600", self.opens(CAIRN_PASSWORD_FILE=path).err)

    def test_a_key_file_that_everybody_may_read_is_refused(self):
        path = self.folder / "key"
        self.cairn("key", "add", "--key-file-out", path,
                   env=self.by_passphrase)
        os.chmod(path, 0o640)
        self.assertIn("chmod 600", self.opens(CAIRN_KEY_FILE=path).err)
        os.chmod(path, 0o644)
        self.assertIn("chmod 600",
                      self.opens(code=REFUSED, CAIRN_KEY_FILE=path).err)

    def test_what_is_no_key_is_told_so_whoever_may_read_it(self):
        path = self.folder / "words"
        path.write_text("root:x:0:0:root:/root:/bin/bash\n")
        os.chmod(path, 0o644)
        ran = self.opens(code=WRONG_KEY, CAIRN_KEY_FILE=path)
        self.assertIn("not a key file", ran.err)
        self.assertNotIn("chmod", ran.err)

    def test_the_passphrase_can_be_changed(self):
        new = self.secret("new", b"another \xff\xfe one\n")
        old, = self.cairn("key", "list", "--json").value
        self.cairn("key", "add", env={**self.by_passphrase,
                                      "CAIRN_NEW_PASSWORD_FILE": new})
        with_new = {"CAIRN_KEY_FILE": None, "CAIRN_PASSWORD_FILE": new}
        self.cairn("key", "remove", old["id"][:8], env=with_new)
        self.opens(code=WRONG_KEY, CAIRN_PASSWORD=PASSPHRASE)
        self.opens(CAIRN_PASSWORD_FILE=new)


class KeyFiles(KeyCase):
    def setUp(self):
        super().setUp()
        self.cairn("init", "--recovery-key-out", self.key)
        self.back_up_bytes(b"content")

    def test_a_recovery_key_is_a_private_file_that_opens_alone(self):
        self.assertEqual(self.key.stat().st_mode & 0o7777, 0o600)
        self.assertTrue(self.key.read_text().startswith("CAIRN-KEY-1 "))
        self.assertEqual([k["method"] for k in self.keys()], ["key file"])

    def test_passphrase_and_recovery_key_open_the_same(self):
        repo = {"CAIRN_REPO": self.folder / "both", **self.by_passphrase}
        recovery = self.folder / "recovery"
        self.cairn("init", "--recovery-key-out", recovery, env=repo)
        self.back_up_bytes(b"both", env=repo)
        self.assertEqual(self.cat("latest:data", env={
            **repo, "CAIRN_PASSWORD": None, "CAIRN_KEY_FILE": recovery}),
            b"both")

    def test_a_key_file_is_never_overwritten(self):
        mine = self.folder / "mine"
        mine.write_text("precious")
        for words in (["key", "add", "--key-file-out", mine],
                      ["-r", self.folder / "other", "init",
                       "--recovery-key-out", mine]):
            ran = self.cairn(*words, code=(1, REFUSED))
            self.assertIn(str(mine), ran.err)
        self.assertEqual(mine.read_text(), "precious")
        self.assertEqual(len(self.keys()), 1)
        self.assertFalse((self.folder / "other" / "config").exists())

    def test_a_second_key_opens_until_it_is_removed(self):
        second = self.folder / "second"
        self.cairn("key", "add", "--key-file-out", second, "--label", "web 1")
        env = {"CAIRN_KEY_FILE": second}
        self.assertEqual(self.cat("latest:data", env=env), b"content")
        key, = [k for k in self.keys() if k["label"] == "web 1"]
        self.assertEqual((key["role"], key["method"]), ("owner", "key file"))
        self.assertIn("web 1", self.cairn("key", "list").text)

        self.cairn("key", "remove", key["id"])

        self.cairn("cat", "latest:data", env=env, code=WRONG_KEY)
        self.assertEqual(self.cat("latest:data"), b"content")

    def test_a_label_that_is_no_text_makes_nothing(self):
        keys = self.keys()
        out = self.folder / "second"
        for label in (b"x\xff", b"x" * 10000):
            ran = self.cairn("key", "add", "--key-file-out", out, "--label",
                             label, code=USAGE)
            self.assertIn("--label", ran.err)
        self.assertFalse(out.exists())
        self.assertEqual(self.keys(), keys)

    def test_the_owner_s_last_key_stays(self):
        self.cairn("key", "add", "--role", "write", "--key-file-out",
                   self.folder / "write")
        owner, = [k for k in self.keys() if k["role"] == "owner"]
        self.cairn("-y", "key", "remove", owner["id"], code=REFUSED)
        self.assertEqual(len(self.keys()), 2)

    def test_a_key_of_another_repository_opens_nothing(self):
        other = self.folder / "other.key"
        self.cairn("-r", self.folder / "other", "init", "--recovery-key-out",
                   other, env={"CAIRN_KEY_FILE": other})
        self.cairn("snapshots", env={"CAIRN_KEY_FILE": other}, code=WRONG_KEY)

    def test_a_mistyped_key_file_is_told_from_a_wrong_one(self):
        text = self.key.read_text()
        at = len("CAIRN-KEY-1 ") + 3
        digit = "0" if text[at] != "0" else "1"
        typo = self.secret("typo", (text[:at] + digit + text[at + 1:]).encode())
        ran = self.cairn("snapshots", env={"CAIRN_KEY_FILE": typo},
                         code=WRONG_KEY)
        self.assertIn("not a key file", ran.err)
        shouted = self.secret("shouted", b"  " + text.upper().encode() + b"\n")
        self.cairn("snapshots", env={"CAIRN_KEY_FILE": shouted})

    def test_a_write_key_does_not_vouch_for_contents_it_cannot_open(self):
        write = self.folder / "write"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        env = {"CAIRN_KEY_FILE": write}
        for words in ([], ["-q"], ["-v"]):
            ran = self.cairn(*words, "check", "--level", "data", env=env)
            self.assertIn("unread-contents", ran.text)
        self.assertIn("no damage in what this key can read", ran.text)
        self.assertNotIn("unread-contents",
                         self.cairn("-v", "check", "--level", "data").text)

        before = set(self.objects("packs"))
        self.back_up_bytes(noise(MIB))
        fresh = [p for p in self.paths_of("packs") if p.name not in before]
        flip(max(fresh, key=lambda p: p.stat().st_size), MIB // 2)
        ran = self.cairn("check", "--level", "data", env=env, code=DAMAGE)
        self.assertIn("SHA-256", ran.text)
        self.assertNotIn("no blob in it is hurt", ran.text)

    def test_a_lost_state_folder_starts_a_new_chain(self):
        one, = self.snapshots()
        self.env["XDG_STATE_HOME"] = str(self.folder / "other state")
        self.back_up_bytes(b"content 2")
        one, two = self.snapshots()
        self.assertNotEqual(one["signer_key"], two["signer_key"])
        self.assertEqual((one["sequence"], two["sequence"]), (0, 0))
        self.assert_sound()


class DamagedSlot(KeyCase):
    def setUp(self):
        super().setUp()
        self.cairn("init", "--recovery-key-out", self.key)
        self.back_up_bytes(b"content")
        for label in ("harmed", "whole"):
            self.cairn("key", "add", "--label", label, "--key-file-out",
                       self.folder / label)
        self.ids = {slot["label"]: slot["id"] for slot in self.keys()}
        self.harmed = self.ids["harmed"]
        flip(self.repo / "keys" / self.harmed, 80)

    def test_the_others_are_listed_and_it_is_named(self):
        ran = self.cairn("key", "list", "--json", code=DAMAGE)
        self.assertEqual({slot["id"] for slot in ran.value},
                         set(self.ids.values()) - {self.harmed})
        self.assertIn(self.harmed, ran.err)
        ran = self.cairn("key", "list", code=DAMAGE)
        self.assertIn(self.ids["whole"][:8], ran.text)
        self.assertIn(f"cairn key remove {self.harmed[:8]}", ran.err)

    def test_another_one_is_removed_beside_it(self):
        ran = self.cairn("key", "remove", self.ids["whole"])
        self.assertIn(self.harmed, ran.err)
        self.assertNotIn(self.ids["whole"],
                         [path.name for path in self.paths_of("keys")])

    def test_it_is_removed_by_an_owner_only(self):
        writer = self.folder / "writer.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", writer)
        self.cairn("key", "remove", self.harmed, code=WRONG_KEY,
                   env={"CAIRN_KEY_FILE": writer})
        self.cairn("-n", "key", "remove", self.harmed[:8])
        self.cairn("check", "--level", "index", code=DAMAGE)

        self.cairn("key", "remove", self.harmed[:8])

        self.assertNotIn(self.harmed,
                         [path.name for path in self.paths_of("keys")])
        self.cairn("check", "--level", "index")
        self.assertEqual(len(self.keys()), 3)


class Rotation(KeyCase):
    """Keys are renewed, and who kept old ones is shut out."""

    def setUp(self):
        super().setUp()
        self.cairn("init", "--recovery-key-out", self.key,
                   env={"CAIRN_PASSWORD": PASSPHRASE})
        self.before = noise(2 * MIB, 1)
        self.back_up_bytes(self.before)
        self.key_files = {}
        for label, role in (("thief", "owner"), ("web 1", "write")):
            path = self.folder / f"{label}.key"
            self.cairn("key", "add", "--role", role, "--label", label,
                       "--key-file-out", path)
            self.key_files[label] = {
                "CAIRN_KEY_FILE": path,
                "CAIRN_CACHE_DIR": self.folder / f"{label} cache",
                "XDG_STATE_HOME": self.folder / f"{label} state"}

    def slot_of(self, label):
        key, = [k for k in self.keys() if k["label"] == label]
        return key["id"]

    def rotate(self):
        ran = self.cairn("-y", "key", "rotate", "--json")
        self.assertEqual(ran.value["type"], "keys_rotated")
        return ran.value

    def test_everybody_goes_on_with_what_opened_before(self):
        self.assertEqual(self.rotate()["generation"], 2)
        self.assertEqual(self.rotate()["generation"], 3)
        after = self.before[:MIB] + b"more"
        told = self.backup("--stdin", "--as", "data", stdin=after,
                           env=self.key_files["web 1"])
        self.assertLess(told["new_bytes"], MIB)
        for env in (self.by_passphrase, {}, self.key_files["thief"]):
            self.assertEqual(self.cat("latest:data", env=env), after)
            self.assertEqual(self.cat("latest~1:data", env=env), self.before)
        self.cairn("prune", "--max-unused", "0%")
        self.assert_sound()

    def test_a_removed_key_reads_nothing_that_comes_later(self):
        slot = self.repo / "keys" / self.slot_of("thief")
        kept = slot.read_bytes()
        self.cairn("key", "remove", slot.name)
        granted = self.rotate()["granted_to"]
        self.assertNotIn(slot.name, granted)
        self.assertEqual(len(granted), len(self.keys()))
        self.back_up_bytes(noise(2 * MIB, 2))
        # Who writes to the storage brings the slot back.
        slot.write_bytes(kept)
        ran = self.cairn("cat", "latest:data", env=self.key_files["thief"],
                         code=WRONG_KEY)
        self.assertIn("renewed", ran.err)
        # And hides that the keys were renewed: what was sealed before opens,
        # what came later does not.
        hidden = self.repo / "generations"
        hidden.rename(self.folder / "hidden")
        thief = {**self.key_files["thief"],
                 "CAIRN_CACHE_DIR": self.folder / "another cache"}
        old = self.cairn("snapshots", "--json", env=thief, code=(OK, DAMAGE,
                                                                REFUSED))
        self.assertNotIn(b"latest", old.out)
        self.cairn("cat", "latest:data", env=thief,
                   code=(1, DAMAGE, REFUSED))
        # A host without memory sees what it has no keys for: it neither seals
        # with old ones, nor gives their number again.
        stranger = {"CAIRN_CACHE_DIR": self.folder / "stranger cache",
                    "XDG_STATE_HOME": self.folder / "stranger state"}
        for words in (["backup", "--stdin", "--as", "data"],
                      ["-y", "key", "rotate"]):
            ran = self.cairn(*words, env=stranger, code=REFUSED)
            self.assertIn("keys of generation 2", ran.err)
        # Our own host saw the new keys, and does not go back to old ones.
        ran = self.cairn("backup", "--stdin", "--as", "data", stdin=b"secret",
                         code=REFUSED)
        self.assertIn("generation 2 of the keys is gone", ran.err)

    def test_one_of_two_copies_is_enough_and_is_mended(self):
        self.rotate()
        folder = self.repo / "generations"
        first, second = sorted(folder.iterdir())
        flip(first, 300)
        self.assertEqual(self.cat("latest:data"), self.before)
        for words in (["check"], ["audit", "verify"]):
            ran = self.cairn(*words, code=DAMAGE)
            self.assertIn("damaged-generation", ran.text + ran.err)
        self.cairn("prune")
        self.assertEqual(first.read_bytes(), second.read_bytes())
        second.unlink()
        self.cairn("check", "--no-key", code=DAMAGE)
        self.cairn("prune")
        self.assert_sound()

    def test_false_keys_stop_writing_until_they_are_removed(self):
        self.rotate()
        false = self.repo / "generations" / "7fffffff"
        false.write_bytes(noise(200, 9))
        self.assertEqual(self.cat("latest:data"), self.before)
        ran = self.cairn("prune", code=DAMAGE)
        self.assertIn("cairn repair keys", ran.err)
        self.cairn("repair", "keys", env=self.key_files["web 1"],
                   code=WRONG_KEY)
        ran = self.cairn("repair", "keys", "--dry-run", "--json")
        self.assertEqual(ran.value["generations_removed"],
                         ["generations/7fffffff"])
        self.assertTrue(false.exists())
        self.cairn("repair", "keys")
        self.assertFalse(false.exists())
        self.cairn("prune")
        self.assert_sound()
        self.rotate()

    def test_it_asks_and_says_who_gets_them(self):
        ran = self.cairn("key", "rotate", code=REFUSED)
        self.assertIn("thief", ran.err)
        self.cairn("key", "rotate", "--dry-run")
        self.assertFalse((self.repo / "generations").exists() and
                         list((self.repo / "generations").iterdir()))
        self.cairn("-y", "key", "rotate", env=self.key_files["web 1"],
                   code=WRONG_KEY)


class WriteRole(KeyCase):
    """A machine that may add and nothing else."""

    def setUp(self):
        super().setUp()
        self.cairn("init", "--recovery-key-out", self.key)
        self.data = noise(3 * MIB)
        self.back_up_bytes(self.data, "secret.bin")
        writer = self.folder / "writer.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", writer)
        self.writer = {"CAIRN_KEY_FILE": writer,
                       "CAIRN_CACHE_DIR": self.folder / "writer cache",
                       "XDG_STATE_HOME": self.folder / "writer state"}

    def test_it_backs_up_and_deduplicates_and_the_owner_reads_it(self):
        told = self.backup("--stdin", "--as", "more.bin",
                           stdin=self.data + b"and more", env=self.writer)
        self.assertLess(told["new_bytes"], MIB)
        self.assertTrue(self.cat("latest:more.bin") == self.data + b"and more")
        self.assertEqual(self.snapshots()[-1]["signer_role"], "write")
        self.assert_sound()

    def test_it_backs_up_files_again_and_again(self):
        top = self.folder / "tree"
        top.mkdir()
        for i in range(5):
            (top / f"{i}").write_bytes(noise(100000, i))
            self.backup(top, env=self.writer)
        self.restore(f"latest:{top}", self.folder / "out")
        self.assert_same_trees(top, self.folder / "out")

    def test_it_reads_neither_contents_nor_names(self):
        self.back_up_bytes(b"x", "other")
        one, two = (s["id"] for s in self.snapshots())
        for words in (["cat", f"{one}:secret.bin"], ["ls", one],
                      ["restore", one, "--to", self.folder / "out"],
                      ["find", "secret*"], ["diff", one, two]):
            with self.subTest(words):
                ran = self.cairn(*words, env=self.writer, code=WRONG_KEY)
                self.assertNotIn(b"secret.bin", ran.out)
        self.assertFalse((self.folder / "out/secret.bin").exists())

    def test_it_lists_times_and_sizes_only(self):
        ran = self.cairn("snapshots", "--json", env=self.writer)
        self.assertEqual(len(ran.value), 1)
        self.assertNotIn(b"secret.bin", ran.out)
        self.cairn("snapshots", env=self.writer)

    def test_it_removes_nothing_and_lets_nobody_in(self):
        snap = self.snapshots()[0]["id"]
        before = {f: self.objects(f) for f in ("packs", "snapshots", "marks",
                                               "keys", "index")}
        for words in (["forget", "-y", snap], ["prune"],
                      ["forget", "--keep-last", "1"],
                      ["hold", "add", snap], ["repair", "index"],
                      ["key", "add", "--key-file-out", self.folder / "new"],
                      ["key", "remove", self.keys()[0]["id"]]):
            with self.subTest(words):
                self.cairn(*words, env=self.writer, code=WRONG_KEY)
        self.assertEqual(before, {f: self.objects(f) for f in before})
        self.assertFalse((self.folder / "new").exists())

    def test_it_checks_what_it_can_read(self):
        self.cairn("check", "--level", "structure", env=self.writer)


if __name__ == "__main__":
    harness.main()
