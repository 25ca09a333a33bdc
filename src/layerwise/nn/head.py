"""What turns a feature map into logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Global average pooling, an optional hidden layer, dropout, and a linear classifier.

    M. Lin, Q. Chen, S. Yan, "Network In Network", ICLR 2014 (arXiv 1312.4400) for the pooling; N. Srivastava et al.,
    JMLR 15 (2014) for dropout.

    Args:
        features: channels of the input, C.
        classes: number of logits.
        hidden: width of a hidden layer with relu; 0 for none.
        dropout: share of the classifier's inputs dropped in training, from 0 to below 1.

    Shapes:
        (B, C, H, W), or (B, C) that is pooled already -> (B, classes).

    Example:
        >>> import torch
        >>> Head(32, 5, hidden=16, dropout=0.5)(torch.zeros(2, 32, 7, 7)).shape
        torch.Size([2, 5])
    """

    def __init__(self, features: int, classes: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden or features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, C) -> (B, classes)."""
        # One expression for both shapes: a branch on x.ndim could not be traced by torch.fx. Both steps are views.
        x = x.unsqueeze(-1).flatten(2).mean(2)  # (B, C)
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        logits: Tensor = self.linear(self.dropout(x))
        return logits
