"""What must be true after a fault, whichever it was: O1 to O4 of the fault
matrix, as far as one machine can see them.

Every snapshot that was there and was not to be forgotten is listed and restores
byte for byte; so does one whose backup said that it is stored. What was to
happen has happened or has not, and the exit code says which. `check --level
data` finds no damage. The next backup, forget and prune work, and after that
prune nothing is left that nobody needs. Nothing else of the machine changed.
"""

import shutil

import place
from acts import SLEEPS
from calls import SYNCS
from place import FENCED, Finding, NO_SPACE, OK, expect

ENDS_OF_FULL_DISK = {OK, NO_SPACE}

# After these no cache is left to judge with. What is there after one call and
# before the next is the same, so that it is judged with and without.
LOSE_THE_CACHE = {"after", "lost"}


class Oracle:
    """Of one run of an operation in a place that was loaded from its base."""

    def __init__(self, where, bases, operation):
        self.where, self.operation = where, operation
        held = dict(bases.held[operation.base])
        self.dropped = {bases.named[name] for name in operation.drops}
        self.stay = {i: tree for i, tree in held.items()
                     if i not in self.dropped}
        self.held = held
        self.before = bases.named.get(operation.leans_on)
        self.damaged = bases.named.get(operation.replaces)
        self.content = operation.adds
        if self.content == "source":
            self.content = place.tree_of(where.source)
        self.outside = where.outside()

    # While it runs

    def leans_on(self):
        """What others forget: what a backup leans on first of all."""
        if self.before in self.stay:
            return self.before
        return next(iter(self.stay)) if len(self.stay) > 2 else None

    def is_forgotten(self, snapshot):
        """By others."""
        self.dropped.add(snapshot)
        del self.stay[snapshot]

    # After that

    def judge(self, ran, fault=None, kind=None):
        """Raises a Finding, the worst one. Changes the place."""
        if fault and fault.kind in LOSE_THE_CACHE:
            shutil.rmtree(self.where.here / "cache", ignore_errors=True)
        try:
            self.judge_end(ran, fault, kind)
        except Finding:
            self.judge_place(ran)
            raise
        self.judge_place(ran)

    def judge_place(self, ran):
        self.judge_calls(ran)
        listed = self.judge_snapshots(ran)
        self.judge_keys(ran)
        if self.operation.is_repair and not self.is_done(ran):
            again = self.where.cairn(*self.operation.words, code=None)
            expect(again.code in (OK, self.operation.done),
                   "it cannot be done again", again)
            listed = self.judge_snapshots(again)
        if self.damaged:
            self.where.cairn("forget", "-y", self.damaged)
            listed.remove(self.damaged)
        self.check_level_data()
        self.judge_outside()
        if not self.is_done(ran) and not self.operation.is_done_once and \
                not self.damaged:
            self.where.cairn(*self.operation.words, key=self.operation.key,
                             stdin=self.operation.stdin)
            listed = [s["id"] for s in self.where.snapshots()]
        self.go_on(listed)

    # How it ended

    def is_done(self, ran):
        """It says that all is well: a repair that something is lost, and no
        more than that."""
        return ran.code == self.operation.done and (
            ran.code == OK or "error: " not in ran.err)

    def judge_end(self, ran, fault, kind):
        expect(not ran.has_hung, "it hangs", ran)
        act = kind if fault and ran.hit and fault.kind == "acts" else None
        kind = fault.kind if fault and ran.hit else None
        if kind in ("before", "after"):
            expect(ran.code == -9, "it outlives being killed", ran)
            return
        expect(ran.code >= 0, "it crashed", ran)
        expect("terminate called" not in ran.err, "it crashed", ran)
        if not kind:
            expect(self.is_done(ran), "it fails without a fault", ran)
            return
        if act in SLEEPS:
            has_session = self.content or "packs" in self.operation.words
            well = {OK, self.operation.done} | ({FENCED} if has_session
                                                else set())
            expect(ran.code in well,
                   "it does not take its being asleep", ran)
            return
        expect(ran.code == OK or self.is_done(ran) or "error: " in ran.err or
               "the disk ran full" in ran.err, "it fails and does not say why",
               ran)
        if kind == "short":
            expect(self.is_done(ran), "it does not write the other half", ran)
        if kind == "ENOSPC":
            expect(ran.code in ENDS_OF_FULL_DISK or self.is_done(ran),
                   "it takes a full disk for something else", ran)
        if not act and ran.hit.name in SYNCS and "/repo" in ran.hit.path and \
                not self.may_be_done_without(ran, fault):
            expect(not self.is_done(ran),
                   f"{ran.hit} failed, and it says all is well", ran)

    def may_be_done_without(self, ran, fault):
        """Syncs that may fail in a run that succeeds: forget and prune try
        again with the room of the reserve, check says that it noted nothing,
        and once the snapshot is stored, or the damaged packs are out of the
        index, a session that comes back to life with a power cut is fenced
        off."""
        words = self.operation.words[0]
        if words == "check" and "could not be named as verified" in ran.err:
            return True
        if fault.kind == "ENOSPC" and not fault.is_sticky and \
                words in ("forget", "prune"):
            return True
        before = ran.calls[:ran.hit.number]
        done = ("unlinkat", "/repo/index/") \
            if words == "repair" and not self.damaged else \
            ("linkat", "/repo/snapshots/")
        return ran.hit.path.endswith("/repo/sessions") and any(
            c.name == done[0] and done[1] in c.path for c in before)

    def judge_calls(self, ran):
        """Only what a run may change was touched, even if to no effect."""
        places = str(self.where.here), str(self.where.top / "tmp")
        for call in ran.calls:
            expect(call.path.startswith(places),
                   f"{call} is none of its business", ran)

    # What is there

    def judge_snapshots(self, ran):
        said = [line["snapshot_id"] for line in place.lines_of(ran)
                if line.get("type") == "summary" and line.get("snapshot_id")]
        listed = [s["id"] for s in self.where.snapshots()]
        expect(len(set(listed)) == len(listed), f"twice in {listed}", ran)
        for snapshot in self.stay:
            expect(snapshot in listed, f"snapshot {snapshot} is lost", ran)
        for snapshot in said:
            expect(snapshot in listed, f"{snapshot} was reported, and is lost",
                   ran)
        new = [i for i in listed if i not in self.held and i != self.damaged]
        expect(len(new) <= (1 if self.content else 0),
               f"where do the snapshots {new} come from?", ran)
        if self.is_done(ran):
            expect(len(new) == (1 if self.content else 0),
                   "it says that all is well, and has no snapshot", ran)
            expect(not self.dropped & set(listed),
                   "it says that all is well, and has not forgotten", ran)
        for snapshot in {*new, *self.next_to_go(listed)}:
            self.judge_content(snapshot)
        return listed

    @staticmethod
    def next_to_go(listed):
        """What the next forget takes. All others are restored after that."""
        return listed[:1] if len(listed) > 2 else []

    def judge_content(self, snapshot):
        content = self.held.get(snapshot, self.content)
        restored = self.where.restored(snapshot)
        if all(isinstance(x, bytes) for x in content.values()):  # streams
            restored = {name: facts[-1] for name, facts in restored.items()
                        if name != "."}
        differing = sorted(p for p in restored.keys() | content
                           if restored.get(p) != content.get(p))
        expect(not differing, f"snapshot {snapshot} differs in {differing}")

    def judge_keys(self, ran):
        """The owner's opened already. Others do what the run said of them."""
        for name, is_to_open in ((self.operation.key_added, True),
                                 (self.operation.key_removed, False)):
            if not name:
                continue
            opened = (self.where.here / name).exists() and self.where.cairn(
                "snapshots", key=name, code=None).code == OK
            expect(ran.code != OK or opened == is_to_open,
                   f"it says that all is well with {name}, and it is not", ran)

    def check_level_data(self):
        self.where.cairn("check", "--level", "data")

    def judge_outside(self):
        outside = self.where.outside()
        if self.operation.key_added:
            outside["here"].discard(self.operation.key_added)
        for what, before in self.outside.items():
            expect(outside[what] == before, f"outside of it, {what} changed")

    # What comes next

    def go_on(self, listed):
        where = self.where
        ran = where.cairn("--json", "backup", "{source}")
        new = place.lines_of(ran)[-1]["snapshot_id"]
        self.held[new] = place.tree_of(where.source)
        gone = self.next_to_go(listed)
        if gone:
            where.cairn("forget", "-y", *gone)
        where.cairn("prune", "--revoke-after", "0s", "--max-unused", "0%")
        self.judge_leftovers({*listed, new} - {*gone})
        self.check_level_data()
        for snapshot in {*listed, new} - {*gone}:
            self.judge_content(snapshot)

    def judge_leftovers(self, snapshots):
        where = self.where
        expect({s["id"] for s in where.snapshots()} == snapshots,
               "snapshots came or went with the next prune")
        left = where.objects("sessions", "marks", "tmp")
        expect(not left, f"a prune leaves {sorted(left)}")
        # The tombstone of a session that died goes with the next pass.
        slots = len(where.objects("snapshots")) - len(snapshots)
        expect(slots <= 1, f"a prune leaves {slots} slots without a snapshot")
        objects = where.objects()
        ran = where.cairn("--json", "prune", "--max-unused", "0%")
        plan = place.lines_of(ran)[0]
        expect(plan["removed"]["packs"] == 0 and
               plan["repacked"]["packs"] == 0 and where.objects() == objects,
               f"a second prune finds more to do: {plan}")
