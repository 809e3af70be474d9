"""The tools of the comparison, each as the commands it is asked with.

Every tool has its own folder with repository, cache and keys, and its own
defaults; what is set is named here. Borg's compression is zstd 3, because its
default (lz4) answers another question than the other two tools' zstd.
"""

import json
import os
import subprocess

PASSWORD = "correct horse battery staple"


class Tool:
    def __init__(self, folder, program):
        folder.mkdir(parents=True)
        self.program = program
        self.folder = folder
        self.repository = folder / "repository"
        (folder / "password").write_text(PASSWORD + "\n")

    def env(self):
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("BORG_", "CAIRN_", "RESTIC_"))}
        return {**clean, **self.own_env()}

    def _run(self, *args):
        done = subprocess.run([self.program, *args], env=self.env(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise SystemExit(f"compare: {self.name} {args[0]} failed:\n"
                             + done.stdout.decode())

    def _answer(self, *args):
        return subprocess.run([self.program, *args], env=self.env(),
                              check=True, stdout=subprocess.PIPE).stdout

    def finish_backups(self):
        """Called once, before anything is restored."""

    def stored_bytes(self):
        return sum(os.lstat(os.path.join(here, name)).st_size
                   for here, _, names in os.walk(self.repository)
                   for name in names)


class Cairn(Tool):
    name = "cairn"

    def own_env(self):
        key = self.folder / "recovery-key"
        env = {"CAIRN_REPO": str(self.repository),
               "CAIRN_CACHE_DIR": str(self.folder / "cache"),
               "XDG_STATE_HOME": str(self.folder / "state")}
        if key.exists():
            env["CAIRN_KEY_FILE"] = str(key)
        else:
            env["CAIRN_PASSWORD_FILE"] = str(self.folder / "password")
        return env

    def version(self):
        return self._answer("--version").decode().strip()

    def init(self):
        self._run("init", "--recovery-key-out", self.folder / "recovery-key")

    def back_up_stream(self, name, state):
        return [self.program, "backup", "-q", "--stdin", "--as", name]

    def back_up_tree(self, path, state):
        return [self.program, "backup", "-q", path]

    def finish_backups(self):
        snapshots = json.loads(self._answer("snapshots", "--json"))
        self._ids = [s["id"] for s in sorted(snapshots,
                                             key=lambda s: s["time"])]

    def restore_stream(self, name, state):
        return [self.program, "cat", f"{self._ids[state]}:{name}"]

    def restore_tree(self, path, state, to):
        return [self.program, "restore", "-q", self._ids[state], "--to", to]

    def check(self):
        return [self.program, "check", "-q", "--level", "data"]


class Restic(Tool):
    name = "restic"

    def own_env(self):
        return {"RESTIC_REPOSITORY": str(self.repository),
                "RESTIC_CACHE_DIR": str(self.folder / "cache"),
                "RESTIC_PASSWORD_FILE": str(self.folder / "password")}

    def version(self):
        return self._answer("version").decode().split(" compiled")[0]

    def init(self):
        self._run("init", "--repository-version", "2")

    def back_up_stream(self, name, state):
        return [self.program, "backup", "-q", "--tag", f"state-{state}",
                "--stdin", "--stdin-filename", name]

    def back_up_tree(self, path, state):
        return [self.program, "backup", "-q", "--tag", f"state-{state}", path]

    def restore_stream(self, name, state):
        return [self.program, "dump", "-q", "--tag", f"state-{state}",
                "latest", name]

    def restore_tree(self, path, state, to):
        return [self.program, "restore", "-q", "--tag", f"state-{state}",
                "latest", "--target", to]

    def check(self):
        return [self.program, "check", "-q", "--read-data"]


class Borg(Tool):
    name = "borg"

    def own_env(self):
        return {"BORG_REPO": str(self.repository),
                "BORG_BASE_DIR": str(self.folder / "home"),
                "BORG_PASSPHRASE": PASSWORD}

    def version(self):
        return self._answer("--version").decode().strip()

    def init(self):
        self._run("init", "--encryption", "repokey-blake2")

    def back_up_stream(self, name, state):
        return [self.program, "create", "--compression", "zstd,3",
                "--stdin-name", name, f"::state-{state}", "-"]

    def back_up_tree(self, path, state):
        return [self.program, "create", "--compression", "zstd,3",
                f"::state-{state}", path]

    def restore_stream(self, name, state):
        return [self.program, "extract", "--stdout", f"::state-{state}", name]

    def restore_tree(self, path, state, to):
        return [self.program, "extract", f"::state-{state}"]

    def check(self):
        return [self.program, "check", "--verify-data"]


ALL = {tool.name: tool for tool in (Cairn, Restic, Borg)}
