"""Where a network can be cut in two: `split(network, cut)` gives a prefix and a suffix that share its parameters.

A cut is a step of the forward pass after which one tensor is all that the rest needs of the images. Residual blocks end
in cuts and so do Inception modules and DenseNet's transitions; a branch within a block is none. When nothing before a
cut trains and its BatchNorm runs on stored statistics, what an image gives there never changes and can be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from layerwise.errors import UsageError, nearest
from layerwise.frozen.graph import Traced, assemble, make_graph, own_randomness, random_in_training

_BYTES = {"float32": 4, "float16": 2, "uint8": 1}
# Copies of the example's first image to measure with; rows that then differ are not examples.
_COPIES = 2


@dataclass(frozen=True)
class Cut:
    """A place where one tensor carries everything.

    Args:
        name: of the module or operation whose output it is, e.g. "body.blocks.3.0".
        layers: parameter-owning layers that run before it.
        share: of the network's multiply-adds that lie before it, 0 to 1.
        shape: of one example's activation, without the batch.

    Example:
        >>> Cut("body.layer3.5", 129, 0.8, (1024, 14, 14)).bytes()
        401408
    """

    name: str
    layers: int
    share: float
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """Numbers in one example's activation."""
        return math.prod(self.shape)

    def bytes(self, dtype: str = "float16") -> int:
        """Bytes of one example's activation.

        Args:
            dtype: "float32", "float16" or "uint8".

        Raises:
            UsageError: another type.
        """
        if dtype not in _BYTES:
            raise UsageError(f'Activations are not kept as "{dtype}".', fix=nearest(dtype, _BYTES))
        return self.values * _BYTES[dtype]


@final
class Cuttable:
    """A network with its cuts. The network itself is neither changed nor run; its parameters are shared.

    Made by `trace`. What `prefix` and `suffix` give has the network's own layers in it: their training flags are the
    layers', so that `prefix.eval()` puts the network's layers of the prefix in eval mode too. Where the network's own
    code asks for `self.training`, a prefix or suffix asks for its own flag: set the mode on what you run.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
        >>> [cut.name for cut in trace(network, torch.zeros(1, 3, 8, 8)).cuts]
        ['0', '1', '2']
    """

    def __init__(self, network: nn.Module, traced: Traced, images: Tensor) -> None:
        self._network = network
        self._traced = replace(traced, trial={})  # a copy that is not needed once all is measured
        self._dependent = _dependent(traced.graph)
        measured = _measure(traced, images)
        used = _used(traced, self._dependent)
        owners = {own: layer for layer in network.modules() for own in layer.parameters(recurse=False)}
        self._places: dict[str, _Place] = {}
        cuts: list[Cut] = []
        for node, (shape, share, unchanged) in measured.items():
            cut = Cut(traced.names[node][0], len({owners[own] for own in used[node]}), share, shape)
            before = self._places[cuts[-1].name] if cuts else None
            place = _Place(node, used[node], cut, random_in_training(node, traced.parts))
            # A block whose branch starts at zero leaves the numbers as they are, but has parameters to be trained.
            if before and unchanged and before.used == used[node]:
                place = before.extended(place)
            self._places[cut.name] = place
            cuts.append(cut)
        self.cuts = tuple(cuts)
        self.note = traced.note
        if not cuts and self.note is None:
            self.note = f"{type(network).__name__} has no step after which one tensor carries everything."

    def find(self, name: str) -> Cut:
        """The cut of that name.

        Args:
            name: a cut's, or a module's whose output is a cut ("body.layer3" ends where "body.layer3.5" does); either
                without its first part ("layer3.5"), if that means one cut only.

        Raises:
            UsageError: no cut has the name, or several have (with the nearest name).
        """
        for spelled in (self._names(), self._short_names()):
            found = spelled.get(name, set())
            if len(found) == 1:
                return next(cut for cut in self.cuts if cut.name in found)
            if found:
                break
        where = f'"{name}" means several cuts.' if found else f'There is no cut "{name}".'
        fix = nearest(name, [cut.name for cut in self.cuts]) if self.cuts else self.note or ""
        raise UsageError(where, expected="a module or operation after which one tensor carries everything", fix=fix)

    def before(self, trained: Iterable[nn.Parameter]) -> Cut | None:
        """The last cut that none of these parameters lies before; none where the first layer trains.

        Of several cuts in a row that hold the same numbers in eval mode, the first with the fewest dimensions, and none
        behind dropout: dropout and reshaping just before a trained layer stay behind the cut.
        """
        chosen, last = set(trained), None
        for cut in self.cuts:
            if not chosen.isdisjoint(self._places[cut.name].used):
                break
            last = cut
        return self._places[last.name].best if last else None

    def prefix(self, names: Sequence[str]) -> nn.Module:
        """The network up to the last of these cuts: images (B, C, H, W) -> a tuple of activations, one a name.

        Later steps that work in place do not change what is given.

        Raises:
            UsageError: an unknown name, or no name.
        """
        if not names:
            raise UsageError("A prefix was asked for with no cut.", expected="one name or more")
        return self._prefix([self._places[self.find(name).name].node for name in names], as_tuple=True)

    def suffix(self, name: str) -> nn.Module:
        """The network behind a cut: activation (B, *shape) -> what the network gives. Its input is not changed.

        Raises:
            UsageError: an unknown name.
        """
        cut = self._places[self.find(name).name].node
        nodes = list(self._traced.graph.nodes)
        later = [node for node in nodes[nodes.index(cut) + 1 :] if node in self._dependent]
        graph = fx.Graph()
        values = {cut: graph.call_method("clone", (graph.placeholder("activation"),))}
        for node in self._with_constants(later):
            values[node] = graph.node_copy(node, values.__getitem__)
        return self._assembled(graph, "Suffix")

    def _prefix(self, boundaries: Sequence[fx.Node], *, as_tuple: bool) -> nn.Module:
        nodes = list(self._traced.graph.nodes)
        last = max(boundaries, key=nodes.index)
        earlier = [node for node in nodes[: nodes.index(last) + 1] if node in self._dependent]
        graph = fx.Graph()
        values: dict[fx.Node, fx.Node] = {}
        given: dict[fx.Node, fx.Node] = {}
        for node in self._with_constants(earlier):
            values[node] = given[node] = graph.node_copy(node, values.__getitem__)
            if node in boundaries and node is not last:
                given[node] = graph.call_method("clone", (values[node],))
        outputs = tuple(given[node] for node in boundaries)
        graph.output(outputs if as_tuple else outputs[0])
        return self._assembled(graph, "Prefix")

    def _with_constants(self, chosen: Sequence[fx.Node]) -> list[fx.Node]:
        """These nodes and what they need that does not depend on the images, in the order of the network."""
        needed, waiting = set(chosen), list(chosen)
        while waiting:
            more = [node for node in waiting.pop().all_input_nodes if node not in self._dependent | needed]
            needed.update(more)
            waiting += more
        return [node for node in self._traced.graph.nodes if node in needed]

    def _assembled(self, graph: fx.Graph, name: str) -> nn.Module:
        module = assemble(graph, self._traced.parts, name)
        for own in set(module.modules()) - set(self._network.modules()):
            own.training = self._network.training
        return module

    def _names(self) -> dict[str, set[str]]:
        """What may be said -> the cuts that it may mean."""
        said: dict[str, set[str]] = {}
        for name, place in self._places.items():
            for word in self._traced.names[place.node]:
                said.setdefault(word, set()).add(name)
        return said | {name: {name} for name in self._places}

    def _short_names(self) -> dict[str, set[str]]:
        """The same without the first part of a name."""
        short: dict[str, set[str]] = {}
        for word, names in self._names().items():
            short.setdefault(word.partition(".")[2], set()).update(names)
        return short


def trace(network: nn.Module, example: Tensor) -> Cuttable:
    """Find out where a network can be cut.

    A copy of it runs on the first image of the example; the network's modes, buffers and gradients and torch's
    generators of random numbers stay as they are.

    Args:
        network: an `nn.Module` from images to one tensor of logits.
        example: (B, C, H, W), with B at least 1, on the network's device.

    Raises:
        UsageError: an example without images.
    """
    if example.ndim < 2 or not len(example):
        raise UsageError(f"The example has shape {tuple(example.shape)}.", expected="(B, C, H, W), with B at least 1")
    image = example[:1].detach()
    return Cuttable(network, make_graph(network, image), torch.cat([image] * _COPIES))


def find_cuts(network: nn.Module, example: Tensor) -> tuple[Cut, ...]:
    """All cuts of a network, in order of the forward pass; see `trace`.

    Example:
        >>> [cut.shape for cut in find_cuts(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))]
        [(12,)]
    """
    return trace(network, example).cuts


def split(network: nn.Module, cut: Cut | str, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """Cut a network in two: `suffix(prefix(images))` is `network(images)`.

    Args:
        network: see `trace`.
        cut: one of `find_cuts`, or its name.
        example: (B, C, H, W), with B at least 1.

    Returns:
        prefix, (B, C, H, W) -> (B, *cut.shape), and suffix, (B, *cut.shape) -> logits. Both share the network's
        parameters and buffers.

    Raises:
        UsageError: there is no such cut.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> prefix, suffix = split(network, "2", torch.zeros(1, 3, 2, 2))
        >>> suffix(prefix(torch.zeros(5, 3, 2, 2))).shape
        torch.Size([5, 2])
    """
    cuttable = trace(network, example)
    name = cuttable.find(cut if isinstance(cut, str) else cut.name).name
    return cuttable._prefix([cuttable._places[name].node], as_tuple=False), cuttable.suffix(name)


@dataclass(frozen=True)
class _Place:
    """Where a cut lies, and the best cut of those in a row up to it that hold the same numbers in eval mode."""

    node: fx.Node
    used: frozenset[nn.Parameter]  # at it or before it
    best: Cut
    behind_random: bool  # a step in this row is random in training mode

    def extended(self, later: _Place) -> _Place:
        """The next cut of the row."""
        random = self.behind_random or later.behind_random
        better = not random and len(later.best.shape) < len(self.best.shape)
        return _Place(later.node, later.used, later.best if better else self.best, random)


class _Meter(fx.Interpreter):
    """Runs a graph and notes, for the nodes of interest that hold an example a row: shape, work so far, change."""

    def __init__(self, traced: Traced, candidates: Iterable[fx.Node]) -> None:
        super().__init__(assemble(traced.graph, traced.trial, "Trial").eval())
        self.counter = FlopCounterMode(display=False)
        self.found: dict[fx.Node, tuple[tuple[int, ...], int, bool]] = {}
        self._candidates, self._last = set(candidates), torch.empty(0)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._candidates and _row_an_example(value):
            flat = value.flatten()
            unchanged = bool(self.found) and flat.shape == self._last.shape and torch.equal(flat, self._last)
            self.found[n] = tuple(value.shape[1:]), self.counter.get_total_flops(), unchanged
            self._last = flat.clone()  # a later step may work in place
        return value


def _measure(traced: Traced, images: Tensor) -> dict[fx.Node, tuple[tuple[int, ...], float, bool]]:
    """The cuts with one example's shape, the share of work before, and whether the numbers are those of the cut before.

    All images are the same one.
    """
    meter = _Meter(traced, _single_tensors(traced.graph))
    with own_randomness(images), torch.no_grad(), meter.counter:
        meter.run(images.clone())
    total = max(1, meter.counter.get_total_flops())
    return {node: (shape, flops / total, same) for node, (shape, flops, same) in meter.found.items()}


def _row_an_example(value: object) -> bool:
    """Whether a tensor of the same image several times is the same in each row: so it is kept an example a row.

    It is not where tokens or windows come before the batch, nor after a step that is random in eval mode.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 1 or len(value) != _COPIES:
        return False
    scale = float(value.nan_to_num().abs().max()) if value.numel() else 0.0
    return torch.allclose(value, value[:1].expand_as(value), rtol=0.0, atol=1e-4 * scale, equal_nan=True)


def _dependent(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose values depend on the images."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _single_tensors(graph: fx.Graph) -> Iterator[fx.Node]:
    """The nodes after which no other value that depends on the images is needed; not the images, not the logits."""
    dependent = _dependent(graph)
    order = {node: place for place, node in enumerate(graph.nodes)}
    live: set[fx.Node] = set()
    for node, place in order.items():
        live = {earlier for earlier in live if any(order[user] > place for user in earlier.users)}
        if node in dependent and node.users:
            live.add(node)
        ends = any(user.op == "output" for user in node.users)
        if live == {node} and node.op != "placeholder" and not ends:
            yield node


def _used(traced: Traced, dependent: set[fx.Node]) -> dict[fx.Node, frozenset[nn.Parameter]]:
    """For each node: the parameters that it and the nodes before it use.

    A parameter is read where a step takes it: what was made from parameters alone counts where it meets the images.
    """
    used: dict[fx.Node, frozenset[nn.Parameter]] = {}
    so_far: frozenset[nn.Parameter] = frozenset()
    for node in traced.graph.nodes:
        own = traced.uses.get(str(node.target), frozenset()) if node.op in ("call_module", "get_attr") else frozenset()
        own = own.union(*(used[each] for each in node.all_input_nodes if each not in dependent))
        so_far = so_far | own if node in dependent else so_far
        used[node] = so_far if node in dependent else own
    return used
