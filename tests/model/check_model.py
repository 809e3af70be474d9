#!/usr/bin/python3
"""Searches collection.pml: the protocol as it is, in several sizes, in every
order of steps, and each variant with one mistake, which has to be found.

    check_model.py                what ctest runs; some two minutes on one core
    check_model.py --thorough     larger sizes besides; minutes more, up to 10 GiB
    check_model.py --only NAME    of these, the ones named so
    check_model.py --trail NAME   how a variant goes wrong, step by step

One line each: name, states, seconds of processor time, verdict. Ends with 1 when
the protocol has an error, when a search was cut short, or when a mistake was not
found.
"""

import argparse
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

MODEL = pathlib.Path(__file__).resolve().parent / "collection.pml"

# The protocol as it is. README.md says why the sizes are these.
SOUND = {
    "two writers": "SESSIONS=3 LATE=0",
    "two collectors": "PASSES_B=1",
    "old epochs are removed": "PASSES_A=2 PASSES_B=1 FORGETS=0",
    "four passes": "PASSES_A=1 PASSES_B=3 FORGETS=0 WANT=1 LATE=0"
                   " CONDEMN_ALL=1",
    "packs of the fenced": "SCENE=4 WANT=1 SESSIONS=3 DEEPEST=1 LATE=0",
    "everything twice": "SCENE=1 PASSES_A=2 MOVES=1 FORGETS=0",
    "a ring of differences": "SCENE=2 PASSES_A=2 MOVES=1 FORGETS=0",
    "a base moves": "SCENE=3 PASSES_A=2 MOVES=1 FORGETS=0"
                    " FORGOTTEN=1 LATE=0",
    "a repack sleeps": "SCENE=3 PASSES_B=1 MOVES=1 WANT=1 FORGETS=0"
                       " FORGOTTEN=1 LATE=0 DEEPEST=1 CONDEMN_ALL=1",
    "chains of two": "IDS=3 SCENE=3 PASSES_A=3",
    "wait only": "WAIT_ONLY SESSIONS=3",
    "wait only, closure alone": "WAIT_ONLY TRUST_ROWS SCENE=3 PASSES_A=2",
}

THOROUGH = {
    "two collectors, three passes": "PASSES_A=2 PASSES_B=1",
    "two collectors, four passes": "PASSES_A=2 PASSES_B=2 FORGETS=0",
    "two collectors, one moves": "PASSES_B=1 MOVES=1 FORGETS=0 CONDEMN_ALL=1",
    "two writers, late requests": "SESSIONS=3",
    "everything twice, forgotten": "SCENE=1 PASSES_A=2 MOVES=1",
    "a ring, forgotten": "SCENE=2 PASSES_A=2 MOVES=1",
    "a base moves, forgotten": "SCENE=3 PASSES_A=2 MOVES=1",
}

# One mistake each, in the smallest size that shows it.
BROKEN = {
    "no wait": "NO_WAIT",
    "sessions listed early": "LISTED_EARLY",
    "epoch read before registering": "PIN_FIRST PASSES_A=2",
    "no second mark": "NO_MARK_2",
    "lease instead of fence": "LEASE",
    "names follow content": "NAMES_FROM_CONTENT PASSES_B=1",
    "forget frees the slot": "SLOT_FREED",
    "forget takes its mark back": "TAKEN_BACK",
    "cache trusted": "TRUSTED_CACHE",
    "condemned packs used": "NOTHING_UNUSABLE",
    "condemned base used": "CONDEMNED_BASE",
    "odd epoch without create": "BLIND_ODD PASSES_B=1",
    "even epoch without create": "BLIND_EVEN PASSES_B=1",
    "snapshots cut short": "SNAPSHOTS_CUT",
    "sessions cut short": "SESSIONS_CUT",
    "both copies doomed": "BOTH_COPIES SCENE=1",
    "no depth rule": "NO_DEPTH_RULE SCENE=2",
    "no closure": "WAIT_ONLY TRUST_ROWS NO_CLOSURE SCENE=3",
    "rows trusted without their chain":
        "TRUST_ROWS SCENE=4 WANT=1 SESSIONS=3 DEEPEST=1",
    "moved is enough": "MOVED_IS_ENOUGH MOVES=1",
    "no list": "NO_LIST",
    "no last look": "NO_LAST_LOOK PASSES_A=3",
    # Either of the two looks is enough for this.
    "no look at the registration": "NO_LOOK_AFTER_PIN NO_LOOK_AFTER_CREATE"
                                   " PASSES_A=3 FORGETS=0",
    "settled before the even epoch": "SETTLED_EARLY PASSES_A=2",
    # With the look after the create it takes three collectors, see below.
    "settled while registered": "SETTLED_REGISTERED NO_LOOK_AFTER_CREATE"
                                " PASSES_A=1 PASSES_B=3 FORGETS=0 WANT=1"
                                " LATE=0 CONDEMN_ALL=1",
    "loser removes its epoch": "LOSER_REMOVES SCENE=3 PASSES_A=2 PASSES_B=1"
                               " WANT=1 FORGETS=0 FORGOTTEN=1",
    "no look for a newer epoch":
        "NO_NEWEST_CHECK PASSES_A=2 PASSES_B=1 FORGETS=0",
    "doomed not carried on": "NOT_CARRIED PASSES_B=1",
    "wait only, two collectors": "WAIT_ONLY PASSES_B=1",
    "wait only, fenced anyway": "WAIT_ONLY FENCED_ANYWAY",
}

THOROUGH_BROKEN = {
    "settled while registered, by three":
        "SETTLED_REGISTERED PASSES_A=1 PASSES_B=2 PASSES_C=1 FORGETS=0 WANT=1"
        " LATE=0 CONDEMN_ALL=1",
}

SECONDS = 300       # of processor time for one search; then it is cut short
MEGABYTES = 2900
SECONDS_THOROUGH = 3600
MEGABYTES_THOROUGH = 10000

# Which of the three promises is broken, by the text of the assertion.
PROMISES = (("want[", "unreadable"),
            ("told", "lost"),
            ("forgotten", "back again"))


class Failed(Exception):
    pass


def command(arguments, folder):
    done = subprocess.run(arguments, cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Failed(f"{' '.join(arguments)}:\n{done.stdout}")
    return done.stdout


def build(folder, settings, megabytes, level, *options):
    """The search as a program; 'A=1 B' are the settings -DA=1 -DB."""
    shutil.copy(MODEL, folder)
    defines = [f"-D{setting}" for setting in settings.split()]
    said = command(["spin", "-a", *defines, MODEL.name], folder)
    if "rror" in said:
        raise Failed(said)
    # SAFETY: assertions and dead ends. COLLAPSE: exact, at a third of the
    # memory.
    command(["gcc", level, "-w", "-DSAFETY", "-DCOLLAPSE", "-DNOFAIR",
             "-DVECTORSZ=1024", f"-DMEMLIM={megabytes}", *options, "-o", "pan",
             "pan.c"], folder)
    return defines


def processor_seconds():
    """Of the programs that were run, however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def search(settings, level, seconds, megabytes):
    """-> states, seconds, what was found wrong or '', and why the search is
    not complete or ''."""
    with tempfile.TemporaryDirectory(prefix="cairn-model.") as folder:
        build(folder, settings, megabytes, level)
        before = processor_seconds()
        done = subprocess.run(
            ["./pan", "-m100000", "-w24"], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU,
                                                  (seconds, seconds)))
        spent = processor_seconds() - before
    said = done.stdout
    if done.returncode < 0:
        return 0, spent, "", f"ended by signal {-done.returncode} after " \
            f"{spent:.0f} s of {seconds}"
    states = re.search(r"^\s*(\d\S*) states, stored", said, re.MULTILINE)
    errors = re.search(r"errors: (\d+)", said)
    if not states or not errors:
        return 0, spent, "", "no result: " + said.strip()[-300:]
    wrong = ""
    if errors[1] != "0":
        message = re.search(r"^pan:1: (.*)", said, re.MULTILINE)
        wrong = what_is_wrong(message[1] if message else "an error")
    cut = ""
    if not wrong:
        for sign in ("max search depth too small", "Search not completed",
                     "out of memory", "reached -DMEMLIM"):
            if sign in said:
                cut = sign
    return int(float(states[1])), spent, wrong, cut


def what_is_wrong(message):
    for sign, name in PROMISES:
        if "assertion violated" in message and sign in message:
            return name
    return message[:60]


def run(name, settings, is_sound, limits):
    # Mistakes are found before an optimizer has earned its time.
    level = "-O2" if is_sound else "-O0"
    states, spent, wrong, cut = search(settings, level, *limits)
    if cut:
        good, verdict = False, f"CUT SHORT: {cut}"
    elif is_sound:
        good = not wrong
        verdict = "no error" if good else f"ERROR: {wrong}"
    else:
        # A dead end or a fault of the model itself is not what was to be shown.
        good = wrong in [promise for _, promise in PROMISES]
        verdict = f"found: {wrong}" if good else \
            f"NOT FOUND{': ' + wrong if wrong else ''}"
    print(f"{name:34} {states:>11,} {spent:7.1f} s  {verdict}", flush=True)
    return good


SETS = ("stored", "indexed", "registered", "pinned", "marks", "condemned",
        "doomed", "listed", "epochs", "told", "forgotten")
SLOTS = ("empty", "snapshot", "tombstone")


def in_words(name, value, ids):
    if name.startswith("slot"):
        return SLOTS[value]
    members = [i for i in range(16) if value >> i & 1]
    if name.startswith("rows"):     # id, and depth: B1 is a difference
        return "{%s}" % " ".join(f"{'ABC'[i % ids]}{i // ids}" for i in members)
    if name.startswith("want"):
        return "{%s}" % " ".join("ABC"[i] for i in members)
    if name in SETS:
        return "{%s}" % " ".join(map(str, members))
    return str(value)


def show_trail(name, settings):
    """Who changed what that all can see."""
    with tempfile.TemporaryDirectory(prefix="cairn-model.") as folder:
        defines = build(folder, settings, MEGABYTES, "-O1", "-DREACH")
        replay = ["spin", "-t", "-p", "-g", *defines, MODEL.name]
        said = ""
        # -i looks for shorter ways, and is stopped at some time, maybe while
        # it writes one down.
        for options in (["-m100000"], ["-m1000", "-i"]):
            subprocess.run(["timeout", "60", "./pan", "-w24", *options],
                           cwd=folder, stdout=subprocess.DEVNULL)
            if (pathlib.Path(folder) / (MODEL.name + ".trail")).exists():
                again = command(replay, folder)
                said = again if "failed assertion" in again else said
        if not said:
            raise Failed(f"no way into '{name}' was found within a minute")
    print(f"{name}: {settings}\n")
    ids = 3 if "IDS=3" in settings else 2
    known = {}
    who = where = ""
    for line in said.splitlines():
        step = re.search(r"proc +(\d+) \((\w*):\d+\) \S+:(\d+) ", line)
        value = re.match(r"\t\t(\w+(?:\[\d+\])?) = (\d+)$", line)
        if line.startswith("#processes"):
            break
        if step:
            who = f"{step[2] or 'at first'} {step[1] if step[2] else ''}"
            where = step[3]
        elif "failed assertion" in line:
            print(f"\n{what_is_wrong('assertion violated ' + line)}")
        elif value and known.get(value[1], 0) != int(value[2]):
            known[value[1]] = int(value[2])
            if value[1].split("[")[0] in (*SETS, "rows", "slot", "want", "pin",
                                          "newest"):
                print(f"{who:13} {where:>4}  {value[1]} = "
                      f"{in_words(value[1], int(value[2]), ids)}")


def chosen(runs, only):
    return [(name, settings) for name, settings in runs.items()
            if only is None or name == only]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--only", metavar="NAME")
    parser.add_argument("--trail", metavar="NAME")
    asked = parser.parse_args()
    for program in ("spin", "gcc"):
        if shutil.which(program) is None:
            sys.exit(f"check_model: {program} is not installed "
                     "(scripts/install-deps.sh --test)")
    if asked.trail:
        if asked.trail not in BROKEN:
            sys.exit(f"check_model: no broken variant '{asked.trail}'")
        show_trail(asked.trail, BROKEN[asked.trail])
        return

    limits = (SECONDS, MEGABYTES)
    results = []
    for name, settings in chosen(SOUND, asked.only):
        results.append(run(name, settings, True, limits))
    for name, settings in chosen(BROKEN, asked.only):
        results.append(run(name, settings, False, limits))
    if asked.thorough or asked.only in {**THOROUGH, **THOROUGH_BROKEN}:
        limits = (SECONDS_THOROUGH, MEGABYTES_THOROUGH)
        for name, settings in chosen(THOROUGH, asked.only):
            results.append(run(name, settings, True, limits))
        for name, settings in chosen(THOROUGH_BROKEN, asked.only):
            results.append(run(name, settings, False, limits))
    if not results:
        sys.exit(f"check_model: nothing is named '{asked.only}'")
    print(f"{results.count(True)} of {len(results)} as they should be")
    if not all(results):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"check_model: {failure}")
