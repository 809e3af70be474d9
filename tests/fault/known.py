"""Findings that are known, each with the reason why it is not mended yet. They
are counted, and do not fail a run; whoever mends one takes it out here.

What a fault did to the data is judged all the same: these are only about how a
run ended.
"""

import re

# The operation; what it found; where the fault hit; the reason.
KNOWN = [
    (r"", r"WritableFileWriter::AssertFalseAndGetStatusForPrevError",
     r" cache/",
     "Debian builds RocksDB with assertions: it aborts when the disk of the "
     "cache fails for good"),
    (r"", r"takes a full disk for something else; it ended with 1 .*"
     r"(/here/cache/|index cache: close)", r" cache/",
     "a full disk under the cache is told as 1 instead of 14"),
    (r"key-add", r"takes a full disk for something else; it ended with 1 .*"
     r"/added\.key", r" added\.key$| \S*/here$",
     "a full disk under a new key file is told as 1 instead of 14"),
    (r"check", r"failed, and it says all is well; .* 0 and said:\s*$",
     r" repo(/|$)",
     "check does not say that it could not note packs as verified"),
]

KNOWN_ON_FULL_DISK = [
    (r"do not free what was forgotten, .* index cache: open: .*No space left",
     "prune does not give the reserve to a cache on the same disk"),
]


def reason_of(outcome):
    """None: it is new."""
    if not outcome.finding or not outcome.hit:
        return None
    for operation, words, where, reason in KNOWN:
        if re.match(operation, outcome.point.operation) and \
                re.search(words, outcome.finding, re.DOTALL) and \
                re.search(where, outcome.where):
            return reason
    return None


def reason_on_full_disk(finding):
    for words, reason in KNOWN_ON_FULL_DISK:
        if re.search(words, finding, re.DOTALL):
            return reason
    return None
