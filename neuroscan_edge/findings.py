"""What can be wrong with a slice, by the words that results use, and what follows from it."""

from neuroscan_edge.spec import Word


class Finding(Word):
    """One reason not to take a slice, or its classification, at face value."""

    NOT_AN_IMAGE = "not_an_image"
    NOT_MR = "not_mr"
    NOT_HEAD = "not_head"
    LOCALIZER = "localizer"
    COMPUTED = "computed"
    DERIVED = "derived"
    COLOUR = "colour"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    CLIPPED = "clipped"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    CONTRADICTORY_HEADER = "contradictory_header"
    WINDOW_UNUSABLE = "window_unusable"
    UNKNOWN_ORIENTATION = "unknown_orientation"
    LOW_CONFIDENCE = "low_confidence"
    AMBIGUOUS = "ambiguous"
    OUT_OF_DISTRIBUTION = "out_of_distribution"

    @property
    def rejects(self) -> bool:
        """Whether such a slice is not classified at all; otherwise a person must look at it."""
        return self in _REJECTS


_REJECTS = frozenset(
    {
        Finding.NOT_AN_IMAGE,
        Finding.NOT_MR,
        Finding.NOT_HEAD,
        Finding.LOCALIZER,
        Finding.COMPUTED,
        Finding.COLOUR,
        Finding.TOO_SMALL,
        Finding.BLANK,
    }
)


class Decision(Word):
    """What becomes of a slice."""

    ANSWER = "answer"
    REFER = "refer"
    REJECTED = "rejected"
