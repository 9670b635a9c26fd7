"""What a training leaves behind: pictures of its course and its answers, numbers, the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

import nbgrad
from finetuning.datasets import Splits, visible
from finetuning.features import Task
from finetuning.networks import Network
from finetuning.options import Options
from finetuning.training import score

TRAIN, VALIDATION = "#8aa0b8", "#14477e"
RIGHT, WRONG = "#1b7f4d", "#c0392b"
PALE, LINE = "#5f6770", "#c5cad0"

#: From so many classes on, a confusion matrix has no numbers and names only some classes.
CROWDED = 25


def write(network: Network, splits: Splits, options: Options,
          history: list[dict[str, Any]]) -> None:
    """Write all results into the folder `options.out`."""
    folder = Path(options.out)
    task = Task(splits.validation, network.model, options.threads)
    logits, labels = task.outputs(options.batch_size)
    confusion = np.zeros((len(splits.classes),) * 2, int)
    np.add.at(confusion, (labels, logits.argmax(1)), 1)
    loss, accuracy = score(logits, labels)
    nbgrad.save(network.model.state_dict(), folder / "model.safetensors")
    (folder / "metrics.json").write_text(json.dumps({
        "validation_accuracy": accuracy,
        "validation_loss": loss,
        "seconds_of_training": sum(entry["seconds"] for entry in history),
        "images": {"train": len(splits.train), "validation": len(splits.validation)},
        "parameters": network.size(),
        "classes": list(splits.classes),
        "accuracy_of_classes": [float(row[k] / max(1, row.sum()))
                                for k, row in enumerate(confusion)],
        "confusion": confusion.tolist(),
        "history": history,
        "options": asdict(options),
        "nbgrad": nbgrad.__version__,
    }, indent=2) + "\n")
    _save(_curves(history), folder / "curves.png")
    _save(_confusion(confusion, splits.classes), folder / "confusion.png")
    _save(_predictions(splits, logits, labels), folder / "predictions.png")
    print(f"\nvalidation accuracy {accuracy:.2%} ({(logits.argmax(1) == labels).sum():,} of "
          f"{len(labels):,} images)\n{folder}/  model.safetensors  metrics.json  curves.png  "
          "confusion.png  predictions.png")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130, facecolor="white", bbox_inches="tight", pad_inches=0.15)


def _curves(history: list[dict[str, Any]]) -> Figure:
    """Loss and accuracy after every epoch, with lines between the stages."""
    figure = Figure((10, 4), layout="constrained")
    epochs = np.arange(1, len(history) + 1)
    last = history[-1]["validation_accuracy"]
    panels = (("loss", "loss", "upper right"),
              ("accuracy", f"accuracy: {last:.1%} in the end", "lower right"))
    for axes, (name, title, place) in zip(figure.subplots(1, 2), panels):
        for key, colour, label in ((name, TRAIN, "training"),
                                   (f"validation_{name}", VALIDATION, "validation")):
            axes.plot(epochs, [entry[key] for entry in history], color=colour, label=label,
                      marker="o", markersize=3.5, linewidth=1.8)
        _mark_stages(axes, [entry["stage"] for entry in history])
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("epoch", color=PALE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(axis="y", color="#e6e9ec")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(LINE)
        axes.tick_params(which="both", color=LINE, labelcolor=PALE)
        axes.legend(frameon=False, loc=place)
        if name == "loss" and any(e["loss"] or e["validation_loss"] for e in history):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _mark_stages(axes: Axes, stages: list[int]) -> None:
    """Dashed lines where a stage ends, if there are several."""
    for k in np.flatnonzero(np.diff(stages)):
        axes.axvline(k + 1.5, color="#a9b0b8", linestyle="--", linewidth=1)
        axes.text(k + 1.5, 1.0, f" stage {stages[k + 1] + 1}", color=PALE, fontsize=8.5,
                  va="top", transform=axes.get_xaxis_transform())


def _confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """True classes down, predicted ones across, coloured by the share of the true class."""
    n = len(classes)
    side = float(np.clip(0.5 * n + 2.2, 4.5, 14))
    figure = Figure((side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # rare ones show, too
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03,
                          format=PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    bar.ax.tick_params(color=LINE, labelcolor=PALE, labelsize=8.5)
    every = 1 + n // CROWDED
    ticks = range(0, n, every)
    names = [_short(classes[k]) for k in ticks]
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, names, **(slanted if max(map(len, names)) > 2 else {}))
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"confusion: {np.trace(counts):,} of {counts.sum():,} right", loc="left",
                   fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_color(LINE)
    if n < CROWDED:
        for i, j in np.argwhere(counts):
            axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=9,
                      color="white" if shares[i, j] > 0.35 else "#222222")
    return figure


def _predictions(splits: Splits, logits: np.ndarray, labels: np.ndarray) -> Figure:
    """Some images drawn at random, and the mistakes that the model was surest of."""
    columns = 8
    answers = logits.argmax(1)
    sure = np.exp(logits.max(1) - np.logaddexp.reduce(logits, axis=1))
    wrong = np.flatnonzero(answers != labels)
    mistakes = wrong[np.argsort(-sure[wrong], kind="stable")][:2 * columns]
    others = np.random.default_rng(0).permutation(len(labels))[:2 * columns]
    groups = [("drawn at random: predicted class and its probability, true class", others),
              ("the surest mistakes", mistakes)]
    groups = [(title, chosen) for title, chosen in groups if len(chosen)]
    rows = [-(-len(chosen) // columns) for _, chosen in groups]
    figure = Figure((1.45 * columns, 1.85 * sum(rows) + 0.35 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.02, hspace=0, wspace=0)
    parts = figure.subfigures(len(groups), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, count, (title, chosen) in zip(parts, rows, groups):
        part.suptitle(title, x=0.01, ha="left", fontsize=11)
        grid = part.subplots(count, columns, squeeze=False).ravel()
        for axes in grid:
            axes.axis("off")
        for axes, k in zip(grid, chosen):
            axes.imshow(visible(splits.validation[int(k)][0]))
            answer, truth = (_short(splits.classes[c]) for c in (answers[k], labels[k]))
            axes.set_title(f"{answer} · {sure[k]:.0%}", fontsize=9, pad=14,
                           color=RIGHT if answers[k] == labels[k] else WRONG)
            axes.text(0.5, 1.03, f"true: {truth}", fontsize=7.5, color=PALE, ha="center",
                      va="bottom", transform=axes.transAxes)
    return figure


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
