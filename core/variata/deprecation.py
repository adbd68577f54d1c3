"""What is public is taken away in three steps: a release that warns and says what to write instead, a second one, and
then the one without it. `docs/api.md` states the rule; a test fails where something has stayed past its time."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from packaging.version import Version

from .errors import VariataWarning

WARNED_FOR = 2
"""Minor versions in which a deprecated name still works."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Deprecation:
    """A name that will go.

    Attributes:
        name: as users write it.
        since: the minor version that warned first, as in "0.3".
        instead: what to write.
    """

    name: str
    since: str
    instead: str

    @property
    def gone_in(self) -> str:
        """The version that may be without it.

        >>> Deprecation("variata.old", "0.3", "variata.new").gone_in
        '0.5'
        """
        version = Version(self.since)
        return f"{version.major}.{version.minor + WARNED_FOR}"

    def overdue(self, version: str) -> bool:
        """Whether it should be gone in that version.

        >>> old = Deprecation("variata.old", "0.3", "variata.new")
        >>> [old.overdue(version) for version in ("0.4.2", "0.5.0.dev0", "0.5.0", "1.0")]
        [False, False, True, True]
        """
        return Version(version) >= Version(self.gone_in)

    def warn(self, stacklevel: int = 2) -> None:
        """Warns, naming what to write instead and the version in which the name goes."""
        message = f"{self.name} is deprecated since {self.since} and goes in {self.gone_in}: use {self.instead}"
        warnings.warn(message, VariataWarning, stacklevel=stacklevel + 1)


KNOWN: list[Deprecation] = []
"""Everything that is deprecated at present."""


def deprecated(name: str, *, since: str, instead: str) -> Callable[[F], F]:
    """Marks a function or a class's constructor: a call warns, and works as before."""
    deprecation = Deprecation(name, since, instead)
    KNOWN.append(deprecation)

    def mark(function: F) -> F:
        if isinstance(function, type):
            construct = function.__init__

            @functools.wraps(construct)
            def constructed(self: Any, *arguments: Any, **options: Any) -> None:
                deprecation.warn()
                construct(self, *arguments, **options)

            function.__init__ = constructed  # pyright: ignore[reportAttributeAccessIssue]
            return function  # pyright: ignore[reportReturnType]

        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            deprecation.warn()
            return function(*arguments, **options)

        return called  # pyright: ignore[reportReturnType]

    return mark
