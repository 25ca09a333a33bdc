"""Layers that two or more networks share."""

from __future__ import annotations

from layerwise.nn.attention import NonLocalBlock2d, SelfAttention
from layerwise.nn.conv import SeparableConv2d
from layerwise.nn.head import Head
from layerwise.nn.inception import InceptionModule
from layerwise.nn.residual import ResidualBlock

__all__ = ["Head", "InceptionModule", "NonLocalBlock2d", "ResidualBlock", "SelfAttention", "SeparableConv2d"]
