"""Strings of tokens as data: vocabularies, files and their mistakes, made-up strings, batches of about one length."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from torch import Tensor

import variata
from support import problems
from variata import END, PADDING, UNKNOWN, DataError, DataSpec, Sequences, Vocabulary, padded
from variata.assembly import _plain_spec
from variata.processes import World
from variata.testing import check_support
from variata.training.feeding import Feed
from variata.yaml12 import dump, parse
from variata_plugins.text.docstrings import Docstrings
from variata_plugins.text.pairs import Pairs
from variata_plugins.text.procedural import Copy, Reversal
from variata_plugins.text.text import Text


def texts(data: variata.Data, split: str) -> list[str]:
    vocabulary = data.spec.vocabulary
    assert vocabulary is not None
    return [vocabulary.decode(row) for row in data.split(split).x.tolist()]


def everything(split: variata.Split) -> variata.Batch:
    return split.batch(torch.arange(len(split)))


@pytest.fixture
def lines(tmp_path) -> Path:
    file = tmp_path / "lines.txt"
    file.write_text("".join(f"line {i} of many\n\n" for i in range(40)), encoding="utf-8")
    return file


# Strings in tensors


def test_a_padded_row_is_a_string_and_its_length():
    x = padded([[3, 4, 1], [1], [5, 6, 7, 8, 1]], 9).double()
    strings = Sequences(x)
    assert strings.lengths.tolist() == [3, 1, 5]
    assert strings.tokens.shape == (3, 5), "trimmed to the longest"
    assert strings.tokens.tolist() == [[3, 4, 1, 0, 0], [1, 0, 0, 0, 0], [5, 6, 7, 8, 1]]
    assert strings.mask.sum(1).tolist() == [3, 1, 5]
    assert strings.before().tolist() == [[0, 3, 4, 1, 0], [0, 1, 0, 0, 0], [0, 5, 6, 7, 8]]
    assert strings.reversed().tolist() == [[4, 3, 1, 0, 0], [1, 0, 0, 0, 0], [8, 7, 6, 5, 1]]


def test_what_stands_after_an_end_is_not_looked_at():
    assert Sequences(torch.tensor([[3, 1, 7, 1, 9]])).tokens.tolist() == [[3, 1]]
    with pytest.raises(DataError, match="no end"):
        Sequences(torch.tensor([[3, 4], [1, 0]]))


def test_strings_have_leading_axes():
    x = torch.tensor([[[3, 1, 0, 0], [3, 3, 1, 0]]])
    assert Sequences(x).lengths.tolist() == [[2, 3]]
    assert Sequences(x).mask.shape == (1, 2, 3)


@pytest.mark.parametrize("row", [[3, 1, 3], [0, 1, 0], [9, 1, 0]], ids=["after", "padding", "beyond"])
def test_the_contract_refuses_what_is_no_string(row):
    spec = DataSpec((3,), "tokens", levels=9)
    check_support(torch.tensor([[3.0, 1.0, 0.0]]), spec)
    with pytest.raises(AssertionError):
        check_support(torch.tensor([row]).float(), spec)


# Vocabularies


def test_tokens_are_texts_and_back():
    words = Vocabulary("words", "the cat sat")
    assert len(words) == 6
    assert words.encode("the  dog\tsat") == [3, UNKNOWN, 5, END]
    assert words.decode([3, UNKNOWN, 5, END, PADDING]) == "the <unk> sat"
    characters = Vocabulary("characters", "ab \u2028", lowercase=True)
    assert characters.decode(characters.encode("A B\u2028a")) == "a b\u2028a"
    assert Vocabulary("characters", "").encode("x") == [UNKNOWN, END]
    assert characters.pieces([3, 4, END, PADDING]) == ["a", "b", "⏎"]


def test_a_vocabulary_survives_its_file():
    odd = "".join(map(chr, [*range(32, 127), 0x85, 0xA0, 0x2028, 0xFEFF, 0x1F600, 9])) + "éß'\"\\: #"
    spec = DataSpec((4,), "tokens", vocabulary=Vocabulary("characters", odd), source=Vocabulary("words", "no 1 ~ null"))

    def plain(node):
        value = node.value
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    assert DataSpec.from_json(plain(parse(dump(_plain_spec(spec)), "spec.yaml"))) == spec


def test_a_tokenizer_is_read_from_its_file(tmp_path, lines):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["[UNK]"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(["line 1 of many"] * 9, trainer)
    made.enable_padding(length=50)
    made.save(str(tmp_path / "tokenizer.json"))
    data = Text(path=lines, tokenizer=tmp_path / "tokenizer.json")
    assert data.spec.levels == 3 + made.get_vocab_size()
    assert sorted(texts(data, "train") + texts(data, "validation") + texts(data, "test")) == sorted(
        f"line {i} of many" for i in range(40)
    )
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(DataError, match=r"none\.json: is no tokenizer"):
        Text(path=lines, tokenizer=tmp_path / "none.json")
    options = {"data": {"use": "text", "path": str(lines), "tokenizer": str(tmp_path / "tokenizer.json"), "least": 2}}
    (line,) = problems({"extends": "vae", **options})
    assert "a tokenizer has its own vocabulary" in line


def test_a_missing_package_is_named(tmp_path, lines, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    (tmp_path / "t.json").write_text('{"other": 1}')
    with pytest.raises(DataError, match=r"pip install 'variata\[text\]'"):
        Text(path=lines, tokenizer=tmp_path / "t.json")


# Lines of files


def test_lines_become_strings(lines):
    data = Text(path=lines)
    train, test = everything(data.split("train")), everything(data.split("test"))
    assert (len(train), len(test), len(data.split("validation"))) == (32, 4, 4)
    assert train.x.shape == (32, *data.spec.shape)
    assert data.spec.shape == (len("line 10 of many") + 1,)
    check_support(train.x, data.spec)
    found = texts(data, "train") + texts(data, "validation") + texts(data, "test")
    assert sorted(found) == sorted(f"line {i} of many" for i in range(40))
    assert data.spec.vocabulary == Text(path=lines).spec.vocabulary


def test_a_vocabulary_is_that_of_the_training_lines(tmp_path):
    (tmp_path / "a.txt").write_text("b b b\na a\nc <unk>\n")
    (tmp_path / "b.txt").write_text("a d\n")
    data = Text(path=tmp_path / "a.txt", test_path=tmp_path / "b.txt", tokens="words", validation=0)
    assert data.spec.vocabulary == Vocabulary("words", "b a c")
    assert texts(data, "test") == ["a <unk>"]
    assert data.spec.levels == 6
    few = Text(path=tmp_path / "a.txt", tokens="words", vocabulary_size=1, validation=0, test=0)
    assert texts(few, "train") == ["b b b", "<unk> <unk>", "<unk> <unk>"]
    often = Text(path=tmp_path / "a.txt", tokens="words", least=2, validation=0, test=0)
    assert often.spec.vocabulary == Vocabulary("words", "b a")


def test_compressed_and_marked_files_are_read(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\ufeffüber\r\nalles\r\n".encode()))
    data = Text(path=tmp_path / "a.txt.gz", validation=0, test=0)
    assert texts(data, "train") == ["über", "alles"]


def test_what_is_too_long_is_refused_cut_or_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("ab\n\nabcdef\nabc\n")
    options = {"path": tmp_path / "a.txt", "longest": 3, "validation": 0, "test": 0}
    with pytest.raises(DataError, match=r"a\.txt:3:1: has 6 tokens, and data\.longest is 3: raise it"):
        Text(**options)
    assert texts(Text(**options, too_long="cut"), "train") == ["ab", "abc", "abc"]
    assert texts(Text(**options, too_long="leave_out"), "train") == ["ab", "abc"]
    assert Text(**options, too_long="cut").spec.shape == (4,)
    with pytest.raises(DataError, match="every line to train on is too long"):
        Text(**options | {"longest": 1}, too_long="leave_out")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ":1:1: is empty"),
        (b"\n \n\t\n", ":1:1: is empty"),
        (b"good\nb\xffd\n", ":2:2: is no UTF-8 text"),
        (b"\x1f\x8bxx", ": is a damaged gzip file"),
        (b"one\n", ": 2 of 1 examples are held out"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, command, content, said):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    amounts = ["data.validation=1", "data.test=1"]
    status, _, err = command("check", "vae", "data.use=text", f"data.path={file}", *amounts)
    assert status == 2
    assert err.startswith(f"error: {file}{said}") or f"{file}{said}" in err, err
    assert len(err.splitlines()) == 1


def test_a_file_that_is_not_there_is_one_line(tmp_path, command):
    status, _, err = command("check", "vae", "data.use=text", f"data.path={tmp_path / 'none'}")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "cannot be read: No such file" in err


# Pairs


def test_pairs_are_sources_and_targets(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{'a ' * (i + 1)}\t{'b ' * (i + 2)}\n" for i in range(10)))
    data = Pairs(path=file)
    batch = everything(data.split("train"))
    assert batch.y is not None
    assert (data.spec.shape, data.spec.condition) == ((12,), (11,))
    assert (data.spec.vocabulary, data.spec.source) == (Vocabulary("words", "b"), Vocabulary("words", "a"))
    assert ((Sequences(batch.x).lengths - Sequences(batch.y).lengths) == 1).all()
    assert not batch.y.is_floating_point()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no tab", ":2:7: a source, a tab and a target are needed, and here is no tab: mend it"),
        ("a\tb\tc", ":2:4: a source, a tab and a target are needed, and here is 2 tabs: mend it"),
        ("\tb", ":2:1: the source is empty"),
        ("a\t ", ":2:3: the target is empty"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, line, said):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"a\tb\n{line}\n")
    with pytest.raises(DataError) as caught:
        Pairs(path=file, validation=0, test=0)
    assert str(caught.value).startswith(f"{file}{said}")


# Made-up strings and sentences


@pytest.mark.parametrize("data", [Reversal, Copy])
def test_made_up_targets_follow_from_their_sources(data):
    made = data(vocabulary=5, shortest=2, longest=6, examples=200)
    batch = everything(made.split("train"))
    assert batch.y is not None
    vocabulary = made.spec.vocabulary
    for target, source in zip(batch.x.tolist(), batch.y.tolist(), strict=True):
        words = vocabulary.decode(source).split()
        assert 2 <= len(words) <= 6
        assert vocabulary.decode(target).split() == (words[::-1] if data is Reversal else words)
    rows = torch.cat([made.split(name).y for name in ("train", "validation", "test")])
    assert len(rows.unique(dim=0)) == len(rows) == 200
    check_support(batch.x, made.spec)
    assert torch.equal(batch.x, everything(data(vocabulary=5, shortest=2, longest=6, examples=200).split("train")).x)


def test_more_strings_than_there_are_is_refused():
    made_up = {"use": "reversal", "vocabulary": 2, "shortest": 1, "longest": 3, "examples": 8}
    assert "there are 14 strings of these lengths" in problems({"extends": "vae", "data": made_up})[0]
    assert "exchange them" in problems({"extends": "vae", "data": made_up | {"shortest": 4}})[0]


def test_sentences_of_python_are_read():
    data = Docstrings(modules=["argparse", "bisect"], least=1)
    found = texts(data, "train")
    assert len(found) > 20
    assert all(text.endswith(" .") and 3 <= len(text.split()) <= 20 for text in found)
    assert (
        "did you mean bisect?" in problems({"extends": "vae", "data": {"use": "docstrings", "modules": ["bisectt"]}})[0]
    )


# Batches of about one length


def _padding(feed: Feed, split: variata.Split) -> float:
    """The share of the trimmed batches of an epoch that is padding."""
    whole = used = 0
    for step in range(feed.steps_per_epoch):
        strings = Sequences(split.batch(feed.index(step)).x)
        whole, used = whole + strings.mask.numel(), used + int(strings.mask.sum())
    return 1 - used / whole


def test_bucketing_makes_batches_of_about_one_length():
    options = {"vocabulary": 5, "shortest": 2, "longest": 30, "examples": 1001, "validation": 0, "test": 0}
    shares = {}
    for bucketing in (True, False):
        split = Copy(**options, bucketing=bucketing).split("train")
        feed = Feed(split, 64, 3, World(), torch.device("cpu"))
        rows: list[Tensor] = [feed.index(step) for step in range(feed.steps_per_epoch)]
        assert torch.equal(torch.cat(rows).sort().values, torch.arange(len(split))), "each example once"
        assert [len(part) for part in rows] == [64] * 15 + [41]
        again = Feed(split, 64, 3, World(), torch.device("cpu"))
        assert all(torch.equal(part, again.index(step)) for step, part in enumerate(rows))
        other = torch.cat([feed.index(16 + step) for step in range(16)])
        assert not torch.equal(other, torch.cat(rows)), "another order in another epoch"
        shares[bucketing] = _padding(feed, split)
    assert shares[True] < 0.1 < 0.3 < shares[False]


def test_models_of_numbers_refuse_strings(lines):
    (line,) = problems({"extends": "gan", "data": {"use": "text", "path": str(lines)}})
    assert "GAN reads numbers of one kind" in line
    assert "strings of" in line
