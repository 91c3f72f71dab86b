"""TextSide: the half of a CLIP, SigLIP or X-CLIP network that reads, in such a way that no sentence depends on the others.

Knows no picture and no label: sentences go in as they stand, and vectors come out as the network gives them, not normalised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.backbones.checkpoints.strict_loading import load_network, load_tokenizer
from quickstep.backbones.engines.torch_engine import one_thread_each, take_one_thread
from quickstep.backbones.precision import device_for
from quickstep.types.errors import WeightsError
from quickstep.types.signals import Matching

if TYPE_CHECKING:
    from quickstep.backbones.checkpoints.hub_checkpoint import Checkpoint

# SigLIP reads its last place, whatever stands there: every sentence is filled up to the length it was trained with.
_FILLED_UP = {"SiglipModel"}
_TOGETHER = 8  # short sentences are read together: most of the work is to fetch the weights
_OTHER_HEADS = ("classifier.",)
_ENDLESS = 10**6  # a tokenizer that was not told how long a sentence may be says a number beyond all sense

Tokens = dict[str, NDArray[np.int64]]  # of one sentence


class TextSide:
    """A tokenizer and the network behind it, loaded strictly from one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, kind: str) -> None:
        self.source = checkpoint.source
        self.filled_up = kind in _FILLED_UP
        self.together = 1 if self.filled_up else _TOGETHER  # a long one keeps a core busy by itself
        self.tokenizer = load_tokenizer(checkpoint)
        network: Any = load_network(checkpoint, kind, besides=_OTHER_HEADS)
        network.vision_model = None  # the other half
        self.device = device_for("torch")
        self.network = network.to(self.device)
        config = network.config.text_config
        self.vocabulary = int(config.vocab_size)
        told = int(self.tokenizer.model_max_length)
        self.longest = min(int(config.max_position_embeddings), told if 0 < told < _ENDLESS else _ENDLESS)
        # Published SigLIP 2 checkpoints ask for lower case in a setting that their class of tokenizer does not know.
        self.lower = bool(self.tokenizer.init_kwargs.get("do_lower_case"))
        if self.filled_up and self.tokenizer.pad_token_id is None:
            raise WeightsError(f"{self.source}: its tokenizer has no token to fill sentences up with, and its network needs one")

    def embed(self, words: Sequence[str]) -> NDArray[np.float32]:
        """(N, D), the same bits for a sentence in whatever company it comes.

        For a product rounds by its shape and not by what stands in its other rows: sentences of one length are read so many at once,
        always, where need be with one of them again in the empty places.
        """
        tokens = [self._tokens(each) for each in words]
        batches = list(_batches(tokens, self.together))
        vectors = np.empty((len(words), self.width), np.float32)
        for some, rows in zip(batches, self._all_read([[tokens[i] for i in some] for some in batches]), strict=True):
            vectors[some] = rows[: len(some)]
        return vectors

    def _all_read(self, batches: list[list[Tokens]]) -> Iterator[NDArray[np.float32]]:
        if self.device != "cpu":
            yield from map(self._read, batches)
            return
        with one_thread_each(), ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read") as pool:
            yield from pool.map(self._read_alone, batches)

    @property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        projection = getattr(self.network, "text_projection", None)
        return int((projection if projection is not None else self.network.text_model.head).weight.shape[0])

    def matching(self, *, prompting: bool = False) -> Matching:
        """The network's own temperature and bias; with `prompting` what X-CLIP rewrites words with, too."""
        bias = getattr(self.network, "logit_bias", None)
        return Matching(
            float(self.network.logit_scale.exp()), 0.0 if bias is None else float(bias), _prompting(self.network) if prompting else {}
        )

    def _read_alone(self, sentences: list[Tokens]) -> NDArray[np.float32]:
        take_one_thread()
        return self._read(sentences)

    def _read(self, sentences: list[Tokens]) -> NDArray[np.float32]:
        whole = sentences + [sentences[0]] * (self.together - len(sentences))
        tokens = {name: torch.from_numpy(np.stack([each[name] for each in whole])).to(self.device) for name in whole[0]}
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self.network.get_text_features(**tokens).pooler_output.float().cpu().numpy()
        return vectors

    def _tokens(self, sentence: str) -> Tokens:
        """What the checkpoint's own tokenizer makes of a sentence, cut to what the network has places for."""
        made = self.tokenizer(
            sentence.lower() if self.lower else sentence,
            padding="max_length" if self.filled_up else False,
            truncation=True,
            max_length=self.longest,
        )
        tokens = made["input_ids"]
        if not tokens:
            raise WeightsError(f"the tokenizer of {self.source} finds no word in {sentence!r}")
        if max(tokens) >= self.vocabulary:
            raise WeightsError(
                f"{self.source}: its tokenizer says {max(tokens)} for a word and its network knows {self.vocabulary}: "
                "they do not belong together"
            )
        # Nothing is filled up: nothing to mask. Where it is, a tokenizer without a mask has a network that learnt to look at the filling.
        masked = self.filled_up and "attention_mask" in made
        return {name: np.array(made[name]) for name in (("input_ids", "attention_mask") if masked else ("input_ids",))}


def _batches(tokens: Sequence[Tokens], count: int) -> Iterator[list[int]]:
    """Which sentences are read together: `count` at most, of one length."""
    alike: dict[int, list[int]] = {}
    for index, each in enumerate(tokens):
        alike.setdefault(len(each["input_ids"]), []).append(index)
    for indices in alike.values():
        for start in range(0, len(indices), count):
            yield indices[start : start + count]


def _prompting(network: Any) -> dict[str, NDArray[np.float32]]:
    """What X-CLIP rewrites words with: its weights by their names in the checkpoint, and what its config says, by the names there."""
    config = network.config
    said = {
        "prompt_num_attention_heads": config.prompt_num_attention_heads,
        f"prompt_hidden_act.{config.prompt_hidden_act}": 1,
        "vision_config.layer_norm_eps": config.vision_config.layer_norm_eps,
        "text_config.layer_norm_eps": config.text_config.layer_norm_eps,
    }
    weights = {f"prompts_generator.{name}": weight.cpu().numpy() for name, weight in network.prompts_generator.state_dict().items()}
    return {**weights, **{name: np.array(value, np.float32) for name, value in said.items()}}
