"""What models write: BLEU, accuracy, `generate`, `sample` and `reconstruct` of strings, attention maps."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import variata
from support import refused
from variata import Sequences
from variata_plugins.sequence.bleu import bleu, words_of
from variata_plugins.sequence.seq2seq import Seq2Seq
from variata_plugins.sequence.writing import Writing

SMALL = {
    "data.examples": 300,
    "data.vocabulary": 5,
    "data.shortest": 2,
    "data.longest": 4,
    "train.epochs": 10,
    "train.batch_size": 32,
    "model.encoder.hidden": 16,
    "model.decoder.hidden": 16,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return variata.train("seq2seq", SMALL, run=tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def run(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


# BLEU


def texts(generator: random.Random, n: int) -> list[str]:
    words = [
        "the",
        "cat",
        "sat,",
        "on",
        "3,000",
        "mats.",
        "it's",
        "(well)",
        "5-6",
        "&quot;so&quot;",
        "a-b",
        "x/y",
        "Ü.",
        "$5",
    ]
    return [" ".join(generator.choices(words, k=generator.randint(0, 12))) for _ in range(n)]


def test_bleu_is_sacrebleus():
    sacrebleu = pytest.importorskip("sacrebleu")
    generator = random.Random(0)
    for n in (1, 2, 5, 50):
        for _ in range(6):
            references = texts(generator, n)
            written = [
                r if generator.random() < 0.5 else w for r, w in zip(references, texts(generator, n), strict=True)
            ]
            expected = sacrebleu.corpus_bleu(written, [references]).score
            assert bleu(written, references) == pytest.approx(expected, abs=1e-9)
    tokenizer = sacrebleu.metrics.bleu._get_tokenizer("13a")()
    for text in texts(generator, 200):
        assert words_of(text) == tokenizer(text).split()


def test_bleu_of_what_is_equal_and_of_nothing():
    assert bleu(["a b c d e"], ["a b c d e"]) == pytest.approx(100)
    assert bleu([""], ["a b"]) == bleu(["a b c d"], ["e f g h"]) == 0


# Evaluation and pictures


def test_a_run_leaves_its_strings_and_where_it_looked(folder):
    for name in ("samples.png", "attention.png", "curves.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100
    lines = (folder / "samples.txt").read_text().splitlines()
    assert len(lines) == 64
    assert all(len(line.split("\t")) == 2 for line in lines), "each with its source"
    assert set(" ".join(lines).split()) <= set("abcde") | {"<unk>"}


def test_accuracy_and_bleu_are_measured(run, command):
    status, out, err = command("evaluate", run, "metrics=[sequence_accuracy,bleu]", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    model, split = variata.load(run).model, variata.load(run).data.split("test")
    batch = split.batch(torch.arange(len(split)))
    written = Writing()(model.law(len(batch), batch.y))
    vocabulary = model.spec.vocabulary
    pairs = [
        (vocabulary.decode(a), vocabulary.decode(b)) for a, b in zip(written.tolist(), batch.x.tolist(), strict=True)
    ]
    assert found["sequence_accuracy"]["value"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert 0 < found["bleu"]["value"] <= 100
    assert {"nll", "nll_per_token", "perplexity"} <= found.keys()


def test_an_evaluation_leaves_attention(run):
    (run / "attention.png").unlink()
    variata.evaluate(run, plots=True)
    assert (run / "attention.png").exists()
    assert (run / "likelihoods.png").exists()


# generate


@pytest.mark.parametrize("strategy", ["greedy", "beam", "sample"])
def test_generate_writes_a_line_for_each_line(run, command, tmp_path, strategy):
    source = tmp_path / "source.txt"
    source.write_text("a b c\n\nb  a\nc c d e\n")
    arguments = ["generate", run, "--source", source, "--strategy", strategy]
    status, out, err = command(*arguments, "--out", tmp_path / "x.txt")
    assert (status, out, err) == (0, f"{tmp_path / 'x.txt'}\n", "")
    lines = (tmp_path / "x.txt").read_text().split("\n")
    assert len(lines) == 5
    assert (lines[1], lines[4]) == ("", "")
    status, out, _ = command(*arguments)
    assert out.split("\n") == lines, "the same on standard output, with the same seed"
    model = variata.load(run).model
    if strategy == "greedy":
        assert isinstance(model, Seq2Seq)
        vocabulary, y = model.spec.vocabulary, torch.tensor([[3, 4, 5, 1, 0]])
        assert vocabulary is not None
        assert vocabulary.decode(model.law(1, y).mean[0].tolist()) == lines[0]
        one = command(*arguments, "--batch-size", 1)[1]
        assert one == out, "company changes nothing"


def test_generate_takes_the_width_and_the_power_of_the_length(run, command, tmp_path):
    (tmp_path / "source.txt").write_text("a b c d\ne e\n")
    arguments = ["generate", run, "--source", tmp_path / "source.txt", "--strategy", "beam"]
    outs = [command(*arguments, "--width", w, "--length-normalisation", a)[1] for w, a in ((1, 0), (8, 0), (8, 3.0))]
    greedy = command("generate", run, "--source", tmp_path / "source.txt")[1]
    assert outs[0] == greedy
    assert len(outs[2].split()) >= len(outs[1].split())


def test_generate_shows_where_it_looked(run, command, tmp_path):
    (tmp_path / "source.txt").write_text("a b c\nb a\n")
    arguments = ["generate", run, "--source", tmp_path / "source.txt", "--attention", tmp_path / "maps.png"]
    status, out, _ = command(*arguments, "--out", tmp_path / "x.txt")
    assert (status, out.splitlines()) == (0, [str(tmp_path / "x.txt"), str(tmp_path / "maps.png")])
    with Image.open(tmp_path / "maps.png") as picture:
        assert min(picture.size) > 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "source.txt:1:1: is empty"),
        ("a\na b c d e\n", "source.txt:2:1: has 5 tokens, and the model reads 4 at most"),
        (None, "cannot be read: No such file"),
    ],
)
def test_sources_that_cannot_be_read_are_one_line(run, command, tmp_path, content, said):
    if content is not None:
        (tmp_path / "source.txt").write_text(content)
    (line,) = refused(command("generate", run, "--source", tmp_path / "source.txt"))
    assert said in line


def test_unknown_tokens_are_counted(run, command, tmp_path):
    (tmp_path / "source.txt").write_text("a b\nb what\nis a\n")
    status, out, err = command("generate", run, "--source", tmp_path / "source.txt")
    assert (status, len(out.splitlines())) == (0, 3)
    assert err == (
        f"warning: {tmp_path / 'source.txt'}:2:1: 2 tokens from here on are unknown to the model, and are read as one "
        "unknown token\n"
    )


def test_generate_needs_a_model_that_reads(trained, command, tmp_path):
    (tmp_path / "source.txt").write_text("a\n")
    (line,) = refused(command("generate", trained, "--source", tmp_path / "source.txt"))
    assert "VAE reads no source" in line


# sample


def test_sample_writes_strings_with_their_sources(run, command, tmp_path):
    status, out, err = command("sample", run, "-n", 5)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 5
    assert all(len(line.split("\t")) == 2 for line in out.splitlines())
    status, told, _ = command("sample", run, "-n", 5, "--out", tmp_path / "x.txt")
    assert (status, told) == (0, f"{tmp_path / 'x.txt'}\n")
    assert (tmp_path / "x.txt").read_text() == out
    assert command("sample", run, "-n", 5, "--out", "-")[1] == out
    assert command("sample", run, "-n", 5, "--out", tmp_path / "x.npz")[0] == 0
    assert command("sample", run, "-n", 5, "--out", tmp_path / "x.png")[0] == 0
    (line,) = refused(command("sample", run, "--condition", "3"))
    assert "variata generate RUN --source FILE" in line


def test_lines_are_of_strings(trained, command, tmp_path):
    (line,) = refused(command("sample", trained, "--out", tmp_path / "x.txt"))
    assert "lines are of strings" in line


def test_what_was_sampled_is_pairs_again(run, command, tmp_path):
    command("sample", run, "-n", 30, "--out", tmp_path / "x.txt")
    status, out, _ = command("check", "seq2seq", "data.use=pairs", f"data.path={tmp_path / 'x.txt'}")
    assert status == 0 or "is empty" in out


def test_a_model_draws_sources_of_training(run):
    model = variata.load(run).model
    assert Sequences(model.sample(7)).lengths.shape == (7,)
    with pytest.raises(variata.ConfigError, match="a condition has the shape"):
        model.sample(2, torch.tensor([[3, 1], [4, 1]]))
