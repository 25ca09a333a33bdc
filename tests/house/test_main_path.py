"""From `layerwise.train` to `backward`: at most 5 of our frames in at most 7 files."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import torch

import layerwise
from layerwise_tests import images

ROOT = Path(layerwise.__file__).parent


def test_the_way_to_backward_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def stop(*args: object, **words: object) -> None:
        raise Reached

    monkeypatch.setattr(torch.Tensor, "backward", stop)
    with pytest.raises(Reached) as caught:
        layerwise.train(images.arrays(10), model="cnn-28", epochs=1, out=tmp_path / "run", device="cpu")
    ours = [
        frame for frame in traceback.extract_tb(caught.value.__traceback__) if Path(frame.filename).is_relative_to(ROOT)
    ]
    way = [f"{Path(frame.filename).relative_to(ROOT)}:{frame.name}" for frame in ours]
    assert way[0] == "api.py:train" and way[-1].startswith("engine/update.py")
    assert len(ours) <= 5, way
    assert len({frame.filename for frame in ours}) <= 7, way
