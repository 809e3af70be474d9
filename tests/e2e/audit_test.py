#!/usr/bin/python3
"""What the signed objects tell of a repository's history, and whether they fit
together."""

import shutil

import harness
from harness import DAMAGE, USAGE, flip


class Shown(harness.Case):
    def acts(self, *words, **how):
        return self.cairn("--json", "audit", "show", *words, **how).lines

    def test_who_did_what_by_time(self):
        gone = self.back_up_bytes(b"one")
        kept = self.back_up_bytes(b"two")
        self.cairn("hold", "add", kept, "--reason", "for the auditor")
        self.cairn("forget", "-y", gone)
        acts = self.acts()
        self.assertEqual([a["type"] for a in acts],
                         ["key", "snapshot", "snapshot", "hold", "forget"])
        self.assertEqual(sorted(a["time"] for a in acts),
                         [a["time"] for a in acts])
        key, first, second, hold, forget = acts
        self.assertEqual((key["role"], key["method"]), ("owner", "key file"))
        self.assertEqual((first["id"], first["sequence"]), (gone, 0))
        self.assertEqual((second["id"], second["sequence"]), (kept, 1))
        self.assertEqual(hold["snapshot"], kept)
        self.assertEqual(hold["reason"], "for the auditor")
        self.assertEqual(forget["snapshot"], gone)
        for act in acts[1:]:
            self.assertRegex(act["key"], "^[0-9a-f]{16}$")
            self.assertEqual(act["role"], "owner")
            self.assertTrue(act["series"].endswith("/data"))

        self.cairn("hold", "remove", kept)
        self.cairn("prune")
        acts = self.acts()
        self.assertEqual([a["type"] for a in acts if "packs" in a],
                         ["condemnation", "doom"])
        self.assertGreater(acts[-1]["packs"], 0)
        self.assertEqual(acts[-1]["snapshots"], 1)
        self.assertNotIn(gone, [a["id"] for a in acts])

    def test_a_write_key_is_told_from_the_owner_s(self):
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write,
                   "--label", "web1")
        self.back_up_bytes(b"one")
        env = {"CAIRN_KEY_FILE": write, "XDG_STATE_HOME": self.folder / "web1"}
        self.back_up_bytes(b"two", env=env)
        made = [a for a in self.acts() if a["type"] == "snapshot"]
        self.assertEqual([a["role"] for a in made], ["owner", "write"])
        self.assertNotEqual(made[0]["key"], made[1]["key"])
        self.assertEqual([a["label"] for a in self.acts()
                          if a["type"] == "key"][-1], "web1")
        self.assertEqual([a["series"] for a in self.acts(env=env)
                          if a["type"] == "snapshot"], [None, None])
        self.assertIn("write", self.cairn("audit", "show").text)

    def test_when_the_keys_were_renewed_and_for_whom(self):
        self.cairn("key", "add", "--role", "write", "--label", "web",
                   "--key-file-out", self.folder / "web.key")
        renewed = self.cairn("-y", "key", "rotate", "--json").value
        act, = [a for a in self.acts() if a["type"] == "generation"]
        self.assertEqual(act["id"], "2")
        self.assertEqual(act["role"], "owner")
        self.assertEqual(act["grants"], len(renewed["granted_to"]))
        self.assertEqual(sorted(act["granted_to"]),
                         sorted(renewed["granted_to"]))
        self.assertRegex(self.cairn("audit", "show").text,
                         r"generation +2 +[0-9a-f]{8} owner .*renewed")
        self.cairn("-y", "key", "rotate")
        self.assertEqual([a["id"] for a in self.acts()
                          if a["type"] == "generation"], ["2", "3"])
        self.assertEqual(
            self.cairn("--json", "audit", "verify").lines[-1]["generations"],
            2)
        # Prune leaves the newest, in which all keys are.
        self.cairn("prune")
        self.assertEqual([a["id"] for a in self.acts()
                          if a["type"] == "generation"], ["3"])

    def test_one_series_and_since(self):
        self.back_up_bytes(b"one", "a")
        made = self.back_up_bytes(b"two", "b")
        self.cairn("forget", "-y", made)
        self.assertEqual([a["type"] for a in self.acts("--series", "b")],
                         ["snapshot", "forget"])
        self.assertEqual(self.acts("--since", "2999-01-01"), [])
        self.assertEqual(self.acts("--since", "1d"), self.acts())
        self.assertEqual(self.acts("--since", self.acts()[-1]["time"]),
                         self.acts()[-1:])
        self.cairn("audit", "show", "--since", "never", code=USAGE)

    def test_damage_is_told_beside_the_rest(self):
        made = self.back_up_bytes(b"one")
        self.back_up_bytes(b"two")
        flip(self.repo / "snapshots" / made, 100)
        ran = self.cairn("audit", "show", code=DAMAGE)
        self.assertIn(made, ran.err)
        self.assertIn("number 1", ran.text)


class Verified(harness.Case):
    def findings(self, code=DAMAGE):
        lines = self.cairn("--json", "audit", "verify", code=code).lines
        self.assertEqual(lines[-1]["type"], "summary")
        return [(x["severity"], x["code"]) for x in lines[:-1]]

    def forget_your_memory(self):
        """So that it is the repository alone that tells."""
        shutil.rmtree(self.state)

    def test_a_history_without_gaps(self):
        for i in range(3):
            self.back_up_bytes(b"%d" % i)
        self.assertEqual(self.findings(code=0), [])
        self.assertIn("no gap", self.cairn("audit", "verify").text)

    def test_what_was_forgotten_and_pruned_is_explained(self):
        for i in range(4):
            self.back_up_bytes(b"%d" % i)
        self.cairn("forget", "--keep-last", "1")
        self.cairn("prune")
        self.assertEqual(self.findings(code=0), [("note", "explained-gap")])
        quiet = self.cairn("audit", "verify").text
        self.assertNotIn("explained-gap", quiet)
        self.assertIn("-v lists 1 note", quiet)
        self.assertIn("numbers 0 to 2 are missing; prunes up to doom 2",
                      self.cairn("audit", "verify", "-v").text)

    def test_a_snapshot_that_was_taken_away_is_a_gap(self):
        ids = [self.back_up_bytes(b"%d" % i) for i in range(3)]
        (self.repo / "snapshots" / ids[1]).unlink()
        self.assertEqual(self.findings(), [("damage", "gap")])
        self.assertIn("number 1 is missing, and nothing says",
                      self.cairn("audit", "verify", code=DAMAGE).text)
        self.forget_your_memory()
        self.assertEqual(self.findings(), [("damage", "gap")])

    def test_what_a_doom_lists_and_is_gone(self):
        ids = [self.back_up_bytes(b"%d" % i) for i in range(3)]
        self.cairn("forget", "-y", ids[0])
        self.cairn("prune")
        (self.repo / "snapshots" / ids[2]).unlink()
        self.forget_your_memory()
        self.assertEqual(self.findings()[0], ("damage", "lost-snapshot"))

    def test_the_end_that_was_cut_off_is_told_by_who_saw_it(self):
        self.back_up_bytes(b"one")
        last = self.back_up_bytes(b"two")
        (self.repo / "snapshots" / last).unlink()
        self.assertEqual(self.findings(), [])
        self.assertIn("shows less",
                      self.cairn("audit", "verify", code=DAMAGE).err)
        self.cairn("audit", "verify", "--accept-rollback")
        self.assertEqual(self.findings(code=0), [])

    def test_a_flipped_bit_in_any_signed_object(self):
        self.cairn("forget", "-y", self.back_up_bytes(b"one"))
        self.back_up_bytes(b"two")
        self.cairn("prune")
        self.cairn("hold", "add", "latest")
        for folder in ("snapshots", "marks", "epochs", "index"):
            with self.subTest(folder):
                path = self.paths_of(folder)[-1]
                whole = path.read_bytes()
                flip(path, 100)
                self.assertIn("damage", [s for s, _ in self.findings()])
                path.write_bytes(whole)
        self.assertEqual(self.findings(code=0), [("note", "explained-gap")])

    def test_one_state_folder_on_two_machines_is_a_fork(self):
        self.back_up_bytes(b"one")
        copied = self.folder / "copied state"
        shutil.copytree(self.state, copied)
        late = self.begin_stream(b"x", "data",
                                 env={"XDG_STATE_HOME": copied})
        self.back_up_bytes(b"mine")
        self.end(late)
        self.assertEqual(self.findings(), [("damage", "fork")])


if __name__ == "__main__":
    harness.main()
