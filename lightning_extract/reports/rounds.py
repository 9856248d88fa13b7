"""From the evaluations of an attack in rounds to what it had reached at the end of each."""

import numpy as np

from lightning_extract.reports.metrics_table import Curve


def at_round_ends(curves: dict[str, Curve]) -> dict[str, Curve]:
    """The last value that each metric had in each round that has ended; the number of the round is the iteration.

    Within a round nothing is bought, and seeds train for different numbers of epochs: rounds are what they share.

    Returns:
        The curves as they are where the attack has no rounds.
    """
    ends, rounds = curves.get("round_end"), curves.get("round")
    if ends is None or rounds is None or ends.iterations is None or rounds.iterations is None:
        return curves
    closing = ends.values == 1
    queries, last = ends.queries[closing], ends.iterations[closing]
    before = np.concatenate([[-1.0], last])[:-1]
    numbers = rounds.values[np.searchsorted(rounds.iterations, last, side="right") - 1]
    reached = {name: curve for name, curve in curves.items() if curve.iterations is None}
    for name, (_, values, iterations) in curves.items():
        if iterations is None or name == "round_end":
            continue
        places = np.searchsorted(iterations, last, side="right") - 1
        found = (places >= 0) & (iterations[places] > before)
        if found.any():
            reached[name] = Curve(queries[found], values[places[found]], numbers[found])
    return reached
