"""The conformance kit finds what is wrong with a part, and says which part, and what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, Dirichlet, Gamma, Independent, Normal

import variata
import variata_kernels
import wrong_parts as wrong
from variata import Component, PluginError, registry
from variata.testing import check_component, check_divergence, check_law, check_preset, checks_of, conformance, kernels

VAE = "extends: vae\ndata: {use: blobs, examples: 200}\nmodel: {latent: 2, decoder: {use: gaussian}}\n"
BITS = "data: digits\nmodel: {use: wrong}\nloss: nll\n"

CASES = [
    ("prior", wrong.ShiftedPrior, "density", "the density integrates to 2, and not to 1"),
    ("prior", wrong.WiderPrior, "density", "sample and log_prob are two laws"),
    ("prior", wrong.DeafPrior, "draws", "the sampler ignores torch's seed"),
    ("prior", wrong.UnreachedPrior, "gradients", "no gradient reaches the parameter unused"),
    ("prior", wrong.SinglePrior, "dtypes", "a float64 part gives torch.float32"),
    ("prior", wrong.SinglePrior, "devices", "gives a tensor on the CPU"),
    ("prior", wrong.ForgetfulPrior, "saving", "neither a parameter nor a buffer"),
    ("encoder", wrong.StatefulEncoder, "state", "it keeps state"),
    ("encoder", wrong.LeakingEncoder, "independence", "it leaks across the batch"),
    ("encoder", wrong.FlatEncoder, "shapes", "wrap the law in torch.distributions.Independent"),
    ("encoder", wrong.UnpicklableEncoder, "pickling", "cannot be pickled"),
    ("encoder", wrong.SignedEncoder, "divergence", "is its sign wrong?"),
    ("decoder", wrong.LeakingDecoder, "independence", "it leaks across the batch"),
    ("decoder", wrong.ShiftedDecoder, "density", "sum to 2, and not to 1"),
    ("decoder", wrong.FlatDecoder, "shapes", "events of the shape [], and not [3]: wrap the law"),
    ("decoder", wrong.RowsDecoder, "leading_axes", "raises ValueError"),
    ("network", wrong.CentredNetwork, "independence", "it leaks across the batch"),
    ("corruption", wrong.InPlaceCorruption, "noise", "in place"),
    ("corruption", wrong.FixedCorruption, "noise", "the sampler ignores torch's seed"),
    ("loss", wrong.SignedLoss, "rate", "is the sign of its KL term wrong?"),
    ("loss", wrong.CoupledLoss, "coupling", "set couples_batch = True"),
    ("loss", wrong.MovingLoss, "state", "changes mean: return it in Objective.updates"),
    ("loss", wrong.HalfLoss, "gradients", "no phase moves encoder"),
    ("loss", wrong.WideLoss, "phases", "the term bound has the shape [16, 2]"),
    ("model", wrong.ShiftedModel, "probabilities", "sum to 1.105, and not to 1"),
    ("model", wrong.OtherModel, "probabilities", "sample and the likelihood are two laws"),
    ("model", wrong.DeafModel, "capabilities", "two draws with two seeds are equal"),
    ("model", wrong.LooseModel, "bound", "nats above log p(x)"),
    ("data", wrong.LabelledData, "spec", "labels that are no integers from 0 to 1"),
    ("data", wrong.UnseededData, "splits", "give it a seed of its own"),
    ("data", wrong.UnseededData, "generator", "draws from torch's own generator"),
    ("data", wrong.HeldData, "pickling", "cannot be pickled"),
    ("data", wrong.LevelData, "spec", "values between the levels"),
    ("metric", wrong.NaNMetric, "estimates", "nothing is nan"),
    ("metric", wrong.BatchMetric, "batch_size", "by 16 examples at a time"),
    ("metric", wrong.MovingMetric, "repeats", "of the model"),
    ("optimizer", wrong.UphillOptimizer, "descent", "twenty steps down a bowl lead from 14"),
    ("optimizer", wrong.RestlessOptimizer, "rate", "at a learning rate of zero"),
    ("optimizer", wrong.RestlessOptimizer, "resume", "it keeps state elsewhere"),
    ("schedule", wrong.CountingSchedule, "purity", "it keeps state"),
    ("schedule", wrong.EndlessSchedule, "values", "is inf at step 100"),
    ("logger", wrong.RaisingLogger, "logging", "logger RaisingLogger failed in logged"),
    ("logger", wrong.MeddlingLogger, "logging", "ends with another"),
]
IDS = [f"{part.__name__}-{check}" for _, part, check, _ in CASES]


@pytest.mark.parametrize(("kind", "part", "check", "said"), CASES, ids=IDS)
def test_what_is_wrong_is_said_by_name(kind, part, check, said, tmp_path, without_pictures):
    file = tmp_path / "wrong.yaml"
    if kind in ("loss", "model"):
        file.write_text(
            VAE + "loss: wrong\n"
            if kind == "loss"
            else BITS.replace("nll", "elbo" if "Loose" in part.__name__ else "nll").replace(
                "data: digits", "data: {use: digits, binarize: dynamic}"
            )
        )
    about = {"preset": str(file)} if file.exists() else {}
    with variata.plugin([Component(kind, "wrong", part, "wrong in one way")]):
        with pytest.raises(AssertionError) as caught:
            check_component("wrong", check, kind=kind, **about)
        assert str(caught.value).startswith(f"{kind} wrong, {check}: ")
        assert said in str(caught.value)


def test_a_wrong_part_passes_the_checks_of_everything_else():
    with variata.plugin([Component("prior", "wrong", wrong.ShiftedPrior, "its density is off")]):
        others = [check for check in checks_of("prior") if check not in ("density", "divergence", "compile")]
        assert check_component("wrong", others) == {}


def test_a_part_that_says_nothing_of_itself_is_told():
    class Silent(wrong.LearnedPrior):
        pass

    with (
        variata.plugin([Component("prior", "silent", Silent, "a line")]),
        pytest.raises(AssertionError, match="prior silent, declaration: has no docstring"),
    ):
        check_component("silent", "declaration")


def test_an_abstract_part_is_told():
    class Half(variata.Prior):
        """No forward."""

    with (
        variata.plugin([Component("prior", "half", Half, "a line")]),
        pytest.raises(AssertionError, match="leaves forward abstract"),
    ):
        check_component("half", "declaration")


def test_a_part_that_takes_no_data_says_why():
    class Picky(wrong.PlainEncoder):
        """Nothing suits it."""

        def __init__(self, data: variata.DataSpec, latent: int) -> None:
            raise variata.ConfigError("takes videos alone")

    with (
        variata.plugin([Component("encoder", "picky", Picky, "a line")]),
        pytest.raises(AssertionError, match=r"cannot be built for any of binary table, .*: takes videos alone"),
    ):
        check_component("picky", "shapes")


# Names


def test_conformance_makes_a_test_for_each_check():
    test = conformance("standard_normal", skip={"compile": "it takes long"})
    (mark,) = test.pytestmark
    names = [case.values[0] for case in mark.args[1]]
    assert names == checks_of("prior")
    assert [case.marks[0].kwargs["reason"] for case in mark.args[1] if case.marks] == ["it takes long"]
    test("shapes")


def test_what_says_nothing_is_skipped_with_the_reason():
    with pytest.raises(pytest.skip.Exception, match="gives a point, and no law"):
        conformance("point")("density")


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("standard_norml", {}, "no component is called standard_norml, did you mean standard_normal"),
        (
            "gaussian",
            {},
            "more than one component: write .*corruption/gaussian or decoder/gaussian or encoder/gaussian",
        ),
        ("network/mlp", {"skip": {"densty": "?"}}, "skip: a network has no check densty"),
        ("kernel/log_matmul", {}, None),
    ],
)
def test_a_name_that_is_wrong_is_told_at_once(name, more, said):
    if said is None:
        with pytest.raises(PluginError, match="no operator log_matmul, did you mean log_matmul_exp"):
            check_component(name)
        return
    with pytest.raises(PluginError, match=said):
        conformance(name, **more)


def test_a_kind_of_a_plugin_has_the_checks_of_any_declaration():
    assert checks_of("game") == ["declaration", "occurrence"]
    assert check_component("hinge") == {}


def test_a_preset_is_checked_by_its_name():
    assert checks_of("preset") == ["contract"]
    with pytest.raises(variata.ConfigError):
        check_preset("no_such_preset")


def test_every_kind_of_the_core_has_checks_of_its_own():
    from variata.plugins import CORE_KINDS

    assert {kind.name for kind in CORE_KINDS} <= set(variata.testing.kit.CHECKS)


# Laws


@pytest.mark.parametrize(
    "law",
    [
        Independent(Normal(torch.tensor([0.0, 100.0]), torch.tensor([0.01, 10.0])), 1),
        Independent(torch.distributions.StudentT(torch.tensor([3.0, 4.0])), 1),
        Independent(Gamma(torch.tensor([0.5, 3.0]), torch.tensor([1.0, 2.0])), 1),
        Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
        Independent(Normal(torch.zeros(7), torch.ones(7)), 1),
        Categorical(torch.tensor([0.2, 0.3, 0.5])),
    ],
    ids=["normal", "student", "gamma", "dirichlet", "many dimensions", "classes"],
)
def test_laws_that_are_right_pass(law):
    check_law(law)


def test_a_law_is_held_against_a_reference():
    law, like = Dirichlet(torch.full((5,), 2.0)), Dirichlet(torch.full((5,), 1.5))
    check_law(law, reference=like)
    with pytest.raises(AssertionError, match="the density integrates to 2"):
        check_law(
            wrong.Shifted(Normal(torch.zeros(1), torch.ones(1)), 1),
            reference=Independent(Normal(0.2, 1.2).expand([1]), 1),
        )


def test_stein_finds_draws_that_are_wider_than_their_density():
    with pytest.raises(AssertionError, match="two laws"):
        check_law(wrong.Wider(Normal(torch.zeros(7), torch.ones(7)), 1))


def test_a_divergence_that_is_off_is_told():
    q = variata.DiagonalNormal(torch.ones(4, 2), torch.zeros(4, 2))
    check_divergence(q, variata.StandardNormal(torch.zeros(2)))
    shifted = wrong.Shifted(Normal(torch.ones(4, 2), torch.ones(4, 2)), 1)
    with pytest.raises(AssertionError, match="is a density off by a constant"):
        check_divergence(
            Independent(Normal(torch.zeros(4, 2), torch.ones(4, 2)), 1),
            wrong.Shifted(Normal(torch.zeros(2), torch.ones(2)), 1),
        )
    assert shifted.log_prob(torch.ones(4, 2)).shape == (4,)


# Operators

LOG_MATMUL_EXP = variata_kernels.registered()["variata::log_matmul_exp"]


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (lambda a, b: (torch.logsumexp(a[..., None] + b[..., None, :, :], -2) + 0.01,), "fallback", "output 0, case"),
        (
            lambda a, b: (torch.logsumexp(a[..., None].detach() + b[..., None, :, :], -2),),
            "layouts",
            "gradient 0, case",
        ),
    ],
)
def test_an_operator_that_is_not_its_reference_is_told(monkeypatch, change, check, said):
    monkeypatch.setattr(kernels, "registered", lambda: {LOG_MATMUL_EXP.name: replace(LOG_MATMUL_EXP, reference=change)})
    with pytest.raises(AssertionError, match=f"kernel log_matmul_exp, {check}: {said}.* differs by"):
        check_component("kernel/log_matmul_exp", check)


def test_looking_at_a_part_leaves_torch_as_it_was():
    before = torch.get_rng_state()
    check_component("encoder/gaussian", ["shapes", "draws", "density", "gradients"])
    assert torch.equal(before, torch.get_rng_state())
    assert registry().find("encoder", "gaussian")
