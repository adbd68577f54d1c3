"""A small comparison as a folder, made without training, and hostile in every text that a user could have written."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import variata
from variata_plugins.comparison.record import (
    FILE,
    Budget,
    Comparison,
    DataUsed,
    Difference,
    Figure,
    Group,
    Interval,
    ModelOf,
    Picture,
    RunOf,
    View,
)
from variata_plugins.graphs.structure import graph_of
from variata_plugins.graphs.svg import render_svg

HOSTILE = "<script>alert('name')</script> & \"quoted\" $x$ {{ 7 * 7 }} 模型"
YAML = "model:\n  use: vae\n  latent: {latent}\n  note: '</pre><script>alert(\"yaml\")</script>'\nseed: 0\n"
FAILURE = "</li><img src=x onerror=alert('failure')> the loss became NaN at step 7"
REASON = "densities of other things: <b>counting</b>; lebesgue"
SCRIPTED = (
    '<svg xmlns="http://www.w3.org/2000/svg" class="variata-graph" viewBox="0 0 9 9" onload="alert(1)">'
    "<script>alert(2)</script><style>@import url(https://example.org/x.css);</style>"
    '<a href="https://example.org"><text>link</text></a><foreignObject><form/></foreignObject>'
    '<text class="ink" x="1" y="2" onclick="alert(3)">kept &lt;b&gt;</text></svg>'
)


def small_comparison(folder: Path) -> Comparison:
    """Three models, two seeds: one that is well, one whose name, graph and specification are hostile, one that failed;
    written into the folder with its pictures and graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 20), 128).save(folder / "samples.png")
    (folder / "vae.svg").write_text(render_svg(graph_of(variata.build("vae"))), encoding="utf-8")
    (folder / "hostile.svg").write_text(SCRIPTED, encoding="utf-8")
    models = [_model("vae", 50, "vae.svg"), _model(HOSTILE, 60, "hostile.svg"), _failed()]
    figures, intervals = [], []
    for i, name in enumerate(("vae", HOSTILE)):
        group = f"group {i}"
        values = {"nll": (24.0 + i, 24.5 + i), "bits_per_dim": (0.51 + i / 8, 0.53 + i / 8), "parzen": (3.25 + i, 3.5)}
        for metric, pair in values.items():
            own = "all" if metric == "bits_per_dim" else group
            figures += [_figure(name, seed, metric, value, own) for seed, value in enumerate(pair)]
            mean = sum(pair) / 2
            intervals.append(
                Interval(
                    model=name, metric=metric, group=own, mean=mean, seeds=2, standard_error=0.125, half_width=0.75
                )
            )
    absent = [
        Figure(model="gan", seed=0, metric=metric, value=None, absent=f"GAN: no <i>{what}</i>")
        for metric, what in (("nll", "likelihood"), ("parzen", "samples"))
    ]
    groups = [
        Group(metric=metric, name=f"group {i}", models=[name], reason=REASON)
        for metric in ("nll", "parzen")
        for i, name in enumerate(("vae", HOSTILE))
    ]
    groups.append(Group(metric="bits_per_dim", name="all", models=["vae", HOSTILE]))
    view = View(name="binary", words="black or white", options={}, models=["vae", HOSTILE, "gan"])
    counts = {"train": 100, "validation": 20, "test": 40}
    comparison = Comparison(
        title=f"vae and {HOSTILE}",
        command="variata compare vae 'my <model>.yaml' --out here",
        created="2026-11-25T10:00:00Z",
        versions={"variata": "0.1.0", "torch": "2.13.0"},
        machine={"processor": "a processor", "cores": 2},
        budget=Budget(kind="epochs", value=3),
        seeds=[0, 1],
        data=DataUsed(use="digits", shape=[1, 8, 8], examples=counts, split="test", views=[view]),
        models=models,
        settings={"samples": 500},
        complete=True,
        figures=[*figures, *absent],
        groups=groups,
        intervals=intervals,
        differences=[
            Difference(
                metric="nll",
                group="group 0",
                a="vae",
                b=HOSTILE,
                value=-1.0625,
                standard_error=0.25,
                examples=40,
                seeds=2,
                half_width=0.5,
                kind="~",
            )
        ],
        pictures=[
            Picture(model="", what="data", file="samples.png", caption="test examples"),
            Picture(model="vae", what="samples", file="samples.png", caption="samples x ~ p(x)"),
            Picture(model=HOSTILE, what="samples", file="../outside.png", caption="samples"),
            Picture(model="vae", what="nearest", file="missing.png", caption="nearest"),
        ],
    )
    (folder / FILE).write_text(comparison.to_json(), encoding="utf-8")
    return comparison


def _model(name: str, latent: int, graph: str) -> ModelOf:
    runs = [
        RunOf(
            folder=f"runs/{latent}-{seed}",
            seed=seed,
            status="ok",
            seconds=2.0 + seed,
            steps=30,
            sampling=0.5,
            curves={
                "train/loss": [(10, 40.0 + latent), (20, 35.0), (30, 30.0 + seed)],
                "validation/loss": [(10, 41.0), (20, 36.0), (30, 31.0)],
                "validation/elbo": [(10, -41.0), (30, -31.0 - seed)],
            },
        )
        for seed in (0, 1)
    ]
    yaml = YAML.replace("{latent}", str(latent))
    return ModelOf(name=name, source=name, kind="VAE", status="ok", runs=runs, yaml=yaml, parameters=1234, graph=graph)


def _failed() -> ModelOf:
    runs = [RunOf(folder="runs/gan", seed=0, status="failed", failure=FAILURE)]
    return ModelOf(
        name="gan", source="gan", kind="GAN", status="failed", runs=runs, yaml="model: gan\n", failure=FAILURE
    )


def _figure(model: str, seed: int, metric: str, value: float, group: str) -> Figure:
    return Figure(
        model=model,
        seed=seed,
        metric=metric,
        value=value,
        standard_error=0.125,
        kind="<=",
        unit="nats",
        group=group,
        examples=40,
        samples=500,
        split="test",
        measure="counting",
    )
