"""Unknown classes: outputs that are taken one by one equal heads that really grow, in float64."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.attacks import DualStudents
from lightning_extract.data.datasets import load_images
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.data.image_set import images_to_unit_range
from tests.float64_start import fit_in_float64, victim_logits
from tests.miniature import config_of
from tests.varied_victim import BATCH, ITERATIONS, LATENT_DIM, unknown_classes

REPLAY = 60


class GrowingStudent:
    """A student whose head is replaced by a larger one at each discovery, and its running average."""

    def __init__(self, network: nn.Sequential) -> None:
        self.network, self.average, self.known = network, deepcopy(network), 0
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9, weight_decay=5e-4)
        self.updates = 0

    def grow(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        inputs = self.network[-1].in_features
        sizes = {"weight": (count, inputs), "bias": (count,)}
        fresh = {name: torch.empty(size) for name, size in sizes.items()}
        for value in fresh.values():
            value.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
        parameters = self.optimizer.param_groups[0]["params"]
        for network in (self.network, self.average):
            old, new = network[-1], nn.Linear(inputs, self.known + count, dtype=torch.float64)
            for name, rows in fresh.items():
                value = getattr(old, name)
                getattr(new, name).data = torch.cat([value.data[: self.known], rows.double()])
                if network is self.network:
                    place = next(i for i, parameter in enumerate(parameters) if parameter is value)
                    parameters[place] = getattr(new, name)
                    state = self.optimizer.state.pop(value, {})
                    if state:
                        momentum = torch.cat([state["momentum_buffer"], torch.zeros_like(rows, dtype=torch.float64)])
                        self.optimizer.state[parameters[place]] = {"momentum_buffer": momentum}
            network[-1] = new
        self.known += count

    def learn(self, images: Tensor, targets: Tensor) -> None:
        self.optimizer.zero_grad()
        F.nll_loss(F.log_softmax(self.network(images), 1), targets).backward()
        self.optimizer.step()

    def update_average(self) -> None:
        with torch.no_grad():
            for name, value in self.average.state_dict().items():
                new = self.network.state_dict()[name]
                value.copy_(new if self.updates == 0 else 0.9 * value + 0.1 * new)
        self.updates += 1


def slow_discovery(attack: Any, generator: nn.Module, networks: nn.ModuleList) -> dict[str, Any]:
    """Dual Students with an unknown number of classes, trained in place."""
    students = [GrowingStudent(network) for network in networks]
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-4)
    labels: list[int] = []
    history: list[list[int]] = []
    ring: list[tuple[Tensor, int]] = []
    aside: list[tuple[Tensor, int]] = []
    added = queries = 0

    def targets(answers: list[int]) -> Tensor:
        return torch.tensor([labels.index(answer) for answer in answers])

    for number in range(ITERATIONS):
        draws = IterationDraws(mix_seed(0, number), 0, 1, torch.device("cpu"))
        drop = 0.3 ** sum(number >= share * ITERATIONS for share in (0.1, 0.3, 0.5))
        of_generator.param_groups[0]["lr"] = 1e-4 * drop
        for student in students:
            student.optimizer.param_groups[0]["lr"] = 0.3 * drop
        if labels:
            generator.train(), networks.eval()
            images = generator(draws.normal(BATCH, LATENT_DIM).double())
            of_generator.zero_grad()
            (-(students[0].network(images) - students[1].network(images)).abs().mean()).backward()
            of_generator.step()
        generator.eval(), networks.train()
        for step in range(2):
            with torch.no_grad():
                images = generator(draws.normal(BATCH, LATENT_DIM).double())
            answers = victim_logits(attack, images).argmax(1).tolist()
            queries += BATCH
            new = sorted(set(answers) - set(labels))
            if new:
                labels += new
                history.append([queries, len(labels)])
                for student in students:
                    student.grow(len(new), draws.python.getrandbits(63))
            if step == 0 and number % 4 == 3:
                aside += zip(images.float(), answers, strict=True)
                continue
            for student in students:
                student.learn(images, targets(answers))
            for image, answer in zip(images.float(), answers, strict=True):
                ring[added % REPLAY : added % REPLAY + 1] = [(image, answer)]
                added += 1
        chosen = draws.python.sample(range(len(ring)), BATCH)
        images, answers = torch.stack([ring[i][0] for i in chosen]).double(), [ring[i][1] for i in chosen]
        for student in students:
            student.learn(images, targets(answers))
        if number % 3 == 2:
            for student in students:
                student.update_average()

    def agreement(networks: list[nn.Module], images: Tensor, answers: Tensor) -> float:
        with torch.no_grad():
            vote = sum(network.eval()(images.double()).softmax(1) for network in networks).argmax(1)
        return float((torch.tensor(labels)[vote] == answers).double().mean())

    test = images_to_unit_range(load_images("mnist5k", "test", image_size=32).images)
    answers = victim_logits(attack, test).argmax(1)
    averages = [student.average for student in students]
    held_out = torch.stack([image for image, _ in aside]), torch.tensor([answer for _, answer in aside])
    return {
        "averages": averages,
        "history": history,
        "labels": labels,
        "heldout_agreement": agreement([*networks], *held_out),
        "agreement": agreement([*networks], test, answers),
        "agreement_averaged": agreement(averages[:1], test, answers),
        "agreement_averaged_vote": agreement(averages, test, answers),
    }


def test_it_equals_heads_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = ["--model.replay.batches", "1", "--model.replay.size", str(REPLAY), "--model.averaging.generator", "false"]
    arguments = [*unknown_classes(Path("victim")), *extra]
    attack, start = fit_in_float64(config_of(DualStudents), monkeypatch, *arguments)
    slow = slow_discovery(attack, start["generator"], start["clones"])
    assert len(slow["history"]) >= 4, "classes must be found one after another for this test to mean something"
    assert slow["history"][-1][0] > 6 * 2 * BATCH, "some after the averages were updated"
    assert attack.classes.labels == slow["labels"] != sorted(slow["labels"])
    found = len(slow["labels"])
    pairs = [(attack.clones.members, start["clones"]), (attack.averaged_clones.module.members, slow["averages"])]
    for members, expected in pairs:
        for member, network in zip(members, expected, strict=True):
            for name, value in network.state_dict().items():
                mine = member.state_dict()[name]
                rows = found if name.startswith("4.") else None
                assert_close(mine[:rows] if mine.ndim else mine, value, rtol=0, atol=1e-9, check_dtype=False)
    for name, value in start["generator"].state_dict().items():
        if value.is_floating_point():
            assert_close(attack.generator.state_dict()[name], value, rtol=0, atol=1e-9, msg=name)
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["class_discovery"] == slow["history"]
    row = summary["final"]
    assert row["classes_found"] == found
    for name in ("heldout_agreement", "agreement", "agreement_averaged", "agreement_averaged_vote"):
        assert row[name] == pytest.approx(slow[name], abs=1e-6), name
