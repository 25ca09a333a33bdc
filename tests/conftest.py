"""What all tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it skip where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}: this test needs the project's shared data folder")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never write to the user's cache or leave files in /tmp; fixtures of any scope come after this."""
    base = tmp_path_factory.getbasetemp()
    (base / "temporary").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERWISE_CACHE", str(base / "cache"))
        patch.setenv("TMPDIR", str(base / "temporary"))
        patch.setattr(tempfile, "tempdir", None)  # read TMPDIR again
        yield
