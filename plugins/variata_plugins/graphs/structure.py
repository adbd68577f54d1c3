"""From an assembly to its graph: capabilities say the shape, parts the boxes, one look at the loss its terms."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from variata import (
    Assembly,
    Autoencoder,
    Chain,
    Classifier,
    Corruption,
    Decoder,
    Density,
    DiagonalNormal,
    Encoder,
    Energy,
    Finishes,
    LatentVariable,
    Network,
    NotPrepared,
    Now,
    Prior,
    Sampler,
    VariataWarning,
    prepare,
)

from .graph import Drawn, Graph, Panel

_EXAMPLES = 32
# Where the terms that the field names alike stand: from, to, and whether a plain autoencoder lacks them.
_PLACES = {
    **dict.fromkeys(("distortion", "error", "reconstruction"), ("x", "output", False)),
    **dict.fromkeys(("nll", "bound", "iwae", "elbo", "data"), ("x", "output", True)),
    **dict.fromkeys(("rate", "kl", "divergence", "dimension_wise_kl"), ("posterior", "prior", True)),
    **dict.fromkeys(("mutual_information", "total_correlation"), ("posterior", "z", True)),
    **dict.fromkeys(("contraction", "sparsity"), ("encoder", "z", True)),
    "codes": ("z", "z", True),
    "regulariser": ("z", "output", True),
    "commitment": ("encoder", "z", True),
    "codebook": ("encoder", "z", True),
    "model": ("chain_end", "chain_output", True),
    "cross_entropy": ("output", "output", True),
}


def graph_of(assembly: Assembly) -> Graph:
    """The graph of what `variata.build` gave; the assembly is left as it was."""
    model, loss = assembly.model, assembly.loss
    graph = Graph(assembly.spec.name)
    names = {part.path: str(part.use) for part in assembly.spec.parts() if part.use}
    parts = _Parts(model, names, _look(assembly, graph), bool(loss.per_process))
    _training(graph.training, parts)
    _inference(graph.inference, parts)
    if isinstance(model, Drawn):
        model.draw(graph)
    _critics(graph, loss, model, names)
    for _, term in graph.weights:
        if term in _PLACES and term not in graph.places:
            source, target, extra = _PLACES[term]
            if "posterior_1" in graph.training.nodes:  # of several layers together
                whole = {"posterior": f"posterior_{parts.layers}", "prior": "prior_1", "z": "z_1"}
                source, target = (whole.get(name, name) for name in (source, target))
            if source in graph.training.nodes and target in graph.training.nodes:
                graph.place(term, source, target, extra=extra)
            elif "z" in graph.training.nodes and term != "data":
                graph.place(term, "z", target if target in graph.training.nodes else "z", extra=extra)
    for layer in range(1, parts.layers + 1):
        for _, term in graph.weights:
            if parts.layers > 1 and term in (f"rate_{layer}", f"kl_{layer}"):
                graph.place(term, f"posterior_{layer}", f"prior_{layer}")
    if isinstance(loss, Drawn):
        loss.draw(graph)
    return graph


class _Parts:
    """What a model is made of, by role, with the names that its specification gives."""

    def __init__(self, model: Any, names: dict[str, str], laws: list[Any], kept: bool) -> None:
        self.kept = kept  # whether the loss keeps chains from step to step
        self.model, self.law, children = model, laws[0] if laws else None, dict(model.named_children())
        self.layers = len(laws)
        self.names = names
        self.encoder = next((n for n, m in children.items() if isinstance(m, Encoder) or n == "encoder"), None)
        self.decoder = next((n for n, m in children.items() if isinstance(m, Decoder) or n == "decoder"), None)
        self.prior = next((n for n, m in children.items() if isinstance(m, Prior) or n == "prior"), None)
        self.corruption = next((n for n, m in children.items() if isinstance(m, Corruption)), None)
        self.networks = [n for n, m in children.items() if isinstance(m, Network)]
        self.given = ", y" if model.conditional else ""
        self.prior_label = "p(z|y)" if model.conditional and self._prior_depends_on_y() else "p(z)"

    def _prior_depends_on_y(self) -> bool:
        """A prior says so by the batch shape of its law; one that is fitted after training is one for each class."""
        prior, spec = None if self.prior is None else getattr(self.model, self.prior), self.model.spec
        if not isinstance(prior, Prior):
            return False
        y = torch.zeros(1, dtype=torch.long) if spec.classes else torch.zeros(1, *(spec.condition or ()))
        try:
            return bool(prior(y).batch_shape)
        except NotPrepared:
            return spec.classes is not None

    def named(self, child: str | None) -> str:
        return "" if child is None else self.names.get(f"model.{child}", type(getattr(self.model, child)).__name__)

    @property
    def shape(self) -> str:
        return "×".join(map(str, self.model.spec.shape)) + f" {self.model.spec.support}"

    @property
    def output(self) -> tuple[str, str]:
        decoder = None if self.decoder is None else getattr(self.model, self.decoder)
        if isinstance(decoder, Decoder) and not decoder.models:
            return "x′", "a point"
        return f"p(x|z{self.given})", self.named(self.decoder)


def _training(panel: Panel, parts: _Parts) -> None:
    model = parts.model
    panel.node("x", "x", parts.shape)
    if parts.layers > 1:
        _layered(panel, parts)
    elif isinstance(model, Autoencoder) and parts.encoder is not None and parts.decoder is not None:
        _encoded(panel, parts)
    elif isinstance(model, Energy):
        _contrasted(panel, parts)
    elif isinstance(model, Autoencoder):
        column = 1
        if parts.corruption is not None:
            panel.node("corrupted", "x~ ~ C(x~|x)", parts.named(parts.corruption), kind="noise", extra=True, column=1)
            panel.arrow("x", "corrupted", extra=True)
            column = 2
        panel.node("z", "h", "hidden layers", column=column)
        panel.node("output", "p(x|h)", kind="law", column=column + 1)
        panel.arrow("corrupted" if column == 2 else "x", "z")
        panel.arrow("z", "output")
        panel.arrow("output", "corrupted" if column == 2 else "z", "step by step", extra=True)
    elif isinstance(model, Density):
        panel.node("model", parts.names.get("model", type(model).__name__), kind="part", extra=True, column=1)
        panel.node("output", f"log p(x{'|y' if parts.given else ''})", "exact", kind="law", extra=True, column=2)
        panel.arrow("x", "model", extra=True)
        panel.arrow("model", "output", extra=True)
    elif isinstance(model, Sampler):
        panel.node("x", "x", parts.shape, column=2, row=1)
        _generated(panel, parts, "G(z)")
    else:
        _mapped(panel, parts)
    if model.conditional:
        _conditioned(panel)
    if isinstance(model, Classifier) and isinstance(model, Autoencoder | Density | Sampler):
        last = max(node.column for node in panel.nodes.values()) + 1
        panel.node("class", "p(y|x)", kind="law", extra=True, column=last)
        panel.arrow([*panel.nodes][-2], "class", extra=True)


def _contrasted(panel: Panel, parts: _Parts) -> None:
    """F at an example, and F where a chain of sweeps has come to from it, or from where it was left."""
    panel.node("output", "F(x)", "free energy", kind="law", extra=True, column=3)
    panel.arrow("x", "output", extra=True)
    panel.node("chain", "Gibbs sweep", "h ~ p(h|x′), x′ ~ p(x′|h)", kind="part", extra=True, column=1, row=1)
    panel.node("chain_end", "x′", "held constant", extra=True, column=2, row=1)
    panel.node("chain_output", "F(x′)", "free energy", kind="law", extra=True, column=3, row=1)
    if parts.kept:
        panel.node("kept", "x′ before", "kept from step to step", kind="noise", extra=True, row=1)
    panel.arrow("kept" if parts.kept else "x", "chain", extra=True)
    panel.arrow("chain", "chain", "k times", extra=True)
    panel.arrow("chain", "chain_end", extra=True)
    panel.arrow("chain_end", "chain_output", extra=True)


def _encoded(panel: Panel, parts: _Parts) -> None:
    """x -> encoder -> z -> decoder -> p(x|z), with what is drawn on the way."""
    source, column, probabilistic = "x", 1, isinstance(parts.model, LatentVariable)
    if parts.corruption is not None:
        panel.node("corrupted", "x~ ~ C(x~|x)", parts.named(parts.corruption), kind="noise", extra=True, column=1)
        panel.arrow("x", "corrupted", extra=True)
        source, column = "corrupted", 2
    panel.node("encoder", "encoder", parts.named(parts.encoder), kind="part", column=column)
    panel.arrow(source, "encoder")
    source, column = "encoder", column + 1
    if probabilistic:
        normal = isinstance(parts.law, DiagonalNormal) or parts.law is None
        law = f"q(z|x{parts.given})"
        panel.node("posterior", "μ, σ" if normal else law, law if normal else "", kind="law", extra=True, column=column)
        panel.arrow("encoder", "posterior", extra=True)
        source, column = "posterior", column + 1
        label = "z = μ + σ ε" if normal else "z ~ q"
        panel.node("z", label, extra=True, column=column)
        panel.node("noise", "ε ~ N(0, I)" if normal else "ε", kind="noise", extra=True, column=column, row=-1)
        panel.arrow("noise", "z", extra=True)
    else:
        panel.node("z", "z", column=column)
    panel.arrow(source, "z", extra=probabilistic)
    _decoded(panel, parts, "z", column + 1)
    if parts.prior is not None:
        panel.node("prior", parts.prior_label, parts.named(parts.prior), kind="law", extra=True, column=column, row=1)
        if isinstance(getattr(parts.model, parts.prior), Finishes) or not (probabilistic or _is_prior(parts)):
            panel.arrow("z", "prior", "fitted afterwards", extra=True)


def _layered(panel: Panel, parts: _Parts) -> None:
    """x -> inference -> several layers, the top one first, each given those before it -> p(x|z)."""
    count, given = parts.layers, parts.given
    panel.node("x", "x", parts.shape, row=-1)
    inference = parts.named(parts.encoder)
    panel.node("encoder", "encoder" if inference else "inference", inference, kind="part", column=1, row=-1)
    panel.arrow("x", "encoder")
    for column, layer in enumerate(range(count, 0, -1), start=2):
        z, top = f"z{_lowered(layer)}", layer == count
        above = "" if top else f"|z{_lowered(layer + 1)}"
        at = {"kind": "law", "extra": True, "column": column}
        panel.node(f"posterior_{layer}", f"q({z}|x{given})" if top else f"q({z}|x, …)", **at, row=-1)
        panel.node(f"z_{layer}", z, extra=True, column=column)
        panel.node(f"prior_{layer}", f"p({z}{above}{given})" if above else f"p({z})", **at, row=1)
        panel.arrow("encoder", f"posterior_{layer}", extra=True)
        panel.arrow(f"posterior_{layer}", f"z_{layer}", extra=True)
        if not top:
            panel.arrow(f"z_{layer + 1}", f"prior_{layer}", extra=True)
    _decoded(panel, parts, "z_1", count + 2)


def _decoded(panel: Panel, parts: _Parts, source: str, column: int) -> None:
    """... -> decoder -> p(x|z)."""
    panel.node("decoder", "decoder", parts.named(parts.decoder), kind="part", column=column)
    label, detail = parts.output
    panel.node("output", label, detail, kind="law", column=column + 1)
    panel.arrow(source, "decoder")
    panel.arrow("decoder", "output")


def _lowered(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _is_prior(parts: _Parts) -> bool:
    return parts.prior is not None and isinstance(getattr(parts.model, parts.prior), Prior)


def _generated(panel: Panel, parts: _Parts, label: str) -> None:
    panel.node("z", "z ~ p(z)", kind="noise", extra=True)
    name = parts.networks[0] if parts.networks else None
    what = name or parts.names.get("model", type(parts.model).__name__)
    panel.node("generator", what, parts.named(name), kind="part", extra=True, column=1)
    panel.node("output", label, kind="law", extra=True, column=2)
    panel.arrow("z", "generator", extra=True)
    panel.arrow("generator", "output", extra=True)


def _mapped(panel: Panel, parts: _Parts) -> None:
    """x -> what the model says of it, where it neither samples nor has a density."""
    model, child = parts.model, parts.networks[0] if len(parts.networks) == 1 else None
    panel.node("x", "x", parts.shape)
    label = child or parts.names.get("model", type(model).__name__)
    panel.node("model", label, parts.named(child), kind="part", column=1)
    panel.arrow("x", "model")
    what = "p(y|x)" if isinstance(model, Classifier) else "x′" if isinstance(model, Autoencoder) else "output"
    panel.node("output", what, kind="law", extra=isinstance(model, Classifier), column=2)
    panel.arrow("model", "output", extra=isinstance(model, Classifier))


def _conditioned(panel: Panel) -> None:
    panel.node("y", "y", "condition", extra=True, row=min(node.row for node in panel.nodes.values()) - 1)
    for name in ("encoder", "decoder", "generator", "model", "z" if "encoder" not in panel.nodes else ""):
        if name in panel.nodes:
            panel.arrow("y", name, extra=True)


def _inference(panel: Panel, parts: _Parts) -> None:
    model = parts.model
    if isinstance(model, Chain):
        panel.node("start", "start", "the base law", kind="noise", extra=True)
        what = "corrupt, restore" if parts.corruption else "Gibbs sweep"
        panel.node("step", what, "one step of the chain", kind="part", extra=True, column=1)
        panel.node("x", "x", parts.shape, column=2)
        panel.arrow("start", "step", extra=True)
        panel.arrow("step", "step", "many times", extra=True)
        panel.arrow("step", "x", extra=True)
    elif parts.layers > 1:
        for column, layer in enumerate(range(parts.layers, 0, -1)):
            z = f"z{_lowered(layer)}"
            above = "" if layer == parts.layers else f"|z{_lowered(layer + 1)}"
            panel.node(f"z_{layer}", z, f"~ p({z}{above}{parts.given})", extra=True, column=column)
            if above:
                panel.arrow(f"z_{layer + 1}", f"z_{layer}", extra=True)
        _decoded(panel, parts, "z_1", parts.layers)
        panel.node("x", "x", parts.shape, column=parts.layers + 2)
        panel.arrow("output", "x")
    elif isinstance(model, Sampler) and parts.decoder is not None:
        panel.node("prior", parts.prior_label, parts.named(parts.prior), kind="law", extra=True)
        panel.node("z", "z", extra=True, column=1)
        panel.node("decoder", "decoder", parts.named(parts.decoder), kind="part", column=2)
        label, detail = parts.output
        panel.node("output", label, detail, kind="law", column=3)
        panel.node("x", "x", parts.shape, column=4)
        for source, target in (("prior", "z"), ("z", "decoder"), ("decoder", "output"), ("output", "x")):
            panel.arrow(source, target, extra=source in ("prior", "z"))
    elif isinstance(model, Density):
        panel.node("model", parts.names.get("model", type(model).__name__), kind="part", extra=True, column=1)
        panel.node("given", "x", "evaluated", extra=True)
        panel.node("output", "log p(x)", "exact", kind="law", extra=True, column=2)
        panel.arrow("given", "model", extra=True)
        panel.arrow("model", "output", extra=True)
        if isinstance(model, Sampler):
            panel.node("x", "x ~ p(x)", parts.shape, column=2, row=1)
            panel.arrow("model", "x", extra=True)
    elif isinstance(model, Sampler):
        _generated(panel, parts, "x")
    else:
        _mapped(panel, parts)
    if model.conditional:
        panel.node("y", "y", "condition", extra=True, row=-1)
        for name in ("decoder", "generator", "model"):
            if name in panel.nodes:
                panel.arrow("y", name, extra=True)


def _critics(graph: Graph, loss: nn.Module, model: Any, names: dict[str, str]) -> None:
    """The networks of a loss, which look at examples or at codes, and the terms of their game."""
    panel = graph.training
    if not panel.nodes:
        return
    networks = [(n, m) for n, m in loss.named_children() if isinstance(m, Network)]
    row = 2 if "prior" in panel.nodes else 1  # so that nothing stands between them and x
    column = max(node.column for node in panel.nodes.values()) + 1
    for name, network in networks:
        panel.node(name, name, names.get(f"loss.{name}", ""), kind="part", extra=True, column=column, row=row)
        column += 1
        of_x = network.input == tuple(model.spec.shape)
        permuted = any(term == "product" for _, term in graph.weights)  # codes are compared with codes
        of_codes = ("z",) if permuted else ("z", "prior")
        seen = ("x", "output") if of_x else of_codes if name == networks[0][0] else (networks[0][0],)
        for node in seen:
            if node in panel.nodes:
                panel.arrow(node, name, extra=True)
        if name != networks[0][0]:
            continue
        real, fake = ("x", "output") if of_x else ("prior", "z")
        for term, node in (
            *dict.fromkeys((("real", real), ("joint", fake), ("similarity", "x"))),
            *((term, fake) for term in ("fake", "product", "decoded", "drawn", "generator", "game", "penalty")),
            ("total_correlation", fake),
        ):
            if node in panel.nodes and (term != "total_correlation" or not of_x):
                graph.place(term, node, name)


def _look(assembly: Assembly, graph: Graph) -> list[Any]:
    """q of each layer for the first examples, the top one first, where there is one. Copies of model and loss are
    evaluated on these once, which tells the names and the weights of the terms; a loss that cannot is a warning, and
    its terms are missing."""
    if assembly.data is None:
        return []
    try:
        split = assembly.data.split("train")
        batch = split.batch(torch.arange(min(_EXAMPLES, len(split))))
        model, loss = copy.deepcopy((assembly.model, assembly.loss))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            for module in (model, loss):
                prepare(module, [batch])
            model.eval()
            for phase in loss.eval().phases(model):
                for name, term in phase.loss(model, batch, Now.at_end()).terms.items():
                    graph.weights[phase.name, name] = float(term.scale)
            layers = model.terms(batch.x, batch.y).layers if isinstance(model, LatentVariable) else ()
            return [layer.q for layer in layers]
    except Exception as error:  # of a plugin's, too: what the capabilities say is drawn all the same
        reason = " ".join(str(error).split())
        warnings.warn(
            f"the loss could not be evaluated ({reason}): its terms are not drawn", VariataWarning, stacklevel=3
        )
    return []
