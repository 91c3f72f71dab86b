"""Small random checkpoints of pose estimators in the real formats: RT-DETR and ViTPose, and YOLOX and RTMPose in ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers


def save_detector(folder: Path, *, people: tuple[str, ...] = ("person", "bicycle", "car"), sure: float = 0.0) -> Path:
    """Save an RT-DETR that detects its first class everywhere, with logit `sure`."""
    torch.manual_seed(0)
    sizes = [8, 16, 24, 32]
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=sizes, depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage2", "stage3", "stage4"]
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=sizes[1:],
        **dict.fromkeys(("encoder_hidden_dim", "encoder_ffn_dim", "d_model", "decoder_ffn_dim"), 32),
        decoder_in_channels=[32, 32, 32],
        decoder_layers=2,
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
        num_queries=12,
        num_denoising=0,
        id2label=dict(enumerate(people)),
        label2id={name: number for number, name in enumerate(people)},
    )
    network = transformers.RTDetrForObjectDetection(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "class_embed" in name:
                weight.copy_(torch.tensor([sure, -3.0, -3.0])) if weight.ndim == 1 else weight.normal_(std=0.2)
    _keep(network, transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64}), folder)
    return folder


def save_pose(folder: Path, *, experts: int = 1, joints: int = 17) -> Path:
    """Save a ViTPose, or a ViTPose++ with several experts."""
    torch.manual_seed(1)
    backbone = transformers.VitPoseBackboneConfig(
        image_size=(64, 48),
        patch_size=(16, 16),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_experts=experts,
        part_features=8,
        out_indices=[2],
    )
    network = transformers.VitPoseForPoseEstimation(transformers.VitPoseConfig(backbone_config=backbone, num_labels=joints)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    _keep(network, transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48}), folder)
    return folder


def _keep(network: Any, processor: Any, folder: Path) -> None:
    transformers.utils.logging.disable_progress_bar()
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    file = folder / "preprocessor_config.json"  # the name of the processor in published checkpoints
    file.write_text(file.read_text().replace("ProcessorPil", "Processor"))


def save_onnx(folder: Path) -> tuple[Path, Path]:
    """Save a detector that always detects two people in the same boxes, and a pose model that always gives the same 17 joints in a box."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def keep(name: str, shape: list[Any], answers: dict[str, Any]) -> Path:
        nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0), helper.make_node("Mul", ["mean", "zero"], ["nothing"])]
        fixed = [numpy_helper.from_array(np.float32(0), "zero")]
        outputs = []
        for key, value in answers.items():
            fixed.append(numpy_helper.from_array(value, f"{key}_"))
            floats = value.dtype == np.float32
            nodes.append(
                helper.make_node("Add", [f"{key}_", "nothing"], [key]) if floats else helper.make_node("Identity", [f"{key}_"], [key])
            )
            outputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT if floats else TensorProto.INT64, list(value.shape)))
        graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], outputs, fixed)
        file = folder / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
        return file

    boxes = np.array([[[10, 10, 60, 100, 0.9], [70, 5, 110, 95, 0.8]]], np.float32)
    x, y = np.zeros((1, 17, 96), np.float32), np.zeros((1, 17, 128), np.float32)
    x[0, np.arange(17), 10 + 4 * np.arange(17)] = 0.8
    y[0, np.arange(17), 20 + 5 * np.arange(17)] = 0.9
    detector = keep("detector", [1, 3, 128, 128], {"dets": boxes, "labels": np.zeros((1, 2), np.int64)})
    return detector, keep("pose", [1, 3, 64, 48], {"simcc_x": x, "simcc_y": y})
