#!/usr/bin/python3
"""Passphrases, keys and contents are where they belong and nowhere else."""

import os
import re

import harness
from harness import KIB, MIB, WRONG_KEY, noise

PASSPHRASE = "canary-passphrase-6b1f"
NEW_PASSPHRASE = "canary-new-passphrase-93ad"
CONTENT = b"canary-content-51c7-of-a-file "
NAME = "canary-name-8d20"
FOLDER = "canary-folder-77e1"
TAG = "canary-tag-4f6a"


class Secrets(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        self.said = []
        self.env.update({"CAIRN_KEY_FILE": "", "CAIRN_PASSWORD": PASSPHRASE})

    def run_all(self, *words, **how):
        """Remembers all that it wrote."""
        ran = self.cairn(*words, **how)
        self.said.append(ran.out + ran.err.encode())
        return ran

    def key_digits(self, path):
        """The key's digits as they are written, without dashes, as bytes."""
        text = path.read_text().split()[1]
        digits = text.replace("-", "")[:64]
        return [text.encode(), text.lower().encode(), digits.lower().encode(),
                bytes.fromhex(digits)]

    def make_history(self):
        """Every command that has to do with keys or contents."""
        new = self.folder / "new"
        new.write_text(NEW_PASSPHRASE)
        new.chmod(0o600)
        top = self.folder / FOLDER
        top.mkdir()
        (top / NAME).write_bytes(CONTENT * 30000)
        (top / "small").write_bytes(CONTENT)
        os.setxattr(top / "small", "user.canary", CONTENT)
        self.run_all("-v", "init", "--recovery-key-out", self.key)
        self.run_all("-v", "key", "add",
                     env={"CAIRN_NEW_PASSWORD_FILE": new})
        self.run_all("-v", "key", "add", "--role", "write", "--key-file-out",
                     self.folder / "write.key")
        self.run_all("key", "list", "--json")
        for i in range(3):
            (top / "changing").write_bytes(CONTENT * 20000 + noise(KIB, i))
            harness.settle()
            self.run_all("-v", "--json", "--progress", "json", "backup", top,
                         "--tag", TAG)
        self.run_all("-v", "backup", "--as", NAME, "--from-command", "--",
                     "cat", top / NAME)
        self.run_all("snapshots", code=WRONG_KEY,
                     env={"CAIRN_PASSWORD": PASSPHRASE + "x"})
        self.run_all("-v", "forget", "--keep-last", "1", "--prune")
        self.run_all("-v", "check", "--level", "data")
        self.run_all("-v", "restore", "latest", "--to", self.folder / "out")
        self.run_all("repair", "index")
        self.run_all("stats", "--json")

    def assert_nowhere(self, canaries, folders):
        for folder in folders:
            for path in folder.rglob("*"):
                for canary in canaries:
                    self.assertNotIn(canary, os.fsencode(str(
                        path.relative_to(folder))))
                if path.is_file():
                    data = path.read_bytes()
                    for canary in canaries:
                        self.assertFalse(canary in data, (path, canary))

    def test_secrets_and_contents_are_nowhere_they_do_not_belong(self):
        self.make_history()
        keys = (self.key_digits(self.key) +
                self.key_digits(self.folder / "write.key"))
        passphrases = [PASSPHRASE.encode(), NEW_PASSPHRASE.encode()]

        for said in self.said:
            for canary in (*passphrases, *keys, CONTENT):
                self.assertFalse(canary in said, (canary, said[-2000:]))
        self.assert_nowhere([*passphrases, *keys, CONTENT, CONTENT[:12]],
                            [self.repo, self.cache, self.state])
        self.assert_nowhere([NAME.encode(), FOLDER.encode(), TAG.encode(),
                             os.uname().nodename.encode() + b"/files"],
                            [self.repo])

    def test_no_process_shows_a_secret_to_others(self):
        self.run_all("init", "--recovery-key-out", self.key)
        process = self.begin_stream(CONTENT * 1000)
        proc = f"/proc/{process.pid}"
        with open(f"{proc}/cmdline", "rb") as file:
            self.assertNotIn(PASSPHRASE.encode(), file.read())
        if harness.IS_ROOT:
            with open(f"{proc}/environ", "rb") as file:
                self.assertNotIn(PASSPHRASE.encode(), file.read())
        else:
            with self.assertRaises(PermissionError):
                open(f"{proc}/environ", "rb").close()
        with open(f"{proc}/limits", encoding="ascii") as file:
            limits = file.read()
        self.assertRegex(limits, re.compile(r"Max core file size\s+0\b"))
        self.end(process)

    def test_what_is_kept_on_the_machine_is_its_owner_s_alone(self):
        self.make_history()
        for folder in (self.repo, self.cache, self.state):
            for path in (folder, *folder.rglob("*")):
                mode = path.lstat().st_mode
                self.assertEqual(mode & 0o077, 0, f"{path} {mode:o}")

    def test_contents_look_like_noise(self):
        self.run_all("init", "--recovery-key-out", self.key)
        self.back_up_bytes(bytes(2 * MIB) + CONTENT * 10000, "zeros")
        for path in self.paths_of("packs"):
            data = path.read_bytes()[64:-64]
            self.assertFalse(bytes(32) in data, path)
            counts = [data.count(bytes([b])) for b in range(256)]
            self.assertLess(max(counts), 2 * len(data) / 256, path)


if __name__ == "__main__":
    harness.main()
