#!/usr/bin/python3
"""FORMAT.md and docs/security.md say which tests guard what they promise, and
what check says where a promise is broken. This fails when one of those tests or findings is not
there, as when somebody renames it."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True


def named_tests(text):
    """Every `Suite.Name`."""
    return set(re.findall(r"`([A-Z]\w*\.[A-Z]\w*)`", text))


def named_files(text):
    return set(re.findall(r"`(tests/[\w./]+)`", text))


def invariants(text):
    """Rows of the table: number, promise, tests, findings."""
    section = text.split("\n## 9. Invariants\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in section.splitlines() if line.startswith("| I")]
    return {number: (tests, findings) for number, _, tests, findings in rows}


def findings_of_the_text(text):
    """First column of the table of findings."""
    section = text.split("\n### 9.1 Findings\n")[1].split("\n## ")[0]
    codes = [line.split("|")[1] for line in section.splitlines()
             if line.startswith("| `")]
    return set(re.findall(r"`([\w-]+)`", " ".join(codes)))


def findings_of_the_code():
    """Every code that check gives; one word alone stands by its severity."""
    code = read_all("repo", "check*.cc", "check*.h", "look_at.h")
    return set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', code)) | set(
        re.findall(r'Severity::\w+,\s*"([a-z]+)"', code))


def read_all(folder, *patterns):
    return "\n".join(path.read_text() for pattern in patterns
                     for path in sorted((ROOT / folder).rglob(pattern)))


def existing_tests():
    macro = r"^(?:TYPED_)?TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)"
    found = re.findall(macro, read_all("tests", "*.cc", "*.h"), re.MULTILINE)
    return {f"{suite}.{name}" for suite, name in found}


def missing_of(row, suites):
    """Of names such as `run: one`, `another` and `Suite.*`."""
    module, missing = "", []
    for new_module, name in re.findall(r"`(?:(\w+): )?([\w.*]+)`", row):
        if name.endswith(".*"):
            is_there = name[:-2] in suites
        elif name.endswith(".py"):
            is_there = (ROOT / "tests/e2e" / name).exists()
        else:
            module = new_module or module
            path = ROOT / "tests/e2e" / f"{module}_test.py"
            is_there = path.exists() and \
                f"def test_{name}(" in path.read_text()
        if not is_there:
            missing.append(name)
    return missing


class Format(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "FORMAT.md").read_text()

    def test_every_test_that_is_named_exists(self):
        self.assertEqual(named_tests(self.text) - existing_tests(), set())

    def test_every_file_that_is_named_exists(self):
        files = named_files(self.text)
        self.assertTrue(files)
        self.assertEqual({f for f in files if not (ROOT / f).exists()}, set())

    def test_every_invariant_is_guarded(self):
        rows = invariants(self.text)
        self.assertEqual(list(rows), [f"I{i}" for i in range(1, len(rows) + 1)])
        self.assertGreaterEqual(len(rows), 8)
        for number, (tests, _) in rows.items():
            with self.subTest(number):
                as_another = re.fullmatch(r"as (I\d)", tests)
                if as_another:
                    tests = rows[as_another[1]][0]
                self.assertTrue(named_tests(tests))

    def test_check_says_every_finding_that_is_named(self):
        code = read_all("repo", "*.cc", "*.h")
        for number, (_, findings) in invariants(self.text).items():
            with self.subTest(number):
                names = re.findall(r"`([\w-]+)`", findings)
                self.assertTrue(names)
                self.assertEqual([n for n in names if f'"{n}"' not in code], [])

    def test_the_table_of_findings_is_that_of_the_code(self):
        self.assertEqual(findings_of_the_text(self.text),
                         findings_of_the_code())

    def test_every_promise_of_security_names_a_test_that_exists(self):
        text = (ROOT / "docs/security.md").read_text()
        self.assertEqual(named_tests(text) - existing_tests(), set())
        promises = [line for line in text.splitlines()
                    if re.match(r"\| P\d+ \|", line)]
        self.assertGreaterEqual(len(promises), 15)
        for line in promises:
            with self.subTest(line[:8]):
                self.assertTrue(named_tests(line.split("|")[4]))
        files = set(re.findall(r"tests/[\w./]+\.py", text))
        self.assertEqual({f for f in files if not (ROOT / f).exists()}, set())

    def test_what_goes_wrong_elsewhere_names_tests_that_exist(self):
        text = (ROOT / "docs/what-goes-wrong.md").read_text()
        suites = {name.split(".")[0] for name in existing_tests()}
        rows = [line.split("|")[-2] for line in text.splitlines()
                if line.startswith("| ")][1:]
        self.assertGreaterEqual(len(rows), 20)
        for row in rows:
            with self.subTest(row):
                self.assertEqual(missing_of(row, suites), [])
                self.assertIn("`", row)

    def test_a_name_of_no_test_is_noticed(self):
        planted = "guarded by `Backup.DoesWhatNoTestAsksFor`"
        self.assertEqual(named_tests(planted) - existing_tests(),
                         {"Backup.DoesWhatNoTestAsksFor"})


if __name__ == "__main__":
    unittest.main()
