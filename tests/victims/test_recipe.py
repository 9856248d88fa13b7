import json

import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR, StepLR

from lightning_extract.victims.recipe import describe_recipe


def recipe(make_optimizer, make_scheduler, steps=0):
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    scheduler = make_scheduler(optimizer)
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
    described = describe_recipe(optimizer, scheduler)
    assert json.loads(json.dumps(described)) == described  # a card that was read equals the one that was written
    return described


@pytest.mark.parametrize(
    ("make_scheduler", "expected"),
    [
        (lambda o: StepLR(o, step_size=80), {"class": "StepLR", "step_size": 80, "gamma": 0.1}),
        (
            lambda o: MultiStepLR(o, [120, 60], gamma=0.2),
            {"class": "MultiStepLR", "milestones": [60, 120], "gamma": 0.2},
        ),
        (lambda o: CosineAnnealingLR(o, T_max=9), {"class": "CosineAnnealingLR", "T_max": 9, "eta_min": 0.0}),
    ],
)
def test_schedules(make_scheduler, expected):
    assert recipe(lambda p: SGD(p, lr=0.1), make_scheduler)["lr_scheduler"] == expected


def test_one_cycle_tells_its_highest_rate():
    described = recipe(lambda p: SGD(p, lr=0.1, momentum=0.9), lambda o: OneCycleLR(o, max_lr=0.4, total_steps=50))
    assert described["lr_scheduler"].items() >= {"class": "OneCycleLR", "max_lr": 0.4, "total_steps": 50}.items()


def test_optimizer_without_what_is_off():
    described = recipe(lambda p: Adam(p, lr=0.01, betas=(0.5, 0.9)), lambda o: StepLR(o, 1))["optimizer"]
    assert described == {"class": "Adam", "lr": 0.01, "betas": [0.5, 0.9], "eps": 1e-8, "weight_decay": 0}


@pytest.mark.parametrize("schedule", [lambda o: OneCycleLR(o, 0.4, total_steps=50), lambda o: MultiStepLR(o, [2, 5])])
def test_training_does_not_change_the_recipe(schedule):
    def sgd(parameters):
        return SGD(parameters, lr=0.1, momentum=0.9)

    assert recipe(sgd, schedule, steps=20) == recipe(sgd, schedule)


def test_constant_rate_has_no_schedule():
    described = describe_recipe(Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01), None)
    assert described["lr_scheduler"] is None
    assert described["optimizer"]["lr"] == 0.01


def test_two_optimizers_are_refused():
    with pytest.raises(TypeError, match="expected one optimizer"):
        describe_recipe([], None)
