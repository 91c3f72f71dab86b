"""Inflation: the weights of a network that sees pictures, repeated and divided over time, for one that sees video.

Reads ResNet-50 under transformers' or torchvision's names and GoogLeNet under torchvision's. A 3D kernel whose slices are the 2D one
divided by their number answers to a still video as the 2D kernel answers to its picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from quickstep.backbones.checkpoints.weight_files import CONFIG, WEIGHTS, Weights, few, read_config, read_weights
from quickstep.types.errors import WeightsError

# The network's own names -> torchvision's.
_GOOGLENET = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}
_BRANCHES = {"b0": "branch1", "b1a": "branch2.0", "b1b": "branch2.1", "b2a": "branch3.0", "b2b": "branch3.1", "b3b": "branch4.1"}
_HEADS = {"googlenet": ("logits.conv3d", "fc"), "resnet50": ("cls_head.fc_cls", "fc")}
_ASIDE = ("aux1.", "aux2.")  # GoogLeNet's helpers in training
_SAID = {"depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048], "embedding_size": 64, "layer_type": "bottleneck"}
_NAMES = {"googlenet": "GoogLeNet (under torchvision's names)", "resnet50": "ResNet-50 (under torchvision's or transformers' names)"}


def read_flat(where: str, kind: str) -> Weights:
    """The 2D weights of a file, or of a checkpoint folder, under torchvision's names."""
    folder = Path(where).expanduser()
    if kind == "resnet50" and folder.is_dir() and (folder / CONFIG).is_file():
        _check_config(folder)
    path = file_of(where)
    weights = read_weights(path)
    tensors = {_from_transformers(name): value for name, value in weights.tensors.items()} if kind == "resnet50" else weights.tensors
    return Weights(path, {name: value for name, value in tensors.items() if not name.startswith(_ASIDE)})


def file_of(where: str) -> Path:
    """The file of weights that is meant: itself, or the one in a folder."""
    path = Path(where).expanduser()
    if not path.is_dir():
        return path
    file = next((path / name for name in (WEIGHTS, "pytorch_model.bin") if (path / name).is_file()), None)
    if file is None:
        raise WeightsError(f"{path} has no weights ({WEIGHTS}): give the file or folder of a network of pictures")
    return file


def classes_of(flat: Weights) -> int:
    """How many classes the 2D network tells apart; 0 where it has no head."""
    head = flat.tensors.get("fc.weight")
    return 0 if head is None else len(head)


def inflate(network: torch.nn.Module, flat: Weights, kind: str) -> None:
    """Fill a 3D network from a 2D one; non-local blocks, which have no 2D counterpart, are left as they are."""
    wanted = network.state_dict()
    pairs = {name: _flat_name(name, kind) for name in wanted if "non_local" not in name}
    missing = sorted(there for there in pairs.values() if there not in flat.tensors and not there.endswith("num_batches_tracked"))
    left_over = sorted(set(flat.tensors) - set(pairs.values()))
    for names, what in ((missing, "lacks"), (left_over, "has besides")):
        if names:
            raise WeightsError(f"{flat.file} is no {_NAMES[kind]}: it {what} {few(names)}")
    filled: dict[str, torch.Tensor] = {}
    for name, there in pairs.items():
        if there in flat.tensors:
            filled[name] = _deepened(flat.tensors[there], wanted[name], flat.file, there)
    network.load_state_dict({**wanted, **filled})


def _deepened(flat: torch.Tensor, wanted: torch.Tensor, file: Path, name: str) -> torch.Tensor:
    """(O, C, H, W) -> (O, C', T, H, W): divided by T; where the channels are others, as for flow, each is the mean of the picture's."""
    if wanted.ndim == 5 and flat.ndim == 2:
        flat = flat[:, :, None, None]
    if wanted.ndim == 5 and flat.ndim == 4:
        if flat.shape[1] == 3 and wanted.shape[1] == 2:
            flat = flat.mean(dim=1, keepdim=True).expand(-1, 2, -1, -1)
        if flat.shape == wanted.shape[:2] + wanted.shape[3:]:
            return flat.float()[:, :, None].expand_as(wanted) / wanted.shape[2]
    elif flat.shape == wanted.shape:
        return flat
    shape = list(wanted.shape[:2] + wanted.shape[3:]) if wanted.ndim == 5 else list(wanted.shape)
    raise WeightsError(f"{file} does not fit: its {name} is {list(flat.shape)}, and {shape} is wanted")


def _flat_name(name: str, kind: str) -> str:
    """The name in torchvision's network of a weight in the 3D one."""
    ours, theirs = _HEADS[kind]
    if name.startswith(f"{ours}."):
        return name.replace(ours, theirs, 1)
    if kind == "resnet50":
        name = name.removeprefix("backbone.")
        name = re.sub(r"downsample\.(conv|bn)\.", lambda found: f"downsample.{0 if found[1] == 'conv' else 1}.", name)
        return re.sub(r"conv(\d)\.(conv|bn)\.", lambda found: f"{found[2]}{found[1]}.", name)
    unit, _, rest = name.replace(".conv3d.", ".conv.").partition(".")
    if unit in _GOOGLENET:
        return f"{_GOOGLENET[unit]}.{rest}"
    branch, _, rest = rest.partition(".")
    place = unit.removeprefix("Mixed_")  # 3b: the first block of a stage is b here and a there
    return f"inception{place[0]}{chr(ord(place[1]) - 1)}.{_BRANCHES[branch]}.{rest}"


def _from_transformers(name: str) -> str:
    """transformers' name of a weight in ResNet -> torchvision's; any other as it is."""
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
        raise WeightsError(f"{folder} is a {config.get('model_type')!r} network, and ResNet-50 is wanted here")
    wrong = [key for key, value in _SAID.items() if config.get(key, value) != value]
    wrong += [key for key in ("downsample_in_bottleneck", "downsample_in_first_stage") if config.get(key)]
    if config.get("hidden_act", "relu") != "relu":
        wrong.append("hidden_act")
    if wrong:
        raise WeightsError(f"{folder} is a ResNet of another make ({wrong[0]} {config.get(wrong[0])!r}): ResNet-50 is wanted here")
