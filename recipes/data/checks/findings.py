"""What is worth reporting about a set of images, each in one line."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

# A file of one of these kinds cannot be trained with. It stops a training, unless it is left out.
BAD_FILE = frozenset(
    {"undecodable", "truncated", "empty", "bomb", "values", "changed", "unreadable", "missing", "outside"}
    | {"broken_link", "name", "leak"}
)
# These are about the set as a whole, and leaving files out does not help.
BAD_SET = frozenset({"empty_class", "too_few", "one_class", "no_train", "unknown_class"})
REMARKS = frozenset(
    {"mode", "animated", "duplicate", "near_duplicate", "near_leak", "shared", "conflict", "few", "imbalance"}
    | {"sizes", "ignored", "twins", "elsewhere", "precision"}
)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing about one file or folder.

    Attributes:
        path: which; `table.csv` or the folder itself for what is about all of it.
        kind: one of `BAD_FILE`, `BAD_SET` (errors) or `REMARKS`.
        detail: the rest of the sentence that begins with the path.
    """

    path: str
    kind: str
    detail: str

    @property
    def is_error(self) -> bool:
        return self.kind not in REMARKS

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def shown(path: object) -> str:
    """A path as text that can be printed, also where its bytes are not UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def listed(findings: Sequence[Finding], most: int = 5) -> str:
    """The first findings by path and kind, and how many more there are."""
    text = ", ".join(f"{finding.path} ({finding.kind.replace('_', ' ')})" for finding in findings[:most])
    return f"{text}, and {len(findings) - most:,} more" if len(findings) > most else text


def errors_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (not finding.is_error, finding.kind, finding.path))
