"""Every exported artifact is whole, computes what PyTorch does, and says what it is."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from personseg import export as export_module
from personseg.errors import UserError
from personseg.export import Exporter, evenly_spaced, export, save_onnx, to_onnx
from personseg.files import read_json, sha256_file, write_json
from personseg.geometry import enlarge, letterbox
from personseg.images import read_image, read_mask
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig, read_config
from personseg.quantize import Infer, Judge, Known, make_signed, quantised_share, quantize_openvino
from personseg.runtimes import MANIFEST_FILE, Unavailable, make_runtime
from personseg.runtimes.onnxruntime import OnnxRuntime, open_session
from personseg.runtimes.openvino import ov
from personseg.runtimes.tensorrt import build_engine
from tests.exported import Exported, exported
from tests.networks import architecture

__all__ = ["exported"]

NETWORK_FILES = ["onnx_fp32.onnx", "onnx_fp32_batch1.onnx", "onnx_fp16.onnx", "onnx_int8.onnx"]
NETWORK_FILES += ["openvino_f32.xml", "openvino_int8.xml"]
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx not installed")


def test_every_artifact_is_listed_with_its_file_digest_and_size(exported: Exported, tmp_path: Path) -> None:
    artifacts = exported.facts["artifacts"]
    kinds = ["tensorrt_{}", "tensorrt_rtx_{}", "tensorrt_rtx_{}_sm75"]
    engines = [kind.format(precision) for precision in ("fp32", "fp16", "int8") for kind in kinds]
    assert list(artifacts) == [Path(name).stem for name in NETWORK_FILES] + engines
    assert exported.facts["calibration_images"] == 8
    listed = set()
    for name, facts in artifacts.items():
        if facts["status"] == "unavailable":
            assert name.startswith("tensorrt") and len(facts["reason"].splitlines()) == 1
            continue
        sizes = [(exported.folder / file).stat().st_size for file in facts["sha256"]]
        assert facts["size_bytes"] == sum(sizes) > 10_000
        assert facts["sha256"] == {file: sha256_file(exported.folder / file) for file in facts["sha256"]}
        assert facts["build_s"] > 0
        listed |= set(facts["sha256"])
    assert {path.name for path in exported.folder.iterdir()} == listed | {MANIFEST_FILE}
    manifest = read_json(exported.folder / MANIFEST_FILE)
    assert manifest["model_sha256"] == read_config(exported.model).sha256
    assert manifest["files"] == {file: sha256_file(exported.folder / file) for file in listed}
    write_json(tmp_path / "export.json", exported.facts)
    assert read_json(tmp_path / "export.json") == exported.facts


@pytest.mark.parametrize(
    ("name", "logit", "pixels"),
    [
        ("onnx_fp32", 1e-4, 0),
        ("onnx_fp32_batch1", 1e-4, 0),
        ("openvino_f32", 1e-4, 0),
        ("onnx_fp16", 0.1, 0.01),
        ("onnx_int8", 4, 0.05),
        ("openvino_int8", 4, 0.05),
    ],
)
def test_difference_from_pytorch_is_small_and_as_large_as_the_precision(
    exported: Exported, name: str, logit: float, pixels: float
) -> None:
    facts = exported.facts["artifacts"][name]
    assert facts["max_logit_diff"] <= logit
    assert facts["mask_disagreement"] <= pixels
    if "32" not in name:
        assert facts["max_logit_diff"] > 1e-4  # else it was not computed in that precision


def test_onnx_takes_photos_as_read_in_batches_of_any_size(exported: Exported) -> None:
    model = onnx.load(exported.folder / "onnx_fp32.onnx")
    (images,), (logits,) = model.graph.input, model.graph.output
    assert images.type.tensor_type.elem_type == TensorProto.UINT8
    assert logits.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [d.dim_value for d in images.type.tensor_type.shape.dim[1:]] == [64, 64, 3]
    assert model.opset_import[0].version == 20
    photos = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    session = open_session(exported.folder / "onnx_fp32.onnx", 1)
    together = session.run(None, {"images": photos})[0]
    assert together.shape == (5, 64, 64)
    apart = [session.run(None, {"images": photo[None]})[0][0] for photo in photos]
    np.testing.assert_allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("flip_average", [False, True])
def test_a_graph_ends_at_the_decoders_resolution_and_its_runtime_enlarges(tmp_path: Path, flip_average: bool) -> None:
    half = architecture(decoder_channels=[16, 16, 8, 8], flip_average=flip_average)
    torch.manual_seed(0)
    network = build_model(half).eval()
    save_model(tmp_path / "model", network, ModelConfig(architecture=half, input_size=(64, 96)))
    save_onnx(to_onnx(tmp_path / "model"), tmp_path / "onnx_fp32.onnx")
    photos = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    photos[1, :, 70:] = 0  # padding, which flip averaging leaves where it is
    assert open_session(tmp_path / "onnx_fp32.onnx", 1).run(None, {"images": photos})[0].shape == (2, 32, 48)
    runtime = make_runtime("onnxruntime_fp32")
    runtime.load(tmp_path / "model", tmp_path, threads=1)
    with torch.inference_mode():
        own = network(torch.from_numpy(photos).permute(0, 3, 1, 2).float())[:, 0].numpy()
    np.testing.assert_allclose(runtime.infer(photos), own, atol=1e-3)


def test_onnx_of_fixed_batch_takes_one_photo_and_says_so(exported: Exported) -> None:
    session = open_session(exported.folder / "onnx_fp32_batch1.onnx", 1)
    assert session.get_inputs()[0].shape == [1, 64, 64, 3] and session.get_outputs()[0].shape == [1, 64, 64]
    with pytest.raises(Exception, match="invalid dimensions"):
        session.run(None, {"images": np.zeros((2, 64, 64, 3), np.uint8)})
    any_batch, one = (
        [node.op_type for node in onnx.load(exported.folder / f"{name}.onnx").graph.node]
        for name in ("onnx_fp32", "onnx_fp32_batch1")
    )
    assert "Shape" in any_batch and "Shape" not in one, "sizes that are known are not worked out at each run"


def test_onnx_of_float16_computes_everything_in_it(exported: Exported) -> None:
    graph = onnx.load(exported.folder / "onnx_fp16.onnx").graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert len(weights) > 30 and {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    casts = [helper.get_node_attr_value(node, "to") for node in graph.node if node.op_type == "Cast"]
    assert casts == [TensorProto.FLOAT16, TensorProto.FLOAT], "of the photo and of the logits alone"


def test_an_export_is_compared_in_batches_too(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that is right for one photo and wrong for several is not right."""
    infer = OnnxRuntime.infer

    def wrong_in_batches(self: OnnxRuntime, images: Any) -> Any:
        return infer(self, images) + (0.5 if len(images) > 1 else 0)

    monkeypatch.setattr(OnnxRuntime, "infer", wrong_in_batches)
    one = exporter(exported, photos=2)
    assert one.compare("onnx_fp32", OnnxRuntime)["max_logit_diff"] == pytest.approx(0.5, abs=1e-4)
    assert one.compare("onnx_fp32", OnnxRuntime, any_batch=False)["max_logit_diff"] < 1e-4


def test_the_judge_counts_photos_without_their_padding(exported: Exported) -> None:
    """Photos are 60x48 in an input of 64x64: all taken for person, IoU is the person's share of the photo."""
    judge = Judge(exported.pairs, (64, 64), 0.5)
    pooled, each = judge(lambda image: np.full((1, 64, 64), 9, np.float32))
    shares = [read_mask(mask).mean() for _, mask in exported.pairs]
    assert each == pytest.approx(shares) and pooled == pytest.approx(np.mean(shares))
    assert judge(lambda image: np.full((1, 64, 64), -9, np.float32), judge.known[1:2]) == (0, [0])


def test_int8_facts_say_what_it_costs_on_val_and_how_much_is_int8(exported: Exported) -> None:
    facts = exported.facts["artifacts"]["openvino_int8"]
    assert 0.5 < facts["val_iou"] <= 1 and abs(facts["val_iou"] - facts["val_iou_fp32"]) < 0.1
    assert 20 < facts["convolutions_int8"] <= facts["convolutions"]
    onnx_facts = exported.facts["artifacts"]["onnx_int8"]
    assert onnx_facts["val_iou_fp32"] == facts["val_iou_fp32"] and 0.5 < onnx_facts["val_iou"] <= 1
    assert exported.facts["val_images"] == 2


class Strict(Judge):
    """Scores how near the logits are to the float network's, so that every quantised layer costs something."""

    def __init__(self, exported: Exported) -> None:
        super().__init__(exported.pairs[:2], (64, 64), 0.5)
        runtime = make_runtime("openvino_f32")
        runtime.load(exported.model, exported.folder, threads=1)
        self.exact = {known.image.tobytes(): runtime.infer(known.image) for known in self.known}

    def __call__(self, infer: Infer, known: Iterable[Known] | None = None) -> tuple[float, list[float]]:
        photos = [each.image for each in (self.known if known is None else known)]
        logits = [enlarge(infer(photo), photo.shape[1:3]) for photo in photos]
        exact = [self.exact[photo.tobytes()] for photo in photos]
        scores = [1 - float(np.abs(a - b).mean()) for a, b in zip(logits, exact, strict=True)]
        return float(np.mean(scores)), scores


def test_layers_go_back_to_float_until_the_drop_is_allowed(exported: Exported) -> None:
    judge, core = Strict(exported), ov.Core()
    whole = core.compile_model(core.read_model(exported.folder / "openvino_int8.xml"), "CPU")
    drop = 1 - judge(lambda image: whole(image)[0])[0]
    assert drop > 0.005
    images = [known.image for known in judge.known]
    partly = quantize_openvino(core.read_model(exported.folder / "openvino_f32.xml"), images, judge, drop / 2)
    share, before = quantised_share(partly), exported.facts["artifacts"]["openvino_int8"]
    assert 0 < share["convolutions_int8"] < before["convolutions_int8"]
    assert share["convolutions"] == before["convolutions"]
    compiled = core.compile_model(partly, "CPU")
    assert 1 - judge(lambda image: compiled(image)[0])[0] <= drop / 2 + 1e-3


def test_artifacts_say_nothing_of_the_machine_that_made_them(exported: Exported) -> None:
    here = str(Path(export_module.__file__).parent).encode()
    for path in exported.folder.iterdir():
        data = path.read_bytes()
        assert here not in data and b"site-packages" not in data, path.name


def test_same_network_gives_the_same_onnx_bytes(exported: Exported, tmp_path: Path) -> None:
    save_onnx(to_onnx(exported.model), tmp_path / "again.onnx")
    assert sha256_file(tmp_path / "again.onnx") == sha256_file(exported.folder / "onnx_fp32.onnx")


def test_int8_graph_is_what_tensorrt_takes(exported: Exported) -> None:
    """Signed, symmetric, activations per tensor; and convolutions really are quantised."""
    model = onnx.load(exported.folder / "onnx_int8.onnx")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any(), node.name
    assert all(constants[node.input[1]].size == 1 for node in quantisers)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    made_by = {output: node.op_type for node in model.graph.node for output in node.output}
    quantised = [node for node in convolutions if made_by.get(node.input[1]) == "DequantizeLinear"]
    assert len(quantised) >= 0.9 * len(convolutions) > 20
    assert len(quantisers) >= len(quantised) // 2


def quantiser_graph(zero_point: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    constants = [
        numpy_helper.from_array(np.float32(2 / 255), "scale"),
        numpy_helper.from_array(np.uint8(zero_point), "zero"),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_signed_quantiser_keeps_the_range_and_loses_one_bit(tmp_path: Path) -> None:
    onnx.save(make_signed(quantiser_graph(0)), tmp_path / "signed.onnx")
    x = np.array([0, 0.5, 1.99, 3], np.float32)
    y = open_session(tmp_path / "signed.onnx", 1).run(None, {"x": x})[0]
    np.testing.assert_allclose(y, [0, 0.5, 1.99, 2], atol=1 / 127)  # 3 is beyond the range, which ends at 2
    assert np.abs(y - x)[1] > 1e-4  # 0.5 lies between two of the 127 levels


def test_asymmetric_quantiser_is_refused() -> None:
    with pytest.raises(ValueError, match="asymmetric"):
        make_signed(quantiser_graph(3))


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("suffix", "targets"), [("", ["SM80 and later"]), ("_sm75", ["SM75"])])
def test_tensorrt_rtx_engines_are_built_without_a_gpu(
    exported: Exported, precision: str, suffix: str, targets: list[str]
) -> None:
    facts = exported.facts["artifacts"][f"tensorrt_rtx_{precision}{suffix}"]
    assert facts["status"] == "built", facts
    assert facts["targets"] == targets
    assert facts["inputs"] == [{"name": "images", "shape": [-1, 64, 64, 3], "dtype": "uint8"}]
    assert facts["outputs"] == [{"name": "logits", "shape": [-1, 64, 64], "dtype": "float"}]
    assert facts["size_bytes"] == (exported.folder / facts["file"]).stat().st_size > 100_000


@needs_rtx
def test_half_precision_engine_is_about_half_the_size(exported: Exported) -> None:
    sizes = {p: exported.facts["artifacts"][f"tensorrt_rtx_{p}"]["size_bytes"] for p in ("fp32", "fp16")}
    assert 0.4 < sizes["fp16"] / sizes["fp32"] < 0.75


def exporter(exported: Exported, photos: int = 1) -> Exporter:
    images = [letterbox(read_image(photo), (64, 64))[0][None] for photo, _ in exported.pairs[:photos]]
    return Exporter(exported.model, exported.folder, images, exported.pairs[:1], max_iou_drop=1.0, threads=1)


def test_export_goes_on_without_tensorrt(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "import_binding", lambda name: None)
    one = exporter(exported)
    one.add("engine", ["absent.engine"], lambda: one.engine("tensorrt_rtx", "fp16", False))
    assert one.artifacts == {"engine": {"status": "unavailable", "reason": "tensorrt_rtx cannot be imported"}}


@needs_rtx
def test_an_engine_of_a_graph_that_was_not_built_gives_the_graphs_reason(exported: Exported) -> None:
    one = exporter(exported)
    one.artifacts["onnx_fp16"] = {"status": "unavailable", "reason": "overflow"}
    one.add("engine", ["absent.engine"], lambda: one.engine("tensorrt_rtx", "fp16", False))
    assert one.artifacts["engine"] == {"status": "unavailable", "reason": "onnx_fp16: overflow"}


@needs_rtx
def test_a_graph_tensorrt_cannot_parse_is_unavailable_with_the_parsers_words(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(Unavailable, match="ONNX parser"):
        build_engine(importlib.import_module("tensorrt_rtx"), tmp_path / "broken.onnx", tmp_path / "e.engine", False)
    assert not (tmp_path / "e.engine").exists()


def test_a_float_export_that_differs_is_refused(exported: Exported) -> None:
    one = exporter(exported)
    one.reference = [logits + 0.02 for logits in one.reference]
    with pytest.raises(UserError, match=r"onnx_fp32 differs from PyTorch by 0\.02"):
        one.exact("onnx_fp32", OnnxRuntime)


def test_no_photo_to_calibrate_with_is_a_users_error(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv"):
        export(exported.model, tmp_path, [], exported.pairs, max_iou_drop=1.0, threads=1)


def test_no_photo_to_check_int8_on_is_a_users_error(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"val\.csv"):
        export(exported.model, tmp_path, [exported.pairs[0][0]], [], max_iou_drop=1.0, threads=1)


def test_calibration_photos_are_spread_over_the_list() -> None:
    stems = [str(i) for i in range(101)]
    assert evenly_spaced(stems, 5) == ["0", "25", "50", "75", "100"]
    assert evenly_spaced(stems[:3], 5) == ["0", "1", "2"]
