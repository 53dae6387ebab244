"""Which slices a person wants: rules on what their files say of the series."""

from dataclasses import dataclass, fields

from neuroscan_edge.errors import UsageError
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.spec import MrSequence, Plane

_VALUES: dict[str, dict[str, MrSequence | Plane | bool]] = {
    "sequence": {str(each): each for each in MrSequence},
    "plane": {str(each): each for each in Plane},
    "contrast": {"yes": True, "no": False},
}
_EXAMPLE = '--series "sequence=T1C,plane=axial"'


@dataclass(frozen=True, slots=True)
class SeriesRule:
    """Conditions that a slice fits if it fits all of them.

    Parameters
    ----------
    sequence : MrSequence or None
        None takes any.
    plane : Plane or None
        None takes any, also slices whose file states no orientation.
    contrast : bool or None
        Whether a contrast agent was given; None takes any.
    """

    sequence: MrSequence | None = None
    plane: Plane | None = None
    contrast: bool | None = None

    @classmethod
    def parse(cls, text: str) -> "SeriesRule":
        """Read a rule such as ``sequence=T1C,plane=axial``; letter case is of no account.

        Raises
        ------
        UsageError
            If a condition is unknown, or given twice, or has a value that it cannot have.
        """
        found: dict[str, MrSequence | Plane | bool] = {}
        for part in text.split(","):
            key, _, value = (each.strip() for each in part.partition("="))
            key = key.lower()
            if key not in _VALUES:
                raise UsageError(
                    f"--series has the condition {part.strip()!r}; known are "
                    f"{', '.join(_VALUES)}, as in {_EXAMPLE}"
                )
            if key in found:
                raise UsageError(
                    f"--series has {key} twice in one rule; give --series again for another rule"
                )
            matching = [
                each for word, each in _VALUES[key].items() if word.lower() == value.lower()
            ]
            if not matching:
                raise UsageError(
                    f"--series has {key}={value!r}; known are {', '.join(_VALUES[key])}, as in "
                    f"{_EXAMPLE}"
                )
            found[key] = matching[0]
        return cls(**found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Write the rule as it is read."""
        stated = {each.name: getattr(self, each.name) for each in fields(self)}
        return ",".join(
            f"{key}={word}"
            for key, value in stated.items()
            for word, each in _VALUES[key].items()
            if value is not None and each == value
        )

    def fits(self, facts: SeriesFacts) -> bool:
        """Whether a slice of such a series is wanted."""
        return (
            self.sequence in (None, facts.sequence)
            and self.plane in (None, facts.plane)
            and self.contrast in (None, facts.contrast_agent)
        )


def kind_of(facts: SeriesFacts) -> str:
    """Name the kind of series that rules go by, such as ``T1C axial``; for counts."""
    plane = "plane not stated" if facts.plane is None else str(facts.plane)
    sequence = f"{facts.sequence} sequence" if facts.sequence == "unknown" else str(facts.sequence)
    return f"{sequence}, {plane}" if facts.plane is None else f"{sequence} {plane}"
