"""Data sets: what an example is, and which examples are in which split.

`digits` is embedded, `mnist` reads IDX files, `debd` tables of 0 and 1, `array` reads your own, `images` (a folder of
files) and `shards` (a folder of npz files) need not fit into memory, `blobs` draws points in the plane, `sprites`
renders shapes whose factors are known. What becomes of grey values (binarised, scaled,
dequantised) is said once for all of them, in `pixels.py`. Which example is in which split, and the noise of what is
held out, never depend on the seed of a run.
"""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The data sets."""
    here = "variata_plugins.datasets"
    return [
        Component("data", "array", f"{here}.array:Array", "Arrays of your own: npz, npy or safetensors"),
        Component("data", "blobs", f"{here}.blobs:Blobs", "Gaussian blobs on a ring or a grid in the plane"),
        Component("data", "debd", f"{here}.debd:DEBD", "Binary density-estimation sets: nltcs, plants, dna, ..."),
        Component("data", "digits", f"{here}.digits:Digits", "scikit-learn's 1,797 digits of 8 x 8 pixels"),
        Component("data", "images", f"{here}.images:ImageFolder", "A folder of image files, read as they are needed"),
        Component("data", "mnist", f"{here}.mnist:MNIST", "70,000 digits of 28 x 28 pixels"),
        Component(
            "data", "shards", f"{here}.shards:ShardedArrays", "Arrays in many npz files, read as they are needed"
        ),
        Component("data", "sprites", f"{here}.sprites:Sprites", "Rendered shapes whose factors are known"),
    ]
