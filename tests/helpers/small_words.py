"""Small tokenizers in the real formats: CLIP's byte pairs, SigLIP's pieces of words, SigLIP 2's Gemma; each knows some dance words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
import transformers
from tokenizers import normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

WORDS = ("a", "of", "the", "video", "photo", "dance", "dancing", "windmill", "halo", "spin", "head", "blue", "green", "red")
CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")


def _merged(words: Iterable[str], *, end: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the pieces that grow into each word from its beginning, and the pairs that are joined on the way."""
    pairs: dict[tuple[str, str], None] = {}
    for word in words:
        letters = [*word[:-1], word[-1] + end]
        whole = letters[0]
        for letter in letters[1:]:
            pairs[whole, letter] = None
            whole += letter
    return ["".join(pair) for pair in pairs], list(pairs)


def _numbered(tokens: Iterable[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def clip_vocabulary(words: Sequence[str] = WORDS) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """As CLIP's: all bytes, all bytes that end a word, what is merged of them, and the two ends last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, pairs = _merged(words, end="</w>")
    return _numbered([*alphabet, *(letter + "</w>" for letter in alphabet), *pieces, *CLIP_ENDS]), pairs


def gemma_vocabulary(words: Sequence[str] = WORDS) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """As Gemma's: the special ones, all bytes, letters great and small, and what is merged of them."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [letter for small in "abcdefghijklmnopqrstuvwxyz" for letter in (small, small.upper())]
    pieces, pairs = _merged(words, end="")
    return _numbered([*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters, *pieces]), pairs


def write_clip(folder: Path, *, longest: int) -> None:
    """As transformers saves it today."""
    vocabulary, pairs = clip_vocabulary()
    transformers.CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=longest).save_pretrained(folder)


def write_old_clip(folder: Path, *, longest: int) -> None:
    """As the first CLIP checkpoints have it."""
    vocabulary, pairs = clip_vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in pairs), ""]))
    names = dict(zip(("bos_token", "eos_token", "unk_token", "pad_token"), (*CLIP_ENDS, CLIP_ENDS[1], CLIP_ENDS[1])))
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    config = {**names, "model_max_length": longest, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_siglip(folder: Path, *, longest: int) -> None:
    """Pieces of words with their likelihoods, small letters only, an end after each sentence and ends to fill it up."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocabulary += [(letter, -6.0) for letter in "abcdefghijklmnopqrstuvwxyz"] + [("▁" + word, -2.0) for word in WORDS]
    tokenizer = tokenizers.Tokenizer(Unigram(vocabulary, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(tokenizers.Regex(r"[^\w\s]"), "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_max_length=longest,
        model_input_names=["input_ids"],
    ).save_pretrained(folder)


def write_siglip2(folder: Path, *, longest: int) -> None:
    """As the fixed-size SigLIP 2 checkpoints have it."""
    vocabulary, pairs = gemma_vocabulary()
    transformers.GemmaTokenizer(
        vocab=vocabulary,
        merges=pairs,
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
        do_lower_case=True,
    ).save_pretrained(folder)
