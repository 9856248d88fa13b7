from collections.abc import Iterator
from typing import Any

import pytest

from lightning_extract.dashboards.workspace import LAYOUT, MEDIA, build_workspace
from tests.command_line import complaint


def panels(specification: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for section in specification["section"]["panelBankConfig"]["sections"]:
        yield from ((panel["viewType"], panel["config"]) for panel in section["panels"])


@pytest.fixture(scope="module")
def specification() -> Any:
    """What would be sent to W&B."""
    return build_workspace("team", "project")._to_model().spec.model_dump(by_alias=True, exclude_none=True)


def test_curves_are_means_over_the_seeds_of_an_experiment_with_a_band(specification: Any) -> None:
    curves = [config for kind, config in panels(specification) if kind == "Run History Line Plot"]
    assert [config["chartTitle"] for config in curves] == [each.title for lines in LAYOUT.values() for each in lines]
    assert [tuple(config["metrics"]) for config in curves] == [e.metrics for lines in LAYOUT.values() for e in lines]
    assert {config["xAxis"] for config in curves} == {"queries"}
    assert {config["groupBy"] for config in curves} == {"experiment.value"}  # as W&B writes a key of the config
    assert {(config["groupAgg"], config["groupArea"]) for config in curves} == {("mean", "stddev")}


def test_pictures_are_shown(specification: Any) -> None:
    pictures = [config for kind, config in panels(specification) if kind == "Media Browser"]
    assert {key for config in pictures for key in config["mediaKeys"]} == set(MEDIA.values())


def test_without_a_login_there_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(workspace: Any) -> None:
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    from wandb_workspaces.workspaces import Workspace

    monkeypatch.setattr(Workspace, "save", refuse)
    message = complaint(capsys, "dashboard", "--entity", "team")
    assert message.startswith("the workspace team/lightning_extract was not saved (No API key configured.")
    assert "wandb login or WANDB_API_KEY" in message


def test_the_address_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from wandb_workspaces.workspaces import Workspace

    from lightning_extract.cli import main

    monkeypatch.setattr(Workspace, "save", lambda workspace: None)
    monkeypatch.setattr(Workspace, "url", "https://wandb.ai/team/p?nw=1")
    main(["dashboard", "--entity", "team", "--project", "p"])
    assert capsys.readouterr().out == "https://wandb.ai/team/p?nw=1\n"


def test_the_entity_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "entity" in complaint(capsys, "dashboard")
