"""BatchNorm on stored statistics is a multiplication and an addition a channel: the convolution before it can do both.

B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
2018 (arXiv 1712.05877), section 3.2; the arithmetic is `torch.nn.utils.fusion`'s. A network in inference then reads and
writes every activation once less.
"""

from __future__ import annotations

import copy

from timm.layers import BatchNormAct2d, Conv2dSame, ConvNormAct
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Exactly these: a subclass may change its weights on the way, as weight standardisation does.
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def folded(module: nn.Module) -> nn.Module:
    """A copy for inference, with every BatchNorm folded into the convolution before it where that changes nothing.

    A convolution takes in the norm behind it where the norm alone uses its value; timm's `BatchNormAct2d` leaves its
    activation behind, and the convolution and norm within timm's `ConvNormAct` become one. Outputs differ by rounding.

    Args:
        module: usually a `torch.fx.GraphModule`, whose steps are known. Of any other module a plain copy comes back.

    Returns:
        a module of its own in eval mode, without gradients; the given one keeps its modes, parameters and buffers.

    Example:
        >>> from torch import fx, nn
        >>> net = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))
        >>> sorted(type(layer).__name__ for layer in folded(net).children())
        ['Conv2d', 'ReLU']
    """
    own = copy.deepcopy(module).eval().requires_grad_(False)
    if isinstance(own, fx.GraphModule):
        _fold_graph(own)
    return own


def _fold_graph(own: fx.GraphModule) -> None:
    parts = dict(own.named_modules(remove_duplicate=False))
    for node in list(own.graph.nodes):
        if node.op != "call_module":
            continue
        part = parts[node.target]
        if type(part) is ConvNormAct:
            _fold_inside(part)
        elif (before := _convolution_before(node, parts)) is not None:
            _fold_step(own, before, node, parts)
    own.graph.lint()
    own.delete_all_unused_submodules()
    own.recompile()


def _convolution_before(node: fx.Node, parts: dict[str, nn.Module]) -> fx.Node | None:
    """The convolution whose value this norm alone uses; none where there is no such norm or convolution."""
    before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return None
    return before if _foldable(parts[str(before.target)], parts[str(node.target)]) else None


def _foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both do what their class says, on stored statistics."""
    if type(convolution) not in _CONVOLUTIONS or type(norm) not in _NORMS:
        return False
    assert isinstance(norm, nn.BatchNorm2d)
    hooks = (convolution._forward_hooks, convolution._forward_pre_hooks, norm._forward_hooks, norm._forward_pre_hooks)
    return not any(hooks) and norm.running_mean is not None and norm.running_var is not None


def _fold_step(own: fx.GraphModule, before: fx.Node, node: fx.Node, parts: dict[str, nn.Module]) -> None:
    """Give this step a convolution of its own: the network may use the same layer, or its weights, in other places."""
    convolution, norm = parts[str(before.target)], parts[str(node.target)]
    before.target = _add(own, before, _fused(convolution, norm), parts)
    rest = _after_norm(norm)
    if rest is None:
        node.replace_all_uses_with(before)
        own.graph.erase_node(node)
    else:
        node.target = _add(own, node, rest, parts)


def _add(own: fx.GraphModule, node: fx.Node, part: nn.Module, parts: dict[str, nn.Module]) -> str:
    name = f"folded_{node.name}"
    while name in parts:
        name += "_"
    own.add_submodule(name, part)
    parts[name] = part
    return name


def _fold_inside(part: ConvNormAct) -> None:
    if _foldable(part.conv, part.bn):
        part.conv, part.bn = _fused(part.conv, part.bn), _after_norm(part.bn) or nn.Identity()


def _fused(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm).requires_grad_(False)


def _after_norm(norm: nn.Module) -> nn.Module | None:
    """What a norm does beyond normalising, in eval mode: its activation. Its dropout does nothing there."""
    if type(norm) is not BatchNormAct2d or isinstance(norm.act, nn.Identity):
        return None
    assert isinstance(norm.act, nn.Module)
    return norm.act
