"""Which figures may stand in one column, why others may not, and what is said in the place of a figure that there is
none of."""

from __future__ import annotations

from collections.abc import Sequence

from .record import Figure, Group, Kind, ModelOf

_OF_LATENTS = ("elbo", "kl", "reconstruction", "gap", "effective_samples", "active_units", "mutual_information")
_LACKING = {
    **dict.fromkeys(("nll", "log_likelihood", "bits_per_dim"), ("Density Energy LatentVariable", "no likelihood")),
    **dict.fromkeys((*_OF_LATENTS, "aggregate_kl"), ("LatentVariable", "no posterior q(z | x)")),
    **dict.fromkeys(("log_partition", "annealing_gap"), ("Energy", "no energy")),
    **dict.fromkeys(("accuracy", "error", "cross_entropy"), ("Classifier", "no classifier")),
    **dict.fromkeys(
        ("reconstruction_mse", "reconstruction_psnr", "reconstruction_ssim"), ("Autoencoder", "no reconstructions")
    ),
    "sampling_seconds": ("Sampler", "does not sample"),
}
_LIKELIHOODS = ("nll", "log_likelihood", "bits_per_dim", "elbo")


def absent(model: ModelOf, metric: str, refused: str = "") -> str:
    """Why a model has no such figure: "GAN: no likelihood"."""
    if model.status != "ok":
        return "failed" if model.status == "failed" else "not reached"
    needed, reason = _LACKING.get(metric, ("", ""))
    if needed and not set(needed.split()) & set(model.capabilities):
        return f"{model.kind}: {reason}"
    if refused:
        return f"{model.kind}: {refused}"
    if "Sampler" not in model.capabilities and not needed:
        return f"{model.kind}: does not sample" if _is_of_samples(metric) else f"{model.kind}: not measured"
    return f"{model.kind}: {'not for this model' if needed else 'not measured'}"


def _is_of_samples(metric: str) -> bool:
    names = ("sample_", "fid", "kid", "parzen", "nearest_", "precision", "recall", "density", "coverage")
    return metric.startswith(names)


def groups_of(figures: Sequence[Figure]) -> list[Group]:
    """The groups of each metric, in the order in which they occur; with several, each says what sets it apart."""
    found: dict[str, dict[str, list[str]]] = {}
    for figure in figures:
        if figure.value is not None:
            models = found.setdefault(figure.metric, {}).setdefault(figure.group, [])
            if figure.model not in models:
                models.append(figure.model)
    groups = []
    for metric, by_name in found.items():
        for name, models in by_name.items():
            others = [other for other in by_name if other != name]
            groups.append(Group(metric=metric, name=name, models=models, reason=_reason(metric, name, others)))
    return groups


def _reason(metric: str, name: str, others: Sequence[str]) -> str:
    if not others:
        return ""
    if metric in _LIKELIHOODS or ";" in name:
        of, _, measure = name.partition("; ")
        other_of, _, other_measure = others[0].partition("; ")
        reasons = []
        if of != other_of:
            reasons.append("knowing y is worth up to its entropy, so log p(x | y) and log p(x) may not be compared")
        if measure != other_measure:
            reasons.append(f"{measure} and {other_measure} are densities of other things, and may not be compared")
        return "; ".join(reasons)
    return f"measured on other terms: {name}; the others: {' / '.join(others)}"


def kind_of_difference(a: Kind, b: Kind) -> Kind:
    """How the true difference of two figures stands to theirs.

    >>> kind_of_difference("<=", "=")
    '<='
    >>> kind_of_difference("=", "<=")
    '>='
    >>> kind_of_difference("<=", "<=")
    '~'
    """
    if a == b and a in ("=", ""):
        return a
    turned: dict[Kind, Kind] = {"<=": ">=", ">=": "<="}
    if b == "=":
        return a
    if a == "=":
        return turned.get(b, b)
    return a if a == turned.get(b) else "~"
