r"""How a string is written: by draws, by the best token each time, or by a beam of the best strings so far.

    score = log p(x) / L^a,  L the length with its end: a = 0 prefers short strings as p does, a = 1 is a mean

A beam keeps the `width` best of all that one more token makes of those it has; a string with an end stays as it is. Of
width 1 it takes the best token each time. No less than all strings in width, it finds the best one (Graves, 2012,
Sequence Transduction with Recurrent Neural Networks, arXiv:1211.3711; Wu et al., 2016, arXiv:1609.08144, on lengths).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from variata import END, PADDING

from .parts import Context, SequenceDecoder


def bounded(scores: Tensor, place: int, longest: int) -> Tensor:
    """log p of tokens 1, 2, ... at a place, from their scores: at the last place nothing but the end is left."""
    if place == longest - 1:
        scores = scores.clone()
        scores[..., END:] = -torch.inf
    return scores.log_softmax(-1)


@torch.no_grad()
def written(
    decoder: SequenceDecoder, context: Context, n: int, longest: int, choose: Callable[[Tensor], Tensor]
) -> Tensor:
    """n strings `[n, longest]` by a choice of each token: log p `[n, vocabulary - 1]` -> columns `[n]`."""
    device = next(decoder.parameters()).device
    before = torch.full((n,), PADDING, device=device)
    tokens = torch.full((n, longest), PADDING, device=device)
    state, ended = decoder.begin(n, context), torch.zeros(n, dtype=torch.bool, device=device)
    for place in range(longest):
        scores, state = decoder.step(before, state, context)
        before = (choose(bounded(scores, place, longest)) + 1).masked_fill(ended, PADDING)
        tokens[:, place] = before
        ended = ended | (before == END)
        if ended.all():
            break
    return tokens


def greedy(decoder: SequenceDecoder, context: Context, n: int, longest: int) -> Tensor:
    """n strings `[n, longest]` of the most probable token each time."""
    return written(decoder, context, n, longest, lambda log_p: log_p.argmax(-1))


def drawn(decoder: SequenceDecoder, context: Context, n: int, longest: int, temperature: float = 1.0) -> Tensor:
    """n draws `[n, longest]`; at a temperature below 1 of probable tokens more often."""
    return written(
        decoder, context, n, longest, lambda p: torch.multinomial((p / temperature).softmax(-1), 1).squeeze(-1)
    )


@torch.no_grad()
def beam(
    decoder: SequenceDecoder, context: Context, n: int, longest: int, width: int, normalisation: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The strings of a beam, the best first.

    Args:
        width: how many strings are kept.
        normalisation: a, the power of the length that log p is divided by.

    Returns:
        Tokens `[n, width, longest]`, and their log p `[n, width]`; -inf where there are not as many strings.
    """
    device = next(decoder.parameters()).device
    rows = torch.arange(n, device=device).repeat_interleave(width)
    context, state = context.take(rows), decoder.begin(n * width, context.take(rows))
    tokens = torch.full((n * width, longest), PADDING, device=device)
    before = torch.full((n * width,), PADDING, device=device)
    total = torch.full((n, width), -torch.inf, dtype=next(decoder.parameters()).dtype, device=device)
    total[:, 0] = 0.0  # at first there is but one string, the empty one
    lengths, ended = torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool)
    first = torch.arange(n, device=device).unsqueeze(1) * width
    for place in range(longest):
        scores, state = decoder.step(before, state, context)
        log_p = bounded(scores, place, longest).unflatten(0, (n, width))
        stays = torch.full_like(log_p, -torch.inf)
        stays[..., 0] = 0.0  # the one way on of a string that has its end
        log_p = torch.where(ended.unsqueeze(-1), stays, log_p)
        after = total.unsqueeze(-1) + log_p
        longer = (lengths + ~ended).unsqueeze(-1).expand_as(after)
        best = (after / longer**normalisation).flatten(1).topk(width, dim=1).indices
        from_, column = best // log_p.shape[-1], best % log_p.shape[-1]
        total, lengths = after.flatten(1).gather(1, best), longer.flatten(1).gather(1, best)
        was_ended = ended.gather(1, from_)
        chosen = (first + from_).flatten()
        before = (column + 1).masked_fill(was_ended, PADDING).flatten()
        state, tokens = tuple(part[chosen] for part in state), tokens[chosen]
        tokens[:, place] = before
        ended = was_ended | (before.view(n, width) == END)
        if bool((ended | total.isinf()).all()):
            break
    ranked = (total / lengths.clamp(min=1) ** normalisation).argsort(dim=1, descending=True)
    return tokens[(first + ranked).flatten()].unflatten(0, (n, width)), total.gather(1, ranked)
