"""ONNX Runtime sessions as ragstone wants them: on which device, with which threads, and what fails how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ragstone.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Device: TypeAlias = Literal["cpu", "cuda", "auto"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def on_gpu(device: Device) -> bool:
    """Whether `device` means the GPU here; `auto` takes it where this ONNX Runtime has CUDA.

    Raises `ModelError` when `cuda` is asked for and absent.
    """
    import onnxruntime

    if device == "cpu":
        return False
    present = _CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not present:
        raise ModelError(
            f"device cuda was asked for, but this ONNX Runtime ({onnxruntime.__version__}) has no CUDA",
            hint="install onnxruntime-gpu in place of onnxruntime, or use device auto",
        )
    return present


def open_session(model: bytes | Path, *, device: Device = "cpu") -> InferenceSession:
    """A session whose calls compute on the thread that makes them.

    Raises `ModelError` when the model does not load, or CUDA is asked for and does not start.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads over texts, not inside one: nothing waits at a barrier (benchmarks/embedding.py, `sessions`).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only: what fails is raised, and told once
    providers = [_CUDA, _CPU] if on_gpu(device) else [_CPU]
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=providers
        )
    except Exception as error:  # ONNX Runtime's errors share no base of their own
        name = "the built-in model" if isinstance(model, bytes) else str(model)
        raise ModelError(f"{name} does not load: {error}", hint="get the ONNX file again") from error
    # A CUDA that is present but does not start (no driver, no GPU) leaves the session on the CPU without a word.
    if device == "cuda" and _CUDA not in session.get_providers():
        raise ModelError(
            "device cuda was asked for, but CUDA did not start", hint="check nvidia-smi, or use device auto"
        )
    return session
