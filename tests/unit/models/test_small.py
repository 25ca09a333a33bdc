"""resnet-small and inception-small."""

from __future__ import annotations

import pytest
import torch

from layerwise.errors import RecipeError
from layerwise.models import build_model


def build(name: str, **options: object) -> torch.nn.Module:
    return build_model(name, classes=10, channels=3, size=32, pretrained=False, options=options)


def test_resnet_is_the_papers_with_twenty_layers() -> None:
    net = build("resnet-small")
    # 269,722 of the paper's network with identity shortcuts, and two projections with their normalisation.
    assert sum(p.numel() for p in net.parameters()) == 269_722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    counted = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(counted) == 20 + 2
    assert net.forward_features(torch.zeros(2, 3, 32, 32)).shape == (2, 64, 8, 8)


def test_attention_adds_a_block_that_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    plain = build("resnet-small").eval()
    attending = build("resnet-small", attention=True).eval()
    missing = attending.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys
    assert all(key.startswith("attention.") for key in missing.missing_keys)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(attending(x), plain(x))


def test_attention_stands_before_the_last_stage() -> None:
    names = [name for name, _ in build("resnet-small", attention=True).named_children()]
    assert names == ["conv", "norm", "stage1", "stage2", "attention", "stage3", "head"]


def test_inception_gives_an_eighth_of_the_size_and_256_channels() -> None:
    assert build("inception-small").forward_features(torch.zeros(2, 3, 32, 32)).shape == (2, 256, 4, 4)


@pytest.mark.parametrize(("name", "option"), [("resnet-small", "atention"), ("inception-small", "dropuot")])
def test_an_unknown_option_names_the_nearest(name: str, option: str) -> None:
    with pytest.raises(RecipeError, match="Did you mean"):
        build(name, **{option: 1})
