"""Inflation: the weights of a 2D network, repeated and divided over time, for a 3D network.

Reads ResNet-50 under transformers' or torchvision's names and GoogLeNet under torchvision's. A 3D kernel whose slices are the 2D kernel
divided by their number gives for a still video what the 2D kernel gives for its frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from quickstep.backbones.i3d.weight_files import Weights, first_names, read_weights
from quickstep.backbones.i3d.weights import CONFIG, read_config, weights_file
from quickstep.types.errors import WeightsError

# The network's own names -> torchvision's.
_GOOGLENET = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}
_BRANCHES = {"b0": "branch1", "b1a": "branch2.0", "b1b": "branch2.1", "b2a": "branch3.0", "b2b": "branch3.1", "b3b": "branch4.1"}
_HEADS = {"googlenet": ("logits.conv3d", "fc"), "resnet50": ("cls_head.fc_cls", "fc")}
_AUXILIARY = ("aux1.", "aux2.")  # GoogLeNet's auxiliary classifiers in training
_RESNET50 = {"depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048], "embedding_size": 64, "layer_type": "bottleneck"}
_NAMES = {"googlenet": "GoogLeNet (under torchvision's names)", "resnet50": "ResNet-50 (under torchvision's or transformers' names)"}


def read_flat(place: str, kind: str) -> Weights:
    """Read the 2D weights of a file, or of a checkpoint folder, under torchvision's names."""
    folder = Path(place).expanduser()
    if kind == "resnet50" and folder.is_dir() and (folder / CONFIG).is_file():
        _check_config(folder)
    path = weights_file(place)
    weights = read_weights(path)
    tensors = {_from_transformers(name): value for name, value in weights.tensors.items()} if kind == "resnet50" else weights.tensors
    return Weights(path, {name: value for name, value in tensors.items() if not name.startswith(_AUXILIARY)})


def count_classes(flat: Weights) -> int:
    """Count the classes of the 2D network; 0 where it has no head."""
    head = flat.tensors.get("fc.weight")
    return 0 if head is None else len(head)


def inflate(network: torch.nn.Module, flat: Weights, kind: str) -> None:
    """Fill a 3D network from a 2D one; non-local blocks, which have no 2D counterpart, are left as they are."""
    target = network.state_dict()
    pairs = {name: _flat_name(name, kind) for name in target if "non_local" not in name}
    missing = sorted(
        flat_name for flat_name in pairs.values() if flat_name not in flat.tensors and not flat_name.endswith("num_batches_tracked")
    )
    left_over = sorted(set(flat.tensors) - set(pairs.values()))
    for names, what in ((missing, "lacks"), (left_over, "has besides")):
        if names:
            raise WeightsError(f"{flat.file} is not a {_NAMES[kind]}: it {what} {first_names(names)}")
    filled: dict[str, torch.Tensor] = {}
    for name, flat_name in pairs.items():
        if flat_name in flat.tensors:
            filled[name] = _inflate_weight(flat.tensors[flat_name], target[name], flat.file, flat_name)
    network.load_state_dict({**target, **filled})


def _inflate_weight(flat: torch.Tensor, target: torch.Tensor, file: Path, name: str) -> torch.Tensor:
    """(O, C, H, W) -> (O, C', T, H, W), divided by T; for flow, each of the two channels is the mean of the three colours."""
    if target.ndim == 5 and flat.ndim == 2:
        flat = flat[:, :, None, None]
    if target.ndim == 5 and flat.ndim == 4:
        if flat.shape[1] == 3 and target.shape[1] == 2:
            flat = flat.mean(dim=1, keepdim=True).expand(-1, 2, -1, -1)
        if flat.shape == target.shape[:2] + target.shape[3:]:
            return flat.float()[:, :, None].expand_as(target) / target.shape[2]
    elif flat.shape == target.shape:
        return flat
    shape = list(target.shape[:2] + target.shape[3:]) if target.ndim == 5 else list(target.shape)
    raise WeightsError(f"{file} does not fit: its {name} is {list(flat.shape)}, and {shape} is needed")


def _flat_name(name: str, kind: str) -> str:
    """Return torchvision's name of a weight in the 3D network."""
    ours, theirs = _HEADS[kind]
    if name.startswith(f"{ours}."):
        return name.replace(ours, theirs, 1)
    if kind == "resnet50":
        name = name.removeprefix("backbone.")
        name = re.sub(r"downsample\.(conv|bn)\.", lambda match: f"downsample.{0 if match[1] == 'conv' else 1}.", name)
        return re.sub(r"conv(\d)\.(conv|bn)\.", lambda match: f"{match[2]}{match[1]}.", name)
    unit, _, rest = name.replace(".conv3d.", ".conv.").partition(".")
    if unit in _GOOGLENET:
        return f"{_GOOGLENET[unit]}.{rest}"
    branch, _, rest = rest.partition(".")
    place = unit.removeprefix("Mixed_")  # 3b: the first block of a stage is b here and a flat_name
    return f"inception{place[0]}{chr(ord(place[1]) - 1)}.{_BRANCHES[branch]}.{rest}"


def _from_transformers(name: str) -> str:
    """Return torchvision's name for transformers' name of a weight in ResNet; any other name as it is."""
    name = name.removeprefix("resnet.")
    name = re.sub(r"^classifier\.1\.", "fc.", name)
    name = re.sub(r"^embedder\.embedder\.convolution\.", "conv1.", name)
    name = re.sub(r"^embedder\.embedder\.normalization\.", "bn1.", name)
    part = re.fullmatch(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(layer\.(\d+)|shortcut)\.(convolution|normalization)\.(\w+)", name)
    if part is None:
        return name
    stage, block, _, place, sort, rest = part.groups()
    if place is None:
        return f"layer{int(stage) + 1}.{block}.downsample.{0 if sort == 'convolution' else 1}.{rest}"
    return f"layer{int(stage) + 1}.{block}.{'conv' if sort == 'convolution' else 'bn'}{int(place) + 1}.{rest}"


def _check_config(folder: Path) -> None:
    """Refuse a folder of transformers whose network has another shape than ResNet-50."""
    config: Mapping[str, object] = read_config(folder)
    if config.get("model_type") != "resnet":
        raise WeightsError(f"{folder} is a {config.get('model_type')!r} network, not a ResNet-50")
    wrong = [key for key, value in _RESNET50.items() if config.get(key, value) != value]
    wrong += [key for key in ("downsample_in_bottleneck", "downsample_in_first_stage") if config.get(key)]
    if config.get("hidden_act", "relu") != "relu":
        wrong.append("hidden_act")
    if wrong:
        raise WeightsError(f"{folder} is another ResNet than ResNet-50 ({wrong[0]} {config.get(wrong[0])!r})")
