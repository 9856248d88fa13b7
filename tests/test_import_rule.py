"""Who may import whom, and what no file of the package may do; read from the source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightning_extract

PACKAGE = Path(lightning_extract.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Inside the package; each may import itself too.
MAY_IMPORT = {
    "functional": set(),
    "networks": {"functional", "errors"},
    "metrics": {"functional", "bars", "errors"},
    "data": {"functional", "bars", "durable_file", "errors"},
    "victims": {"functional", "networks", "data", "durable_file", "errors"},
    "oracle": {"functional", "networks", "victims", "data.words", "durable_file", "errors"},
    "selection": {"functional", "errors"},
    "attacks": {
        "functional",
        "networks",
        "oracle",
        "victims",
        "data",
        "metrics",
        "selection",
        "bars",
        "durable_file",
        "errors",
    },
    "callbacks": {
        "attacks.base",
        "attacks.data_free",  # the generator's gradient is compared with the true one, its images are drawn
        "attacks.work",
        "data.draws",
        "functional",
        "metrics",
        "oracle.answer_store",
        "oracle.ledger",
        "bars",
        "durable_file",
        "errors",
    },
    "dashboards": {"attacks.base", "callbacks.metrics_file", "callbacks.run_record", "errors"},
    "reports": {"errors"},
    "bars": {"errors"},
    "durable_file": set(),
    "errors": set(),
}
COMMAND_LINE = {"__main__", "cli", "commands", "extract_cli", "complaints", "parser", "processes"}
SHARED_BY_ATTACKS = {
    "averaged_clones",
    "base",
    "bought_answers",
    "bought_set",
    "checks",
    "class_discovery",
    "clone_reader",
    "clone_scores",
    "data_free",
    "extracted_clones",
    "heldout_selection",
    "round_candidates",
    "round_checks",
    "round_state",
    "rounds",
    "settings",
    "stage_checks",
    "stage_run",
    "stage_snapshots",
    "stage_transitions",
    "stages",
    "thief_clone",
    "thief_split",
    "threat_model",
    "work",
}
# Besides torch and the standard library.
MAY_USE = {"functional": set(), "networks": set(), "oracle": set(), "errors": set()}
FORBIDDEN_MODULES = {"wandb", "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Downsampled ImageNet comes as pickles; this reader builds stand-ins for arrays and calls nothing that a file names.
READS_PICKLES = {"data.imagenet_batches"}
# A failure of W&B stops no run: all calls go through one file, which lets none out.
CALLS_WANDB = {"dashboards.wandb_run"}

each = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def module_name(path: Path) -> str:
    """Dotted name inside the package: ``attacks.base``; a package's own file is named like the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def imports_of(path: Path, source: str | None = None) -> Iterator[str]:
    """Full names of everything that a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text() if source is None else source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                inside = ["lightning_extract", *path.relative_to(PACKAGE).parent.parts]
                base = ".".join([*inside[: len(inside) - node.level + 1], *filter(None, [node.module])])
            else:
                base = str(node.module)
            is_package = base.startswith("lightning_extract") and (PACKAGE.parent / base.replace(".", "/")).is_dir()
            if is_package and base != path.parent.relative_to(PACKAGE.parent).as_posix().replace("/", "."):
                # "from lightning_extract.oracle import ledger" imports a module, "... import QueryLedger" a package.
                for alias in node.names:
                    submodule = PACKAGE.parent / base.replace(".", "/") / f"{alias.name}.py"
                    yield f"{base}.{alias.name}" if submodule.exists() else base
            else:
                yield base


def complaints_about(path: Path, source: str | None = None) -> list[str]:
    """Imports of a file that the directions forbid."""
    mine = module_name(path)
    part = mine.split(".")[0]
    found = []
    for name in imports_of(path, source):
        if name.split(".")[0] != "lightning_extract":
            root = name.split(".")[0]
            known = root in sys.stdlib_module_names or root == "torch"
            if part in MAY_USE and not known and root not in MAY_USE[part]:
                found.append(f"{mine} uses {name}")
            continue
        other = name.removeprefix("lightning_extract").lstrip(".") or "__init__"
        if part in COMMAND_LINE or other.split(".")[0] == part or part == "__init__":
            continue
        allowed = MAY_IMPORT[part]
        if other.split(".")[0] not in allowed and other not in allowed:
            found.append(f"{mine} imports {other}")
    return found


@each
def test_directions(path: Path) -> None:
    assert complaints_about(path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("functional/losses.py", "import numpy"),
        ("functional/losses.py", "from lightning_extract.errors import InputError"),
        ("networks/lenet.py", "from ..victims.card import VictimCard"),
        ("oracle/ledger.py", "from lightning_extract.attacks.base import ExtractionAttack"),
        ("callbacks/progress.py", "from lightning_extract.attacks import DisGUIDE"),
        ("callbacks/gradient_quality.py", "from lightning_extract.attacks.dfme import DFME"),
        ("callbacks/gradient_quality.py", "from lightning_extract.data.replay import ReplayBuffer"),
        ("callbacks/progress.py", "from lightning_extract.oracle import oracle"),
        ("reports/tables.py", "from lightning_extract.metrics import CloneQuality"),
        ("data/replay.py", "def late():\n    import lightning_extract.oracle.ledger"),
        ("attacks/base.py", "from lightning_extract.cli import main"),
        ("victims/card.py", "from lightning_extract import cli"),
    ],
)
def test_the_check_sees_what_is_forbidden(path: str, source: str) -> None:
    assert complaints_about(PACKAGE / path, source)


@pytest.mark.parametrize("path", sorted((PACKAGE / "attacks").glob("*.py")), ids=lambda path: path.stem)
def test_attacks_never_import_each_other(path: Path) -> None:
    if path.stem == "__init__":
        return
    siblings = {name.split(".")[2] for name in imports_of(path) if name.startswith("lightning_extract.attacks.")}
    assert siblings <= SHARED_BY_ATTACKS - {path.stem}
    assert "lightning_extract.attacks" not in set(imports_of(path))


@each
def test_nothing_imports_the_command_line(path: Path) -> None:
    if module_name(path) in COMMAND_LINE:
        return
    for name in imports_of(path):
        assert not (name.startswith("lightning_extract.") and name.split(".")[1] in COMMAND_LINE), name


@each
def test_dashboards_and_pickles_have_their_places(path: Path) -> None:
    found = {name.split(".")[0] for name in imports_of(path)} & FORBIDDEN_MODULES
    allowed = {"pickle": READS_PICKLES, "wandb": CALLS_WANDB}
    assert found == {name for name, modules in allowed.items() if module_name(path) in modules}


def test_no_pickle_is_read_without_restrictions() -> None:
    for name in READS_PICKLES:
        used = {
            ast.unparse(node)
            for node in ast.walk(ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text()))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
        }
        assert used == {"pickle.Unpickler"}  # as a base class whose find_class the tests of the reader try


@each
def test_files_are_read_without_running_code_in_them(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert given.get("weights_only", "True") == "True", ast.unparse(node)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(node)
        if ast.unparse(node.func) == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(node)


@pytest.mark.parametrize("path", sorted((PACKAGE / "attacks").glob("*.py")), ids=lambda path: path.stem)
def test_attacks_step_through_lightning(path: Path) -> None:
    called = [node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    assert "backward" not in called  # manual_backward alone knows precision and processes
    if path.stem != "base":
        assert "manual_backward" not in called  # ... and update alone leaves no gradient behind
        assert "reference" not in called  # the free door is for the evaluation


@each
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
