"""How weights start."""

from __future__ import annotations

from torch import nn

from layerwise.nn.to_few import ConvToFew


def init_as_keras(network: nn.Module) -> None:
    """Uniform kernels with the variance of X. Glorot, Y. Bengio, AISTATS 2010, and zeros for biases and embeddings.

    Example:
        >>> layer = nn.Linear(2, 4)
        >>> init_as_keras(layer)
        >>> bool(layer.weight.abs().max() <= 1), layer.bias.tolist()
        (True, [0.0, 0.0, 0.0, 0.0])
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | ConvToFew):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.zeros_(module.weight)
