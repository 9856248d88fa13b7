"""When given accuracies were first reached."""


class QueriesToAccuracy:
    """Remembers the number of queries at which each goal was first reached.

    Reference:
        Rosenthal et al., DisGUIDE, AAAI 2023, Table 2; the resolution is that of the evaluations.

    Args:
        goals: Accuracies in [0, 1].

    Example:
        >>> reached = QueriesToAccuracy([0.5, 0.9])
        >>> reached.update(0.6, queries=128)
        >>> reached.update(0.7, queries=256)
        >>> reached.queries
        {0.5: 128, 0.9: None}
    """

    def __init__(self, goals: list[float]) -> None:
        self.queries: dict[float, int | None] = dict.fromkeys(goals)

    def update(self, accuracy: float, queries: int) -> None:
        """Takes one evaluation."""
        for goal, reached in self.queries.items():
            if reached is None and accuracy >= goal:
                self.queries[goal] = queries
