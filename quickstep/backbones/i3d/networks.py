"""Make I3D networks, fill them with weights, and write them. Imports torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstep.backbones.i3d.inception import InceptionI3d
from quickstep.backbones.i3d.resnet import Bottleneck, NonLocal, ResnetI3d
from quickstep.backbones.i3d.weight_files import Weights, fill, first_names, read_weights, write_folder
from quickstep.backbones.i3d.weights import ARCHITECTURES, CONFIG, StartWeights, config_of, read_config, weights_file
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


Network = InceptionI3d | ResnetI3d


class I3dEncoder(nn.Module):
    """uint8 (B, F, H, W, C) -> float32 (B, T', D)."""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: Network, slope: tuple[float, ...], offset: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32), persistent=False)
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32), persistent=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Normalize the bytes and compute the vectors of each window."""
        x = (windows.float() * self.slope + self.offset).permute(0, 4, 1, 2, 3)  # (B, C, F, H, W), channels last in memory
        return self.network.vectors(self.network(x)).float()


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its head, where its weights have one."""

    network: Network
    labels: tuple[str, ...] | None
    name: str

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W) already normalised -> (N, classes)."""
        if _head_of(self.network) is None:
            raise WeightsError(f"these weights of {self.name} have no head, so they cannot classify: train one, or give others")
        return self.network.classify(self.network(x))


def width_of(name: str, multiplier: float) -> int:
    """Return D of a narrowed network."""
    return _make(name, multiplier=multiplier).width


def load_network(name: str, start: StartWeights) -> LoadedNetwork:
    """Load the network in fp32 on the CPU with exactly the weights of its file."""
    kind = ARCHITECTURES[name].flat
    how: dict[str, Any] = {"multiplier": start.width, "ends": start.ends, "momentum": start.momentum}
    labels = start.labels
    if start.flat is not None:
        flat = read_flat(start.flat, kind)
        network = _make(name, classes=count_classes(flat), **how)
        _initialize(network, start.seed)  # non-local blocks have no 2D counterpart: they start by adding nothing
        inflate(network, flat, kind)
    elif start.file is not None:
        weights = read_weights(start.file)
        classes = _count_classes(weights)
        network = _make(name, classes=classes, **how)
        _check_architecture(weights, name)
        fill(network, weights, name)
        _check_output(network, weights, name)
        labels = _read_labels(weights.notes, classes) if labels is None else labels
        if labels is not None and len(labels) != classes:
            raise WeightsError(f"{start.file} has {classes} classes, and its config names {len(labels)}: they do not belong together")
    else:
        network = _make(name, **how)
        _initialize(network, start.seed)
    return LoadedNetwork(network.to(memory_format=torch.channels_last_3d).eval().requires_grad_(False), labels, name)  # type: ignore[call-overload]


def load_encoder(name: str, start: StartWeights) -> I3dEncoder:
    """Load the network without its head, with normalization before it."""
    network, architecture = load_network(name, start).network, ARCHITECTURES[name]
    if isinstance(network, InceptionI3d):
        network.logits = None
    else:
        network.cls_head = None
    return I3dEncoder(network, architecture.slope, architecture.offset).eval().requires_grad_(False)


def write_network(
    module: nn.Module,
    folder: Path,
    *,
    name: str,
    start: StartWeights,
    view: Mapping[str, Any],
    labels: Callable[[], tuple[str, ...] | None],
) -> None:
    """Write the weights of what `load` gave, or of `network` with its head and the labels of its classes."""
    network = module.network if isinstance(module, I3dEncoder) else module
    assert isinstance(network, (InceptionI3d, ResnetI3d))
    names = labels() if _head_of(network) is not None else None
    write_folder(folder, network.state_dict(), config_of(name, start, view, names))


def _make(name: str, *, classes: int = 0, multiplier: float = 1.0, ends: Any = "zeros", momentum: float | None = None) -> Network:
    """Make the network on the CPU; its kernels are not initialized."""
    architecture = ARCHITECTURES[name]
    network: Network
    with torch.device("meta"):  # initializing weights that are replaced at once takes longer than reading them
        if architecture.flat == "googlenet":
            network = InceptionI3d(architecture.channels, classes=classes, multiplier=multiplier, ends=ends, momentum=momentum or 0.01)
        else:
            network = ResnetI3d(architecture.channels, classes=classes, multiplier=multiplier, ends=ends, non_local=architecture.non_local)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_parameters()
    return network


def _initialize(network: nn.Module, seed: int) -> None:
    """Draw weights to train from: a layer's output is about as large as its input; non-local blocks start by adding nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.normal_(0, math.sqrt(2 / module.weight[0].numel()), generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        for module in network.modules():
            if isinstance(module, Bottleneck):
                module.conv3.bn.weight.fill_(0.2)  # sixteen residuals add up
            if isinstance(module, NonLocal):
                for point in (module.theta, module.phi[0], module.g[0]):
                    point.conv.weight.normal_(0, 0.01, generator=generator)  # type: ignore[union-attr,operator]
                module.conv_out.bn.weight.zero_()


def _head_of(network: nn.Module) -> nn.Module | None:
    return network.logits if isinstance(network, InceptionI3d) else network.cls_head  # type: ignore[return-value]


def _count_classes(weights: Weights) -> int:
    """Count the classes of the file's head; 0 where it has none."""
    for name in ("logits.conv3d.weight", "cls_head.fc_cls.weight"):
        if name in weights.tensors:
            return len(weights.tensors[name])
    return 0


def _read_labels(notes: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    """Read the class names that MMAction2 writes beside its weights, where it does."""
    about = notes.get("dataset_meta")
    names = about.get("classes") if isinstance(about, Mapping) else notes.get("CLASSES")
    if isinstance(names, (list, tuple)) and len(names) == classes and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


_SIGNATURES = {  # a weight, and its input channels where they distinguish: the first that fits names the network
    "i3d-rgb": ("Conv3d_1a_7x7.conv3d.weight", 3),
    "i3d-flow": ("Conv3d_1a_7x7.conv3d.weight", 2),
    "i3d-r50-nl": ("backbone.layer2.1.non_local_block.theta.conv.weight", None),
    "i3d-r50": ("backbone.layer1.0.conv1.conv.weight", None),
}


_ATTENTION = re.compile(
    r"non_local_cfg.{0,300}?\bmode['\"]?\s*[=:]\s*['\"](\w+)", re.DOTALL
)  # in the config that MMAction2 writes beside its weights
_OTHER_ATTENTION = ("embedded", "gauss", "concat")  # in the names of files: non-local networks other than by dot product


def _check_architecture(weights: Weights, name: str) -> None:
    """Refuse the file of another I3D network, with its name; networks with other attention have tensors of the same names."""
    config = _ATTENTION.search(str(weights.notes.get("cfg") or weights.notes.get("config") or ""))
    attention = config[1] if config else next((word for word in _OTHER_ATTENTION if word in weights.file.stem.casefold()), "dot_product")
    if ARCHITECTURES[name].non_local and attention != "dot_product":
        raise WeightsError(f"{weights.file} attends by {attention}, and {name} by dot product: give its dot-product checkpoint")
    for other, (key, channels) in _SIGNATURES.items():
        weight = weights.tensors.get(key)
        if weight is not None and weight.ndim == 5 and channels in (None, weight.shape[1]):
            if other != name:
                raise WeightsError(f"{weights.file} is a checkpoint of {other}, not of {name}: open it by that name")
            return


def _check_output(network: Network, weights: Weights, name: str) -> None:
    """Refuse weights with which noise gives values that are not numbers: they belong to a network that computes otherwise."""
    x = torch.randn(1, ARCHITECTURES[name].channels, 16, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        finite = bool(network.eval()(x).isfinite().all())
    if not finite:
        raise WeightsError(f"{weights.file} does not work as {name}: its output is not finite; it was trained as another network")
