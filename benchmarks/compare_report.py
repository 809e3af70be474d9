"""Tables of the comparison, and what cairn must reach.

A rule compares one figure of cairn with the better of its peers, with one of
them, or with a number.
"""

MIB = 1 << 20

# figure, how it reads, which way is better
FIGURES = {
    "first_mb_s": ("first backup, MB/s", max),
    "first_cpu_s_gb": ("first backup, cpu s/GB", min),
    "changed_mb_s": ("changed backup, MB/s", max),
    "changed_cpu_s_gb": ("changed backup, cpu s/GB", min),
    "unchanged_mb_s": ("unchanged backup, MB/s", max),
    "unchanged_cpu_s_gb": ("unchanged backup, cpu s/GB", min),
    "restore_newest_mb_s": ("restore of the newest, MB/s", max),
    "restore_oldest_mb_s": ("restore of the oldest, MB/s", max),
    "check_s": ("check of all data, s", min),
    "stored_mib": ("stored after all states, MiB", min),
    "peak_mib": ("peak memory, MiB", min),
    # Of the sixty nights only.
    "late_growth": ("growth of states 9 to 60 against 2 to 8", min),
    "newest_against_alone": ("restore of the newest against it alone", min),
}

# series (None: every other one), figure, compared with, factor
MUST = [
    ("dumps", "first_mb_s", "better", 2.5),
    ("dumps", "first_cpu_s_gb", "borg", 0.75),
    ("dumps", "changed_mb_s", "better", 3.0),
    ("dumps", "changed_cpu_s_gb", "borg", 0.6),
    ("dumps", "unchanged_mb_s", "better", 5.0),
    ("dumps", "unchanged_cpu_s_gb", "borg", 0.75),
    ("dumps", "restore_newest_mb_s", "better", 2.0),
    ("dumps", "restore_oldest_mb_s", "better", 2.0),
    ("tree", "unchanged_mb_s", "better", 3.0),
    ("dumps", "stored_mib", "better", 0.23),
    ("base", "stored_mib", "better", 0.40),
    ("rdb", "stored_mib", "better", 0.24),
    ("tarballs", "stored_mib", "better", 0.23),
    ("nights", "late_growth", "number", 1.3),
    ("nights", "newest_against_alone", "number", 1.5),
    (None, "stored_mib", "better", 1.1),
    (None, "peak_mib", "number", 256),
    (None, "check_s", "restic", 1.0),
]


def _limit(values, figure, against, factor):
    """What cairn must reach; None when the peer was not measured."""
    if against == "number":
        return factor
    peers = {tool: value for tool, value in values.items() if tool != "cairn"}
    if against == "better":
        return FIGURES[figure][1](peers.values()) * factor if peers else None
    return peers[against] * factor if against in peers else None


def _verdict(series, figure, values):
    for of, ruled, against, factor in MUST:
        if of not in (None, series) or ruled != figure:
            continue
        limit = _limit(values, figure, against, factor)
        if limit is None or "cairn" not in values:
            return None
        better = FIGURES[figure][1]
        return {"limit": limit, "against": against, "factor": factor,
                "reached": better(values["cairn"], limit) == values["cairn"]}
    return None


def rows(series, results):
    """One row per figure: values by tool, ratio to the better peer, verdict."""
    made = []
    for figure, (title, better) in FIGURES.items():
        values = {tool: result[figure] for tool, result in results.items()
                  if figure in result}
        if not values:
            continue
        peers = [v for tool, v in values.items() if tool != "cairn"]
        ratio = None
        if "cairn" in values and peers and better(peers):
            ratio = values["cairn"] / better(peers)
        made.append({"series": series, "figure": figure, "title": title,
                     "values": values, "ratio": ratio,
                     "verdict": _verdict(series, figure, values)})
    return made


def upheaval_rows(series, names, growth):
    """One row per upheaval: MiB that it made every tool store; by none of them
    may cairn become larger than restic."""
    made = []
    for number, name in enumerate(names):
        values = {tool: grown[number] / MIB for tool, grown in growth.items()}
        peers = [v for tool, v in values.items() if tool != "cairn"]
        verdict = None
        if "restic" in values and "cairn" in values:
            verdict = {"limit": values["restic"], "against": "restic",
                       "factor": 1.0,
                       "reached": values["cairn"] <= values["restic"]}
        made.append({"series": series, "figure": f"growth_{name}",
                     "title": f"{name}: grew by, MiB", "values": values,
                     "ratio": values["cairn"] / min(peers)
                              if "cairn" in values and peers else None,
                     "verdict": verdict})
    return made


def _number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _words(verdict):
    if verdict is None:
        return ""
    bound = {"number": f"limit {verdict['limit']}",
             "better": f"{verdict['factor']} x the better",
             }.get(verdict["against"],
                   f"{verdict['factor']} x {verdict['against']}")
    return f"{'reached' if verdict['reached'] else 'MISSED'} ({bound})"


def table(made, tools):
    series = made[0]["series"]
    lines = ["| " + " | ".join([series, *tools, "ratio", "verdict"]) + " |",
             "|" + "---|" * (len(tools) + 3)]
    for row in made:
        cells = [_number(row["values"][tool]) for tool in tools]
        ratio = "" if row["ratio"] is None else _number(row["ratio"])
        lines.append("| " + " | ".join([row["title"], *cells, ratio,
                                        _words(row["verdict"])]) + " |")
    return "\n".join(lines)


def missed(made):
    return [row for row in made
            if row["verdict"] and not row["verdict"]["reached"]]
