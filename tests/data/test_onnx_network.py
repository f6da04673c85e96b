"""Users' ONNX networks: label orders, scaling, pixel sizes, and errors."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import cmr
from eccl_lib.data.formats import detect
from eccl_lib.data.segmentation import onnx_network, providers
from eccl_lib.data.segmentation.onnx_network import OnnxNet
from tests.data.test_segment import GREY, beating, unlabelled

ACDC = np.array([0, 3, 2, 1])  # our label order to ACDC's and back


class Session:
    """A fake onnxruntime session whose score of a label is the negative distance to the label's grey value."""

    def __init__(self, rows=None, columns=None, order=ACDC, batch="batch") -> None:
        self.size, self.order, self.batch, self.shown = (rows or "h", columns or "w"), order, batch, []

    def get_inputs(self):
        return [SimpleNamespace(name="input", shape=[self.batch, 1, *self.size])]

    def run(self, names, feeds):
        images = feeds["input"]
        assert images.dtype == np.float32
        if isinstance(self.batch, int) and len(images) != self.batch:
            raise RuntimeError(f"Got invalid dimensions: index: 0 Got: {len(images)} Expected: {self.batch}")
        self.shown.append(images)
        return [-np.abs(images - GREY[self.order][None, :, None, None])]


@pytest.fixture
def use(monkeypatch):
    def put(session: Session) -> Session:
        monkeypatch.setattr(onnx_network, "load_session", lambda path: (session, onnx_network.input_size(session)))
        return session

    return put


def exact(net: OnnxNet, **kw) -> np.ndarray:
    record = beating(**kw)
    return net.segment(record.images, record.spacing_mm) == record.labels


def test_labels_are_in_our_order_on_the_images_own_pixels(use):
    session = use(Session())
    assert exact(OnnxNet("a.onnx", labels="acdc", scaling="none")).all()
    assert session.shown[0].shape == (8, 1, 128, 128)  # 110 x 120 padded to multiples of 32
    use(Session(order=np.arange(4)))
    assert exact(OnnxNet("a.onnx", labels="mms", scaling="none")).all()


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_fixed_batch_size_does_not_change_the_labels(use, batch):
    session = use(Session(batch=batch))
    assert exact(OnnxNet("a.onnx", scaling="none")).all()
    assert {len(images) for images in session.shown} == {batch}


def test_check_raises_an_error_for_a_network_that_does_not_run(use):
    session = use(Session(64, 64))

    def fail(names, feeds):
        raise RuntimeError("expected: (tensor(float16))\nmore")

    session.run = fail
    asked = providers.Segmenter("onnx", onnx="a.onnx")
    with pytest.raises(UnreadableError, match=r"does not run on images \[1, 1, 64, 64\].*float16.*float32 input"):
        asked.check()
    session.run = lambda names, feeds: [np.zeros((1, 5, 64, 64), np.float32)]
    with pytest.raises(UnreadableError, match=r"has the output \[1, 5, 64, 64\]"):
        asked.check()
    use(Session(batch=4))
    asked.check()


def test_the_error_for_a_wrong_label_order_has_the_correct_option(use):
    use(Session())
    record = beating()
    with pytest.raises(UnreadableError, match=r"lies inside the wall.*--onnx-labels acdc"):
        OnnxNet("a.onnx", labels="mms", scaling="none").segment(record.images, record.spacing_mm)


@pytest.mark.parametrize(("side", "pixel_mm"), [(256, 0.0), (96, 1.8), (160, 1.8), (224, 1.0), (None, 1.2)])
def test_labels_are_in_place_for_any_input_size_and_pixel_size(use, side, pixel_mm):
    session = use(Session(side, side))
    record = beating()
    found = OnnxNet("a.onnx", scaling="none", pixel_mm=pixel_mm).segment(record.images, record.spacing_mm)
    if side:
        assert {images.shape[1:] for images in session.shown} == {(1, side, side)}
    cavity = found == cmr.LV, record.labels == cmr.LV  # only LV, since grey values between wall and cavity look like RV
    assert 2 * (cavity[0] & cavity[1]).sum() > 0.9 * (cavity[0].sum() + cavity[1].sum())


def test_images_are_resampled_to_square_pixels(use):
    session = use(Session(256, 256))
    images = np.zeros((1, 8, 60, 100), np.float32)
    images[..., 20:40, 30:70] = 1
    OnnxNet("a.onnx").segment(images, (2.0, 1.0))  # 120 mm x 100 mm
    lit = session.shown[0][0, 0] > 0.5
    assert abs(lit.any(axis=1).sum() - lit.any(axis=0).sum()) <= 2  # 40 mm x 40 mm


@pytest.mark.parametrize("scaling", onnx_network.SCALINGS)
def test_grey_values_are_scaled_by_the_chosen_method(use, scaling):
    session = use(Session())
    images = np.random.default_rng(0).normal(500, 90, (1, 8, 64, 64))
    OnnxNet("a.onnx", scaling=scaling).segment(images, (1.5, 1.5))
    seen = session.shown[0]
    if scaling == "range":
        assert (seen.min(), seen.max()) == (0, 1)
    elif scaling == "zscore":
        assert abs(seen.mean()) < 1e-4
        assert seen.std() == pytest.approx(1, abs=1e-4)
    else:
        np.testing.assert_allclose(seen[:, 0], images[0], rtol=1e-5)


def test_components_that_are_not_connected_to_the_heart_are_removed(use):
    use(Session())
    record = beating()
    images = record.images.copy()
    images[:, :, 3:8, 3:8] = GREY[cmr.LV]
    found = OnnxNet("a.onnx", scaling="none").segment(images, record.spacing_mm)
    np.testing.assert_array_equal(found, record.labels)


def test_the_onnx_provider_gives_the_slice_and_labels_of_the_mask(use):
    use(Session())
    asked = providers.Segmenter("onnx", onnx="a.onnx", onnx_scaling="none")
    found = providers.locate(unlabelled(), segmenter=asked)
    assert (found.segmenter, found.flagged) == ("onnx", False)
    np.testing.assert_array_equal(found.labels, providers.locate(beating()).labels)


@pytest.mark.parametrize("shape", [["n", 3, 256, 256], ["n", 256, 256], [1, 2]])
def test_a_network_with_another_input_raises_an_error(shape):
    session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="x", shape=shape)])
    with pytest.raises(UnreadableError, match="has the inputs"):
        onnx_network.input_size(session)


def test_a_network_with_another_output_raises_an_error(use):
    session = use(Session())
    session.run = lambda names, feeds: [np.zeros((8, 2, 64, 64), np.float32)]
    with pytest.raises(UnreadableError, match=r"has the output \[8, 2, 64, 64\]"):
        OnnxNet("a.onnx").segment(np.random.default_rng(0).random((1, 8, 64, 64)), (1.5, 1.5))


def test_the_error_without_onnxruntime_has_the_install_command(monkeypatch, tmp_path):
    onnx_network.load_session.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnreadableError, match="pip install onnxruntime"):
        onnx_network.load_session(str(tmp_path / "a.onnx"))


def test_a_real_file_runs_in_onnxruntime(tmp_path):
    """A network of one 1 x 1 convolution: score k is w_k x + b_k, so the label depends only on the grey value."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    levels = GREY[ACDC].astype(np.float32)
    weight, bias = (2 * levels)[:, None, None, None], -(levels**2)  # largest where (x - level)^2 is smallest
    values = [onnx.numpy_helper.from_array(array, name) for array, name in ((weight, "w"), (bias, "b"))]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", channels, "h", "w_"])
        for name, channels in (("x", 1), ("y", 4))
    ]
    node = onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"])
    graph = onnx.helper.make_graph([node], "levels", ends[:1], ends[1:], initializer=values)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "levels.onnx")
    assert exact(OnnxNet(str(tmp_path / "levels.onnx"), scaling="none")).all()
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(UnreadableError, match=r"bad\.onnx is not an ONNX network"):
        onnx_network.load_session(str(tmp_path / "bad.onnx"))


def test_the_network_of_myopari_agrees_with_the_expert(shared: Path):
    """A reference network, trained on data with a non-commercial licence; it is optional and not distributed here."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    spec = importlib.util.find_spec("myopari")
    if spec is None:
        pytest.skip("the package myopari is not installed")
    path = Path(spec.origin).parent / "Resources" / "tiramisu_acdc_fp32.onnx"
    folder = shared / "cmr" / "sunnybrook"
    with (folder / "subjects.csv").open() as handle:
        facts = next(row for row in csv.DictReader(handle) if row["patient_id"] == "SCD0000101")
    frames = [int(facts["ed_frame"]), int(facts["es_frame"])]
    stack, mask = folder / "SCD0000101_sax_4d.nii.gz", folder / "SCD0000101_sax_edes_gt.nii.gz"
    record = detect.read_cine(stack, mask, frames)
    found = OnnxNet(str(path), labels="acdc").segment(record.images[:, frames], record.spacing_mm)
    for k, frame in enumerate(frames):
        ours, expert = found[:, k] == cmr.LV, record.labels[:, frame] == cmr.LV
        assert 2 * (ours & expert).sum() > 0.88 * (ours.sum() + expert.sum())
