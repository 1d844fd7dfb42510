"""What the ranks of one worker agree on, so that all of them take the same decisions; a worker alone agrees at once.

`bench.measurement.ranked_worker` puts something else into `ranks` before anything is timed.
"""


class Alone:
    """One process."""

    def begin(self) -> None:
        """Wait until all ranks are here."""

    def agreed(self, value: float) -> float:
        """Return rank 0's value."""
        return value


ranks = Alone()
