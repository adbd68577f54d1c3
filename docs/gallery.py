"""Every preset with its graph, YAML, samples and figures: writes `docs/gallery.md` and the files of `docs/gallery/`.

    make gallery                              # trains the presets that are new, or whose file has changed
    python docs/gallery.py vae gan            # trains these anew
    python docs/gallery.py --page             # trains nothing, and writes the page again

Each is trained as its preset says, but for a minute at most, on the data that it names.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

import variata
from variata import Autoencoder, EvaluationSettings, LatentVariable, MetricsContext, Sampler, UserError, registry
from variata.config import load_spec
from variata.evaluation import has_likelihood
from variata_plugins.comparison.drawing import save_tiles
from variata_plugins.comparison.report.numbers import SIGNS, error_said, said, seconds_said
from variata_plugins.comparison.report.tables import capital
from variata_plugins.comparison.tables import title_of
from variata_plugins.graphs.structure import graph_of
from variata_plugins.graphs.svg import render_svg

DOCS = Path(__file__).parent
SECONDS, SEED, SAMPLES, COLUMNS, WIDTH = 15, 0, 500, 10, 480
KINDS = {"exact": "=", "upper_bound": "<=", "lower_bound": ">=", "biased": "~"}
SHOWN = (
    *("nll", "bits_per_dim", "elbo", "kl", "accuracy", "reconstruction_mse", "parzen"),
    *("modes_covered", "sample_mean_distance", "sample_variance_ratio", "sample_distinct"),
)
MOST = 5
INTRODUCTION = """
Every preset with its graph, its YAML, samples and figures, trained as it stands, but for a minute at most: a first
impression, and no comparison (for that, [`variata compare`](comparison.md)). `make gallery` trains what is new and
writes this page; `variata train NAME` trains one to its end. Figures are of the test split, with the standard error
over examples; =, ≤, ≥ and ~ say how the truth stands to them ([Evaluation](evaluation.md)). Times are of a machine that
had other work to do.
"""


def presets() -> dict[str, Path]:
    """The files of the presets that come with variata, by name."""
    found = {name: places[0] for name, places in sorted(registry().presets().items())}
    return {name: path for name, (plugin, path) in found.items() if plugin.distribution == "variata"}


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """What was seen of each preset that is still there."""
    files = {path.stem: path for path in folder.glob("*.json")}
    return {name: json.loads(files[name].read_text(encoding="utf-8")) for name in presets() if name in files}


def stale(folder: Path) -> list[str]:
    """The presets that were not trained as they are now."""
    known = records(folder)
    texts = {name: path.read_text(encoding="utf-8") for name, path in presets().items()}
    return [name for name, text in texts.items() if known.get(name, {}).get("preset") != text]


def make(name: str, folder: Path, overrides: Sequence[str] = ()) -> None:
    """Trains one preset, and leaves its graph, its picture and its record in the folder."""
    began = time.time()
    assembly = variata.build(name, [f"train.max_time={SECONDS}", f"seed={SEED}", *overrides])
    (folder / f"{name}.svg").write_text(render_svg(graph_of(assembly)), encoding="utf-8")
    drawn = next(plugin for plugin in registry().plugins if plugin.name == "pictures")
    with tempfile.TemporaryDirectory() as scratch:
        drawn.status = "off" if assembly.model.spec.is_image else "loaded"  # of images there are smaller ones below
        run = variata.train_assembly(assembly, run=Path(scratch) / name)
        drawn.status = "loaded"
        if run.status in ("interrupted", "terminated"):
            raise SystemExit(1)
        what = picture(run, folder / f"{name}.png")
        try:
            figures = variata.evaluate(run, samples=50, ais_steps=1000, ais_chains=50, metrics=metrics_of(run))
        except UserError as error:
            figures = {}
            print(f"{name}: is not evaluated: {error}")
        status = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    kept = ("value", "standard_error", "kind", "measure", "examples", "samples")
    record = {
        "preset": presets()[name].read_text(encoding="utf-8"),
        "command": " ".join(["python docs/gallery.py", name]),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "variata": variata.__version__},
        "steps": status.get("step"),
        "limit": SECONDS,
        "seconds": round(status.get("seconds", 0.0), 2),
        "parameters": sum(p.numel() for p in run.model.parameters() if p.requires_grad),
        "picture": what,
        "figures": {
            metric: {key: found[key] for key in kept if found.get(key) is not None}
            for metric, found in figures.items()
            if not isinstance(found["value"], list)
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {time.time() - began:.0f} s", flush=True)


def metrics_of(run: variata.Run) -> list[dict[str, Any]]:
    """What `variata evaluate` says of a model without a likelihood, of fewer samples: some draw slowly."""
    if has_likelihood(run.model):
        return []
    context = MetricsContext(run.model, run.data, EvaluationSettings())
    names = [name for found in registry().notify("variata_default_metrics", context) for name in found or ()]
    few = {"samples": SAMPLES}
    return [{"use": name, **(few if name in ("sample_statistics", "parzen") else {})} for name in names]


def in_pairs(above: Tensor, below: Tensor) -> Tensor:
    """Rows of the first, each above the same row of the second."""
    return rearrange(torch.stack([above, below]), "p (r c) ... -> (r p c) ...", c=COLUMNS)


@torch.no_grad()
def picture(run: variata.Run, path: Path) -> str:
    """Samples, or what comes back where a model does not sample; what the picture is of, or nothing."""
    model, spec = run.model, run.model.spec
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        if isinstance(model, LatentVariable) and spec.is_image:
            law = model.generate(2 * COLUMNS)
            save_tiles(in_pairs(law.sample(), law.mean), spec, COLUMNS, path)
            return "samples x ~ p(x | z), each row above the means of p(x | z)"
        if isinstance(model, Sampler) and spec.is_image:
            save_tiles(model.sample(4 * COLUMNS), spec, COLUMNS, path)
            return "samples"
        if isinstance(model, Autoencoder) and spec.is_image:
            batch = run.data.split("test").batch(torch.arange(2 * COLUMNS))
            back = model.reconstruct(batch.x, batch.y if model.conditional else None)
            save_tiles(in_pairs(batch.x, back), spec, COLUMNS, path)
            return "test examples, each row above its reconstructions"
    samples = "samples" if spec.vocabulary else "samples beside test examples"
    for drawn, what in (("samples", samples), ("reconstructions", "reconstructions")):
        if (run.path / f"{drawn}.png").is_file():
            image = Image.open(run.path / f"{drawn}.png").convert("RGB")
            image.thumbnail((WIDTH, WIDTH * 2))
            image.quantize(64).save(path, optimize=True)
            return what
    return ""


def page(folder: Path) -> str:
    """The gallery as Markdown, with the presets that were trained, by the model that they begin from."""
    by_model: dict[str, list[str]] = {}
    known = records(folder)
    for name in known:
        by_model.setdefault(load_spec(name)["model"].use, []).append(name)
    descriptions = {e.component.name: e.component.description for e in registry().entries("model")}
    lines = ["# Gallery", "", "<!-- written by `make gallery` -->", *INTRODUCTION.splitlines(), ""]
    for model, names in sorted(by_model.items()):
        links = " · ".join(f"[{name}](#{name})" for name in names)
        lines.append(f"- **{model}**: {links}")
    for model, names in sorted(by_model.items()):
        lines += ["", f"## {descriptions[model]}"]
        for name in names:
            lines += ["", *_entry(name, known[name], folder.name)]
    return "\n".join(lines) + "\n"


def _entry(name: str, record: Mapping[str, Any], folder: str) -> list[str]:
    comment = [line for line in record["preset"].splitlines() if line.startswith("#")]
    yaml = record["preset"].removeprefix("\n".join(comment)).strip()
    lines = [f"### {name}", "", " ".join(line.removeprefix("#").strip() for line in comment), ""]
    lines += [f"![Graph of {name}]({folder}/{name}.svg)", ""]
    if record["picture"]:
        lines += [f"![{name}: {record['picture']}]({folder}/{name}.png)", "", f"{capital(record['picture'])}.", ""]
    stopped = ", where it was stopped" if record["seconds"] >= record["limit"] else ""
    steps = f"{record['steps']:,} steps in {seconds_said(record['seconds'])}{stopped}"
    facts = [f"{record['parameters']:,} parameters", steps]
    figures = record["figures"]
    named = [metric for name in SHOWN for metric in figures if metric.partition("[")[0] == name][:MOST]
    facts += [_figure(metric, figures[metric]) for metric in named]
    return [*lines, "; ".join(facts) + ".", "", "```yaml", yaml, "```"]


def _figure(metric: str, found: Mapping[str, Any]) -> str:
    error, sign = found.get("standard_error"), SIGNS[KINDS.get(found.get("kind", ""), "")]
    after = f" ± {error_said(error)}" if error else ""
    return f"{title_of(metric)} {sign} {said(found['value'], error)}{after}".replace("  ", " ")


def main(words: Iterable[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="PRESET", help="presets to be trained anew")
    parser.add_argument("--page", action="store_true", help="train nothing")
    asked = parser.parse_args(None if words is None else list(words))
    unknown = sorted(set(asked.names) - set(presets()))
    if unknown:
        parser.error(f"no such preset: {', '.join(unknown)}")
    folder = DOCS / "gallery"
    folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", variata.VariataWarning)
    for name in [] if asked.page else asked.names or stale(folder):
        make(name, folder)
    for path in folder.iterdir():
        if path.stem not in presets():
            path.unlink()
    (DOCS / "gallery.md").write_text(page(folder), encoding="utf-8")


if __name__ == "__main__":
    main()
