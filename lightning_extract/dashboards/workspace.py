"""The ``dashboard`` command: a workspace on Weights & Biases that compares experiments over their seeds."""

from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser

from lightning_extract.dashboards.wandb_run import load_wandb, no_questions
from lightning_extract.errors import InputError

COLUMNS = 2


@dataclass(frozen=True)
class Lines:
    """A panel of curves against queries.

    Args:
        title: Above it.
        metrics: What is drawn; a panel stays empty where an attack does not log them.
        share: Draw from 0 to 1.
    """

    title: str
    metrics: tuple[str, ...]
    share: bool = False


# What a researcher looks at, in this order.
LAYOUT: dict[str, tuple[Lines, ...]] = {
    "Extraction": (
        Lines("Agreement with the victim", ("agreement",), share=True),
        Lines("Accuracy", ("accuracy",), share=True),
        Lines("Agreement of the best on held-out answers", ("agreement_best_heldout",), share=True),
        Lines("Classes found", ("classes_found",)),
    ),
    "Training": (
        Lines("Clone loss", ("clone_loss",)),
        Lines("Generator loss", ("generator_loss",)),
        Lines("Discriminator loss", ("discriminator_loss",)),
        Lines("Learning rates", ("learning_rate_clones", "learning_rate_generator")),
        Lines("Cosine with the true gradient", ("gradient_cosine", "gradient_cosine_weights")),
        Lines("Queries per second", ("queries_per_second",)),
    ),
    "Queries": (
        Lines("Entropy of the victim's labels (nats)", ("label_entropy",)),
        Lines("Share of the most frequent label", ("label_top_share",), share=True),
    ),
}
# Pictures and histograms of single runs.
MEDIA = {
    "The victim's labels": "victim_labels",
    "The victim's labels at the end": "labels",
    "Generated images": "samples",
    "Curves of the run": "curves",
}
PINNED = ("final.agreement", "best_heldout.agreement", "final.accuracy", "queries.spent", "status")


def build_workspace(entity: str, project: str, name: str = "Model extraction") -> Any:
    """The workspace, not yet saved; needs no network.

    Curves are means over an experiment's seeds with a band of one standard deviation.

    Raises:
        InputError: The library is not installed.
    """
    load_wandb()
    try:
        from wandb_workspaces import expr, workspaces
        from wandb_workspaces.reports.v2.interface import Config, LinePlot, MediaBrowser
    except ImportError as error:
        raise InputError(f"dashboards cannot be laid out ({error}); pip install -e '.[dashboards]'") from error

    def draw(lines: Lines) -> Any:
        return LinePlot(
            title=lines.title,
            x="queries",
            y=list(lines.metrics),
            range_y=(0, 1) if lines.share else (None, None),
            groupby=Config("experiment"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )

    def section(title: str, content: list[Any]) -> Any:
        rows = -(-len(content) // COLUMNS)
        layout = workspaces.SectionLayoutSettings(columns=COLUMNS, rows=rows)
        return workspaces.Section(name=title, panels=content, is_open=True, layout_settings=layout)

    media = [MediaBrowser(title=title, media_keys=[key]) for title, key in MEDIA.items()]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[*(section(title, list(map(draw, lines))) for title, lines in LAYOUT.items()), section("Runs", media)],
        settings=workspaces.WorkspaceSettings(x_axis="queries", max_runs=100),
        runset_settings=workspaces.RunsetSettings(
            groupby=[expr.Config("experiment")], pinned_columns=[f"summary:{column}" for column in PINNED]
        ),
    )


def dashboard(entity: str, project: str = "lightning_extract", name: str = "Model extraction") -> None:
    """Makes a workspace that compares the experiments of a project, and prints its address.

    Args:
        entity: The user or team on Weights & Biases.
        project: The project to which the runs went.
        name: The workspace's name.

    Raises:
        InputError: The workspace cannot be saved: no login, no network, or no such entity or project.
    """
    workspace = build_workspace(entity, project, name)
    try:
        with no_questions():
            workspace.save()
        address = workspace.url
    except Exception as error:  # whatever login, network and server make the library raise
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(
            f"the workspace {entity}/{project} was not saved ({reason}); needed are a network, wandb login or "
            "WANDB_API_KEY, and an entity and a project that exist"
        ) from error
    print(address)


def main(argv: list[str], parser_class: type[ArgumentParser] = ArgumentParser) -> None:
    """Reads the command line of ``dashboard`` and runs it.

    Args:
        argv: What stands behind ``dashboard``.
        parser_class: How errors of the command line are shown.

    Raises:
        InputError: As ``dashboard``.
    """
    parser = parser_class(
        prog="lightning-extract dashboard",
        usage="lightning-extract dashboard --entity ENTITY [--project PROJECT] [--name NAME]",
        description="A workspace on Weights & Biases that compares experiments over their seeds.",
    )
    parser.add_function_arguments(dashboard)
    arguments = parser.parse_args(argv)
    dashboard(arguments.entity, arguments.project, arguments.name)
