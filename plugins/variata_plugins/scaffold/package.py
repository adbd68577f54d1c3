"""The files of a new package: templates, in which a few words stand for what they are about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.version import Version

TEMPLATES = Path(__file__).parent / "templates"

# What the example of each kind is. It is an example of mathematics that is right, and the author's own takes its place.
DESCRIPTIONS: Final = {
    "encoder": "Independent Laplace laws as a posterior",
    "prior": "Independent Laplace laws with learned scales",
    "decoder": "Real numbers, with a Laplace law around the mean",
    "loss": "The Renyi bound of several samples",
    "model": "Independent bits, the least model of binary data",
    "data": "A noisy circle in the plane",
    "metric": "How far the mean of samples is from that of the data",
    "kernel": "Hyperbolic secant laws with learned scales, by a fused operator",
}


@dataclass(frozen=True)
class Package:
    """A package to be.

    Attributes:
        name: the component's name in snake_case, which the rest follows from.
        kind: a key of `DESCRIPTIONS`.
    """

    name: str
    kind: str

    @property
    def distribution(self) -> str:
        """What pip calls it.

        >>> Package("my_prior", "prior").distribution
        'variata-my-prior'
        """
        return f"variata-{self.name.replace('_', '-')}"

    @property
    def module(self) -> str:
        """What Python calls it."""
        return f"variata_{self.name}"

    @property
    def component_kind(self) -> str:
        """The kind of what it offers: a kernel comes with the prior that calls it."""
        return "prior" if self.kind == "kernel" else self.kind

    def class_name(self) -> str:
        """The component's class, which ends in its kind and is no other word of the templates.

        >>> Package("my_prior", "prior").class_name(), Package("laplace", "prior").class_name()
        ('MyPrior', 'LaplacePrior')
        >>> Package("prior", "prior").class_name()
        'PriorPrior'
        """
        ending = self.component_kind.capitalize()
        name = "".join(word.capitalize() for word in self.name.split("_"))
        taken = " ".join(text for text in self._templates().values())
        while not name.endswith(ending) or re.search(rf"\b{name}\b", taken):
            name += ending
        return name

    def files(self, version: str) -> dict[Path, str]:
        """Every file by its path in the package, for an author who has that version of variata."""
        words = {
            "My description": DESCRIPTIONS[self.kind],
            "my_kind": self.component_kind,
            "my_part": self.name,
            "my-part": self.name.replace("_", "-"),
            "MyPart": self.class_name(),
            "variata>=0": requirement(version),
        }
        return {Path(_put(str(path), words)): _put(text, words) for path, text in self._templates().items()}

    def _templates(self) -> dict[Path, str]:
        """What is common to all, and what the kind adds: files, or the rest of one."""
        found: dict[Path, str] = {}
        for folder in (TEMPLATES / "package", TEMPLATES / self.kind):
            for file in sorted(folder.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    path = file.relative_to(folder)
                    found[path] = found.get(path, "") + file.read_text(encoding="utf-8")
        return found


def requirement(version: str) -> str:
    """The versions of variata that keep what this one offers: what goes warns in two minor versions before
    (docs/api.md).

    >>> requirement("0.3.1"), requirement("0.1.0.dev0")
    ('variata>=0.3,<0.6', 'variata>=0.1.dev0,<0.4')
    """
    now = Version(version)
    own = f"{now.major}.{now.minor}"
    return f"variata>={own}{'.dev0' if now.is_prerelease else ''},<{now.major}.{now.minor + 3}"


def _put(text: str, words: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)
