"""How many parameters each part of a policy has and how many of them are trained: printed at start-up, kept with the
weights as `parameters.json`, shown by `robovlms info`. Needs no torch.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

PARAMETERS = "parameters.json"


@dataclass(frozen=True, kw_only=True)
class PartSize:
    """One part of a policy.

    Attributes:
        part: its name.
        trained: parameters that get a gradient.
        frozen: parameters that keep their values.
    """

    part: str
    trained: int
    frozen: int


def dump_sizes(sizes: Sequence[PartSize]) -> str:
    """JSON of the parts in their order; `load_sizes` makes equal ones of it."""
    return json.dumps([asdict(size) for size in sizes], indent=2)


def load_sizes(text: str) -> list[PartSize]:
    """The parts of `dump_sizes`.

    Raises:
        ValueError: if `text` is something else.
    """
    try:
        return [
            PartSize(part=str(row["part"]), **{k: int(row[k]) for k in ("trained", "frozen")})
            for row in json.loads(text)
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a list of part, trained and frozen: {error!r}") from error


def parameter_table(sizes: Sequence[PartSize]) -> Table:
    """A row for each part and one for all."""
    table = Table()
    table.add_column("part")
    for column in ("trained", "frozen"):
        table.add_column(column, justify="right")
    for size in sizes:
        table.add_row(size.part, f"{size.trained:,}", f"{size.frozen:,}")
    table.add_section()
    table.add_row("all", *(f"{sum(getattr(size, column) for size in sizes):,}" for column in ("trained", "frozen")))
    return table
