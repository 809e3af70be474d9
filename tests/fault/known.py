"""Findings that are known, each with the reason why it is not mended yet. They
are counted, and do not fail a run; whoever mends one takes it out here.

What a fault did to the data is judged all the same: these are only about how a
run ended.
"""

import re

# The operation; what it found; where the fault hit; the reason.
KNOWN = [
]

KNOWN_ON_FULL_DISK = []


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
