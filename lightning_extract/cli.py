"""The command line: Lightning's commands with run folders and always-on callbacks, and four of our own."""

import sys
from collections.abc import Sequence
from importlib.metadata import version

HELP = """\
usage: lightning-extract COMMAND --config FILE [--KEY VALUE ...]

Model-extraction experiments with an exact account of queries.

commands:
  fit            runs an attack or trains a victim; given again, continues a run that was interrupted
  validate       evaluates the last checkpoint of a run on the test images
  test           the same: training selects nothing by these images
  predict        writes the extracted model's answers on the test images to predictions.csv
  report         makes tables and curves from run folders
  status         shows how far runs and sweeps are
  import-victim  makes a victim of weights that were trained elsewhere
  dashboard      lays out a Weights & Biases project that runs went to

help:
  lightning-extract fit --help                         all options of a command
  lightning-extract fit --model.help DisGUIDE          the settings of an attack
  lightning-extract fit --data.help GeneratorStream    the settings of its data
  lightning-extract fit --config FILE --print_config   the complete config that would run
  lightning-extract --version

examples:
  lightning-extract fit --config configs/quickstart.yaml
  lightning-extract fit --config configs/disguide_c100.yaml --seed_everything 3
  lightning-extract test --config runs/quickstart/seed_0/config.yaml
  lightning-extract report runs/quickstart --out report
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``lightning-extract``.

    Args:
        argv: The command line behind the program's name; the process's own by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if arguments[0] == "--version":
        print(f"lightning-extract {version('lightning_extract')}")
        return
    from lightning_extract.commands import run_command  # torch and Lightning take seconds to import

    run_command(arguments, None if argv is None else arguments)
