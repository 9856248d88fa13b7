import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lightning.pytorch import Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from torch import Tensor, nn

from lightning_extract.attacks import DataFreeAttack, DisGUIDE, SurrogateDistillation
from lightning_extract.attacks.work import Work
from lightning_extract.callbacks import sample_sheet
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.callbacks.sample_sheet import GAP, LABEL, TITLE, SampleSheet, generated, sheet
from lightning_extract.extract_cli import ExtractCLI
from lightning_extract.oracle import VictimOracle, victim_queries
from lightning_extract.victims.loading import load_victim
from tests.attacks.test_contract import Kill
from tests.miniature import config_of, fit
from tests.stand_ins import noise_attack, small_disguide, stand_in_trainer
from tests.state import assert_same_state, final_state

CONFIG = config_of(DisGUIDE)
END = Path("run/samples/end.png")
TEST_IMAGES, SHOWN = 1000, 64
Picture = npt.NDArray[np.float32]


def read(path: Path) -> Picture:
    picture: Picture = imread(path)[..., :3]
    return picture


def written(images: Tensor, labels: list[str], title: str) -> Picture:
    figure = sheet(images, labels, title)
    FigureCanvasAgg(figure).print_png("sheet.png")  # type: ignore[no-untyped-call]
    return read(Path("sheet.png"))


def tile(picture: Picture, position: int, side: int) -> Picture:
    row, column = divmod(position, 8)
    top, left = TITLE + row * (side + LABEL + GAP), GAP + column * (side + GAP)
    return picture[top : top + side, left : left + side]


def caption(picture: Picture, position: int, side: int) -> Picture:
    row, column = divmod(position, 8)
    top, left = TITLE + row * (side + LABEL + GAP) + side, GAP + column * (side + GAP)
    return picture[top : top + LABEL, left : left + side]


def ready(**settings: Any) -> DisGUIDE:
    """A small attack with its oracle, after a batch that moved the generator's statistics."""
    torch.manual_seed(0)
    attack = small_disguide(**settings)
    network, card = load_victim("lenet5_mnist5k")
    attack.victim_card, queries = card, victim_queries("lenet5_mnist5k", card)
    attack.oracle = VictimOracle(network, 10, queries, "soft", attack.ledger)
    attack.generator(torch.randn(16, attack.latent_dim))
    return attack


def queries_of(run: str) -> dict[str, Any]:
    queries: dict[str, Any] = json.loads(Path(run, "summary.json").read_text())["queries"]
    return queries


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits one run whose generator is not drawn, in the folder ``off``."""
    with monkeypatch.context() as patch:
        patch.setattr(SampleSheet, "on_train_end", lambda *_: None)
        patch.setattr(SampleSheet, "on_train_batch_end", lambda *_: None)
        fit(CONFIG, "off")


def end_stages(monkeypatch: pytest.MonkeyPatch, ends: dict[int, str]) -> None:
    """Lets DisGUIDE's iterations end stages, as an attack with stages does."""
    step = DisGUIDE.training_step

    def training_step(self: DisGUIDE, iteration: Any, batch_idx: int) -> None:
        step(self, iteration, batch_idx)
        self.stage_ended = ends.get(self.iterations_done, "")

    monkeypatch.setattr(DisGUIDE, "training_step", training_step)
    work = property(lambda attack: Work("a stage", attack.ledger.spent, attack.ledger.budget, " queries"))
    monkeypatch.setattr(DisGUIDE, "work", work)


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("stages", [False, True])
def test_a_run_that_is_drawn_is_the_same_run(stages: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = {"end"}
    if stages:
        end_stages(monkeypatch, {1: "gan", 6: "clone_init", 15: "alternating"})
        sheets = {"gan", "clone_init", "alternating"}
    fit(CONFIG, "on")
    assert_same_state(final_state(Path("on")), final_state(Path("off")))
    assert Path("on/metrics.csv").read_text() == Path("off/metrics.csv").read_text()
    assert {path.name for path in Path("on/samples").iterdir()} == {f"{name}.png" for name in sheets}
    assert not Path("off/samples").exists()

    drawn, plain = queries_of("on"), queries_of("off")
    assert drawn["answered"] == drawn["spent"] == 960
    assert (plain.pop("reference"), drawn.pop("reference")) == (TEST_IMAGES, TEST_IMAGES + SHOWN * len(sheets))
    assert drawn == plain


def labels_drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """Keeps the labels and the title of every sheet that is drawn from now on."""
    seen: list[tuple[list[str], str]] = []
    original = sample_sheet.sheet

    def kept(images: Tensor, labels: list[str], title: str) -> Any:
        seen.append((labels, title))
        return original(images, labels, title)

    monkeypatch.setattr(sample_sheet, "sheet", kept)
    return seen


def test_the_end_shows_the_generators_images_and_the_victims_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = labels_drawn(monkeypatch)
    attack = fit(CONFIG, "run", "--experiment", "toy").model
    latents = torch.randn(SHOWN, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = attack.generator.eval()(latents)
    picture = read(END)
    for position in range(SHOWN):
        shown = tile(picture, position, 96)[1::3, 1::3]
        expected = (images[position].permute(1, 2, 0).numpy() + 1) / 2
        assert shown == pytest.approx(np.broadcast_to(expected, shown.shape), abs=1.01 / 510)
        assert caption(picture, position, 96).min() < 0.4, "a label in dark letters"
    assert END.stat().st_size < 300_000

    network, card = load_victim("lenet5_mnist5k")
    found = network(((images + 1) / 2 - card.mean[0]) / card.std[0]).argmax(dim=1)
    ((labels, title),) = seen
    classes = attack.trainer.datamodule.test_set.classes
    assert labels == [classes[label] for label in found.tolist()]
    most = found.mode().values.item()
    spread = f"{len(found.unique())} of 10 classes  ·  most often {classes[most]} ({(found == most).sum()} of 64)"
    assert title == f"toy  ·  960 queries  ·  {spread}"


def test_a_stage_is_named_in_its_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = labels_drawn(monkeypatch)
    attack, trainer = ready(), stand_in_trainer(default_root_dir="run")
    callback = SampleSheet("x" * 60)
    callback.on_train_batch_end(trainer, attack, None, None, 0)
    assert not seen
    assert not Path("run").exists()
    attack.stage_ended = "clone_init"
    callback.on_train_batch_end(trainer, attack, None, None, 0)
    assert [path.name for path in Path("run/samples").iterdir()] == ["clone_init.png"]
    assert seen[0][1].startswith(f"{'x' * 47}…  ·  clone_init  ·  0 queries  ·  ")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (tuple(f"the victim's class {i}" for i in range(10)), "the victim's c…"),
        (("too", "few"), None),
        (None, None),
    ],
)
def test_labels_are_names_where_there_are_any(
    classes: tuple[str, ...] | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = labels_drawn(monkeypatch)
    data = {} if classes is None else {"datamodule": SimpleNamespace(test_set=SimpleNamespace(classes=classes))}
    SampleSheet("toy").on_train_end(stand_in_trainer(**data), ready())
    assert all(label == expected if expected else label.isdigit() for label in seen[0][0])


def test_only_the_first_process_draws() -> None:
    attack = ready()
    attack.stage_ended = "gan"
    trainer = stand_in_trainer(is_global_zero=False, default_root_dir="run")
    SampleSheet("toy").on_train_batch_end(trainer, attack, None, None, 0)
    SampleSheet("toy").on_train_end(trainer, attack)
    assert attack.oracle.referenced == 0
    assert not Path("run").exists()


def test_nothing_of_the_attack_moves() -> None:
    attack = ready()
    attack.generator.train()
    attack.generator.conv_blocks1.eval()  # a mode of its own
    modes = [module.training for module in attack.modules()]
    before, random = {name: value.clone() for name, value in attack.state_dict().items()}, torch.get_rng_state()
    once, again = generated(attack, 8), generated(attack, 8)
    SampleSheet("toy").on_train_end(stand_in_trainer(), attack)
    assert torch.equal(once, again)
    assert not once.requires_grad
    assert [module.training for module in attack.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in attack.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert (attack.ledger.spent, attack.oracle.answered, attack.oracle.referenced) == (0, 0, SHOWN)


def test_a_failing_generator_gets_its_modes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = ready()
    attack.generator.train()
    monkeypatch.setattr(type(attack.generator), "forward", lambda *_: pytest.fail("inside"))
    with pytest.raises(pytest.fail.Exception, match="inside"):
        generated(attack, 8)
    assert all(module.training for module in attack.generator.modules())


def test_a_generator_of_another_kind_and_precision() -> None:
    attack = ready()
    attack.latent_dim = 3
    attack.generator = nn.Sequential(nn.Linear(3, 1024), nn.Unflatten(1, (1, 32, 32)), nn.Tanh())  # type: ignore[assignment]
    attack.to(torch.bfloat16)
    SampleSheet("toy").on_train_end(stand_in_trainer(), attack)
    assert read(Path("samples/end.png")).shape[2] == 3


@pytest.mark.parametrize(
    ("size", "channels", "side"), [(32, 1, 96), (32, 3, 96), (28, 3, 112), (64, 3, 128), (96, 1, 96), (192, 3, 96)]
)
def test_images_of_every_size_are_shown_in_their_place(size: int, channels: int, side: int) -> None:
    images = torch.empty(10, channels, size, size)
    images[:] = torch.linspace(-1, 1, 10 * channels).view(10, channels, 1, 1)
    picture = written(images, [str(number) for number in range(10)], "title")
    assert picture.shape[:2] == (TITLE + 2 * (side + LABEL + GAP), GAP + 8 * (side + GAP))
    for position, image in enumerate(images):
        expected = np.broadcast_to((image[:, 0, 0].numpy() + 1) / 2, (side, side, 3))
        assert tile(picture, position, side) == pytest.approx(expected, abs=1.01 / 510)
    assert (picture[TITLE:, :GAP] == 1).all(), "white between images"
    assert (tile(picture, 10, side) == 1).all()


def test_names_are_no_formulas() -> None:
    written(torch.zeros(1, 1, 32, 32), ["$\\broken{"], "$\\broken{")


def test_kill_and_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {2: "gan", 6: "clone_init", 15: "alternating"}
    end_stages(monkeypatch, ends)
    fit(CONFIG, "whole")
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(7).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(CONFIG, "killed")
    assert {path.stem for path in Path("killed/samples").iterdir()} == {"gan", "clone_init"}
    fit(CONFIG, "killed")  # from iteration 4, over the end of clone_init again
    assert_same_state(final_state(Path("killed")), final_state(Path("whole")))
    for name in ends.values():
        path = Path("samples", f"{name}.png")
        assert (Path("killed") / path).read_bytes() == (Path("whole") / path).read_bytes()


def test_a_finished_run_draws_the_same_again() -> None:
    fit(CONFIG)
    before, account = END.read_bytes(), queries_of("run")
    END.unlink()
    fit(CONFIG)
    assert END.read_bytes() == before
    assert queries_of("run") == account


def test_a_disk_that_refuses_the_sheet_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def print_png(self: FigureCanvasAgg, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "print_png", print_png)
        with pytest.warns(UserWarning, match=r"end\.png was not written \(.*No space left.*\); the run goes on"):
            SampleSheet("toy").on_train_end(stand_in_trainer(), ready())
    assert list(Path("samples").iterdir()) == []
    Path("samples").rmdir()
    Path("samples").touch()  # a file in the folder's place
    with pytest.warns(UserWarning, match=r"was not written"):
        SampleSheet("toy").on_train_end(stand_in_trainer(), ready())


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda *_, **__: [][0])
    with pytest.raises(IndexError):
        SampleSheet("toy").on_train_end(stand_in_trainer(), ready())


@pytest.mark.parametrize(("attack", "draws"), [(DisGUIDE, True), (SurrogateDistillation, False)])
def test_the_command_line_adds_it_for_generators(attack: type[DataFreeAttack], draws: bool) -> None:
    cli: ExtractCLI = fit(config_of(attack))
    trainer: Trainer = cli.trainer
    assert any(isinstance(callback, SampleSheet) for callback in trainer.callbacks) == draws  # type: ignore[attr-defined]
    assert Path("run/samples").exists() == draws
    assert not hasattr(noise_attack(), "generator")
