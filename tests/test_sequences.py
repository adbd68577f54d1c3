"""Models of strings: laws that sum to one, what padding and company must not change, attention, decoding."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import variata
from support import problems
from variata import END, PADDING, Batch, Clock, DataSpec, Now, Sequences, Vocabulary, make
from variata_plugins.sequence.attention import AdditiveAttention, MultiplicativeAttention
from variata_plugins.sequence.decoding import beam, greedy
from variata_plugins.sequence.embedding import Embedding
from variata_plugins.sequence.language_model import LanguageModel
from variata_plugins.sequence.law import StringLaw
from variata_plugins.sequence.parts import Context, Memory, SequenceDecoder
from variata_plugins.sequence.permuted_codes import PermutedCodes
from variata_plugins.sequence.recurrent import GRUDecoder, GRUEncoder, LSTMDecoder, LSTMEncoder
from variata_plugins.sequence.scheduled_sampling import ScheduledSampling, log_prob_of_own
from variata_plugins.sequence.seq2seq import Seq2Seq
from variata_plugins.sequence.transformer import TransformerDecoder, TransformerEncoder

TOKENS, LONGEST = 5, 4  # padding, the end, the unknown one and two more; strings of three of them and an end at most
GRU = {"hidden": 6, "dropout": 0.3, "word_dropout": 0.3}
TRANSFORMER = {"width": 8, "heads": 2, "dropout": 0.3, "word_dropout": 0.3}
DECODERS: dict[str, tuple[type[SequenceDecoder], dict[str, Any]]] = {
    "gru": (GRUDecoder, GRU | {"layers": 2}),
    "lstm": (LSTMDecoder, GRU | {"layers": 2}),
    "transformer": (TransformerDecoder, TRANSFORMER),
}
ENCODERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "gru": (GRUEncoder, {"hidden": 6, "layers": 2}),
    "lstm": (LSTMEncoder, {"hidden": 6}),
    "transformer": (TransformerEncoder, {"width": 8, "heads": 2}),
}
ATTENTIONS = {"additive": AdditiveAttention, "multiplicative": MultiplicativeAttention}


def spec(longest: int = LONGEST, source: int | None = 6, tokens: int = TOKENS) -> DataSpec:
    words = Vocabulary("words", " ".join("abcdefghij"[: tokens - 3]))
    given = {"condition": (source,), "source": Vocabulary("words", "p q r")} if source else {}
    return DataSpec((longest,), "tokens", levels=tokens, high=tokens - 1.0, vocabulary=words, **given)


def every_string(longest: int = LONGEST, tokens: int = TOKENS) -> Tensor:
    """All strings of at most `longest` tokens with their end."""
    rows = [
        [*string, END] + [PADDING] * (longest - 1 - length)
        for length in range(longest)
        for string in itertools.product(range(END + 1, tokens), repeat=length)
    ]
    return torch.tensor(rows)


def decoder(name: str, memory: int | None = None, start: int | None = None, attention: Any = None) -> SequenceDecoder:
    part, options = DECODERS[name]
    if attention is not None:
        options = options | {"attention": attention}
    return spread(part(TOKENS, start, memory, **options).double().eval())  # pyright: ignore[reportCallIssue]


def spread(module: Any) -> Any:
    """Parameters as large as trained ones may be, so that no law is nearly uniform."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2.0).add_(torch.randn_like(parameter) * 0.3)
    return module.requires_grad_(False)


def translator(encoder: str, name: str, attention: Any = None) -> Seq2Seq:
    part, options = DECODERS[name]
    options = options if name == "transformer" else options | {"attention": attention}
    reader, of_reader = ENCODERS[encoder]

    def write(**given: Any) -> SequenceDecoder:
        return part(*(given[key] for key in ("vocabulary", "start", "memory")), **options)

    model = Seq2Seq(spec(), encoder=lambda **given: reader(given["vocabulary"], **of_reader), decoder=write)
    return spread(model.double().eval())


TRANSLATORS = [
    ("gru", "gru", AdditiveAttention),
    ("lstm", "lstm", MultiplicativeAttention),
    ("gru", "lstm", None),
    ("transformer", "transformer", None),
]
SOURCES = torch.tensor([[3, 1, 0, 0, 0, 0], [4, 5, 3, 5, 4, 1], [5, 4, 1, 0, 0, 0]])


# Laws


@pytest.mark.parametrize("name", DECODERS)
def test_probabilities_of_all_strings_sum_to_one(name):
    x = every_string()
    assert len(x) == 1 + 3 + 9 + 27
    model = LanguageModel(spec(source=None), decoder=lambda **given: decoder(name))
    assert float(model.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("encoder", "name", "attention"), TRANSLATORS)
def test_so_do_those_given_a_source(encoder, name, attention):
    model, x = translator(encoder, name, attention), every_string()
    for y in SOURCES:
        assert float(model.log_prob(x, y.expand(len(x), -1)).exp().sum()) == pytest.approx(1, abs=1e-12)
    first, second = (model.log_prob(x, y.expand(len(x), -1)) for y in SOURCES[:2])
    assert (first - second).abs().max() > 0.1, "the source says something"


@pytest.mark.parametrize("name", DECODERS)
def test_prefixes_share_what_follows_them(name):
    """The probability of a prefix is that of the prefix and its ends, tree by tree."""
    x = every_string()
    law = StringLaw(decoder(name), Context(), (len(x),), LONGEST)
    places, total = law.log_prob_of_tokens(x), law.log_prob(x)
    for string in ([], [3], [3, 2]):
        begins = (x[:, : len(string)] == torch.tensor(string, dtype=torch.int64)).all(1) & (
            (x > END).sum(1) >= len(string)
        )
        of_prefix = places[begins][0, : len(string)].sum()
        assert torch.allclose(places[begins][:, : len(string)].sum(1), of_prefix)
        assert float(total[begins].logsumexp(0)) == pytest.approx(float(of_prefix), abs=1e-12)


@pytest.mark.parametrize("name", DECODERS)
def test_a_step_at_a_time_is_all_places_at_once(name):
    memory = Memory(torch.randn(3, 4, 7).double(), torch.arange(4) < torch.tensor([[4], [1], [3]]), torch.zeros(3, 7))
    context = Context(torch.randn(3, 5).double(), memory)
    part = decoder(name, memory=7, start=5, attention=None if name == "transformer" else AdditiveAttention)
    before = torch.tensor([[0, 3, 4, 2], [0, 2, 2, 3], [0, 4, 1, 0]])
    at_once, state = part(before, context), part.begin(3, context)
    for place in range(4):
        scores, state = part.step(before[:, place], state, context)
        assert torch.allclose(scores, at_once[:, place], atol=1e-12)


# Masks


@pytest.mark.parametrize(("encoder", "name", "attention"), TRANSLATORS)
def test_padding_and_company_change_no_number(encoder, name, attention):
    model, x = translator(encoder, name, attention), every_string()
    rows = torch.arange(len(x)) % 3
    y = SOURCES[rows]
    together = model.log_prob(x, y)
    alone = torch.cat([model.log_prob(x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    assert torch.allclose(together, alone, atol=1e-12, rtol=0)
    order = torch.randperm(len(x))
    assert torch.allclose(model.log_prob(x[order], y[order]), together[order], atol=1e-12, rtol=0)
    wider = nn.functional.pad(y, (0, 7))
    assert torch.allclose(model.log_prob(x, wider), together, atol=1e-12, rtol=0)
    dirty = wider.masked_fill((wider == END).cumsum(1).cumsum(1) > 1, 4)
    assert torch.allclose(model.log_prob(x, dirty), together, atol=1e-12, rtol=0), "what stands after an end"


@pytest.mark.parametrize("name", ENCODERS)
def test_states_of_a_reader_do_not_see_padding(name):
    part, options = ENCODERS[name]
    reader = spread(part(6, **options).double().eval())
    together = reader(Sequences(SOURCES))
    for i, row in enumerate(SOURCES):
        alone = reader(Sequences(row[None]))
        length = alone.states.shape[1]
        assert torch.allclose(together.states[i, :length], alone.states[0], atol=1e-12, rtol=0)
        assert torch.allclose(together.summary[i], alone.summary[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", DECODERS)
def test_no_gradient_comes_from_padding(name):
    model = LanguageModel(spec(source=None), decoder=lambda **given: decoder(name))
    model.requires_grad_(True)
    gradients = []
    for x in (torch.tensor([[3, 1, 0, 0]]), torch.tensor([[3, 1, 0, 0], [3, 4, 2, 1]])):
        value = model.log_prob(x)[0]
        gradients.append(torch.autograd.grad(value, list(model.parameters()), allow_unused=True))
    for alone, among in zip(*gradients, strict=True):
        assert (alone is None) == (among is None)
        assert alone is None or torch.allclose(alone, among, atol=1e-12)


# Attention


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_rows_sum_to_one_and_are_zero_where_masked(name):
    part = spread(ATTENTIONS[name](5, 7).double())
    mask = torch.arange(6) < torch.tensor([[6], [2], [1]])
    weights = part(torch.randn(3, 4, 5).double(), Memory(torch.randn(3, 6, 7).double(), mask, torch.zeros(3, 7)))
    assert torch.allclose(weights.sum(-1), torch.ones(3, 4).double(), atol=1e-12)
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()
    assert (weights[mask[:, None].expand_as(weights)] > 0).all()


@pytest.mark.parametrize(("encoder", "name", "attention"), TRANSLATORS)
def test_so_do_those_of_a_model(encoder, name, attention):
    model, x = translator(encoder, name, attention), torch.tensor([[3, 1, 0, 0], [3, 4, 2, 1], [1, 0, 0, 0]])
    weights = model.looks(x, SOURCES)
    if attention is None and name != "transformer":
        assert weights is None
        return
    mask = Sequences(SOURCES).mask
    assert weights is not None
    assert weights.shape == (3, 4, 6)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 4).double(), atol=1e-12)
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()


def test_additive_and_multiplicative_scores_are_their_formulas():
    q, h = torch.randn(5).double(), torch.randn(7).double()
    additive, multiplicative = AdditiveAttention(5, 7, hidden=3).double(), MultiplicativeAttention(5, 7).double()
    w, b, u, v = additive.of_query.weight, additive.of_query.bias, additive.of_state.weight, additive.value.weight[0]
    assert torch.allclose(additive.scores(q[None, None], h[None, None])[0, 0, 0], v @ torch.tanh(w @ q + b + u @ h))
    found = multiplicative.scores(q[None, None], h[None, None])[0, 0, 0]
    assert torch.allclose(found, q @ multiplicative.of_state.weight @ h / math.sqrt(5))


def test_a_writer_cannot_look_where_nothing_was_read():
    (line,) = problems("language_model", ["model.decoder.attention=additive"])
    assert "attention looks at a source, and this model reads none" in line


# Decoding


@pytest.mark.parametrize("normalisation", [0.0, 0.7])
@pytest.mark.parametrize("name", DECODERS)
def test_a_beam_as_wide_as_all_strings_finds_the_best(name, normalisation):
    part, x = decoder(name, start=5), every_string()
    start = torch.randn(3, 5).double() * 2
    tokens, log_p = beam(part, Context(start), 3, LONGEST, len(x), normalisation)
    for i in range(3):
        law = StringLaw(part, Context(start[i].expand(len(x), -1)), (len(x),), LONGEST)
        score = law.log_prob(x) / Sequences(x).lengths ** normalisation
        assert torch.equal(tokens[i, 0], x[score.argmax()])
        assert len(tokens[i].unique(dim=0)) == len(x), "every string once"
        own = StringLaw(part, Context(start[i].expand(len(x), -1)), (len(x),), LONGEST).log_prob(tokens[i])
        assert torch.allclose(own, log_p[i], atol=1e-12)


@pytest.mark.parametrize("normalisation", [0.0, 1.0])
@pytest.mark.parametrize("name", DECODERS)
def test_a_beam_of_one_is_greedy(name, normalisation):
    part, start = decoder(name, start=5), torch.randn(20, 5).double() * 2
    tokens, _ = beam(part, Context(start), 20, LONGEST, 1, normalisation)
    best = greedy(part, Context(start), 20, LONGEST)
    assert torch.equal(tokens[:, 0], best)
    assert len(best.unique(dim=0)) > 1


def test_a_wider_beam_finds_nothing_worse_here():
    part, start = decoder("gru", start=5), torch.randn(30, 5).double() * 2
    found = [beam(part, Context(start), 30, LONGEST, width)[1][:, 0].sum() for width in (1, 3, 40)]
    assert found[0] <= found[1] <= found[2]


@pytest.mark.parametrize("name", DECODERS)
def test_draws_are_as_frequent_as_their_probabilities(name):
    part, x = decoder(name), every_string()
    law = StringLaw(part, Context(), (), LONGEST)
    drawn, n = law.sample((4000,)).long(), 4000
    p = StringLaw(part, Context(), (len(x),), LONGEST).log_prob(x).exp()
    counts = (drawn[:, None] == x).all(-1).sum(0)
    assert counts.sum() == n
    often = p * n >= 5
    chi = ((counts - p * n).square() / (p * n))[often].sum()
    freedom = int(often.sum()) - 1
    assert float(chi) < freedom + 5 * math.sqrt(2 * freedom)


# What a law is asked for


def test_draws_and_guesses_have_the_shapes_of_a_distribution():
    part = decoder("gru", start=5)
    law = StringLaw(part, Context(torch.randn(6, 5).double()), (2, 3), LONGEST)
    assert law.sample().shape == law.mean.shape == (2, 3, LONGEST)
    assert law.sample((7,)).shape == (7, 2, 3, LONGEST)
    x = law.sample((7,))
    assert law.log_prob(x).shape == (7, 2, 3)
    assert law.log_prob(x[0]).shape == law.log_prob(x[0, 0]).shape == (2, 3)
    assert torch.allclose(law.log_prob(x)[3], law.log_prob(x[3]))
    with torch.no_grad():
        assert torch.allclose(law.log_prob(x), law.log_prob(x.clone()))


def test_scores_without_a_gradient_are_taken_in_parts(monkeypatch):
    part, x = decoder("gru", start=5), every_string()
    law = StringLaw(part, Context(torch.randn(len(x), 5).double()), (len(x),), LONGEST)
    whole = law.log_prob(x)
    monkeypatch.setattr("variata_plugins.sequence.law._MOST", 40)
    with torch.no_grad():
        assert torch.allclose(law.log_prob(x), whole, atol=1e-12)


# Dropout of words, scheduled sampling


@pytest.mark.parametrize("name", DECODERS)
def test_where_every_word_is_dropped_the_past_says_nothing(name):
    part, options = DECODERS[name]
    blind = part(TOKENS, 5, None, **options | {"word_dropout": 1.0, "dropout": 0.0}).double().train()  # pyright: ignore[reportCallIssue]
    start = torch.randn(1, 5).double().expand(2, -1)
    x = torch.tensor([[3, 4, 2, 1], [4, 3, 2, 1]])
    found = StringLaw(blind, Context(start), (2,), LONGEST).log_prob_of_tokens(x)
    assert torch.allclose(found[0, 2:], found[1, 2:], atol=1e-12)
    seen = StringLaw(blind.eval(), Context(start), (2,), LONGEST).log_prob_of_tokens(x)
    assert not torch.allclose(seen[0, 2], seen[1, 2], atol=1e-6)


def test_a_share_of_the_words_is_dropped_and_never_an_end():
    part = Embedding(9, 1, 0.0, 0.3)
    with torch.no_grad():
        part.vectors.weight.copy_(torch.arange(9.0)[:, None])
    tokens = torch.randint(0, 9, (100, 100))
    told = part(tokens).squeeze(-1).long()
    changed = told != tokens
    assert (told[changed] == 2).all()
    assert (tokens[changed] > END).all()
    assert float(changed.sum() / (tokens > 2).sum()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(part.eval()(tokens).squeeze(-1).long(), tokens)


def test_scheduled_sampling_begins_as_the_likelihood():
    model = translator("gru", "gru", AdditiveAttention)
    x = every_string()[:20]
    batch = Batch(x.double(), SOURCES[torch.arange(20) % 3])
    law = model.law(len(x), batch.y)
    assert torch.allclose(
        log_prob_of_own(law, batch.x, torch.tensor(0.0)), model.log_prob(batch.x, batch.y), atol=1e-12
    )
    always = ScheduledSampling(share=1.0)
    assert torch.allclose(always(model, batch, Now(Clock(0, 1, 1))).total(), -model.log_prob(batch.x, batch.y).mean())


def test_scheduled_sampling_is_the_mean_over_its_own_draws():
    """With a share of one, the expectation over what was drawn is a sum over all strings before."""
    part, x = decoder("gru"), torch.tensor([[3, 4, 2, 1]])
    model = LanguageModel(spec(source=None), decoder=lambda **given: part)
    draws = torch.stack([log_prob_of_own(model.law(500), x.expand(500, -1), torch.tensor(1.0)) for _ in range(20)])
    exact, columns = 0.0, TOKENS - 1
    for place in range(LONGEST - 1):
        for past in itertools.product(range(1, TOKENS), repeat=place):
            before = torch.tensor([[PADDING, *past]])
            scores = part(before, Context()).log_softmax(-1)[0]
            weight = sum((scores[t, token - 1] for t, token in enumerate(past)), torch.zeros(()).double()).exp()
            exact += float(weight * scores[place, x[0, place] - 1])
    assert columns == 4
    error = float(draws.std() / math.sqrt(draws.numel()))
    assert float(draws.mean()) == pytest.approx(exact, abs=5 * error)


def test_a_share_that_is_no_probability_is_refused():
    (line,) = problems("lstm_seq2seq", ["loss.share.to=1.5"])
    assert "share is a probability" in line


# Building


def test_models_of_strings_refuse_other_data():
    (line,) = problems("language_model", ["data.use=digits"])
    assert "this model writes strings of tokens, and the data is of 17 levels" in line
    (line,) = problems("seq2seq", {"data": {"use": "docstrings", "modules": ["bisect", "argparse"]}})
    assert "reads a source, and this data has none" in line
    (line,) = problems("transformer_seq2seq", ["model.encoder.heads=5"])
    assert "no multiple of heads" in line
    assert make(lambda **given: given["x"], x=3) == 3


def test_a_vae_of_numbers_refuses_strings():
    (line,) = problems("vae", {"data": {"use": "copy"}})
    assert "GaussianEncoder reads numbers" in line


# Runs


def test_evaluation_gives_nats_for_each_token_and_loads(tmp_path, without_pictures):
    small = {"data.examples": 200, "train.epochs": 1, "model.encoder.hidden": 4, "model.decoder.hidden": 4}
    run = variata.train("seq2seq", small, run=tmp_path / "run")
    found = variata.evaluate(run)
    batch = run.data.split("test").batch(torch.arange(20))
    nll, lengths = -run.model.log_prob(batch.x, batch.y).detach().double(), Sequences(batch.x).lengths
    assert found["nll"]["value"] == pytest.approx(float(nll.mean()))
    assert found["nll_per_token"]["value"] == pytest.approx(float(nll.sum() / lengths.sum()))
    assert found["perplexity"]["value"] == pytest.approx(math.exp(found["nll_per_token"]["value"]))
    assert "bits_per_dim" not in found
    assert "bits_per_character" not in found
    again = variata.load(tmp_path / "run")
    assert again.model.spec == run.model.spec
    assert again.model.spec.source == Vocabulary("words", " ".join("abcdefghijklmnopqrst"))
    assert torch.equal(again.model.log_prob(batch.x, batch.y), run.model.log_prob(batch.x, batch.y))
    assert again.data.spec == run.data.spec
    (tmp_path / "run" / "evaluation.json").unlink()
    assert variata.evaluate(again, batch_size=3)["nll"]["value"] == pytest.approx(found["nll"]["value"], abs=1e-6)


def test_bits_for_each_character_count_the_end(tmp_path, without_pictures):
    (tmp_path / "a.txt").write_text("".join(f"some line {i}\n" for i in range(60)))
    data = {"use": "text", "path": str(tmp_path / "a.txt")}
    config = {"extends": "language_model", "data": data, "train": {"epochs": 1}}
    run = variata.train(config, {"model.decoder.hidden": 4}, run=tmp_path / "run")
    found, split = variata.evaluate(run), run.data.split("test")
    characters = sum(len(run.model.spec.vocabulary.decode(row)) + 1 for row in split.x.tolist())
    total = found["nll"]["value"] * len(split)
    assert found["bits_per_character"]["value"] == pytest.approx(total / characters / math.log(2))
    (tmp_path / "a.txt").write_text("".join(f"sxme line {i}\n" for i in range(60)))
    with pytest.raises(variata.DataError, match="the data has another vocabulary than the model"):
        variata.load(tmp_path / "run").data  # noqa: B018 -- it is read here


# The sentence VAE


def sentence_vae(**options: Any) -> Any:
    model = {
        "use": "vae",
        "latent": 3,
        "encoder": {"use": "sentence", "reader": {"use": "gru", "hidden": 5}},
        "decoder": {"use": "sentence", "writer": {"use": "gru", "hidden": 6, "word_dropout": 0.5}},
    }
    data = {"use": "copy", "vocabulary": 2, "shortest": 1, "longest": 5, "examples": 30}
    loss = {"use": "bag_of_words", "hidden": 4, "weight": 0.5, "bound": {"use": "elbo", "free_bits": 0.2}} | options
    return variata.build({"data": data, "model": model, "loss": loss})


def test_the_law_of_a_sentence_sums_to_one_for_each_z():
    model = sentence_vae().model.double().eval()
    x = every_string(6, 5)
    z = torch.randn(2, 1, 3).double() * 3
    with torch.no_grad():
        total = model.decoder(z.expand(-1, len(x), -1)).log_prob(x.double()).logsumexp(1)
    assert torch.allclose(total, torch.zeros(2).double(), atol=1e-10)


@torch.no_grad()
def test_padding_and_company_do_not_change_the_terms():
    assembly = sentence_vae()
    model, batch = assembly.model.double().eval(), assembly.data.split("train").batch(torch.arange(12))
    x, z = batch.x.double(), torch.randn(4, 12, 3).double()
    together = variata.joint(model, x, None, [z]).log_likelihood
    alone = torch.cat(
        [variata.joint(model, x[i : i + 1], None, [z[:, i : i + 1]]).log_likelihood for i in range(12)], 1
    )
    assert torch.allclose(together, alone, atol=1e-12)
    mean, one = model.encode(x), torch.cat([model.encode(row[None]) for row in x])
    assert torch.allclose(mean, one, atol=1e-12)


def test_a_bag_of_words_is_what_it_says():
    assembly = sentence_vae()
    model, loss = assembly.model.double().eval(), assembly.loss.double()
    x, z = torch.tensor([[3, 4, 4, 1, 0, 0], [1, 0, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0]]), torch.randn(3, 3).double()
    log_p = loss.words(z).log_softmax(-1)
    assert log_p.shape == (3, 3), "the unknown token and two more"
    expected = torch.stack([log_p[0, 1] + 2 * log_p[0, 2], torch.zeros(()).double(), log_p[2, 0]])
    assert torch.allclose(loss.log_prob(z, x), expected)
    assert torch.allclose(loss.log_prob(z.expand(2, 3, 3), x), expected.expand(2, 3))
    batch, now = Batch(x.double()), Now(Clock(0, 1, 1))
    torch.manual_seed(1)
    objective = loss(model, batch, now)
    torch.manual_seed(1)
    bound = loss.bound(model, batch, now)
    assert torch.equal(objective.terms["rate"].value, bound.terms["rate"].value)
    assert torch.equal(objective.terms["distortion"].value, bound.terms["distortion"].value)
    bag = objective.metrics["bag"]
    assert torch.allclose(objective.total(), bound.total() - 0.5 * bag.mean())
    assert torch.equal(objective.metrics["elbo"], bound.metrics["elbo"])


def test_what_does_not_fit_a_sentence_vae_is_refused():
    vae = {"data": {"use": "copy"}, "model": {"condition": True}}
    assert "reads no condition" in problems("sentence_vae", vae)[0]
    bound = {"data": {"use": "copy"}, "loss": {"use": "bag_of_words", "bound": {"use": "iwae"}}}
    assert "the bound beside a bag of words is elbo" in problems("sentence_vae", bound)[0]
    assert "strings of tokens" in problems("sentence_vae", {"data": {"use": "digits"}})[0]
    decoder = {"data": {"use": "copy"}, "model": {"decoder": {"use": "bernoulli"}}}
    assert "use a decoder for it (sentence)" in problems("sentence_vae", decoder)[0]


def test_permuted_codes_measure_what_z_says():
    """Of a decoder that is told z, the gap is that of the two means; of one that is not, zero."""
    assembly = sentence_vae()
    model, data = assembly.model.double().eval(), assembly.data
    spread(model)
    settings = variata.EvaluationSettings(split="train")
    found = PermutedCodes().measure(model, data, settings)
    assert found["permutation_gap"]["examples"] == 24
    with torch.no_grad():
        torch.manual_seed(0)
        first = PermutedCodes().measure(model, data, settings)["permuted_reconstruction"]["value"]
        torch.manual_seed(0)
        batch = data.split("train").batch(torch.arange(24))
        terms = model.terms(batch.x.double(), None, 1)
        order = torch.randperm(24)
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        assert (other != torch.arange(24)).all(), "the z of another"
        again = variata.joint(model, batch.x.double(), None, [terms.layers[0].z[:, other]]).log_likelihood
    assert first == pytest.approx(float(again.mean()), abs=1e-9)
    assert abs(found["permutation_gap"]["value"]) > 1e-3
    with torch.no_grad():
        writer = model.decoder.writer
        writer.first.weight.zero_()
        writer.recurrent.weight_ih_l0[:, -3:].zero_()
    assert PermutedCodes().measure(model, data, settings)["permutation_gap"]["value"] == pytest.approx(0, abs=1e-12)


def test_sentences_stand_between_two(tmp_path, command):
    small = {"train.epochs": 1, "model.encoder.reader.hidden": 4, "model.decoder.writer.hidden": 4, "model.latent": 2}
    config = {"extends": "sentence_vae", "data": {"use": "copy", "vocabulary": 4, "examples": 100}}
    run = variata.train(config, small, run=tmp_path / "run")
    assert command("interpolate", tmp_path / "run", "-n", 2, "--steps", 3)[1].count("\n") == 7
    status, out, err = command("interpolate", tmp_path / "run", "--from", "a b c a b", "--to", "b b b b x")
    assert (status, len(out.splitlines())) == (0, 7)
    assert err == "warning: --to: 1 of its tokens are unknown to the model\n"
    x = torch.tensor([run.model.spec.vocabulary.encode("a b c a b") + [0] * 5]).float()
    assert out.splitlines()[0] == run.model.spec.vocabulary.decode(run.model.reconstruct(x)[0].tolist())
    for wrong, said in ((["--from", "a"], "give both or neither"), (["--from", "a", "--to", ""], "has 0 tokens")):
        assert said in command("interpolate", tmp_path / "run", *wrong)[2]
    status, out, err = command("reconstruct", tmp_path / "run", "-n", 3)
    assert (status, err) == (0, "")
    assert [len(line.split("\t")) for line in out.splitlines()] == [2, 2, 2]
    found = variata.evaluate(run, samples=4, metrics=["permuted_codes"], plots=True)
    assert {"elbo", "nll", "kl", "mutual_information", "nll_per_token", "permutation_gap"} <= found.keys()
    assert "bits_per_dim" not in found
    assert (tmp_path / "run" / "interpolation.txt").read_text().count("\n") == 5 * 7 + 4


# A part of somebody else's


class Bigrams(SequenceDecoder):
    """p(x_t | x_(t-1)), and nothing else."""

    def __init__(self, vocabulary: int, *, start_from: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.full((vocabulary, vocabulary - 1), start_from))

    def forward(self, before: Tensor, context: Context) -> Tensor:
        return self.table[before]

    def begin(self, n: int, context: Context) -> tuple[Tensor, ...]:
        return ()

    def step(self, before: Tensor, state: tuple[Tensor, ...], context: Context) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.table[before], state

    def looks(self, before: Tensor, context: Context) -> Tensor | None:
        return None


def test_a_decoder_of_a_plugins_writes_as_the_built_in_ones_do(tmp_path):
    data = {"use": "copy", "vocabulary": 3, "shortest": 2, "longest": 6, "examples": 400}
    with variata.plugin([variata.Component("sequence_decoder", "bigrams", Bigrams)]):
        config = {
            "extends": "language_model",
            "data": data,
            "model": {"decoder": {"use": "bigrams", "start_from": 0.1}},
        }
        training = {"train.epochs": 30, "train.optimizer.lr.from": 0.1}
        run = variata.train(config, training, run=tmp_path / "run")
        x = run.data.split("train").batch(torch.arange(320)).x
        strings = Sequences(x)
        free = strings.mask & (torch.arange(7) < 6)  # at the last place the end is sure
        before, tokens = strings.before()[free], strings.tokens[free]
        counts = torch.zeros(6, 6).index_put_((before, tokens), torch.ones(()), accumulate=True)[:, 1:]
        exact = (counts * (counts / counts.sum(1, keepdim=True)).log().nan_to_num(neginf=0.0)).nansum() / 320
        assert float(run.model.log_prob(x).detach().mean()) == pytest.approx(float(exact), abs=0.05)
        assert run.model.sample(3).shape == (3, 7)
