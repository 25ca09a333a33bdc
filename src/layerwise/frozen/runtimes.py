"""What runs an exported prefix on the CPU besides PyTorch: OpenVINO and ONNX Runtime.

In the networks that we measured the bits of an image's result depend neither on its place in the batch, nor on the
number of threads, nor on the size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerwise.device import give_back_memory
from layerwise.errors import UsageError
from layerwise.frozen.exports import FIX, IR, import_openvino, in_two, missing

Runtime = Literal["openvino", "onnxruntime"]


class Run(Protocol):
    """A prefix, ready to run. What it gives can be trained on."""

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) float32 normalised -> float32 activations on the images' device, one a boundary."""


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used here."""

    def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Inputs by name -> all outputs."""

    def get_inputs(self) -> list[Any]:
        """What each input is called, among other things."""


@final
class OpenVinoRun:
    """A prefix in OpenVINO: one image a thread, so that threads never wait for one another within a layer."""

    def __init__(self, model: bytes, shape: Sequence[int]) -> None:
        openvino = import_openvino()
        core, threads = openvino.Core(), torch.get_num_threads()
        steps, weights = in_two(model)
        network = core.read_model(bytes(steps), openvino.Tensor(np.frombuffer(weights, np.uint8)))
        network.reshape([1, *shape])
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # some processors would take half precision
            "ENABLE_CPU_PINNING": False,  # decoding runs at the same time, and so may another process
            "CPU_DENORMALS_OPTIMIZATION": True,
        }
        compiled = core.compile_model(network, "CPU", options)
        self._shapes = [tuple(output.shape)[1:] for output in compiled.outputs]
        self._queue = openvino.AsyncInferQueue(compiled, threads)
        self._queue.set_callback(_take)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> a tensor a boundary."""
        batch = _on_cpu(images)
        found = [np.empty((len(batch), *shape), np.float32) for shape in self._shapes]
        for row in range(len(batch)):
            self._queue.start_async({0: batch[row : row + 1]}, (found, row))
        self._queue.wait_all()
        return tuple(torch.from_numpy(values).to(images.device) for values in found)


def _take(request: Any, place: tuple[list[NDArray[np.float32]], int]) -> None:
    """Write what one image gave into its row."""
    found, row = place
    for number, values in enumerate(found):
        values[row] = request.get_output_tensor(number).data[0]


@final
class OnnxRun:
    """A prefix in ONNX Runtime; bits are the same from two images on, so one image runs as two."""

    def __init__(self, model: bytes, shape: Sequence[int]) -> None:
        self._session = _session(model)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> a tensor a boundary."""
        batch = _on_cpu(torch.cat([images, images]) if len(images) == 1 else images)
        values = self._session.run(None, {self._input: batch})
        return tuple(torch.from_numpy(value[: len(images)]).to(images.device, torch.float32) for value in values)


def _session(model: bytes) -> Session:
    import onnxruntime  # optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    # Threads that wait in a loop take the cores from decoding and training, which run at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A process's first session sets how the calling thread treats denormals, and would end torch's flushing of
    # them: training afterwards took three times as long.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    made: Session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return made


def _on_cpu(images: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = images.detach().to("cpu", torch.float32).contiguous().numpy()
    return values


@dataclass(frozen=True)
class _Kind:
    package: str
    ir: IR
    make: Callable[[bytes, Sequence[int]], Run]


# In the order in which they are tried.
RUNTIMES: Mapping[Runtime, _Kind] = {
    "openvino": _Kind("openvino", "openvino", OpenVinoRun),
    "onnxruntime": _Kind("onnxruntime", "onnx", OnnxRun),
}


def lacking(runtime: Runtime) -> list[str]:
    """The packages that this runtime and the export need and that are not installed."""
    return missing(RUNTIMES[runtime].ir, RUNTIMES[runtime].package)


def require(runtime: Runtime) -> None:
    """Refuse a runtime of which packages are missing, with a `UsageError`."""
    if absent := lacking(runtime):
        raise UsageError(f"frozen.engine={runtime} needs {', '.join(absent)}.", fix=f"pip install {' '.join(absent)}")


def runtime_run(runtime: Runtime, model: bytes, example: Tensor) -> Run:
    """An exported prefix in a runtime, on the CPU, with as many threads as torch uses now.

    Args:
        runtime: its name.
        model: what `exported` gave in the runtime's representation.
        example: images (B, C, H, W); only their size matters, the batch may be another one later.

    Raises:
        UsageError: it is not installed, or does not take the model.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from layerwise.frozen.exports import exported
        >>> images = torch.zeros(2, 3, 8, 8)
        >>> model = exported("onnx", torch.nn.Conv2d(3, 4, 3), images, key="doc", cache=Path(tempfile.mkdtemp()))
        >>> [tuple(value.shape) for value in runtime_run("onnxruntime", model, images)(torch.zeros(5, 3, 8, 8))]
        [(5, 4, 6, 6)]
    """
    require(runtime)
    give_back_memory()  # of exporting or of reading the export
    try:
        return RUNTIMES[runtime].make(model, example.shape[1:])
    except Exception as error:  # their errors derive from Exception only
        raise UsageError(f"{RUNTIMES[runtime].package} does not take the exported prefix: {error}", fix=FIX) from error
