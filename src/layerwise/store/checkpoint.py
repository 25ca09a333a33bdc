"""Checkpoints: a state and a position, written so that whatever happens to the process a good one is left.

A checkpoint is a pair of files: `step-N.safetensors` holds the tensors, `step-N.json` (the *manifest*) all else, the
size and hash of the first, and a hash of itself. The manifest is written last, so it announces a pair that is whole;
the pair is read back before an older one is deleted. N counts the saves of a run, so order never hangs on a clock.
Nothing is parsed before its hash is right. The scheme is that of orbax ("commit file") with a hash added, because
zip-based checkpoints load flipped bits without a word (pytorch/pytorch#126952).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from layerwise.errors import StoreError
from layerwise.store import atomic, strict_json
from layerwise.store.pack import pack, unpack

SCHEMA_VERSION = 1

_STEP = re.compile(r"step-(\d{8,15})\.(json|safetensors)")
_WEIGHTS = re.compile(r"weights-[a-z0-9-]{1,40}-[0-9a-f]{16}\.safetensors")
_KEYS = {"schema_version", "layerwise", "torch", "counter", "tensors", "state", "position"}
_UPGRADE = "Upgrade layerwise: pip install -U layerwise."
_MANIFEST_LIMIT = 1 << 26  # bytes
_MANIFEST_DEPTH = 100  # a level of the state takes up to three in JSON


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was verified and read.

    Attributes:
        state: what was given to `save`; tensors on the CPU, in memory of their own.
        position: what was given to `save`.
        versions: of "layerwise" and "torch" at the time; other ones may not repeat a run bit for bit.
        path: its manifest.
    """

    state: Any
    position: dict[str, Any]
    versions: dict[str, str]
    path: Path


class Checkpoints:
    """The checkpoints of one run, in a folder of their own; one process at a time (`RunFolder.lock`).

    Args:
        folder: made by the first save.
        keep: how many are kept, at least 1.

    Attributes:
        skipped: checkpoints that the last `latest()` passed over, each as "path: reason".

    Example:
        >>> import tempfile
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()))
        >>> checkpoints.save({"weight": torch.ones(2)}, {"epoch": 1, "best": None})
        >>> saved = checkpoints.latest()
        >>> saved.state, saved.position
        ({'weight': tensor([1., 1.])}, {'epoch': 1, 'best': None})
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        assert keep >= 1
        self.folder = folder
        self.keep = keep
        self.skipped: list[str] = []

    def save(self, state: Mapping[str, Any], position: Mapping[str, Any]) -> None:
        """Write a checkpoint, read it back, then delete what is no longer kept.

        Args:
            state: anything that `pack` takes.
            position: the same without tensors; `position["best"]` is a reference of `save_weights`, or None.

        Raises:
            StoreError: the disk refused, or state or position holds what cannot be kept. The older checkpoints are
                whole.
        """
        self._check_best(position.get("best"))
        tensors, plain_state = pack(state)
        position_tensors, plain_position = pack(position)
        assert not position_tensors
        data = safetensors.torch.save(tensors)
        atomic.make_folder(self.folder)
        self._remove_unfinished()
        counter = max(self._counters(), default=0) + 1
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "layerwise": importlib.metadata.version("layerwise"),
            "torch": str(torch.__version__),
            "counter": counter,
            "tensors": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()},
            "state": plain_state,
            "position": plain_position,
        }
        self._write(counter, data, strict_json.seal(manifest))
        self._rotate()

    def latest(self) -> Saved | None:
        """The newest checkpoint that is whole, verified before a byte of it is parsed; None where there is none.

        Raises:
            StoreError: the folder cannot be listed.
        """
        self.skipped = []
        for counter in sorted(self._counters(), reverse=True):
            try:
                return self._read(counter)
            except (StoreError, ValueError) as error:
                reason = error.came if isinstance(error, StoreError) else str(error)
                self.skipped.append(f"{self._path(counter, 'json')}: {reason.rstrip('.')}")
        return None

    def save_weights(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """Write weights beside the checkpoints, to be named in the next `position["best"]`.

        Those that no kept checkpoint names are deleted by `save`. Other content never takes the place of a file that
        is still named, because the hash is in the name.

        Args:
            name: small letters, digits and hyphens, as "best".
            tensors: any shapes.

        Returns:
            A reference, {"file": ..., "sha256": ...}.

        Raises:
            StoreError: the disk refused, or a tensor cannot be kept.
        """
        data = safetensors.torch.save(_apart(tensors))
        sha256 = hashlib.sha256(data).hexdigest()
        file = f"weights-{name}-{sha256[:16]}.safetensors"
        assert _WEIGHTS.fullmatch(file), name
        atomic.make_folder(self.folder)
        atomic.write_bytes(self.folder / file, data)
        return {"file": file, "sha256": sha256}

    def load_weights(self, reference: Mapping[str, str]) -> dict[str, Tensor]:
        """Read weights that `save_weights` wrote, verified before they are parsed.

        Raises:
            StoreError: the file is missing, damaged, or not the one that was named.
        """
        _check_reference(reference)
        path = self.folder / reference["file"]
        data = atomic.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != reference["sha256"]:
            raise StoreError(
                f"{path} does not match its hash, so it was damaged or changed.",
                fix="Restore the file from a copy, or train again.",
            )
        return {key: tensor.clone() for key, tensor in _parse(data).items()}

    def _write(self, counter: int, data: bytes, manifest: bytes) -> None:
        tensor_path, manifest_path = self._path(counter, "safetensors"), self._path(counter, "json")
        try:
            atomic.write_bytes(tensor_path, data)
            atomic.write_bytes(manifest_path, manifest)
        except StoreError:
            with contextlib.suppress(StoreError):
                self._remove_unfinished()
            raise
        try:
            self._verify(counter, self._manifest(counter))
        except ValueError as error:
            raise StoreError(
                f"The checkpoint {manifest_path} cannot be read back: {error}.",
                fix="Check the disk; the older checkpoints were left as they are.",
            ) from None

    def _read(self, counter: int) -> Saved:
        """Raises StoreError (the disk, a state that makes no sense) or ValueError (damage)."""
        manifest = self._manifest(counter)
        facts = manifest["tensors"]
        path = self._path(counter, "safetensors")
        if atomic.size(path) != facts["size"]:
            raise ValueError(f"{path.name} is missing or has another size")
        data = atomic.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ValueError(f"{path.name} does not match its hash, so it was damaged or changed")
        state = unpack(_parse(data), manifest["state"])
        position = unpack({}, manifest["position"])
        if not isinstance(position, dict):
            raise ValueError("its position is not a table")
        versions = {key: str(manifest[key]) for key in ("layerwise", "torch")}
        return Saved(state, position, versions, self._path(counter, "json"))

    def _manifest(self, counter: int) -> dict[str, Any]:
        path = self._path(counter, "json")
        if atomic.size(path) is None:
            raise ValueError("it is missing, so the save was cut off")
        manifest = strict_json.unseal(atomic.read_bytes(path, _MANIFEST_LIMIT), _MANIFEST_DEPTH)
        version = manifest.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            # No damage: `save` must stop here too, and not rotate it away.
            raise StoreError(f"{path} was made by a newer layerwise ({manifest.get('layerwise')}).", fix=_UPGRADE)
        facts = manifest.get("tensors")
        if set(manifest) != _KEYS or version != SCHEMA_VERSION or manifest["counter"] != counter:
            raise ValueError("it is not the manifest of this checkpoint")
        if not isinstance(facts, dict) or set(facts) != {"size", "sha256"}:
            raise ValueError("it does not describe its tensors")
        return manifest

    def _verify(self, counter: int, manifest: Mapping[str, Any]) -> None:
        path = self._path(counter, "safetensors")
        facts = manifest["tensors"]
        if atomic.digest(path) != (facts["size"], facts["sha256"]):
            raise ValueError(f"{path.name} does not hold what was written")

    def _rotate(self) -> None:
        """Delete all but the newest `keep` whole checkpoints, and weights that none of them names."""
        kept: set[int] = set()
        named: set[str] = set()
        for counter in sorted(self._counters(), reverse=True):
            try:
                manifest = self._manifest(counter)
            except ValueError:
                continue  # damaged: it must not take the place of a good one
            whole = atomic.size(self._path(counter, "safetensors")) == manifest["tensors"]["size"]
            if whole and len(kept) < self.keep:
                kept.add(counter)
                named |= _named_weights(manifest)
        for name in atomic.names(self.folder):  # sorted, so a manifest goes before its tensors
            step = _STEP.fullmatch(name)
            stale = step is not None and int(step[1]) not in kept
            if stale or (_WEIGHTS.fullmatch(name) and name not in named):
                atomic.remove(self.folder / name)

    def _remove_unfinished(self) -> None:
        """Remove temporary files, and halves of pairs: they are no checkpoints, and may be what fills the disk."""
        atomic.remove_leftovers(self.folder)
        files = [step for name in atomic.names(self.folder) if (step := _STEP.fullmatch(name))]
        pairs = Counter(step[1] for step in files)
        for step in files:
            if pairs[step[1]] == 1:
                atomic.remove(self.folder / step[0])

    def _counters(self) -> set[int]:
        return {int(found[1]) for name in atomic.names(self.folder) if (found := _STEP.fullmatch(name))}

    def _path(self, counter: int, kind: str) -> Path:
        return self.folder / f"step-{counter:08d}.{kind}"

    def _check_best(self, best: Any) -> None:
        if best is not None:
            _check_reference(best)
            if atomic.size(self.folder / best["file"]) is None:
                raise StoreError(
                    f"The best weights {self.folder / best['file']} are gone.",
                    fix="Restore the file, or train again.",
                )


def _check_reference(reference: Mapping[str, str]) -> None:
    # A bare name of ours, so that a changed manifest cannot point out of the folder.
    if set(reference) != {"file", "sha256"} or not _WEIGHTS.fullmatch(str(reference["file"])):
        raise StoreError(f"{dict(reference)} does not name saved weights.", expected="what save_weights returned")


def _named_weights(manifest: Mapping[str, Any]) -> set[str]:
    position = unpack({}, manifest["position"])
    best = position.get("best") if isinstance(position, dict) else None
    return {str(best["file"])} if isinstance(best, dict) and "file" in best else set()


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain tensors, no two of which share memory, as the file format asks."""
    parted, plain = pack(dict(tensors))
    return {key: parted[plain[key]["$tensor"]] for key in tensors}


def _parse(data: bytes) -> dict[str, Tensor]:
    try:
        return dict(safetensors.torch.load(data))
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise ValueError(f"its tensors cannot be read ({error})") from None
