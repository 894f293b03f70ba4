"""Any ONNX text model in a local folder, or from the model hub where the user names one; sentence encoders above all.

The layout is that of sentence-transformers: `tokenizer.json`, the graph as `onnx/model.onnx` or `model.onnx`, and
what the files beside it say about pooling, length and prefixes. Nothing in the folder is executed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragstone.embedding.batches import INPUT_NAMES, INPUT_TYPES, Pooling
from ragstone.embedding.encoder import EncoderForm, SentenceEncoder
from ragstone.embedding.sessions import Device, on_gpu, open_session
from ragstone.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

# In this order: the plain float graph first; quantized ones are taken when there is no other.
GRAPHS = (
    "onnx/model.onnx",
    "model.onnx",
    "onnx/model_quantized.onnx",
    "model_quantized.onnx",
    "onnx/model_int8.onnx",
)
DEFAULT_MAX_TOKENS = 512  # what BERT's position table holds; every sentence encoder has at least this
# What the authors of models say to put before texts, where the folder itself does not say it.
E5_PREFIXES = ("query: ", "passage: ")
BGE_QUERY = "Represent this sentence for searching relevant passages: "
_POOLING: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_cls": "cls",
    "pooling_mode_lasttoken": "last",
}
_TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")
_POOLED_OUTPUTS = ("sentence_embedding", "sentence_embeddings")


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A model's folder whose graph and tokenizer have loaded; `config` is its `config.json`."""

    folder: Path
    name: str
    graph: Path
    session: InferenceSession
    tokenizer: Tokenizer
    config: dict[str, Any]

    @property
    def family(self) -> str:
        """The names it goes by, in lower case, with `-` between words."""
        return f"{self.name} {self.config.get('_name_or_path', '')}".lower().replace("_", "-")

    @property
    def pad_id(self) -> int:
        """The token that fills up shorter texts of a batch."""
        return int(self.config.get("pad_token_id") or 0)

    def max_tokens(self) -> int:
        """Longest input the model takes, special tokens included: the least that any of its files states."""
        stated = _json(self.folder / "sentence_bert_config.json").get("max_seq_length")
        positions = self.config.get("max_position_embeddings")
        if isinstance(positions, int) and self.config.get("model_type") in {
            "roberta",
            "xlm-roberta",
            "mpnet",
        }:
            positions -= 2  # these models count positions from the padding id + 1
        tokenizer = _json(self.folder / "tokenizer_config.json").get("model_max_length")
        # Tokenizers without a limit of their own state 10^30.
        limits = [
            limit for limit in (stated, positions, tokenizer) if isinstance(limit, int) and 0 < limit < 10**6
        ]
        return min(limits) if limits else DEFAULT_MAX_TOKENS

    def fingerprint(self, form: str) -> str:
        """A hash of all that shapes what the model gives: weights, tokenizer and `form`."""
        digest = hashlib.sha256(form.encode())
        # `_data` beside a graph holds the weights of one that is too large for a single file (2 GB).
        data = self.graph.with_name(f"{self.graph.name}_data")
        for path in (self.graph, data, self.folder / "tokenizer.json"):
            if path.is_file():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:12]


def open_folder(folder: Path, *, name: str = "", device: Device = "cpu") -> OpenFolder:
    """The model in `folder`, called `name` (or as the folder is).

    Raises `ModelError` that names the file at fault and what should be there.
    """
    if not folder.is_dir():
        raise ModelError(
            f"there is no folder {folder}", hint="name a folder with tokenizer.json and model.onnx"
        )
    graph = next((folder / name for name in GRAPHS if (folder / name).is_file()), None)
    if graph is None:
        raise ModelError(
            f"{folder} holds no ONNX graph",
            hint=f"looked for {', '.join(GRAPHS)}; export one with: optimum-cli export onnx",
        )
    tokenizer = _tokenizer(folder / "tokenizer.json")
    session = open_session(graph, device=device)
    _check_inputs(session, graph)
    config = _json(folder / "config.json")
    return OpenFolder(folder, name or folder.resolve().name, graph, session, tokenizer, config)


def load_folder(
    folder: Path,
    *,
    name: str = "",
    threads: int | None = None,
    background: bool = False,
    device: Device = "cpu",
) -> SentenceEncoder:
    """The sentence encoder in `folder`, called `name` (or as the folder is). Raises `ModelError` as `open_folder`."""
    found = open_folder(folder, name=name, device=device)
    query_prefix, document_prefix = _prefixes(folder, found.family)
    output = _output(found.session, found.graph)
    if output not in _POOLED_OUTPUTS:
        _check_modules(folder)
    pooling, max_tokens = _pooling(folder, found.family), found.max_tokens()
    fingerprint = found.fingerprint(f"{pooling}\0{max_tokens}\0{query_prefix}\0{document_prefix}")
    form = EncoderForm(
        model_id=f"{found.name}/{fingerprint}",
        max_tokens=max_tokens,
        output=output,
        pooling=pooling,
        pad_id=found.pad_id,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        batch_texts=64 if on_gpu(device) else 1,
    )
    return SentenceEncoder(found.session, found.tokenizer, form, threads=threads, background=background)


def local_folder(name: str, cache_dir: Path) -> tuple[Path, str]:
    """The folder that `name` means, and what the model in it is called (nothing where the folder says it).

    `name` is a folder, or `owner/model` on the hub where there is no such folder. Raises `ModelError`.
    """
    folder = Path(name).expanduser()
    # As opposed to a path: those begin with `/`, `.` or `~`, or have other than one slash.
    if not folder.is_dir() and name.count("/") == 1 and name[0] not in "/.~" and not name.endswith("/"):
        return download(name, cache_dir), name  # a folder of the hub's cache is named after a commit
    return folder, ""


def download(name: str, cache_dir: Path) -> Path:
    """The folder of a hub model, fetched if it is not there. Raises `ModelError`."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ModelError(
            f"{name} is neither a folder nor built in; fetching it from the hub needs huggingface_hub",
            hint="pip install huggingface_hub, or give a local folder",
        ) from error
    try:
        return Path(
            snapshot_download(
                name,
                cache_dir=str(cache_dir / "hub"),
                allow_patterns=["*.json", "*.txt", *GRAPHS, "*.onnx_data"],
            )
        )
    except (OSError, ValueError) as error:  # the hub's own errors derive from these
        raise ModelError(
            f"the hub model {name} cannot be fetched: {error}",
            hint="check the name and the network, or give a local folder",
        ) from error


def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelError(f"{path} is missing", hint="copy it from the model's repository")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises plain Exception
        raise ModelError(f"{path} does not load: {error}", hint="get the file again") from error


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    if not path.is_file():
        return {}
    found = _parsed(path)
    return found if isinstance(found, dict) else {}


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", hint="get the file again") from error


def _pooling(folder: Path, family: str) -> Pooling:
    """As `1_Pooling/config.json` says; without it mean, but CLS for BGE, whose authors say so."""
    config = _json(folder / "1_Pooling" / "config.json")
    if not config:
        return "cls" if "bge-" in family else "mean"
    asked = [mode for mode, wanted in config.items() if mode.startswith("pooling_mode_") and wanted is True]
    if isinstance(config.get("pooling_mode"), str):  # how newer versions write it
        asked = [f"pooling_mode_{config['pooling_mode']}"]
    known = [_POOLING[mode] for mode in asked if mode in _POOLING]
    if asked and len(asked) != len(known):
        raise ModelError(
            f"{folder} asks for pooling by {', '.join(asked)}", hint="mean, CLS and last token are supported"
        )
    if len(known) > 1:
        raise ModelError(f"{folder} asks for {len(known)} ways of pooling", hint="use one")
    return known[0] if known else "mean"


def _prefixes(folder: Path, family: str) -> tuple[str, str]:
    """(query prefix, document prefix): the folder's own prompts, else what the model family is known to want."""
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    query = next((str(prompts[name]) for name in ("query", "search_query") if prompts.get(name)), "")
    document = next(
        (str(prompts[n]) for n in ("document", "passage", "corpus", "search_document") if prompts.get(n)), ""
    )
    if query or document:
        return query, document
    if "e5-" in family:
        return E5_PREFIXES
    if "bge-" in family and "-en" in family:
        return BGE_QUERY, ""
    return "", ""


def _check_inputs(session: InferenceSession, graph: Path) -> None:
    for wanted in session.get_inputs():
        if wanted.name not in INPUT_NAMES or wanted.type not in INPUT_TYPES:
            raise ModelError(
                f"{graph} wants an input {wanted.name} of type {wanted.type}",
                hint=f"export it as a text encoder; known inputs are {', '.join(sorted(INPUT_NAMES))}",
            )


def _check_modules(folder: Path) -> None:
    """Refuse steps after pooling that the graph does not hold: leaving them out gives plausible, wrong vectors."""
    path = folder / "modules.json"
    if not path.is_file():
        return
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in _parsed(path)]
    beyond = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if beyond:
        raise ModelError(
            f"{path} lists {', '.join(beyond)}, which the ONNX graph does not hold",
            hint="export the whole model, so that the graph gives sentence_embedding",
        )


def _output(session: InferenceSession, graph: Path) -> str:
    names = [output.name for output in session.get_outputs()]
    for wanted in (*_POOLED_OUTPUTS, *_TOKEN_OUTPUTS):
        if wanted in names:
            return wanted
    if len(names) == 1:
        return str(names[0])
    raise ModelError(
        f"{graph} gives {', '.join(names)}",
        hint=f"one of {', '.join((*_POOLED_OUTPUTS, *_TOKEN_OUTPUTS))} is needed",
    )
