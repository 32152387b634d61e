"""The networks by name: their shape, size, and what their published weights expect.

A table alone: Keras is not loaded for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Graph: TypeAlias = Literal["v1", "v2", "v1.5"]
PreprocessingName: TypeAlias = Literal["caffe", "torch", "tf"]
StemName: TypeAlias = Literal["imagenet", "cifar"]

PREPROCESSINGS: tuple[PreprocessingName, ...] = ("caffe", "torch", "tf")
STEMS: tuple[StemName, ...] = ("imagenet", "cifar")

_SOURCES: dict[Graph, str] = {
    "v1": "He et al. 2015, https://arxiv.org/abs/1512.03385",
    "v2": "He et al. 2016, https://arxiv.org/abs/1603.05027",
    "v1.5": "torchvision's graph of He et al. 2015, https://arxiv.org/abs/1512.03385",
}
_PREPROCESSING: dict[Graph, PreprocessingName] = {
    "v1": "caffe",
    "v2": "tf",
    "v1.5": "torch",
}


@dataclass(frozen=True)
class Architecture:
    """A ResNet without its head.

    Args:
        name: What `build_classifier(backbone=…)` takes.
        depth: Layers with weights, the 1000-class head among them, as in its title.
        graph: `"v1"` and `"v2"` as in keras.applications, `"v1.5"` as in torchvision.
        blocks: Residual blocks of the stages conv2 to conv5.
        parameters: Weights without the head.
        gflops: Multiplications with their additions, in thousand millions, for one
            image of 224 px, as torchvision counts them.
    """

    name: str
    depth: int
    graph: Graph
    blocks: tuple[int, int, int, int]
    parameters: int
    gflops: float

    @property
    def bottleneck(self) -> bool:
        """Whether a block is 1x1, 3x3, 1x1 (from 50 layers on), and not 3x3 twice."""
        return self.depth >= 50

    @property
    def preprocessing(self) -> PreprocessingName:
        """What random weights are given, and those that are published for the graph."""
        return _PREPROCESSING[self.graph]

    @property
    def title(self) -> str:
        """What papers call it."""
        suffix = {"v1": "", "v2": " V2", "v1.5": " v1.5"}[self.graph]
        return f"ResNet{self.depth}{suffix}"

    @property
    def source(self) -> str:
        """Where it is described."""
        return _SOURCES[self.graph]

    @property
    def stems(self) -> tuple[StemName, ...]:
        """What the network may begin with."""
        return ("imagenet",) if self.graph == "v2" else STEMS


_BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
# Parameters and GFLOPs; the tests count both in the graphs.
_SIZES: dict[Graph, dict[int, tuple[int, float]]] = {
    "v1": {
        18: (11_190_912, 1.81),
        34: (21_310_208, 3.66),
        50: (23_587_712, 3.86),
        101: (42_658_176, 7.57),
        152: (58_370_944, 11.28),
    },
    "v2": {
        50: (23_564_800, 3.48),
        101: (42_626_560, 7.19),
        152: (58_331_648, 10.90),
    },
    "v1.5": {
        18: (11_186_112, 1.81),
        34: (21_301_696, 3.66),
        50: (23_561_152, 4.09),
        101: (42_605_504, 7.80),
        152: (58_295_232, 11.51),
    },
}
_SUFFIXES: dict[Graph, str] = {"v1": "", "v2": "v2", "v1.5": "v1.5"}

ARCHITECTURES = {
    f"resnet{depth}{_SUFFIXES[graph]}": Architecture(
        f"resnet{depth}{_SUFFIXES[graph]}",
        depth,
        graph,
        _BLOCKS[depth],
        *size,
    )
    for graph, sizes in _SIZES.items()
    for depth, size in sizes.items()
}


def title(name: str) -> str:
    """Returns what papers call a backbone, or its name if it is not in the table."""
    return ARCHITECTURES[name].title if name in ARCHITECTURES else name


def table_lines() -> Iterator[str]:
    """Yields the table as lines: a header, and one for each network."""
    width = max(map(len, ARCHITECTURES))
    yield f"{'backbone':<{width}}  {'parameters':>10}  {'GFLOPs':>6}  pixels  graph"
    for name, row in ARCHITECTURES.items():
        origin = "torchvision" if row.graph == "v1.5" else "Keras"
        yield (
            f"{name:<{width}}  {row.parameters:>10,}  {row.gflops:>6.2f}  "
            f"{row.preprocessing:<6}  {row.graph}, {origin}"
        )
    yield ""
    yield "Without the head. GFLOPs: for one image of 224 px, an addition with its"
    yield "multiplication counted as one. Pixels: what random weights are given; published"
    yield "ones, and other files, say what they expect."


def list_backbones() -> tuple[str, ...]:
    """Returns the names that `build_classifier(backbone=…)` takes.

    `kerasresnet backbones` shows them with their size.

    Example:

    >>> kr.list_backbones()[:3]
    ('resnet18', 'resnet34', 'resnet50')
    """
    return tuple(ARCHITECTURES)
