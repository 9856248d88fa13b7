"""How far an attack has come, in the unit that a progress bar counts."""

from typing import NamedTuple


class Work(NamedTuple):
    """What an attack, or the stage that it is in, has done and has to do.

    Attributes:
        title: Name of the stage; empty for attacks without stages.
        done: Units so far.
        total: Units in all.
        unit: What is counted, as it stands behind a number: " queries", or " iterations" where nothing is bought.
        note: What else is worth seeing at this moment.
    """

    title: str
    done: int
    total: int
    unit: str
    note: str = ""

    def continues(self, earlier: "Work") -> bool:
        """Whether this is the same piece of work, further on."""
        return self._replace(done=earlier.done, note=earlier.note) == earlier
