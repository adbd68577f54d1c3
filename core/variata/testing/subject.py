"""What a check is given: a registered component, how it is built, and what it is tried on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..assembly import Builder, prepare
from ..config import load_part, load_spec
from ..data import Batch, DataSpec, Shape
from ..errors import ConfigError, UserError
from ..interfaces import Decoder, Finishes, Prepares
from ..plugins import Entry, registry
from ..sequences import END, UNKNOWN, Vocabulary
from .laws import NotApplicable
from .partners import GaussianPartner, LinearEncoder, StandardPrior

_REAL = {"low": -math.inf, "high": math.inf, "measure": "lebesgue"}
SPECS = {
    "binary table": DataSpec((3,), "binary", levels=2, classes=3),
    "real table": DataSpec((2,), "real", classes=3, **_REAL),
    "real table, vectors as conditions": DataSpec((3,), "real", condition=(2,), **_REAL),
    "numbers in [0, 1]": DataSpec((2,), "interval", measure="lebesgue", classes=3),
    "grey table": DataSpec((2,), "levels", levels=4, classes=3),
    "binary image": DataSpec((1, 8, 8), "binary", levels=2, classes=3),
    "colour image": DataSpec((3, 8, 8), "levels", levels=256, classes=3),
    "signal": DataSpec((1, 32), "real", classes=3, **_REAL),
}
"""The examples that parts are tried on. A part may refuse some of them by an error for users, and not all."""

STRINGS = {"strings": DataSpec((3,), "tokens", levels=5, high=4.0, vocabulary=Vocabulary("words", "a b"))}
"""What parts are tried on that refuse all others."""

BATCH = 6


@dataclass(frozen=True)
class Subject:
    """A registered component.

    Attributes:
        kind, name: as they are registered; `distribution/name` where two offer it.
        options: as YAML would write them.
        latent: dimensions of z.
        siblings: what stands beside it in a model, by kind, as YAML would write it, where the kit's own Gaussian
            parts do not fit: `{"prior": "my_prior"}`.
        reference: p -> a law on the same set whose density is known to be right (`laws.check_law`).
        preset: the preset that models, losses and metrics are tried in; by default the first of the plugin's own.
    """

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    latent: int = 2
    siblings: Mapping[str, Any] = field(default_factory=dict)
    reference: Callable[[Distribution], Distribution] | None = None
    preset: str | None = None

    @property
    def entry(self) -> Entry:
        """Where it is registered."""
        return registry().find(self.kind, self.name)

    def build(self, siblings: Mapping[str, Any] | None = None, **given: Any) -> Any:
        """A new one, from a known seed; torch's generator is left as it was.

        Raises:
            UserError: it refuses these sizes.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Builder().construct(load_part(self.kind, self.name, self.options), given, siblings or {})

    def sibling(self, kind: str, beside: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """What stands beside it, built."""
        named = self.siblings.get(kind)
        if named is None:
            return {"encoder": LinearEncoder, "prior": StandardPrior}[kind](**given)
        node = dict(named) if isinstance(named, Mapping) else {"use": named}
        return replace(self, kind=kind, name=node.pop("use"), options=node).build(beside, **given)

    def probes(self, make: Callable[[Subject, DataSpec, Shape | None], Probe]) -> list[Probe]:
        """The part for every data set that it does not refuse, without and with a condition.

        Raises:
            AssertionError: it refuses all of them, with what it said.
        """
        said: dict[str, str] = {}
        found = self._accepted(SPECS, make, said) or self._accepted(STRINGS, make, said)
        assert found, f"cannot be built for any of {', '.join(said)}: {next(iter(said.values()))}"
        return found

    def _accepted(
        self,
        specs: Mapping[str, DataSpec],
        make: Callable[[Subject, DataSpec, Shape | None], Probe],
        said: dict[str, str],
    ) -> list[Probe]:
        found: list[Probe] = []
        for name, spec in specs.items():
            for condition in dict.fromkeys((None, spec.condition_shape)):
                try:
                    probe = make(self, spec, condition)
                except UserError as error:
                    said[name] = str(error).partition("\n")[0]
                    continue
                probe.name = f"{name}{', given y' if condition else ''}"
                found.append(probe)
        return found

    def preset_name(self) -> str:
        """A preset in which it occurs: of its own plugin, or of another one.

        Raises:
            NotApplicable: there is none.
        """
        if self.preset is not None:
            return self.preset
        own = self.entry
        for plugin in [own.plugin, *(p for p in registry().loaded() if p is not own.plugin)]:
            for name in sorted(plugin.presets):
                qualified = f"{plugin.distribution}/{name}"
                try:
                    parts = load_spec(qualified).parts()
                except ConfigError:
                    continue
                if any(part.entry is not None and part.entry.component == own.component for part in parts):
                    return qualified
        raise NotApplicable("occurs in no preset: name one, preset=...")


@dataclass
class Probe:
    """A part with what it is called with.

    Attributes:
        part: the module, its parameters moved a little from where they start, so that no zero hides anything.
        inputs: of `forward`, `[batch, ...]` each.
        again: makes another one of the same.
        spec: the data.
        spec_of_law: what the law that it returns is of; None for a law of z.
    """

    part: Any
    inputs: tuple[Tensor, ...]
    again: Callable[[], Any]
    spec: DataSpec
    spec_of_law: DataSpec | None = None
    name: str = ""

    def __call__(self, part: Any = None, inputs: tuple[Tensor, ...] | None = None) -> Any:
        """What forward returns, with torch's generator seeded; of a decoder that is no law, its point."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            out = (self.part if part is None else part)(*(self.inputs if inputs is None else inputs))
        return out.mean if isinstance(self.part, Decoder) and not self.part.models else out

    def values(self) -> Tensor | None:
        """A draw of the law that it returns, to look at its density there; None where it returns none."""
        out = self()
        if not isinstance(out, Distribution):
            return None
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return out.sample() if out.batch_shape else out.sample((BATCH,))

    def observed(self, values: Tensor | None, part: Any = None, inputs: tuple[Tensor, ...] | None = None) -> Tensor:
        """What can be seen of an output: the array, or the density of a law at `values`."""
        out = self(part, inputs)
        return out if values is None else out.log_prob(values)


def shaken(part: nn.Module) -> nn.Module:
    """The module with its parameters moved at random, the same each time: what starts at zero hides nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return part


def examples(spec: DataSpec, n: int = BATCH, seed: int = 0) -> Tensor:
    """Made-up examples of a data set, `[n, *event]`."""
    generator = torch.Generator().manual_seed(seed)
    if spec.support == "tokens":
        lengths = 1 + torch.arange(n) % spec.dimensions
        words = torch.randint(UNKNOWN, int(spec.high) + 1, (n, spec.dimensions), generator=generator)
        place = torch.arange(spec.dimensions)
        return torch.where(place < lengths[:, None] - 1, words, (place == lengths[:, None] - 1).long() * END).float()
    if spec.support == "real":
        return torch.randn(n, *spec.shape, generator=generator)
    x = torch.rand(n, *spec.shape, generator=generator)
    if spec.levels is not None and spec.support != "interval":
        x = (x * spec.levels).floor().clamp(max=spec.levels - 1) / (spec.levels - 1)
    return spec.low + (spec.high - spec.low) * x


def conditions(spec: DataSpec, condition: Shape | None, n: int = BATCH) -> tuple[Tensor, ...]:
    """y of made-up examples, as further input; nothing where there is no condition."""
    if condition is None:
        return ()
    if spec.classes is not None:
        return (torch.arange(n) % spec.classes,)
    return (torch.randn(n, *condition, generator=torch.Generator().manual_seed(2)),)


def learned(part: Any, spec: DataSpec, latent: int, condition: Shape | None) -> Any:
    """The part, once what it learns from data outside of training is learned from made-up examples."""
    y = conditions(spec, condition, 4 * BATCH)
    batches = [Batch(examples(spec, 4 * BATCH), y[0] if y else None)]
    modules = list(part.modules()) if isinstance(part, nn.Module) else [part]
    if isinstance(part, nn.Module):
        prepare(part, batches)
    elif isinstance(part, Prepares):
        part.prepare(batches)
    for module in modules:
        if isinstance(module, Finishes):
            module.finish(GaussianPartner(spec, latent=latent, condition=condition), batches)
    return part


def members(part: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """Its parameters that training would move."""
    return ((name, p) for name, p in part.named_parameters() if p.requires_grad)
