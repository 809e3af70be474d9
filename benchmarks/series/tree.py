"""A tree of 100,000 small files in three states.

What a stack's folders look like: configuration, sources, notes, small
pictures; most of them below 4 KiB, a few up to 200. Between two states one
file in a hundred is edited, one in four hundred appears, goes, or moves to
another folder.

Times are set to whole seconds that follow from the state, so that a tool that
trusts size and time finds the same files changed in every run.
"""

import os
import random

STATES = 3
FILES = 100_000
_FILES_PER_FOLDER = 40
_FIRST_TIME = 1_760_000_000

_NAMES = ("config", "notes", "index", "report", "service", "readme", "values",
          "schema", "query", "style")
_ENDINGS = (".yaml", ".md", ".py", ".json", ".txt", ".ini", ".sql", ".png")
_VOCABULARY = 4000


class _Writer:
    def __init__(self, seed):
        spelling = random.Random(f"{seed} vocabulary")
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        self._words = ["".join(spelling.choices(letters, k=1 + length))
                       for length in (spelling.randrange(2, 11)
                                      for _ in range(_VOCABULARY))]
        # Words follow Zipf's law, as in texts and in sources.
        total = 0.0
        self._weights = []
        for rank in range(_VOCABULARY):
            total += 1.0 / (rank + 2)
            self._weights.append(total)

    def content(self, chance, ending):
        size = min(200_000, int(chance.lognormvariate(7.4, 1.3)))
        if ending == ".png":
            return chance.randbytes(size)
        words = chance.choices(self._words, cum_weights=self._weights,
                               k=size // 6 + 1)
        lines = (" ".join(words[at:at + 9]) for at in range(0, len(words), 9))
        return ("\n".join(lines) + "\n").encode()


def _path(root, number):
    folder = number // _FILES_PER_FOLDER
    ending = _ENDINGS[number * 7 % len(_ENDINGS)]
    name = _NAMES[number * 3 % len(_NAMES)]
    return (root / f"part-{folder % 20:02}" / f"project-{folder:05}"
            / f"{name}-{number:06}{ending}")


def _store(path, content, time):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # else the states that link to it change too
    path.write_bytes(content)
    os.utime(path, (time, time))


def _first_state(writer, root, seed, count):
    for number in range(count):
        path = _path(root, number)
        chance = random.Random(f"{seed} {number}")
        _store(path, writer.content(chance, path.suffix), _FIRST_TIME)


def _edited(content, chance, state):
    at = chance.randrange(len(content) + 1)
    return content[:at] + f" edited in state {state} ".encode() + content[at:]


def _next_state(writer, root, seed, count, state):
    """Turns `root` from state - 1 into state, touching only what changes."""
    chance = random.Random(f"{seed} state {state}")
    time = _FIRST_TIME + 3600 * state
    step = max(1, count // 400)
    # Files below `count` only, so that every state knows which ones are left.
    numbers = [n for n in range(count) if _path(root, n).exists()]
    touched = chance.sample(numbers, count // 100 + 2 * step)
    for number in touched[:step]:
        _path(root, number).unlink()
    for number in touched[step:2 * step]:
        path = _path(root, number)
        path.rename(path.parent.parent / f"moved-{state}-{path.name}")
    for number in touched[2 * step:]:
        path = _path(root, number)
        _store(path, _edited(path.read_bytes(), chance, state), time)
    for number in range(count + (state - 2) * step, count + (state - 1) * step):
        path = _path(root, number)
        _store(path, writer.content(chance, path.suffix), time)


def make(folder, seed, scale):
    """Fills `folder` with the folders 1 to 3; equal files are hard links."""
    count = max(1000, int(FILES * scale))
    writer = _Writer(seed)
    _first_state(writer, folder / "1", seed, count)
    for state in range(2, STATES + 1):
        _link_tree(folder / str(state - 1), folder / str(state))
        _next_state(writer, folder / str(state), seed, count, state)


def _link_tree(source, target):
    for here, _, files in os.walk(source):
        there = target / os.path.relpath(here, source)
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.link(os.path.join(here, name), there / name)
