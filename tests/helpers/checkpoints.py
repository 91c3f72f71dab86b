"""Small random checkpoints in the real format, as their publishers save them: one of each family, with the tokenizer of those that read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import small_words
import torch
import transformers

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZE = 32  # pixels

CROPPED = {
    "size": {"shortest_edge": 40},
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 3,
}
CLIP_PICTURE = {
    **CROPPED,
    "size": {"shortest_edge": SIZE},
    "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
OLD_CLIP_PICTURE = {  # as the first CLIP checkpoints have it
    "crop_size": SIZE,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": SIZE,
}
SIGLIP_PICTURE = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": SIZE, "width": SIZE},
}
SIGLIP2_PICTURE = {**SIGLIP_PICTURE, "resample": 2}  # as the fixed-size SigLIP 2 checkpoints have it
XCLIP_PICTURE = {  # as the published X-CLIP checkpoints have it, at their 224 pixels without crop_size
    "crop_size": SIZE,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "processor_class": "XCLIPProcessor",
    "resample": 2,
    "size": SIZE,
}
NEWER_XCLIP_PICTURE = {  # as transformers saves it today
    **CROPPED,
    "image_processor_type": "VideoMAEImageProcessor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
}
NEWER_XCLIP_FILE = {"image_processor": NEWER_XCLIP_PICTURE, "processor_class": "XCLIPProcessor"}
DINOV2_PICTURE = {
    **CROPPED,
    "image_processor_type": "BitImageProcessor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}
DINOV3_PICTURE = {
    "crop_size": None,
    "do_center_crop": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "DINOv3ViTImageProcessorFast",
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": SIZE, "width": SIZE},
}
LONGEST = 16  # tokens a sentence
_TEXT = {**SMALL, "max_position_embeddings": LONGEST}
_CLIP_TEXT = {**_TEXT, "vocab_size": len(small_words.clip_vocabulary()[0]), "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def clip() -> Any:
    vision = {**SMALL, "image_size": SIZE, "patch_size": 8}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=_CLIP_TEXT, vision_config=vision, projection_dim=24))


def clip_vision() -> Any:
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SMALL, image_size=SIZE, patch_size=8))


def clip_vision_projected() -> Any:
    config = transformers.CLIPVisionConfig(**SMALL, image_size=SIZE, patch_size=8, projection_dim=24)
    return transformers.CLIPVisionModelWithProjection(config)


def siglip(vocabulary: int = 64) -> Any:
    vision = {**SMALL, "image_size": SIZE, "patch_size": 8}
    text = {**_TEXT, "vocab_size": vocabulary, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 1}
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))


def siglip2() -> Any:
    return siglip(len(small_words.gemma_vocabulary()[0]))


def siglip_vision() -> Any:
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SMALL, image_size=SIZE, patch_size=8))


def dinov2() -> Any:
    return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=56, patch_size=8))


def dinov2_registers() -> Any:
    config = transformers.Dinov2WithRegistersConfig(**SMALL, image_size=56, patch_size=8, num_register_tokens=4)
    return transformers.Dinov2WithRegistersModel(config)


def dinov3_vit() -> Any:
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**SMALL, image_size=SIZE, patch_size=8, num_register_tokens=4))


def dinov3_convnext() -> Any:
    return transformers.DINOv3ConvNextModel(transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1]))


def xclip(frames: int = 8) -> Any:
    vision = {**SMALL, "image_size": SIZE, "patch_size": 8, "num_frames": frames}
    vision |= {f"mit_{name}": value for name, value in {**SMALL, "num_hidden_layers": 1, "hidden_size": 24}.items()}
    prompting = {"projection_dim": 24, "prompt_layers": 2, "prompt_num_attention_heads": 4, "prompt_alpha": 0.5}
    return transformers.XCLIPModel(transformers.XCLIPConfig(text_config=_CLIP_TEXT, vision_config=vision, **prompting))


def xclip_zero_shot() -> Any:
    return xclip(frames=32)


Family = tuple[Callable[[], Any], Mapping[str, Any]]

FAMILIES: dict[str, Family] = {
    "clip": (clip, CLIP_PICTURE),
    "clip-old-config": (clip, OLD_CLIP_PICTURE),
    "clip-vision": (clip_vision, CLIP_PICTURE),
    "clip-vision-projected": (clip_vision_projected, CLIP_PICTURE),
    "siglip": (siglip, SIGLIP_PICTURE),
    "siglip-vision": (siglip_vision, SIGLIP_PICTURE),
    "siglip2": (siglip2, SIGLIP2_PICTURE),
    "dinov2": (dinov2, DINOV2_PICTURE),
    "dinov2-registers": (dinov2_registers, DINOV2_PICTURE),
    "dinov3-vit": (dinov3_vit, DINOV3_PICTURE),
    "dinov3-convnext": (dinov3_convnext, DINOV3_PICTURE),
}

READERS: dict[str, Callable[..., None]] = {  # those whose words stand beside what they see
    "clip": small_words.write_clip,
    "clip-old-config": small_words.write_old_clip,
    "siglip": small_words.write_siglip,
    "siglip2": small_words.write_siglip2,
}

WINDOWS: dict[str, Family] = {  # those that see a window of frames at once
    "xclip": (xclip, XCLIP_PICTURE),
    "xclip-newer-config": (xclip, NEWER_XCLIP_FILE),
    "xclip-zero-shot": (xclip_zero_shot, XCLIP_PICTURE),
}
READERS |= dict.fromkeys(WINDOWS, small_words.write_old_clip)


_FRAMES = {"image_size": SIZE, "patch_size": 8, "num_frames": 4}


def videomae(**more: Any) -> Any:
    return transformers.VideoMAEForVideoClassification(_videomae(**more))


def videomae_pretraining() -> Any:
    return transformers.VideoMAEForPreTraining(_videomae())


def _videomae(**more: Any) -> Any:
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
    return transformers.VideoMAEConfig(**SMALL, **_FRAMES, **decoder, num_labels=5, **more)


def videomae_first_token() -> Any:
    return videomae(use_mean_pooling=False)


def timesformer() -> Any:
    return transformers.TimesformerForVideoClassification(transformers.TimesformerConfig(**SMALL, **_FRAMES, num_labels=5))


def timesformer_bare() -> Any:
    return transformers.TimesformerModel(transformers.TimesformerConfig(**SMALL, **_FRAMES))


def _vivit() -> Any:
    return transformers.VivitConfig(**SMALL, image_size=SIZE, num_frames=4, tubelet_size=[2, 8, 8], num_labels=5)


def vivit() -> Any:
    return transformers.VivitForVideoClassification(_vivit())


def vivit_bare() -> Any:
    return transformers.VivitModel(_vivit())


def _vjepa2() -> Any:
    small = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "num_pooler_layers": 1}
    return transformers.VJEPA2Config(**small, **predictor, patch_size=8, crop_size=SIZE, frames_per_clip=4, num_labels=5)


def vjepa2() -> Any:
    return transformers.VJEPA2ForVideoClassification(_vjepa2())


def vjepa2_bare() -> Any:
    return transformers.VJEPA2Model(_vjepa2())


_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
VIDEOMAE_PICTURE = {**XCLIP_PICTURE, "crop_size": {"height": SIZE, "width": SIZE}, "size": {"shortest_edge": SIZE}}
TIMESFORMER_PICTURE = {**VIDEOMAE_PICTURE, "image_mean": [0.45] * 3, "image_std": [0.225] * 3}  # as facebook's are
VIVIT_PICTURE = {
    **CROPPED,
    "image_processor_type": "VivitImageProcessor",
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "offset": True,
    "resample": 2,
    "rescale_factor": 1 / 127.5,
}
VJEPA2_PICTURE = {  # its short edge follows from the crop
    **CROPPED,
    **_IMAGENET,
    "crop_size": SIZE,
    "resample": 2,
    "size": {"shortest_edge": 292},
    "video_processor_type": "VJEPA2VideoProcessor",
}

VIDEOS: dict[str, Family] = {
    "videomae": (videomae, VIDEOMAE_PICTURE),
    "videomae-pretraining": (videomae_pretraining, VIDEOMAE_PICTURE),
    "videomae-first-token": (videomae_first_token, VIDEOMAE_PICTURE),
    "timesformer": (timesformer, TIMESFORMER_PICTURE),
    "timesformer-bare": (timesformer_bare, TIMESFORMER_PICTURE),
    "vivit": (vivit, VIVIT_PICTURE),
    "vivit-bare": (vivit_bare, VIVIT_PICTURE),
    "vjepa2": (vjepa2, VJEPA2_PICTURE),
    "vjepa2-bare": (vjepa2_bare, VJEPA2_PICTURE),
}


def save(family: str, folder: Path, *, seed: int = 0, picture: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Write a checkpoint of a family; weights are large enough that its vectors tell pictures (and sentences) apart."""
    make, usual = {**FAMILIES, **WINDOWS, **VIDEOS}[family]
    torch.manual_seed(seed)
    network = make()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.3 if "embed" in name else weight[0].numel() ** -0.5)
            elif "gamma" in name or "lambda" in name or "layer_scale" in name:
                weight.fill_(1.0)
    network.eval().save_pretrained(folder, **options)
    file = "processor_config.json" if "image_processor" in (picture or usual) else "preprocessor_config.json"
    file = "video_preprocessor_config.json" if "video_processor_type" in (picture or usual) else file
    (folder / file).write_text(json.dumps(dict(picture or usual)))
    if family in READERS:
        READERS[family](folder, longest=LONGEST)
    return folder
