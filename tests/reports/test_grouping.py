import pytest

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import read_run
from lightning_extract.reports.grouping import group_runs


def group(*folders):
    return group_runs(read_run(folder) for folder in folders)


def test_groups_are_sorted_by_experiment_and_seed(make_run):
    groups = group(make_run("b", 1), make_run("a", 5), make_run("b", 0))
    assert [(name, [run.seed for run in runs]) for name, runs in groups.items()] == [
        ("a", [5]),
        ("b", [0, 1]),
    ]


def test_seed_place_and_hardware_may_differ(make_run):
    elsewhere = {
        "trainer.devices": 8,
        "trainer.accelerator": "cpu",
        "trainer.strategy": {"class_path": "DDPStrategy", "init_args": {"timeout": 1}},
        "trainer.logger": {"class_path": "WandbLogger"},
        "model.init_args.threat_model.victim": "elsewhere/a",
        "data.init_args.root": "elsewhere",
        "data.init_args.pool_cache": "elsewhere/cache",
        "run_dir": "elsewhere/seed_1",
    }
    assert len(group(make_run(seed=0), make_run(seed=1, config=elsewhere))["toy"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.init_args.batch_size": 128},
            "model.init_args.batch_size is 256 in .*seed_0 and 128 in .*seed_1",
        ),
        (
            {"model.init_args.victim_noise": 0.1},
            "model.init_args.victim_noise is absent in .*seed_0 and 0.1 in .*seed_1",
        ),
        ({"trainer.precision": "bf16-mixed"}, "trainer.precision is 32-true"),
        ({"data.init_args.dataset": "cifar100"}, "data.init_args.dataset is cifar10"),
        ({"note": "new key"}, "note is absent"),
    ],
)
def test_a_mixture_is_refused_with_the_key_and_two_folders(make_run, changes, message):
    with pytest.raises(InputError, match=message):
        group(make_run(seed=0), make_run(seed=1, config=changes))


def test_the_difference_of_a_third_run_is_seen(make_run):
    with pytest.raises(InputError, match=r"seed_0 .*seed_2"):
        group(make_run(seed=0), make_run(seed=1), make_run(seed=2, config={"model.class_path": "DFME"}))


def test_another_victim_is_refused(make_run):
    with pytest.raises(InputError, match=r"victim.weights_sha256 is abc in .*seed_0 and xyz in .*seed_1"):
        group(make_run(seed=0), make_run(seed=1, summary={"victim.weights_sha256": "xyz"}))


def test_a_seed_counts_once(make_run):
    make_run("other", 7)
    with pytest.raises(InputError, match=r"seed 7 in .*first and in .*second"):
        group(make_run(seed=7, folder="first"), make_run(seed=7, folder="second"))


START = "model.init_args.clone_training"


def test_each_seed_may_go_on_from_a_run_of_its_own(make_run):
    def tuned(seed):
        run = f"runs/before/seed_{seed}"
        return make_run(
            seed=seed,
            config={START: {"start_from": [run]}},
            summary={"start_from": [{"run": run, "queries": 100 * seed}], "queries.prior": 100 * seed},
        )

    groups = group(tuned(1), tuned(2))
    assert [run.prior for run in groups["toy"]] == [100, 200]
    with pytest.raises(InputError, match=r"clones' start is random weights in .*seed_0 and clones of other runs in"):
        group(make_run(seed=0, config={START: {"start_from": []}}), tuned(3))


def test_each_seed_may_take_over_earlier_stages_and_keep_its_shapes(make_run):
    def of_seed(seed, through="gan"):
        stages = {"earlier": {"run": f"runs/before/seed_{seed}", "through": through}}
        shapes = {"cache": f"cache/{seed}", "count": 100}
        return make_run(seed=seed, config={"model.init_args.stages": stages, "data.init_args.shapes": shapes})

    first, second, third = of_seed(0), of_seed(1), of_seed(2, "diversity")
    assert len(group(first, second)["toy"]) == 2
    with pytest.raises(InputError, match=r"stages\.earlier\.through is gan in .*seed_0 and diversity in .*seed_2"):
        group(first, third)


def test_distances_may_be_measured_in_other_batches(make_run):
    def of_seed(seed, batch_size, steps=50):
        settings = {"batch_size": batch_size, "steps": steps}
        return make_run(seed=seed, config={"model.init_args.selection": {"deepfool": settings}})

    first, second, third = of_seed(0, 256), of_seed(1, 64), of_seed(2, 256, steps=20)
    assert len(group(first, second)["toy"]) == 2
    with pytest.raises(InputError, match=r"selection\.deepfool\.steps is 50 in .*seed_0 and 20 in .*seed_2"):
        group(first, third)


def test_other_shapes_are_another_experiment(make_run):
    folders = [make_run(seed=n, config={"data.init_args.shapes": {"cache": "c", "count": n}}) for n in range(2)]
    with pytest.raises(InputError, match=r"shapes\.count is 0 in .*seed_0 and 1 in .*seed_1"):
        group(*folders)
