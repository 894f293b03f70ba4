"""ONNX Runtime sessions as ragstone wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from ragstone.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from onnxruntime import InferenceSession

Device: TypeAlias = Literal["cpu", "cuda", "auto"]


def open_session(model: bytes | Path, *, device: Device = "cpu") -> InferenceSession:
    """A session whose calls compute on the calling thread.

    `auto` takes the GPU when this ONNX Runtime has CUDA, else the CPU. Raises `ModelError` when CUDA is asked
    for and absent, or the model does not load.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads across texts beat threads inside one text: no barriers (DESIGN: 142 texts/s against 109).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they are raised as well
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=_providers(device))
    except Exception as error:  # ONNX Runtime's errors share no base of their own
        what = "the model" if isinstance(model, bytes) else f"the model {model}"
        raise ModelError(f"{what} does not load: {error}", hint="get its ONNX file again") from error


def _providers(device: Device) -> list[str]:
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise ModelError(
            f"this ONNX Runtime ({onnxruntime.__version__}) has no CUDA",
            hint="pip install onnxruntime-gpu in place of onnxruntime, or use device auto",
        )
    if device != "cpu" and has_cuda:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
