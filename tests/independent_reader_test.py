#!/usr/bin/python3
"""Tests the independent reader against repositories of golden/make_golden.py,
sound ones and such with one fault each."""

import contextlib
import io
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parent
GOLDEN = TESTS / "golden"
sys.dont_write_bytecode = True
sys.path[:0] = [str(TESTS), str(GOLDEN)]

import independent_reader as reader  # noqa: E402
import make_golden  # noqa: E402

FIRST = make_golden.rand("session first", 16).hex()
THIRD = make_golden.rand("session third", 16).hex()
DOOM = "0" * 15 + "2"
LATE = make_golden.rand("session late", 16).hex()  # a void one
LIST = [f"{FIRST} 2026-11-20T00:16:40.000000500Z golden/files complete",
        f"{THIRD} 2026-11-20T00:17:30Z golden/db partial"]


def expected_tree():
    """Path -> (type, mode, modified, content or target)."""
    first, second, third = make_golden.text_versions()
    noise = make_golden.rand("noise", 700)
    dump = b"".join(b"part %d of a stream\n" % i for i in range(11))
    sparse = (b"head of the sparse file\n" + bytes(70000) +
              b"and its tail\n" + bytes(29963))
    zero = make_golden.CREATED[0]

    def item(kind, mode, time, content=b""):
        return kind, mode, (zero + time) * 10**9 + 987654321, content
    tree = {
        b"docs": item("folder", 0o750, 6),
        b"docs/caf\xe9": item("file", 0o644, 4, noise),
        b"docs/first.txt": item("file", 0o644, 1, first),
        b"docs/second.txt": item("file", 0o644, 2, second),
        b"docs/third.txt": item("file", 0o4755, 3, third),
        b"docs/notes": item("folder", 0o700, 5),
        b"dump.sql": item("file", 0o600, 7, dump),
        b"empty": item("file", 0o644, 0),
        b"empty folder": item("folder", 0o711, 8),
        b"fifo": item("fifo", 0o622, 9),
        b"linked-a": item("file", 0o644, 0, noise),
        b"linked-b": item("file", 0o644, 0, noise),
        b"plain": item("file", 0o644, 0, b"part 0 of a stream\n"),
        b"sparse": item("file", 0o644, -2 * zero, sparse),
        b"symlink": item("symlink", 0o777, 10, b"docs/third.txt"),
    }
    for i in range(134, 144):
        tree[b"docs/notes/note-%03d" % i] = item("file", 0o644, i)
    return tree


def read_tree(top):
    top, tree = os.fsencode(top), {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            status, content = os.lstat(path), b""
            if stat.S_ISREG(status.st_mode):
                kind = "file"
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                kind, content = "symlink", os.readlink(path)
            else:
                kind = {stat.S_IFDIR: "folder", stat.S_IFIFO: "fifo"}[
                    stat.S_IFMT(status.st_mode)]
            tree[os.path.relpath(path, top)] = (
                kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns, content)
    return tree


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def golden(self, fault=None, woven=False):
        repo = self.folder / "repo"
        make_golden.build(str(repo), fault, small=True, woven=woven)
        return repo

    def read(self, repo, *command, key="owner.key", kind="--key-file"):
        """Exit code, lines on stdout, lines on stderr."""
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = reader.run(["--repo", str(repo), kind, str(GOLDEN / key),
                               *command])
        out.seek(0)
        return code, out.read().splitlines(), err.getvalue().splitlines()

    def refuses(self, repo, *command, says=""):
        code, _, err = self.read(repo, *command)
        self.assertEqual(code, 4, err)
        self.assertIn(says, "\n".join(err))
        self.assertTrue(all(e.startswith("independent_reader: ") for e in err))

    def restores(self, repo):
        code, _, err = self.read(repo, "restore", FIRST[:6], "--to",
                                 str(self.out))
        self.assertEqual((code, err), (0, []))
        self.assertEqual(read_tree(self.out), expected_tree())


def plain_objects():
    return dict(line.split(": ") for line in
                (GOLDEN / "objects.txt").read_text().splitlines()
                if not line.startswith("#"))


def left_out():
    """What FORMAT.md leaves out of objects, but for its ends."""
    objects = {name: reader.cbor_decode(bytes.fromhex(digits))
               for name, digits in plain_objects().items()
               if name in ("key_slot", "generation_2")}
    grants = objects["generation_2"][2]
    return [objects["key_slot"][7].hex()] + [g[3].hex() for g in grants]


class Golden(Case):
    """The committed repository: what was once written stays readable."""

    def test_opens_with_every_key_and_lists_valid_snapshots(self):
        for key, kind in (("passphrase", "--password-file"),
                          ("owner.key", "--key-file")):
            self.assertEqual(self.read(GOLDEN / "repository", "list", key=key,
                                       kind=kind), (0, LIST, []))

    def test_restores_and_verifies(self):
        self.restores(GOLDEN / "repository")
        self.assertEqual(self.read(GOLDEN / "repository", "verify"),
                         (0, ["2 snapshots, 2 packs, 30 blobs"], []))

    def test_vectors_are_what_the_writer_makes(self):
        for name, text in make_golden.vectors().items():
            self.assertEqual((GOLDEN / name).read_text(), text, name)

    def test_format_prints_bytes_of_the_vectors(self):
        text = (TESTS.parent / "FORMAT.md").read_text()
        bare = (line.partition(";")[0] for line in text.splitlines())
        printed = "".join("".join(bare).split())
        self.assertIn((GOLDEN / "prologue_config.hex").read_text().split(),
                      [line.split() for line in text.splitlines()])
        for file, key in (("directory.txt", "row_0"), ("blob.txt", "ad"),
                          ("links_node.txt", "cbor"),
                          ("names_node.txt", "cbor"), ("weave.txt", "cbor"),
                          ("patch.txt", "patch"),
                          ("weave.txt", "recipe")):
            lines = dict(line.split(": ", 1) for line in
                         (GOLDEN / file).read_text().split("\n\n")[0]
                         .splitlines())
            self.assertTrue(lines[key] in printed, file)
        for name, digits in plain_objects().items():
            for part in re.split("|".join(left_out()), digits):
                self.assertTrue(part in printed, name)

    def test_the_vectors_of_objects_are_the_repository_s(self):
        repo = reader.Repository(str(GOLDEN / "repository"))
        repo.unlock(key_file=reader.key_file_bytes(
            (GOLDEN / "owner.key").read_text()))
        snapshot = repo.snapshot(FIRST)
        found = [repo.config, snapshot.header, snapshot.record]
        found += [reader.envelope(path.read_bytes(), "k")
                  for path in (GOLDEN / "repository" / "keys").iterdir()]
        for folder, type_, label, roles in (
                ("sessions", "n", "cairn session", (0, 3, 4)),
                ("marks", "m", "cairn mark", (0, 3))):
            found += [repo.sealed_record(folder, name, type_, label, roles)
                      for name in repo.names(folder)]
        found += [repo.sealed_record("sessions", name, "i", "cairn pin", (4,))
                  for name in repo.names("sessions", suffix=".pin")]
        found += [repo.epoch(name) for name in repo.epochs()]
        for name, digits in plain_objects().items():
            if name not in ("index_body", "generation_2"):
                self.assertIn(reader.cbor_decode(bytes.fromhex(digits)), found,
                              name)

    def test_patches_are_taken_as_listed_and_no_others(self):
        def fields(text):
            return {name: bytes.fromhex(digits) for name, digits in
                    re.findall("^(\\w+): ?(.*)$", text, re.MULTILINE)}
        cases = [fields(record) for record in
                 (GOLDEN / "patch.txt").read_text().split("\n\n")]
        for case in cases:
            self.assertEqual(reader.Repository.apply_patch(
                case["patch"], len(case["plain"]), case["base"]),
                case["plain"])
        refused = fields((GOLDEN / "patch_refused.txt").read_text())
        for name, patch in refused.items():
            with self.subTest(name), self.assertRaises(reader.Damage):
                reader.Repository.apply_patch(
                    patch, len(cases[0]["plain"]), cases[0]["base"])

    def test_a_weave_is_taken_as_listed_and_no_other(self):
        def check(digits):
            node = reader.check_shape(
                reader.cbor_decode(bytes.fromhex(digits)),
                reader.Each(reader.ENTRY), "names node")
            for entry in node:
                length = entry.get(9, 0) + entry[17][1]
                reader.check_entry(entry, [[0, bytes(32), length], [0, b"", 0],
                                           [0, b"", 0]][:entry.get(10, 0)])
        listed = (GOLDEN / "weave.txt").read_text().split("cbor: ")[1]
        check(listed.split()[0])
        lines = (GOLDEN / "weave_refused.txt").read_text().splitlines()
        for line in lines[1:]:
            name, _, digits = line.partition(":")
            with self.assertRaises(reader.Damage, msg=name):
                check(digits)

    def test_decoder_keeps_to_one_spelling(self):
        for file in ("cbor_accepted.txt", "cbor_refused.txt"):
            for line in (GOLDEN / file).read_text().splitlines():
                if line.startswith("#"):
                    continue
                name, _, digits = line.partition(":")
                data = bytes.fromhex(digits)
                if file == "cbor_refused.txt":
                    with self.assertRaises(reader.Damage, msg=name):
                        reader.cbor_decode(data)
                else:
                    value = reader.cbor_decode(data)
                    self.assertEqual(make_golden.cbor(value), data, name)


class Sound(Case):
    def test_a_snapshot_that_was_committed_too_late_does_not_count(self):
        repo = self.golden()
        self.assertTrue((repo / "snapshots" / LATE).exists())
        self.assertEqual(self.read(repo, "list"), (0, LIST, []))
        self.assertEqual(self.read(repo, "cat", LATE, "empty")[0], 1)
        # Without epochs nothing tells it from the others.
        shutil.rmtree(repo / "epochs")
        code, lines, err = self.read(repo, "list")
        self.assertEqual((code, [line[:32] for line in lines], err),
                         (0, [FIRST, THIRD, LATE], []))
        self.refuses(repo, "verify", says="no copy")

    def test_a_condemnation_alone_makes_nothing_void(self):
        repo = self.golden()
        os.remove(repo / "epochs" / DOOM)
        code, lines, err = self.read(repo, "list")
        self.assertEqual((code, len(lines), err), (0, 3, []))

    def test_what_has_no_name_of_an_epoch_or_a_pin_is_left_alone(self):
        repo = self.golden()
        for name in ("epochs/4", "epochs/" + "0" * 16, "epochs/" + "F" * 16,
                     "sessions/4.pin", "sessions/" + "0" * 32 + ".pins"):
            (repo / name).write_bytes(b"?")
        self.assertEqual(self.read(repo, "list"), (0, LIST, []))
        self.assertEqual(self.read(repo, "verify")[0], 0)

    def test_restores_what_was_written_now(self):
        self.restores(self.golden())
        links = os.stat(self.out / "linked-a")
        self.assertEqual(links.st_nlink, 2)
        self.assertEqual(links.st_ino, os.stat(self.out / "linked-b").st_ino)
        self.assertLess(os.stat(self.out / "sparse").st_blocks * 512, 50000)
        self.assertEqual(os.getxattr(os.fsencode(self.out) + b"/docs/caf\xe9",
                                     "user.cairn"), b"golden\0value")
        if os.geteuid() == 0:
            self.assertEqual(os.lstat(self.out / "symlink").st_uid, 1000)

    def test_cat_writes_a_stream_and_zeros_for_holes(self):
        for path in ("dump.sql", "sparse", "docs/third.txt", "empty"):
            ran = subprocess.run(
                ["/usr/bin/python3", TESTS / "independent_reader.py", "--repo",
                 GOLDEN / "repository", "--key-file", GOLDEN / "owner.key",
                 "cat", FIRST, path], capture_output=True, check=True)
            self.assertEqual(ran.stdout, expected_tree()[path.encode()][3])

    def test_refuses_without_blame_what_cannot_be_done(self):
        repo = GOLDEN / "repository"
        wrong = self.folder / "wrong"
        wrong.write_text("not it\n")
        self.out.mkdir()
        (self.out / "occupied").touch()
        for command, how in (
                (["list"], {"key": wrong, "kind": "--password-file"}),
                (["list"], {"key": wrong}), (["list"], {"key": "write.key"}),
                (["restore", "0" * 32, "--to", str(self.out)], {}),
                (["restore", "latest", "--to", str(self.out)], {}),
                (["cat", FIRST, "docs"], {}), (["cat", FIRST, "empty/x"], {})):
            code, _, err = self.read(repo, *command, **how)
            self.assertEqual(code, 1, (command, err))

    def test_puts_a_weave_together_from_blobs_that_end_anywhere(self):
        repo = self.golden(woven=True)
        code, _, err = self.read(repo, "restore", FIRST, "--to", str(self.out))
        self.assertEqual((code, err), (0, []))
        self.assertEqual((self.out / "archive.tar").read_bytes(),
                         b"<a>first<b>second<end>")
        self.assertEqual(self.read(repo, "verify")[0], 0)

    def test_reads_past_a_damaged_config_and_says_so(self):
        repo = self.golden()
        flip(repo / "config", 20)
        code, lines, err = self.read(repo, "list")
        self.assertEqual((code, lines, len(err)), (4, LIST, 1))


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def only(repo, pattern):
    return sorted(repo.glob(pattern))[0]


class Damaged(Case):
    def test_any_flipped_byte_of_any_object(self):
        repo = self.golden()
        for path in sorted(p for p in repo.rglob("*") if p.is_file()):
            size = path.stat().st_size
            step = 1999 if size > 10000 else 41
            for at in [*range(0, size, step), size - 1]:
                with self.subTest(path=path, at=at):
                    flip(path, at)
                    code, _, err = self.read(repo, "verify")
                    # Byte 9 is the draft: a newer program may have written it.
                    self.assertEqual(code, 4, err)
                    flip(path, at)
        self.assertEqual(self.read(repo, "verify")[0], 0)

    def test_flipped_bit_in_a_pack_stops_a_restore(self):
        for at in (60, -9000):
            repo = self.golden()
            for pack in repo.glob("packs/*/*"):
                flip(pack, at)
            self.refuses(repo, "restore", FIRST, "--to", str(self.out),
                         says="SHA-256")
            shutil.rmtree(self.out)
            shutil.rmtree(repo)

    def test_snapshot_moved_to_another_slot(self):
        repo = self.golden()
        os.rename(repo / "snapshots" / FIRST, repo / "snapshots" / ("0" * 32))
        self.refuses(repo, "list", says="wrong signature")

    def test_mark_session_pin_and_epoch_under_another_name(self):
        for pattern, name in (("marks/*", "0" * 32), ("sessions/*", "0" * 32),
                              ("sessions/*.pin", "0" * 32 + ".pin"),
                              ("epochs/*1", "0" * 15 + "3"),
                              ("epochs/*2", "0" * 15 + "4")):
            repo = self.golden()
            mark = only(repo, pattern)
            mark.rename(mark.with_name(name))
            self.refuses(repo, "verify", says=f"{name}: cairn")
            shutil.rmtree(repo)

    def test_a_doom_that_is_lost_or_damaged_is_told_and_makes_nothing_void(
            self):
        def lose(doom):  # the condemnation after it is there
            doom.rename(doom.with_name("0" * 15 + "3"))
        for hurt, says in ((lose, "missing"),
                           (lambda doom: flip(doom, 300), "wrong SHA-256")):
            repo = self.golden()
            hurt(repo / "epochs" / DOOM)
            code, lines, err = self.read(repo, "list")
            self.assertEqual((code, [line[:32] for line in lines], err),
                             (4, [FIRST, THIRD, LATE],
                              [f"independent_reader: epochs/{DOOM}: {says}"]))
            shutil.rmtree(repo)

    def test_pack_and_index_under_another_name(self):
        repo = self.golden()
        pack = only(repo, "packs/*/*")
        pack.rename(pack.with_name(pack.name[:2] + "0" * 62))
        index = only(repo, "index/*")
        index.rename(index.with_name("0" * 64))
        self.refuses(repo, "verify", says="name")

    def test_missing_pack(self):
        repo = self.golden()
        for pack in repo.glob("packs/*/*"):
            pack.unlink()
        self.refuses(repo, "restore", FIRST, "--to", str(self.out),
                     says="no copy")

    def test_object_of_another_type_in_its_place(self):
        repo = self.golden()
        shutil.copy(only(repo, "marks/*"), repo / "snapshots" / ("0" * 32))
        self.refuses(repo, "list", says="misplaced")

    def test_config_of_another_repository(self):
        repo = self.golden("bundle of another repository")
        self.refuses(repo, "list", says="another repository")


# Fault of the writer -> what the reader says, on verify and on restore.
FAULTS = {
    "wrong signature": "wrong signature",
    "mark by a write key": "may not sign",
    "doom by a write key": "may not sign",
    "generation by a write key": "wrong signature",
    "doom that condemns": "doom that condemns",
    "doom with snapshots out of order": "out of order",
    "doom with a snapshot twice": "out of order",
    "name with a slash": "forbidden name",
    "name of dots": "forbidden name",
    "names out of order": "not ascending",
    "a row that no entry takes": "no entry takes",
    "overlapping holes": "holes",
    "base of equal depth": "no copy that can be a base",
    "oversize plain size": "bad value",
    "row past the padding": "past the padding",
    "wrong id": "another id",
    "wide zstd window": "window",
    "patch past its base": "patch: copy",
    "tree CBOR head not the shortest": "not the shortest",
    "content directory padding": "directory padding",
}


WEAVE_FAULTS = {
    "step of the recipe": "does not fit",
    "step of no part": "does not fit",
    "step of no length": "does not fit",
    "step past its part": "does not fit",
    "recipe that leaves bytes": "leaves bytes",
    "parts the other way round": "another stream",
    "blob of the recipe and more": "of a recipe and others",
    "weave beside a hole": "weave",
    "weave of one part": "bad value",
}


class Faulty(Case):
    """Sealed and signed as it should be, by a writer that does wrong."""

    def test_each_fault_is_refused(self):
        for fault, says in (FAULTS | WEAVE_FAULTS).items():
            with self.subTest(fault):
                repo = self.golden(fault, fault in WEAVE_FAULTS)
                self.refuses(repo, "verify", says=says)
                self.refuses(repo, "restore", FIRST, "--to", str(self.out),
                             says=says if fault != "wrong signature" else "fit")
                self.assertEqual({p.name for p in self.folder.iterdir()} -
                                 {"out", "repo"}, set())
                shutil.rmtree(repo)
                shutil.rmtree(self.out, ignore_errors=True)

    def test_a_wrong_length_of_a_folder_is_told_by_verify_alone(self):
        repo = self.golden("wrong length of a folder")
        self.refuses(repo, "verify", says="wrong length")
        self.restores(repo)

    def test_index_that_lies_is_told_by_verify_and_harms_no_restore(self):
        repo = self.golden("index that lies")
        self.refuses(repo, "verify", says="differs")
        self.restores(repo)


if __name__ == "__main__":
    unittest.main()
