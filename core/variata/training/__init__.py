"""Training: one engine for every model.

options.py    what may be said under `train`
loop.py       the steps, validation, ends                  stepping.py   how one phase is taken
feeding.py    the batches of a process                     compiling.py  a step as one graph
averages.py   averaged weights                             sharding.py   weights in parts
saving.py     all that training is at, on disk             faults.py, replay.py  what is not finite
fit.py        from an assembly to a run folder             listening.py, signals.py  who hears of it, and ends it
launching.py  several processes on this machine
"""

from .loop import Loop
from .options import Training

__all__ = ["Loop", "Training"]
