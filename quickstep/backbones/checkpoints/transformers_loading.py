"""Load and write networks and tokenizers of transformers; a checkpoint that does not fit its config exactly is refused in one line."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from quickstep.backbones.checkpoints.checkpoint import TOKENIZER_FILES, Checkpoint, download_tokenizer
from quickstep.types.errors import MissingExtra, WeightsError

_COUNTERS = ("position_ids",)  # counters that older versions saved


def load_network(
    checkpoint: Checkpoint,
    kind: str,
    *,
    config: Any = None,
    besides: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
    more: Mapping[str, Any] | None = None,
) -> torch.nn.Module:
    """Load the network of that class in fp32 on the CPU; weights that are missing, of another shape or left over are refused by name.

    `besides` are the beginnings of weights that the checkpoint may hold for other networks, `unused` those that it may lack too: no
    output depends on them.
    """
    with _one_line_errors(checkpoint):
        loaded, info = getattr(transformers, kind).from_pretrained(
            checkpoint.folder,
            config=load_config(checkpoint) if config is None else config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are listed in `info`, and refused below by name
            **(more or {}),
        )
    _check(checkpoint, info, besides, unused)
    return loaded.eval().requires_grad_(False)  # type: ignore[no-any-return]


def load_config(checkpoint: Checkpoint) -> Any:
    """Load the checkpoint's config as a class of transformers."""
    with _one_line_errors(checkpoint):
        return transformers.AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)


def write_network(network: Any, folder: Path, checkpoint: Checkpoint, *, license: str) -> None:
    """Write a network of transformers as a checkpoint folder: config, weights, and how frames are prepared."""
    weights = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in network.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            network.save_pretrained(folder, state_dict=weights)
        file = "video_preprocessor_config.json" if "video_processor_type" in checkpoint.processor else "preprocessor_config.json"
        (folder / file).write_text(json.dumps(dict(checkpoint.processor), indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(f"---\nlicense: {license}\n---\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"the network cannot be written to {folder} ({_first_line(error)}): free some space, or write elsewhere"
        ) from error


def copy_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy the tokenizer beside weights that were written to `folder`."""
    for name in TOKENIZER_FILES:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, folder / name)


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """Load the tokenizer from the checkpoint's own files; missing files are refused."""
    download_tokenizer(checkpoint)
    try:
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise MissingExtra("siglip", f"the tokenizer of {checkpoint.source}") from error
    except Exception as error:  # the library of tokenizers raises bare exceptions
        raise WeightsError(
            f"the tokenizer of {checkpoint.source} cannot be loaded, its files may be broken ({_first_line(error)}): copy it again"
        ) from error


def _check(checkpoint: Checkpoint, info: Mapping[str, Collection[Any]], besides: tuple[str, ...], unused: tuple[str, ...] = ()) -> None:
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(unused))
    left_over = sorted(key for key in info["unexpected_keys"] if not key.startswith(besides + unused) and not key.endswith(_COUNTERS))
    other_shape = sorted(str(each[0] if isinstance(each, tuple) else each) for each in info["mismatched_keys"])
    for keys, what in ((missing, "lacks"), (other_shape, "has of another shape"), (left_over, "has besides what its config describes:")):
        if keys:
            raise WeightsError(f"{checkpoint.source} {what} {_few(keys)}: its config and its weights do not belong together")


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


@contextmanager
def _one_line_errors(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn errors of transformers, torch and safetensors into one line."""
    try:
        with quiet():
            yield
    except WeightsError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise WeightsError(
            f"{checkpoint.source} cannot be loaded, its files may be broken ({_first_line(error)}): download or copy it again"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and tables of transformers."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
