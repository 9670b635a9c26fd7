"""A bar chart of a comparison: how many times nbgrad's time each peer takes, by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = ("#d95f30", "#4477aa", "#66a182", "#8a6fb0")


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the groups of a document: bars from one to the mean, whiskers over all workloads.

    To the right nbgrad is faster. One panel for each number of threads, one colour for each peer.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    groups = [g for g in found["groups"] if g["group"] != "startup"]
    names = list(dict.fromkeys(g["group"] for g in groups))
    peers = list(dict.fromkeys(g["peer"] for g in groups))
    threads = sorted({g["threads"] for g in groups})
    if not groups:
        return
    figure, panels = pyplot.subplots(
        1, len(threads), figsize=(1 + 6 * len(threads), 1.4 + 0.42 * len(names) * len(peers) ** 0.5),
        sharex=True, sharey=True, squeeze=False, layout="constrained")
    height = 0.8 / len(peers)
    for panel, count in zip(panels[0], threads):
        for k, peer in enumerate(peers):
            mine = [g for g in groups if g["peer"] == peer and g["threads"] == count]
            places = [names.index(g["group"]) + (k - (len(peers) - 1) / 2) * height for g in mine]
            panel.barh(places, [g["mean"] - 1 for g in mine], height * 0.9, left=1, label=peer,
                       color=COLOURS[k % len(COLOURS)])
            for place, g in zip(places, mine):
                ratios = [row["ratios"][peer]["median"] for row in found["rows"]
                          if row["group"] == g["group"] and row["threads"] == count
                          and peer in row["ratios"]]
                panel.plot([min(ratios), max(ratios)], [place, place], color="#333333", lw=1)
                ahead = g["mean"] >= 1
                panel.annotate(f"{g['mean']:.2f}", (g["mean"], place), (3 if ahead else -3, 2),
                               textcoords="offset points", va="bottom", fontsize=7,
                               ha="left" if ahead else "right")
        panel.axvline(1, color="#333333", lw=1)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        panel.set_xlabel(f"time of the peer / time of nbgrad, {count} thread{'s' * (count > 1)}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    panels[0][0].legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
