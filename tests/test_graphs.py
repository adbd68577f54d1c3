"""The graph of every preset: both panels, every term of its loss, boxes apart and wide enough."""

from __future__ import annotations

from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
import torch

import variata
from variata import registry
from variata_plugins.graphs.graph import Drawn
from variata_plugins.graphs.layout import LARGE, SMALL, laid_out, text_width
from variata_plugins.graphs.structure import graph_of
from variata_plugins.graphs.svg import render_svg
from variata_plugins.graphs.words import mermaid, text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(registry().presets()))
def test_every_preset_has_a_graph(name):
    check(variata.build(name))


def check(assembly):
    graph = graph_of(assembly)
    assert graph.training.arrows
    assert graph.inference.arrows
    assert graph.weights
    picture = laid_out(graph)
    for a, b in combinations(picture.boxes, 2):
        apart = abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
        assert apart, (a.label, b.label)
    for line in picture.lines:
        for end, start in pairwise(line.points):
            (left, right), (top, bottom) = sorted((end[0], start[0])), sorted((end[1], start[1]))
            for box in picture.boxes:
                across = left < box.x + box.width / 2 and right > box.x - box.width / 2
                assert not (across and top < box.y + box.height / 2 and bottom > box.y - box.height / 2), box.label
    for box in picture.boxes:
        assert max(text_width(box.label, LARGE), text_width(box.detail, SMALL)) <= box.width, box.label
        assert box.x - box.width / 2 >= 0
        assert box.x + box.width / 2 <= picture.width
    shown = "".join(ElementTree.fromstring(render_svg(graph)).itertext())
    for _, term in graph.weights:
        for written in (shown, mermaid(graph), text(graph)):
            assert term in written
    return graph


def test_a_vae_is_drawn_as_in_a_textbook():
    graph = check(variata.build("vae", {"loss.beta": 4}))
    flow = {(a.source, a.target) for a in graph.training.arrows}
    path = ["x", "encoder", "posterior", "z", "decoder", "output"]
    assert flow == {*pairwise(path), ("noise", "z")}
    places = {s.name: (s.between, s.weight, s.extra) for s in graph.summands()}
    assert places["distortion"] == (("x", "output"), 1.0, False)
    assert places["rate"] == (("posterior", "prior"), 4.0, True)


def test_layers_stand_in_the_order_of_generation_each_with_its_rate():
    graph = check(variata.build("ladder_vae", {"loss.beta": [1, 2, 3]}))
    drawn = [(a.source, a.target) for a in graph.inference.arrows]
    assert drawn == [*pairwise(["z_3", "z_2", "z_1", "decoder", "output", "x"])]
    places = {s.name: (s.between, s.weight) for s in graph.summands()}
    assert places["rate_3"] == (("posterior_3", "prior_3"), 1.0)
    assert places["rate_1"] == (("posterior_1", "prior_1"), 3.0)
    assert {("z_3", "prior_2"), ("z_2", "prior_1"), ("encoder", "posterior_3"), ("posterior_1", "z_1")} <= {
        (a.source, a.target) for a in graph.training.arrows
    }
    graph = check(variata.build("residual_vae", {"loss": "elbo"}))
    assert next(s.between for s in graph.summands() if s.name == "rate") == ("posterior_4", "prior_1")


@pytest.mark.parametrize("name", ["gan", "rbm", "autoencoder", "denoising_autoencoder", "chow_liu", "aae"])
def test_others_stand_beside_it(name):
    check(variata.build(name))


def test_a_boltzmann_machine_keeps_what_is_pushed_down_apart_from_what_is_pulled_up():
    for name, start in (("rbm", "x"), ("rbm_pcd", "kept")):
        graph = check(variata.build(name))
        arrows = {(arrow.source, arrow.target) for arrow in graph.training.arrows}
        assert {(start, "chain"), ("chain", "chain"), ("chain", "chain_end"), ("x", "output")} <= arrows
        between = {s.name: s.between for s in graph.summands()}
        assert between == {"data": ("x", "output"), "model": ("chain_end", "chain_output")}


def test_layers_of_machines_each_with_its_terms():
    graph = check(variata.build("deep_belief_network", {"model.hidden": [5, 4, 3]}))
    assert [node.label for node in graph.training.nodes.values()] == ["x", "h1", "h2", "h3"]
    between = {(s.phase, s.name): s.between for s in graph.summands()}
    assert between["layer_1", "data"] == ("x", "h_1")
    assert between["layer_3", "model"] == ("h_2", "h_3")
    assert [*graph.inference.nodes] == ["start", "step", "h_2", "h_1", "x"]


@pytest.mark.parametrize("name", ["hclt", "rat_spn", "poon_domingos", "gaussian_mixture"])
def test_circuits_show_their_layers(name):
    graph = check(variata.build(name))
    nodes = graph.training.nodes
    assert [*nodes][:2] == ["x", "leaves"]
    if name == "hclt":
        assert nodes["sums_1"].detail == "a tree, learned from data"
    if name == "rat_spn":  # two cuts, ten times
        assert (nodes["sums_1"].label, nodes["sums_2"].label) == ("40 × 32 sums", "20 × 32 sums")
        assert nodes["output"].label == "log p(x), one sum of 10 × 32"
    if name == "poon_domingos":
        assert nodes["sums_2"].detail == "layers of sums"
    if name == "gaussian_mixture":
        assert [*nodes] == ["x", "leaves", "output"]


def test_the_command_refuses_what_it_cannot_write(command, tmp_path):
    status, _, err = command("graph", "vae", "--out", tmp_path / "x.gif")
    assert (status, "must end in .svg, .png, .mmd, .txt" in err) == (2, True)
    status, out, err = command("graph", "vae", "--out", tmp_path / "vae.svg")
    assert (status, err) == (0, "")
    assert (tmp_path / "vae.svg").stat().st_size > 1000
    assert command("graph", "vae", "--out", tmp_path / "vae.png")[0] == 0
    assert (tmp_path / "vae.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = command("graph", "vae", "loss.beta=4")
    assert "+ 4 x rate (train): μ, σ [q(z|x)] -- p(z) [standard_normal]" in out.splitlines()


def test_a_model_known_by_its_interfaces_alone_and_one_that_says_more():
    class Plain(variata.Sampler):
        def sample(self, n, condition=None):
            return torch.zeros(n, *self.spec.shape)

    class Said(Plain, Drawn):
        def draw(self, graph):
            graph.inference.node("oracle", "oracle", kind="part", extra=True, column=3)
            graph.inference.arrow("output", "oracle", "is asked")

    class Failing(variata.OnePhaseLoss):
        def forward(self, model, batch, now):
            raise RuntimeError("not today")

    for model_class, known in ((Plain, False), (Said, True)):
        assembly = variata.build("vae")
        assembly.model, assembly.loss = model_class(assembly.data.spec), Failing()
        with pytest.warns(variata.VariataWarning, match=r"could not be evaluated \(.*not today\)"):
            graph = graph_of(assembly)
        assert graph.training.arrows
        assert ("oracle" in graph.inference.nodes) == known
        assert laid_out(graph).boxes
    with pytest.raises(variata.PluginError, match="no node 'outptu', did you mean output"):
        graph.training.arrow("outptu", "x")


def test_a_classifier_reads_x_and_draws_nothing():
    graph = check(variata.build("classifier"))
    for panel in (graph.training, graph.inference):
        assert {(a.source, a.target) for a in panel.arrows} == {("x", "model"), ("model", "output")}
        assert panel.nodes["output"].label == "p(y|x)"
