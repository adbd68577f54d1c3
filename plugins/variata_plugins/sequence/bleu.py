r"""BLEU: how many of the n-grams of written texts stand in their references, n = 1 ... 4, over all texts together.

    BLEU = 100 min(1, exp(1 - r / c)) exp(1/4 sum_n log p_n),   p_n = matches of n-grams / n-grams written

with c and r the lengths of what was written and of the references. An n-gram matches as often as its reference has it.
Where an n has no match, 1 / 2^k stands for the matches, k counting such n ("exp" smoothing); with no n-grams at all of
some n, BLEU is 0. Texts are cut into words as by mteval-v13a, so that the figures are sacrebleu's.

Papineni, Roukos, Ward and Zhu (2002), BLEU: a Method for Automatic Evaluation of Machine Translation. Post (2018), A
Call for Clarity in Reporting BLEU Scores, arXiv:1804.08771. Chen and Cherry (2014), A Systematic Comparison of
Smoothing Techniques for Sentence-Level BLEU.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_ORDER = 4
_APART = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),  # marks, but for . , - '
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def words_of(text: str) -> list[str]:
    """The words that mteval-v13a finds.

    >>> words_of("It's 3,000 (or more).")
    ["It's", '3,000', '(', 'or', 'more', ')', '.']
    """
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES:
        text = text.replace(entity, mark)
    text = f" {text} "
    for pattern, put in _APART:
        text = pattern.sub(put, text)
    return text.split()


def bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """Of texts, with a reference for each; from 0 to 100."""
    matches, counts = [0] * _ORDER, [0] * _ORDER
    length = of_references = 0
    for text, reference in zip(written, references, strict=True):
        words, expected = words_of(text), words_of(reference)
        length, of_references = length + len(words), of_references + len(expected)
        for n in range(_ORDER):
            found, there = _grams(words, n + 1), _grams(expected, n + 1)
            matches[n] += sum((found & there).values())
            counts[n] += sum(found.values())
    if not any(matches) or not all(counts):
        return 0.0
    logs, without = 0.0, 0
    for match, count in zip(matches, counts, strict=True):
        without += match == 0
        logs += math.log(match / count if match else 0.5**without / count)
    penalty = 1.0 if length >= of_references else math.exp(1 - of_references / length)
    return 100 * penalty * math.exp(logs / _ORDER)


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
