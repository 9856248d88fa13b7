"""How often the victim gave each label in the answers that were bought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_extract.reports.collect import Run
from lightning_extract.reports.statistics import Estimate, estimate
from lightning_extract.reports.tables import write_csv


@dataclass(frozen=True)
class LabelShares:
    """The labels of one experiment.

    Args:
        experiment: The experiment.
        victim: The hash of the victim's weights: labels of other victims are not comparable.
        dataset: The victim's data set.
        classes: Its classes by name, or else by number.
        shares: The share of each label, over seeds, as fractions.
    """

    experiment: str
    victim: str
    dataset: str
    classes: tuple[str, ...]
    shares: Sequence[Estimate]


def label_shares(experiment: str, summaries: Sequence[dict[str, Any]]) -> LabelShares | None:
    """The mean over the summaries of an experiment's runs; None where none tells labels, as old ones, or has bought."""
    told = [summary for summary in summaries if sum(summary.get("label_counts") or [])]
    if not told:
        return None
    counts = [summary["label_counts"] for summary in told]
    names, victim = told[0].get("classes") or (), told[0]["victim"]
    classes = tuple(names) if len(names) == len(counts[0]) else tuple(map(str, range(len(counts[0]))))
    of_seeds = zip(*([count / sum(seed) for count in seed] for seed in counts), strict=True)
    shares = [share for share in map(estimate, of_seeds) if share is not None]
    return LabelShares(experiment, victim["weights_sha256"], victim["dataset"], classes, shares)


def labels_of_groups(groups: Mapping[str, Sequence[Run]]) -> list[LabelShares]:
    """Those of all experiments that tell them."""
    found = (label_shares(name, [run.summary for run in group]) for name, group in groups.items())
    return [labels for labels in found if labels is not None]


def write_labels(experiments: Sequence[LabelShares], path: Path) -> None:
    """Writes one row per experiment and label; shares are fractions."""
    records = [
        {
            "experiment": labels.experiment,
            "dataset": labels.dataset,
            "label": number,
            "class": name,
            "share_mean": share.mean,
            "share_ci95": share.half_width,
            "share_n": share.count,
        }
        for labels in experiments
        for number, (name, share) in enumerate(zip(labels.classes, labels.shares, strict=True))
    ]
    write_csv(records, path)
