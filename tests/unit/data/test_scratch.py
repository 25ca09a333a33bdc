"""Rows on disk come back as they were written, and nothing is left of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from layerwise.data import scratch
from layerwise.data.scratch import ScratchRows
from layerwise.errors import StoreError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("LAYERWISE_CACHE", str(folder))
    return folder


@pytest.mark.parametrize("held", [1, 300, 10**6], ids=["all on disk", "moved to disk", "all in memory"])
def test_rows_come_back_in_every_form_and_block(cache: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(scratch, "_HELD", held)
    values = torch.randn(3, 50, 4, 2, generator=torch.Generator().manual_seed(0)).half()
    with ScratchRows(forms=3, count=60, shape=(4, 2), dtype=np.float16) as kept:
        for start in range(0, 50, 20):
            for form in (2, 0, 1):
                kept.write(form, start, values[form, start : start + 20])
        for form in range(3):
            assert kept.read(form, 0, 50).equal(values[form])
            assert kept.read(form, 17, 43).equal(values[form, 17:43])
        assert len(kept.read(0, 5, 5)) == 0


def test_nothing_is_left_even_after_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_HELD", 1)
    with pytest.raises(KeyError), ScratchRows(forms=1, count=9, shape=(3,), dtype=np.float32) as kept:
        kept.write(0, 0, torch.ones(9, 3))
        raise KeyError
    assert not list(cache.iterdir())
    with pytest.raises(ValueError, match="closed"):
        kept.read(0, 0, 1)


def test_views_that_are_not_in_order_in_memory_are_written_in_order(cache: Path) -> None:
    values = torch.arange(12.0).view(3, 4)
    with ScratchRows(forms=1, count=4, shape=(3,), dtype=np.float32) as kept:
        kept.write(0, 0, values.T)
        assert kept.read(0, 0, 4).equal(values.T)


def test_a_disk_that_refuses_is_told_with_the_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_HELD", 1)
    with ScratchRows(forms=1, count=9, shape=(3,), dtype=np.float32) as kept:
        shutil.rmtree(cache)
        with pytest.raises(StoreError, match="LAYERWISE_CACHE"):
            kept.write(0, 0, torch.ones(9, 3))


def test_without_a_cache_the_systems_temporary_folder_serves(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_HELD", 1)
    shutil.rmtree(cache)
    with ScratchRows(forms=1, count=9, shape=(3,), dtype=np.float32) as kept:
        kept.write(0, 0, torch.ones(9, 3))
        assert kept.read(0, 0, 9).sum() == 27
    assert not cache.exists()
