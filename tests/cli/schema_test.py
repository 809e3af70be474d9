#!/usr/bin/python3
"""docs/cairn.schema.json means to editors what the program means: both take the
same files, and refuse the same ones."""

import json
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import OK, USAGE

try:
    import jsonschema
    import yaml
except ImportError:
    jsonschema = None

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Every key, each in a line of its own; names of the user's choice in capitals.
ALL = re.search(r'kAll = R"\((.*?)\)"',
                (ROOT / "tests/cli/config_test.cc").read_text(),
                re.DOTALL).group(1)

# What stands for a line of it, and is wrong by its form alone.
WRONG = {
    "version: 1": ["version: 2", "version: [1]", "version: '1'"],
    "    path: /srv/backups": ["    path: backups", "    path: {a: b}"],
    "      file: /etc/cairn/key": ["      env: KEY", "      file: key"],
    "      env: SECRET": ["      env: A\n      file: /b", "      evn: A"],
    "    part: config": ["    part: settings"],
    "    paths: [/etc, /opt/a b]": ["    paths: /etc", "    paths: []",
                                     "    paths: [etc]"],
    "    one_file_system: true": ["    one_file_system: 'yes'"],
    "    command: [printf, '%s', no]": ["    command: printf",
                                        "    command: []"],
    "    allow_empty: true": ["    allow_empty: sometimes"],
    "    format: plain": ["    format: tar"],
    "    max_rate: 50MiB": ["    max_rate: 50", "    max_rate: fast"],
    "    sources: [ETC, EXPORT, DB]": ["    sources: ETC", "    sources: {}"],
    "      cron: 30 2 * * mon-fri": ["      cron: often", "      cron: 5"],
    "      jitter: 3m": ["      jitter: 3", "      jitter: soon"],
    "      catch_up: false": ["      catch_up: 3", "      catch_up: 'false'"],
    "      at: '02:05'": ["      at: '24:05'", "      at: [noon]"],
    "        timeout: 30s": ["        timeout: 30"],
    "        when: success": ["        when: often"],
    "      hourly: 24": ["      hourly: -1", "      hourly: many",
                         "      hourly: '24'"],
    "      within: 48h": ["      within: 48", "      within: 2 days"],
    "    week_on: sunday": ["    week_on: someday"],
    "    prune: false": ["    prune: 0s"],
    "  size_change: 25%": ["  size_change: 25", "  size_change: half"],
    "      file: /run/secrets/hook": ["      key: x"],
    "    budget: 500MiB": ["    budget: 500"],
}


@unittest.skipIf(jsonschema is None, "not installed: python3-jsonschema, "
                 "python3-yaml")
class Schema(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        schema = json.loads((ROOT / "docs/cairn.schema.json").read_text())
        jsonschema.Draft7Validator.check_schema(schema)
        self.schema = jsonschema.Draft7Validator(schema)

    def verdicts(self, text, code):
        """That of the schema; the program's has to be `code`."""
        file = self.folder / "cairn.yaml"
        file.write_text(text)
        self.cairn("-c", file, "config", "validate", code=code)
        return [e.message for e in
                self.schema.iter_errors(yaml.safe_load(text))]

    def test_takes_what_the_program_takes(self):
        for file in sorted((ROOT / "docs/examples").iterdir()):
            self.assertEqual(self.verdicts(file.read_text(), OK), [], file)
        self.assertEqual(self.verdicts(ALL, OK), [])

    def test_refuses_every_mistyped_key(self):
        lines = ALL.splitlines()
        keys = [(i, re.match(r"^ *(- )?([a-z_]+):", line))
                for i, line in enumerate(lines)]
        keys = [(i, found) for i, found in keys if found]
        self.assertGreater(len(keys), 60)
        for i, found in keys:
            at = found.start(2) + 1
            wrong = lines[i][:at] + "x" + lines[i][at:]
            text = "\n".join([*lines[:i], wrong, *lines[i + 1:]])
            self.assertNotEqual(self.verdicts(text, USAGE), [], wrong)

    def test_refuses_every_wrong_form(self):
        for line, wrongs in WRONG.items():
            self.assertIn(line + "\n", ALL)
            for wrong in wrongs:
                text = ALL.replace(line + "\n", wrong + "\n", 1)
                self.assertNotEqual(self.verdicts(text, USAGE), [], wrong)


if __name__ == "__main__":
    harness.main()
