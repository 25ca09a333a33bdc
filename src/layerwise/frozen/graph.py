"""From a network to a graph: the steps of its forward pass, in the order in which they run.

J. Reed, Z. DeVito, H. He, A. Ussery, J. Ansel, "torch.fx: Practical Program Capture and Transformation for Deep
Learning in Python", MLSys 2022 (arXiv 2112.08429). Tracing runs the network's Python once, on stand-ins for tensors.
All of it happens on a copy, and the graph is then compared with the network on a real image: a choice that Python made
on the way, and that a graph cannot hold, shows up there. Such a network is taken in two steps, or in three:
`forward_features | pool | head`.
"""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd

Part = nn.Module | Tensor

# The target of the node that says whether the module around it is in training mode.
MODE = "_mode_of_this_part"
_NETWORK = "network."
# Layers outside timm.layers that branch on the shape of their input, which a graph cannot.
_LEAVES = {"timm.models.vgg.ConvMlp"}


@runtime_checkable
class TwoSteps(Protocol):
    """A network that says where its features end."""

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> features (B, ...)."""

    def forward_head(self, features: Tensor) -> Tensor:
        """Features (B, ...) -> (B, classes)."""


@runtime_checkable
class Pooling(TwoSteps, Protocol):
    """One whose `forward_head` is `pool`, and then the module `head`."""

    def pool(self, features: Tensor) -> Tensor:
        """Features (B, ...) -> (B, F)."""


@dataclass(frozen=True)
class Traced:
    """A network as a graph.

    Args:
        graph: one placeholder, the images; the targets of its call_module and get_attr nodes name the parts.
        parts: the network's own modules and tensors by target.
        trial: the same of a copy in eval mode, on which anything may be run.
        uses: the parameters that a part takes, by target.
        names: what users may call a node. The first name is the best, and no other node has it.
        note: why a step is more than one layer; none where every layer is a step.
    """

    graph: fx.Graph
    parts: Mapping[str, Part]
    trial: Mapping[str, Part]
    uses: Mapping[str, frozenset[nn.Parameter]]
    names: Mapping[fx.Node, tuple[str, ...]]
    note: str | None


class _CannotTrace(Exception):
    """A network that no graph stands for."""


def make_graph(network: nn.Module, images: Tensor) -> Traced:
    """The graph of a network, which is neither run nor changed: a copy of it is.

    Args:
        network: from images to logits.
        images: (B, C, H, W), with B at least 1.
    """
    kind = type(network).__name__
    try:
        # Parameters are shared with the copy, which is never trained: they are most of the memory.
        twin = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()}).eval()
    except Exception as error:
        return _one_step(network, f"{kind} cannot be copied ({_reason(error)}), so that it has no cuts.")
    with own_randomness(images), torch.no_grad():
        logits = twin(images.clone())
    if not isinstance(logits, Tensor):
        return _one_step(network, f"{kind} does not give one tensor, so that it has no cuts.")
    try:
        return _every_step(network, twin, images, logits)
    except Exception as error:  # a network's Python may do anything with the stand-ins for tensors
        return _few_steps(network, images, logits, f"{kind} cannot be traced ({_reason(error)})")


def assemble(graph: fx.Graph, parts: Mapping[str, Part], name: str) -> fx.GraphModule:
    """A module that runs a graph with these parts, sharing them; its own flag says in which mode it is."""
    return fx.GraphModule({**parts, MODE: Mode()}, graph, class_name=name)


@contextmanager
def own_randomness(images: Tensor) -> Iterator[None]:
    """Random numbers drawn inside leave the generators as they were."""
    device = images.device
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        yield


class Mode(nn.Module):
    """A step that says whether it is in training mode: `self.training` of a traced network."""

    def forward(self) -> bool:
        """Nothing -> the flag."""
        return self.training


class Step(nn.Module):
    """A method of a network as a module. It holds the network whole: nobody knows which layers the method runs."""

    def __init__(self, network: nn.Module, method: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, x: Tensor) -> Tensor:
        """What the method takes -> what it gives."""
        return self.method(x)


class _OneInput(nn.Module):
    """Calls a network with one argument: its other arguments keep their defaults and are no inputs of the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


class _Tracer(fx.Tracer):
    """Traces down to the layers of torch and timm, and remembers in which module a node was made and which it ends."""

    proxy_buffer_attributes = True  # a buffer's value of today must not become part of the graph

    def __init__(self, device: str) -> None:
        super().__init__()
        self.scopes: dict[fx.Node, str] = {}
        self.ends: dict[fx.Node, list[str]] = {}
        self._open = [""]
        self._device, self._autocast = device, torch.is_autocast_enabled(device)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        name = f"{type(m).__module__}.{type(m).__qualname__}"
        return name.startswith("timm.layers.") or name in _LEAVES or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        path = f"{self.path_of_module(m)}.".removeprefix(_NETWORK).removesuffix(".")  # "" for the network itself
        self._open.append(path)
        out = super().call_module(m, forward, args, kwargs)
        self._open.pop()
        # A module that hands its input through, as an empty Sequential does, made nothing.
        if path and isinstance(out, fx.Proxy) and all(out is not given for given in args):
            self.ends.setdefault(out.node, []).append(path)
        return out

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if not torch.is_grad_enabled() or torch.is_autocast_enabled(self._device) != self._autocast:
            raise _CannotTrace("it switches gradients or precision on its way")
        node = super().create_node(*args, **kwargs)
        self.scopes[node] = self._open[-1]
        return node


def _every_step(network: nn.Module, twin: nn.Module, images: Tensor, logits: Tensor) -> Traced:
    ours, theirs = _OneInput(network), _OneInput(twin)
    with own_randomness(images), torch.enable_grad():
        # What is drawn while tracing would be a constant of the graph; two seeds give it away.
        torch.manual_seed(1)
        tracer = _Tracer(images.device.type)
        twin.eval()
        graph = tracer.trace(theirs)
        torch.manual_seed(2)
        busy_root = _OneInput(twin.train())
        busy = _Tracer(images.device.type).trace(busy_root)
        twin.eval()
    _merge(graph, theirs, busy, busy_root)
    parts: dict[str, Part] = {}
    trial: dict[str, Part] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node.target != MODE:
            inside, path = node.target.startswith(_NETWORK), node.target
            node.target = path.removeprefix(_NETWORK) if inside else f"constants.{path}"
            trial[node.target] = operator.attrgetter(path)(theirs)
            parts[node.target] = operator.attrgetter(path)(ours) if inside else trial[node.target]
    with own_randomness(images), torch.no_grad():
        same = _same(assemble(graph, trial, "Trial").eval()(images.clone()), logits)
    if not same:
        raise _CannotTrace("what it does depends on the values of its input")
    uses = {target: _parameters(part) for target, part in parts.items()}
    return Traced(graph, parts, trial, uses, _names(graph, tracer), None)


def _merge(graph: fx.Graph, root: nn.Module, busy: fx.Graph, busy_root: nn.Module) -> None:
    """Make one graph of the traces in eval and in training mode, which may differ in flags only."""
    nodes, others = list(graph.nodes), list(busy.nodes)
    differs = _CannotTrace("its steps differ between training and evaluation")
    if len(nodes) != len(others):
        raise differs
    twins = dict(zip(others, nodes, strict=True))
    with graph.inserting_after(nodes[0]):
        mode = graph.call_module(MODE)
    for other, node in twins.items():
        if (node.op, node.target) != (other.op, other.target):
            raise differs
        if node.op == "get_attr" and not node.target.startswith(_NETWORK):
            constants = [operator.attrgetter(node.target)(each) for each in (root, busy_root)]
            if not all(isinstance(each, Tensor) for each in constants) or not torch.equal(*constants):
                raise _CannotTrace("it makes random tensors on its way")
        node.args, node.kwargs = _merged((node.args, node.kwargs), (other.args, other.kwargs), twins, mode)
    if not mode.users:
        graph.erase_node(mode)


def _merged(quiet: Any, busy: Any, twins: Mapping[fx.Node, fx.Node], mode: fx.Node) -> Any:
    """An argument that holds in both modes: where it is false in eval and true in training, the mode itself."""
    if quiet is False and busy is True:
        return mode
    if isinstance(quiet, tuple | list) and isinstance(busy, tuple | list) and len(quiet) == len(busy):
        return type(quiet)(_merged(a, b, twins, mode) for a, b in zip(quiet, busy, strict=True))
    if isinstance(quiet, dict) and isinstance(busy, dict) and quiet.keys() == busy.keys():
        return {key: _merged(value, busy[key], twins, mode) for key, value in quiet.items()}
    # Slices hold nodes too. What is no node compares by how it prints, so that nan is nan.
    if repr(fx.map_arg(busy, twins.__getitem__)) != repr(quiet):
        raise _CannotTrace("its steps differ between training and evaluation")
    return quiet


def _names(graph: fx.Graph, tracer: _Tracer) -> dict[fx.Node, tuple[str, ...]]:
    """Names for every node: the modules that end there; else the operation, behind the module that it stands in.

    A layer that ends a block leaves the block its name: "layer3.5" comes before "layer3.5.act3".
    """
    modules = {path for ends in tracer.ends.values() for path in ends}
    names: dict[fx.Node, tuple[str, ...]] = {}
    taken: set[str] = set()
    for node in graph.nodes:
        ends = tracer.ends.get(node, [])
        if ends:
            best = ends[1] if node.op == "call_module" and len(ends) > 1 else ends[0]
        else:
            operation = re.sub(r"_*(_\d+)?$", "", node.name)  # torch.fx numbers them over the whole network
            best = f"{tracer.scopes.get(node, '')}.{operation}".removeprefix(".")
        name, times = best, 1
        while name in taken or (name in modules and name not in ends):
            times += 1
            name = f"{best}_{times}"
        taken.add(name)
        names[node] = (name, *(path for path in ends if path != best))
    return names


def _few_steps(network: nn.Module, images: Tensor, logits: Tensor, reason: str) -> Traced:
    """The graph of what a network's own methods are: features, pooled where it says so, logits."""
    if not isinstance(network, TwoSteps):
        return _one_step(network, f"{reason} and has no forward_features and forward_head, so that it has no cuts.")
    for pooled in (True, False):
        # With parameters of its own, so that autograd can tell which of them a step uses.
        twin = copy.deepcopy(network).eval().requires_grad_(True)
        steps = _steps(twin, pooled=pooled)
        values = _walk(steps, images)
        if not values or not _same(values[-1], logits):
            continue
        named, ours = {id(each): name for name, each in twin.named_parameters()}, dict(network.named_parameters())
        uses = {
            name: frozenset(ours[named[id(found)]] for found in _reached(value))
            for name, value in zip(steps, values, strict=True)
        }
        parts = _steps(network, pooled=pooled)
        return _chain(parts, steps, uses, f"{reason}, so that it is cut around its head only.")
    return _one_step(network, f"{reason} and is not forward_head(forward_features(x)), so that it has no cuts.")


def _one_step(network: nn.Module, note: str) -> Traced:
    return _chain({"network": network}, {"network": network}, {"network": _parameters(network)}, note)


def _steps(network: nn.Module, *, pooled: bool) -> dict[str, nn.Module]:
    """The steps by the names of what they give; none where the network does not have these."""
    head = dict(network.named_children()).get("head")
    if pooled:
        if not isinstance(network, Pooling) or head is None:
            return {}
        return {
            "features": Step(network, network.forward_features),
            "pooled": Step(network, network.pool),
            "head": head,
        }
    assert isinstance(network, TwoSteps)
    return {"features": Step(network, network.forward_features), "logits": Step(network, network.forward_head)}


def _walk(steps: Mapping[str, nn.Module], images: Tensor) -> list[Any]:
    """What every step gives, each from an input that autograd knows nothing of; nothing where a step fails."""
    values: list[Any] = []
    try:
        with own_randomness(images), torch.enable_grad():
            for step in steps.values():
                values.append(step((values[-1] if values else images).detach().clone()))
    except Exception:  # methods of these names that mean something else
        return []
    return values


def _reached(value: Tensor) -> set[Tensor]:
    """The leaves of autograd's graph that a value was made from."""
    found: set[Tensor] = set()
    waiting, seen = [value.grad_fn], set()
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if isinstance(step, torch.autograd.graph.Node) and step.name() == "torch::autograd::AccumulateGrad":
            found.add(step.variable)  # type: ignore[attr-defined]
        waiting += [before for before, _ in step.next_functions]
    return found


def _chain(
    parts: Mapping[str, Part],
    trial: Mapping[str, Part],
    uses: Mapping[str, frozenset[nn.Parameter]],
    note: str,
) -> Traced:
    graph = fx.Graph()
    node = graph.placeholder("x")
    names = {node: ("x",)}
    for name in parts:
        node = graph.call_module(name, (node,))
        names[node] = (name,)
    graph.output(node)
    return Traced(graph, parts, trial, uses, names, note)


def random_in_training(node: fx.Node, parts: Mapping[str, Part]) -> bool:
    """Whether a step draws random numbers in training mode only, as dropout does."""
    if node.op == "call_module":
        part = parts.get(str(node.target))
        # timm's DropPath, DropBlock2d and PatchDropout have no class in common.
        return isinstance(part, _DropoutNd) or type(part).__name__.startswith(("Drop", "PatchDrop"))
    return any(each.target == MODE for each in node.all_input_nodes)


def _parameters(part: Part) -> frozenset[nn.Parameter]:
    if isinstance(part, nn.Module):
        return frozenset(part.parameters())
    return frozenset([part] if isinstance(part, nn.Parameter) else [])


def _same(value: object, expected: Tensor) -> bool:
    """Equal but for rounding at the scale of the whole tensor."""
    if not isinstance(value, Tensor) or value.shape != expected.shape:
        return False
    scale = float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0
    return torch.allclose(value, expected, rtol=0.0, atol=1e-5 * scale, equal_nan=True)


def _reason(error: Exception) -> str:
    """An error's first line, short enough to stand within a sentence."""
    first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
    return first if len(first) <= 120 else f"{first[:117]}..."
