"""TextEncoder: the text half of a CLIP, SigLIP or X-CLIP network; a sentence's vector does not depend on the other sentences.

Imports torch. Vectors are as the network gives them, not normalized.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.backbones.checkpoints.transformers_loading import load_network, load_tokenizer
from quickstep.backbones.engines.torch_engine import one_thread_each, take_one_thread
from quickstep.backbones.precision import device_for
from quickstep.types.errors import WeightsError
from quickstep.types.signals import Matching

if TYPE_CHECKING:
    from quickstep.backbones.checkpoints.checkpoint import Checkpoint

# SigLIP reads its last position, whatever is in it: each sentence is padded to the length that it was trained with.
_PADDED = {"SiglipModel"}
_TOGETHER = 8  # short sentences are read together: most of the work is to fetch the weights
_OTHER_HEADS = ("classifier.",)
_UNLIMITED = 10**6  # a tokenizer without a limit gives a number beyond any length

Tokens = dict[str, NDArray[np.int64]]  # of one sentence


class TextEncoder:
    """A tokenizer and the network behind it, loaded strictly from one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, text_class: str) -> None:
        self.source = checkpoint.source
        self.padded = text_class in _PADDED
        self.together = 1 if self.padded else _TOGETHER  # a padded sentence keeps a core busy by itself
        self.tokenizer = load_tokenizer(checkpoint)
        network: Any = load_network(checkpoint, text_class, besides=_OTHER_HEADS)
        network.vision_model = None
        self.device = device_for("torch")
        self.network = network.to(self.device)
        config = network.config.text_config
        self.vocabulary = int(config.vocab_size)
        limit = int(self.tokenizer.model_max_length)
        self.longest = min(int(config.max_position_embeddings), limit if 0 < limit < _UNLIMITED else _UNLIMITED)
        # Published SigLIP 2 checkpoints ask for lower case in a setting that their class of tokenizer does not read.
        self.lower = bool(self.tokenizer.init_kwargs.get("do_lower_case"))
        if self.padded and self.tokenizer.pad_token_id is None:
            raise WeightsError(f"{self.source}: its tokenizer has no padding token, and its network needs one")

    def embed(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Compute (N, D); a sentence's vector has the same bits whatever the other sentences are.

        How a matrix product rounds depends on its shape, not on the values in its other rows: sentences of one length are always read in
        batches of the same size, with one of them repeated where there are fewer.
        """
        tokens = [self._tokenize(sentence) for sentence in sentences]
        batches = list(_batches(tokens, self.together))
        vectors = np.empty((len(sentences), self.width), np.float32)
        for indices, rows in zip(batches, self._encode_all([[tokens[i] for i in indices] for indices in batches]), strict=True):
            vectors[indices] = rows[: len(indices)]
        return vectors

    def _encode_all(self, batches: list[list[Tokens]]) -> Iterator[NDArray[np.float32]]:
        if self.device != "cpu":
            yield from map(self._encode, batches)
            return
        with one_thread_each(), ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="encode-text") as pool:
            yield from pool.map(self._encode_on_one_thread, batches)

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        projection = getattr(self.network, "text_projection", None)  # SigLIP has a head instead
        return int((projection if projection is not None else self.network.text_model.head).weight.shape[0])

    def matching(self, *, prompting: bool = False) -> Matching:
        """Return the network's own temperature and bias; with `prompting` also the weights with which X-CLIP rewrites texts."""
        bias = getattr(self.network, "logit_bias", None)  # CLIP has none
        return Matching(
            float(self.network.logit_scale.exp()), 0.0 if bias is None else float(bias), _prompting(self.network) if prompting else {}
        )

    def _encode_on_one_thread(self, sentences: list[Tokens]) -> NDArray[np.float32]:
        take_one_thread()
        return self._encode(sentences)

    def _encode(self, sentences: list[Tokens]) -> NDArray[np.float32]:
        batch = sentences + [sentences[0]] * (self.together - len(sentences))
        tokens = {name: torch.from_numpy(np.stack([sentence[name] for sentence in batch])).to(self.device) for name in batch[0]}
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self.network.get_text_features(**tokens).pooler_output.float().cpu().numpy()
        return vectors

    def _tokenize(self, sentence: str) -> Tokens:
        """Tokenize a sentence with the checkpoint's own tokenizer, cut to the length that the network reads."""
        output = self.tokenizer(
            sentence.lower() if self.lower else sentence,
            padding="max_length" if self.padded else False,
            truncation=True,
            max_length=self.longest,
        )
        tokens = output["input_ids"]
        if not tokens:
            raise WeightsError(f"the tokenizer of {self.source} finds no token in {sentence!r}")
        if max(tokens) >= self.vocabulary:
            raise WeightsError(
                f"{self.source}: its tokenizer gives the token {max(tokens)}, and its network has {self.vocabulary}: they do not belong "
                "together"
            )
        # Without padding there is nothing to mask. With it, a tokenizer without a mask has a network that learnt to read the padding.
        masked = self.padded and "attention_mask" in output
        return {name: np.array(output[name]) for name in (("input_ids", "attention_mask") if masked else ("input_ids",))}


def _batches(tokens: Sequence[Tokens], size: int) -> Iterator[list[int]]:
    """Group the indices of sentences of one length, `size` at most in a batch."""
    by_length: dict[int, list[int]] = {}
    for index, sentence in enumerate(tokens):
        by_length.setdefault(len(sentence["input_ids"]), []).append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def _prompting(network: Any) -> dict[str, NDArray[np.float32]]:
    """Return the weights with which X-CLIP rewrites texts, and the settings that they need, by their names in the checkpoint."""
    config = network.config
    settings = {
        "prompt_num_attention_heads": config.prompt_num_attention_heads,
        f"prompt_hidden_act.{config.prompt_hidden_act}": 1,
        "vision_config.layer_norm_eps": config.vision_config.layer_norm_eps,
        "text_config.layer_norm_eps": config.text_config.layer_norm_eps,
    }
    weights = {f"prompts_generator.{name}": weight.cpu().numpy() for name, weight in network.prompts_generator.state_dict().items()}
    return {**weights, **{name: np.array(value, np.float32) for name, value in settings.items()}}
