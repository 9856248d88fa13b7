"""DFMS's stages: what each buys, survives a kill, can be left out, and hands on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors import safe_open

from lightning_extract.attacks import DFMS
from lightning_extract.attacks.averaged_clones import AveragedClones
from lightning_extract.attacks.stage_run import StageRun
from lightning_extract.attacks.stages import STAGES
from lightning_extract.callbacks.query_axis import QueryAxis
from lightning_extract.oracle import VictimOracle
from tests.attacks.test_contract import Kill
from tests.command_line import complaint
from tests.miniature import CONF, config_of, fit
from tests.state import assert_same_state, final_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

CONFIG = config_of(DFMS)
STAGE = "--model.stages."
ONE_EVALUATION = ["--data.iterations_per_epoch", "100"]
BOUGHT = {"clone_init_validation": 40, "clone_init": 72, "clone_reinit_validation": 40, "clone_reinit": 72}
WHOLE = {**BOUGHT, "alternating": 768}
SKIP = {
    "gan": [STAGE + "gan.iterations", "0"],
    "clone_init": [STAGE + "clone_init.epochs", "0"],
    "diversity": [STAGE + "diversity.iterations", "0"],
    "clone_reinit": [STAGE + "clone_reinit.epochs", "0"],
    "alternating": [STAGE + "alternating.iterations", "0"],
}


def summary(run: str) -> Any:
    return json.loads(Path(run, "summary.json").read_text())


def test_each_stage_buys_what_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[tuple[str, int]]] = {stage: [] for stage in STAGES}
    query = VictimOracle.query
    models: list[DFMS] = []
    step = DFMS.training_step

    def remember(self: DFMS, *inputs: Any) -> None:
        models.append(self)
        step(self, *inputs)

    def count(self: VictimOracle, samples: torch.Tensor, phase: str) -> torch.Tensor:
        asked[models[-1].stage].append((phase, len(samples)))
        return query(self, samples, phase)

    monkeypatch.setattr(DFMS, "training_step", remember)
    monkeypatch.setattr(VictimOracle, "query", count)
    model = fit(CONFIG).model
    assert asked["gan"] == asked["diversity"] == []
    for stage in ("clone_init", "clone_reinit"):
        assert asked[stage] == [(f"{stage}_validation", 40), (stage, 18), (stage, 54)]
    assert asked["alternating"] == [("alternating", 64)] * 12
    assert model.ledger.by_phase == WHOLE
    assert model.initial_queries == sum(BOUGHT.values())
    assert summary("run")["queries"]["by_phase"] == WHOLE


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(CONFIG, str(folder))
    return folder


@pytest.mark.parametrize("after", [2, 3, 5, 9, 13, 14, 16, 17, 19, 24, 28, 33], ids=lambda n: f"iteration_{n}")
def test_a_kill_in_any_stage_changes_nothing(after: int, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(QueryAxis, "on_train_batch_start", Kill(after).on_train_batch_start)
        with pytest.raises(InterruptedError):
            fit(CONFIG, "killed")
    torch.manual_seed(12345)
    model = fit(CONFIG, "killed").model
    assert_same_state(final_state(Path("killed")), final_state(whole))
    assert Path("killed/metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert {path.name for path in Path("killed/stages").iterdir()} == {f"{stage}.safetensors" for stage in STAGES}
    assert {path.name for path in Path("killed/samples").iterdir()} == {f"{stage}.png" for stage in STAGES}
    assert model.oracle.answered == model.ledger.spent


def test_images_of_a_clone_stage_are_written_once(whole: Path) -> None:
    # Eleven iterations of the stage lie in several epochs, each with a checkpoint.
    for stage in ("clone_init", "clone_reinit"):
        files = {path.name for path in (whole / "replay" / stage / "training").iterdir()}
        assert sum(int(name[13:25]) - int(name[:12]) for name in files) == 72


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_can_be_skipped(stage: str) -> None:
    model = fit(CONFIG, "run", *ONE_EVALUATION, *SKIP[stage]).model
    assert stage not in [place.name for place in model.stages.stages]
    spent = {name: count for name, count in WHOLE.items() if not name.startswith(stage)}
    if stage in ("clone_init", "clone_reinit"):
        spent["alternating"] += 64 * ((8 + 112) // 64)
    assert model.ledger.by_phase == spent
    assert summary("run")["status"] == "finished"


def test_a_run_of_the_generator_alone_asks_for_nothing() -> None:
    skipped = [argument for stage in STAGES[1:] for argument in SKIP[stage]]
    model = fit(CONFIG, "run", *ONE_EVALUATION, *skipped).model
    assert model.ledger.spent == 0
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("pool", ["with", "without"])
def test_without_discriminator_and_without_proxy_images(pool: str) -> None:
    weights = [STAGE + "diversity.adversarial_weight", "0", STAGE + "alternating.adversarial_weight", "0"]
    arguments = [*ONE_EVALUATION, *weights]
    config = CONFIG
    if pool == "without":
        text = CONFIG.read_text().replace("PoolStream", "GeneratorStream").replace("    pool: synthetic_shapes\n", "")
        config = Path("no_pool.yaml")
        config.write_text(
            text.replace("    shapes:\n      count: 100\n", "").replace("proxy_ratio: 0.25", "proxy_ratio: 0")
        )
        arguments += SKIP["gan"]
    model = fit(config, "run", *arguments).model
    trained = {network for _, network in model.stages._places}
    assert ("discriminator" in trained) == (pool == "with")  # the first stage has one
    assert model.ledger.by_phase["clone_init"] == (72 if pool == "with" else 54)


def test_without_diversity_the_generator_does_not_see_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    clone_logits = DFMS.clone_logits

    def watch(self: DFMS, samples: torch.Tensor) -> torch.Tensor:
        if samples.requires_grad:
            seen.append(self.stage)
        return clone_logits(self, samples)

    monkeypatch.setattr(DFMS, "clone_logits", watch)
    fit(CONFIG, "with", *ONE_EVALUATION)
    assert seen == ["diversity"] * 3 + ["alternating"] * 12
    seen.clear()
    fit(
        CONFIG, "without", *ONE_EVALUATION, STAGE + "diversity.diversity_weight", "0",
        STAGE + "alternating.diversity_weight", "0",
    )  # fmt: skip
    assert seen == []


def test_a_clone_stage_hands_on_what_validated_best(monkeypatch: pytest.MonkeyPatch) -> None:
    best: dict[str, torch.Tensor] = {}
    select = AveragedClones.select

    def choose_the_first_average(self: AveragedClones, clones: Any, *others: Any) -> Any:
        metrics = select(self, clones, *others)
        self.best = {name: value.clone() for name, value in self.model(clones, 0).state_dict().items()}
        best.update(self.best)
        return metrics

    monkeypatch.setattr(AveragedClones, "select", choose_the_first_average)
    model = fit(CONFIG, "run", *ONE_EVALUATION, *SKIP["alternating"]).model
    for name, value in model.clones.state_dict().items():
        assert torch.equal(value, best[name]), name


def test_without_validation_images_the_last_weights_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AveragedClones, "select", lambda *_: pytest.fail("there is nothing to select by"))
    sizes = [STAGE + "clone_init.validation_size", "0", STAGE + "clone_reinit.validation_size", "0"]
    model = fit(CONFIG, "run", *ONE_EVALUATION, *sizes).model
    assert model.ledger.by_phase["clone_reinit"] == 72
    assert summary("run")["best_heldout"] is None


def test_the_best_row_is_that_of_the_selected_model(whole: Path) -> None:
    found = summary(str(whole))["best_heldout"]
    assert found["accuracy"] == found["accuracy_averaged"]
    assert found["agreement"] == found["agreement_averaged"]


def test_a_snapshot_holds_the_networks_at_the_end_of_a_stage(whole: Path) -> None:
    final = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    with safe_open(whole / "stages" / "alternating.safetensors", framework="pt") as file:
        names = list(file.keys())
        assert all(torch.equal(file.get_tensor(name), final[name]) for name in names)
    assert {name.split(".")[0] for name in names} == {"clones", "generator"}


def test_evaluation_of_a_finished_run_needs_neither_pool_nor_replay(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_extract.commands import run_cli

    monkeypatch.setattr(StageRun, "plan", lambda *_, **__: pytest.fail("nothing is planned for a test"))
    trainer: Trainer = run_cli(["test", "--config", str(whole / "config.yaml"), "--run_dir", str(whole)]).trainer
    final = summary(str(whole))["final"]
    for metric in ("accuracy", "agreement", "agreement_averaged"):
        assert float(trainer.callback_metrics[metric]) == pytest.approx(final[metric], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model.threat_model.query_budget", "224"],
            "budget of 224 queries does not pay the 224 that are bought once",
        ),
        (
            ["--model.threat_model.query_budget", "250"],
            "does not pay one iteration of 64 beside the 224 that are bought",
        ),
        (["--model.clone_training.heldout_every", "5"], "clone_training.heldout_every is 5, but DFMS has none"),
        (["--model.clone_training.steps", "2"], "clone_training.steps is 2, but DFMS has none"),
        (["--model.clone_training.start_from", "[other]"], "taken over by stages.earlier"),
        (["--model.threat_model.input_space", "post_transform"], "set threat_model.input_space to pre_transform"),
        (["--model.averages", "[1.0]"], "averages are [1.0]; give momenta of at least 0 and below 1"),
        (
            ["--data.pool", "uniform_noise", *SKIP["gan"], STAGE + "clone_init.generated_ratio", "0"],
            "stage clone_init needs proxy images",
        ),
        (
            ["--data.pool", "uniform_noise"],
            "stage gan needs proxy images, and the data have none, or endless noise; set data.class_path",
        ),
        ([STAGE + "gan.iterations", "-1"], "gan: iterations is -1; give 0 or more"),
        ([STAGE + "clone_init.proxy_ratio", "1.5"], "proxy_ratio is 1.5; give a share of set_size between 0 and 1"),
        ([STAGE + "clone_init.proxy_ratio", "0.001"], "is not one image; raise it, or set it to 0"),
        (
            [STAGE + "clone_init.proxy_ratio", "0", STAGE + "clone_init.generated_ratio", "0"],
            "proxy_ratio and generated_ratio are both 0, which leaves nothing to learn; raise one",
        ),
        (
            [STAGE + "diversity.adversarial_weight", "0", STAGE + "diversity.diversity_weight", "0"],
            "diversity: adversarial_weight and diversity_weight are 0, which leaves the generator nothing to learn",
        ),
        (
            [STAGE + "alternating.schedule.warmup", "1"],
            "schedule.warmup is 1.0; give a share of at least 0 and below 1",
        ),
        ([argument for stage in STAGES for argument in SKIP[stage]], "every stage has 0 iterations or epochs"),
        (["--model.latent_dim", "0"], "latent_dim is 0"),
        (["--data.image_size", "28", "--model.threat_model.image_size", "28"], "32"),
        (
            [
                "--model.clone_training.network",
                "alexnet_half",
                "--model.threat_model.query_budget",
                "353",
                "--model.threat_model.remainder",
                "fill",
            ],
            "the last batch of the budget holds 1 image, by which the clones' batch normalisation cannot be computed",
        ),
        (
            [
                "--model.clone_training.network",
                "alexnet_half",
                STAGE + "clone_init.proxy_ratio",
                "0",
                STAGE + "clone_init.batch_size",
                "71",
            ],
            "the last training batch of clone_init holds 1 image",
        ),
        (["--model.clone_optimizer.lr", "-1"], "the optimizer of clones in stage clone_init cannot be made: Invalid"),
        (["--gradient_quality.every", "1"], "gradient_quality needs a generator that follows a distance alone"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_mistakes_get_one_clear_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = complaint(capsys, "fit", "--config", CONF / "dfms.yaml", "--run_dir", "run", *arguments)
    assert message in text
    assert not Path("run", "config.yaml").exists()


def test_unknown_classes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model.threat_model.num_classes", "unknown", "--model.threat_model.access", "hard"]
    text = complaint(capsys, "fit", "--config", CONF / "dfms.yaml", "--run_dir", "run", *arguments)
    assert "num_classes is unknown, but DFMS's generator covers the classes that it knows" in text
