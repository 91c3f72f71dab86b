"""TextSide: the half of a CLIP, SigLIP or X-CLIP network that reads; one sentence at a time, so that none depends on the others.

Knows no picture and no label: sentences go in as they stand, and vectors come out as the network gives them, not normalised.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.backbones.loading import load_network, load_tokenizer
from quickstep.backbones.precision import device_for
from quickstep.backbones.torch_engine import one_thread_each, take_one_thread
from quickstep.errors import WeightsError
from quickstep.signals import Matching

if TYPE_CHECKING:
    from quickstep.backbones.weights import Checkpoint

# SigLIP reads its last place, whatever stands there: every sentence is filled up to the length it was trained with.
_FILLED_UP = {"SiglipModel"}
_OTHER_HEADS = ("classifier.",)
_ENDLESS = 10**6  # a tokenizer that was not told how long a sentence may be says a number beyond all sense


class TextSide:
    """A tokenizer and the network behind it, loaded strictly from one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, kind: str) -> None:
        self.source = checkpoint.source
        self.filled_up = kind in _FILLED_UP
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
        """(N, D); each sentence alone, so that its vector is the same bits in whatever company it comes."""
        tokens = [self._tokens(each) for each in words]
        if self.device != "cpu":
            rows = [self._read(each) for each in tokens]
        else:
            with one_thread_each(), ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read") as pool:
                rows = list(pool.map(self._read_alone, tokens))
        return np.stack(rows) if rows else np.empty((0, self.width), np.float32)

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

    def _read_alone(self, tokens: dict[str, torch.Tensor]) -> NDArray[np.float32]:
        take_one_thread()
        return self._read(tokens)

    def _read(self, tokens: dict[str, torch.Tensor]) -> NDArray[np.float32]:
        with torch.inference_mode():
            vector = self.network.get_text_features(**tokens).pooler_output[0]
        values: NDArray[np.float32] = vector.float().cpu().numpy()
        return values

    def _tokens(self, sentence: str) -> dict[str, torch.Tensor]:
        """What the checkpoint's own tokenizer makes of a sentence, cut to what the network has places for."""
        made = self.tokenizer(
            sentence.lower() if self.lower else sentence,
            padding="max_length" if self.filled_up else False,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        )
        tokens = made["input_ids"]
        if tokens.shape[1] == 0:
            raise WeightsError(f"the tokenizer of {self.source} finds no word in {sentence!r}")
        if int(tokens.max()) >= self.vocabulary:
            raise WeightsError(
                f"{self.source}: its tokenizer says {int(tokens.max())} for a word and its network knows {self.vocabulary}: "
                "they do not belong together"
            )
        # A tokenizer that gives no mask has a network that was trained to look at the filling too.
        return {name: made[name].to(self.device) for name in ("input_ids", "attention_mask") if name in made}


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
