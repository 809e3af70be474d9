#!/usr/bin/python3
"""cairn.yaml: written, found, checked, shown, and used instead of flags."""

import os
import stat

import harness
from harness import IS_ROOT, REFUSED, USAGE, WRONG_KEY

NO_FLAGS = {"CAIRN_REPO": None, "CAIRN_KEY_FILE": None}


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.data = self.folder / "data"
        self.data.mkdir()
        (self.data / "file").write_text("content")
        # Nothing of the machine's own is found.
        self.env["XDG_CONFIG_HOME"] = str(self.folder / "xdg")

    def write(self, text=None):
        self.config.write_text(text or f"""version: 1
repositories:
  local:
    path: {self.repo}
    key: {{file: {self.key}}}
sources:
  data: {{type: files, paths: [{self.data}]}}
jobs:
  nightly: {{sources: all}}
""")
        return self.config


class Init(Case):
    def test_writes_a_file_without_mistakes_and_with_what_it_found(self):
        for name in (".env", "compose.yaml", "other"):
            (self.data / name).write_text("")
        self.cairn("config", "init", "-c", self.config, cwd=self.data)

        text = self.config.read_text()
        self.assertEqual(stat.S_IMODE(self.config.stat().st_mode), 0o600)
        for found in (self.repo, self.key, self.data / ".env",
                      self.data / "compose.yaml"):
            self.assertIn(f"'{found}'", text)
        self.assertNotIn("other'", text)
        self.cairn("-c", self.config, "config", "validate")
        self.cairn("-c", self.config, "run", env=NO_FLAGS)
        self.assertEqual(len(self.snapshots()), 1)

    def test_writes_one_without_mistakes_where_nothing_is_found(self):
        empty = self.folder / "it's empty"
        empty.mkdir()
        self.cairn("config", "init", "-c", self.config, cwd=empty, env=NO_FLAGS)
        self.cairn("-c", self.config, "config", "validate")

    def test_never_writes_over_a_file(self):
        self.config.write_text("mine")
        ran = self.cairn("config", "init", "-c", self.config, code=REFUSED)
        self.assertIn("is there already", ran.err)
        self.assertEqual(self.config.read_text(), "mine")

    def test_says_what_it_would_write(self):
        ran = self.cairn("-n", "config", "init", "-c", self.config)
        self.assertIn("version: 1\n", ran.text)
        self.assertFalse(self.config.exists())

    def test_makes_the_folder(self):
        deep = self.folder / "xdg" / "cairn" / "cairn.yaml"
        self.cairn("config", "init", "-c", deep)
        self.cairn("config", "validate")  # where it looks by itself


class Validate(Case):
    def test_tells_every_mistake_with_its_place(self):
        self.write("version: 1\nrepositoires: {}\nsources:\n"
                   "  x: {type: flies}\njobs: []\n")
        ran = self.cairn("-c", self.config, "config", "validate", code=USAGE)

        for said in (":2:1: unknown key 'repositoires'; did you mean "
                     "'repositories'?", ":4:13: sources.x.type: 'flies' is no "
                     "type of source; did you mean 'files'?", ":5:7: jobs: "):
            self.assertIn(f"error: {self.config}{said}", ran.err)

    def test_tells_programs_the_same(self):
        self.write("version: 1\n")
        ran = self.cairn("-c", self.config, "--json", "config", "validate",
                         code=USAGE)
        error = ran.lines[-1]
        self.assertEqual((error["type"], error["code"]), ("exit_error", USAGE))
        self.assertEqual([m["line"] for m in error["mistakes"]], [1, 1, 1])
        self.write()
        self.assertEqual(self.cairn("-c", self.config, "--json", "config",
                                    "validate").lines[-1]["jobs"], 1)

    def test_warns_of_a_source_that_is_in_no_job(self):
        self.write(self.write().read_text().replace(
            "jobs:", "  unused: {type: files, paths: [/srv]}\njobs:").replace(
                "sources: all", "sources: [data]"))
        ran = self.cairn("-c", self.config, "config", "validate")
        self.assertIn("source unused is in no job, and is not saved", ran.err)
        self.assertNotIn("source data is", ran.err)

    def test_finds_the_file_by_flag_variable_and_place(self):
        self.assertIn("no configuration file",
                      self.cairn("config", "validate", code=USAGE).err)
        usual = self.folder / "xdg" / "cairn"
        usual.mkdir(parents=True)
        self.write().rename(usual / "cairn.yaml")
        self.assertIn("xdg/cairn/cairn.yaml: no mistakes",
                      self.cairn("config", "validate").err)
        by_variable = {"CAIRN_CONFIG": self.write()}
        self.assertIn(f"{self.config}: no mistakes",
                      self.cairn("config", "validate", env=by_variable).err)
        other = self.folder / "other.yaml"
        other.write_text(self.config.read_text())
        self.assertIn(f"{other}: no mistakes",
                      self.cairn("-c", other, "config", "validate",
                                 env=by_variable).err)

    def test_refuses_what_is_no_file(self):
        self.cairn("-c", self.folder, "config", "validate", code=USAGE)
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        self.cairn("-c", pipe, "config", "validate", code=USAGE)
        self.cairn("-c", "", "config", "validate", code=USAGE)

    def test_refuses_a_file_that_others_may_change(self):
        self.write().chmod(0o666)
        ran = self.cairn("-c", self.config, "config", "validate", code=REFUSED)
        self.assertIn("chmod o-w", ran.err)
        self.config.chmod(0o600)
        if IS_ROOT:
            os.chown(self.config, 65534, 65534)
            self.cairn("-c", self.config, "run", code=REFUSED)


class Show(Case):
    def shown(self, *words, **how):
        """Path -> (value, origin)."""
        ran = self.cairn("-c", self.config, *words, "config", "show", "--json",
                         **how)
        return {s["path"]: (s["value"], s["origin"]) for s in ran.value}

    def test_says_where_each_value_comes_from(self):
        self.write()
        shown = self.shown(env=NO_FLAGS)

        value, origin = shown["repositories.local.path"]
        self.assertEqual(value, str(self.repo))
        self.assertEqual((origin["kind"], origin["line"], origin["column"]),
                         ("file", 4, 5))
        self.assertEqual(shown["repositories.local.key"][0],
                         f"{{file: {self.key}}}")
        self.assertEqual(shown["sources.data.one_file_system"],
                         ("false", {"kind": "default"}))
        self.assertEqual(shown["jobs.nightly.to"],
                         ("local", {"kind": "default"}))
        self.assertEqual(shown["jobs.nightly.retention"][0], "none")
        text = self.cairn("-c", self.config, "config", "show",
                          env=NO_FLAGS).text
        self.assertRegex(text, r"sources\.data\.paths +\[/.*data\] +cairn.yaml:7\n")

    def test_shows_what_flags_and_the_environment_say_instead(self):
        self.write()
        shown = self.shown(env={"CAIRN_REPO": "/elsewhere"})
        self.assertEqual(shown["jobs.nightly.to"],
                         ("/elsewhere", {"kind": "environment",
                                         "variable": "CAIRN_REPO"}))
        self.assertEqual(shown["repositories.local.key"][1],
                         {"kind": "environment", "variable": "CAIRN_KEY_FILE"})
        shown = self.shown("-r", "/here", env={"CAIRN_REPO": "/elsewhere"})
        self.assertEqual(shown["jobs.nightly.to"],
                         ("/here", {"kind": "flag", "flag": "--repo"}))

    def test_never_shows_a_secret(self):
        secret = self.folder / "secret"
        secret.write_text("hunter2")
        self.write(self.write().read_text().replace(
            f"key: {{file: {self.key}}}", f"password: {{file: {secret}}}"))
        for words in ((), ("--json",)):
            ran = self.cairn("-c", self.config, "config", "show", *words,
                             env={**NO_FLAGS, "CAIRN_PASSWORD": "hunter3"})
            self.assertNotIn("hunter", ran.text + ran.err)
        self.assertIn("CAIRN_PASSWORD", ran.text)


class InsteadOfFlags(Case):
    def test_names_the_repository_and_its_key_for_every_command(self):
        self.write()
        self.cairn("-c", self.config, "backup", self.data, env=NO_FLAGS)
        env = {**NO_FLAGS, "CAIRN_CONFIG": self.config}
        self.assertEqual(
            len(self.cairn("snapshots", "--json", env=env).value), 1)
        self.cairn("check", env=env)

    def test_makes_the_repository_with_the_key_that_it_names(self):
        key, repo = self.folder / "new.key", self.folder / "new"
        self.write(self.write().read_text().replace(str(self.repo), str(repo))
                   .replace(str(self.key), str(key)))
        self.cairn("-c", self.config, "init", "--recovery-key-out", key,
                   env=NO_FLAGS)
        self.cairn("-c", self.config, "run", env=NO_FLAGS)
        password = self.folder / "password"
        password.write_text("sesame")
        password.chmod(0o600)
        self.write(self.config.read_text().replace(
            f"key: {{file: {key}}}", f"password: {{file: {password}}}").replace(
                f"path: {repo}", f"path: {repo}2"))
        self.cairn("-c", self.config, "init", "--no-recovery-key", env=NO_FLAGS)
        self.cairn("-c", self.config, "run", env=NO_FLAGS)

    def test_knows_the_key_of_a_repository_that_a_flag_names(self):
        self.write()
        self.cairn("-c", self.config, "-r", self.repo, "snapshots",
                   env=NO_FLAGS)
        ran = self.cairn("-r", self.repo, "snapshots", code=WRONG_KEY,
                         env=NO_FLAGS)
        self.assertIn("no passphrase", ran.err)

    def test_gives_way_to_flags_and_variables(self):
        self.write(self.write().read_text().replace(str(self.repo), "/absent"))
        self.cairn("-c", self.config, "snapshots", "-r", self.repo)
        self.cairn("-c", self.config, "snapshots")
        self.cairn("-c", self.config, "snapshots", code=harness.NO_REPOSITORY,
                   env={"CAIRN_REPO": None})

    def test_takes_a_passphrase_from_where_it_says(self):
        password = self.folder / "password"
        password.write_text("sesame")
        password.chmod(0o600)
        self.cairn("key", "add", env={"CAIRN_NEW_PASSWORD_FILE": password})
        for place, env in ((f"{{file: {password}}}", {}),
                           ("{env: MY_SECRET}", {"MY_SECRET": "sesame"}),
                           (f"{{command: 'cat {password}'}}", {})):
            text = self.write().read_text()
            self.write(text.replace(f"key: {{file: {self.key}}}",
                                    f"password: {place}"))
            self.cairn("-c", self.config, "snapshots", env={**NO_FLAGS, **env})
        self.write(text.replace(f"key: {{file: {self.key}}}",
                                "password: {env: MY_SECRET}"))
        for value, said in ((None, "MY_SECRET is not set"), ("other", ":5")):
            ran = self.cairn("-c", self.config, "snapshots", code=WRONG_KEY,
                             env={**NO_FLAGS, "MY_SECRET": value})
            self.assertIn(said, ran.err)
            self.assertNotIn("other", ran.err)

    def test_shows_no_other_program_the_variable_of_a_secret(self):
        password = self.folder / "password"
        password.write_text("sesame")
        password.chmod(0o600)
        self.cairn("key", "add", env={"CAIRN_NEW_PASSWORD_FILE": password})
        text = self.write().read_text()
        self.write(text.replace(f"key: {{file: {self.key}}}",
                                "password: {env: MY_SECRET}"))
        self.cairn("-c", self.config, "backup", "--as", "env.txt",
                   "--from-command", "--", "env",
                   env={**NO_FLAGS, "MY_SECRET": "sesame"})
        seen = self.cat("latest:env.txt")
        self.assertIn(b"PATH=", seen)
        self.assertNotIn(b"sesame", seen)

    def test_asks_which_of_several_repositories(self):
        self.write("version: 1\nrepositories:\n  a: {path: /a}\n"
                   "  b: {path: /b}\nsources:\n  x: {type: files, paths: [/x]}"
                   "\njobs:\n  n: {sources: all, to: a}\n")
        ran = self.cairn("-c", self.config, "snapshots", code=USAGE,
                         env=NO_FLAGS)
        self.assertIn("/a, /b", ran.err)


if __name__ == "__main__":
    harness.main()
