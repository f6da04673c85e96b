"""Every figure draws without a warning and states its axes, its sample size and the data source."""

from __future__ import annotations

import inspect
import io
import warnings
from dataclasses import replace
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from eccl_lib import figures
from eccl_lib.config.schema import DISEASES, LEADS
from eccl_lib.data.heart_slice import HeartSlice
from eccl_lib.data.records import CineRecord
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation.experiments import OPTIONS
from eccl_lib.figures.colours import CHAMBER_COLOURS, CHAMBER_NAMES, CYCLE, TASK_COLOURS
from eccl_lib.figures.hearts import beating_hearts
from eccl_lib.figures.style import STAMP, stamp_synthetic, task_title

N = 40
PAPER_N = 8308  # test participants of the paper


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)


def _ecg(rate: int = 500) -> np.ndarray:
    """(12, 10 s) in mV: one narrow upright beat a second in every lead, lead k (k + 1) / 10 mV high."""
    t = np.arange(10 * rate) / rate
    beat = np.exp(-(((t % 1.0) - 0.5) ** 2) / (2 * 0.01**2))
    return np.arange(1, 13)[:, None] / 10 * beat


def _traits() -> pd.DataFrame:
    groups = list(CHAMBER_NAMES)
    r = np.linspace(-0.05, 0.6, len(groups))
    names = [f"{group}_trait" for group in groups]
    return pd.DataFrame({"short_name": names, "group": groups, "unit": "mL", "r": r, "low": r - 0.1, "high": r + 0.1})


def _curves() -> Figure:
    history = pd.DataFrame({"epoch": range(1, 201), "contrastive": 2e-4, "task": 1e-4, "learning rate": 8e-5})
    history = history.assign(loss=3e-4)
    panels = {"training loss": ["loss", "contrastive", "task"], "learning rate": ["learning rate"]}
    return figures.training_curves(history, panels, best_epoch=198)


def _fig2b(n: int = N) -> Figure:
    columns = ["panel", "tokens", "parameters", "width", "depth", "seconds", "seed", "r", "mean", "low", "high"]
    rows = [
        (panel, tokens, 9e5, width, depth, 40.0, seed, 0.3 + seed / 100, 0.31, 0.2, 0.4)
        for panel, tokens, width, depth in (
            ("patches", 60, 64, 2),
            ("patches", 120, 64, 2),
            ("width", 120, 32, 2),
            ("width", 120, 64, 2),
            ("depth", 120, 64, 2),
        )
        for seed in range(3)
    ]
    return figures.fig2b_patches_and_size(pd.DataFrame(rows, columns=columns), n=n)


def _flat(points: int = N) -> np.ndarray:
    return _generator().standard_normal((points, 2))


def _mae() -> Figure:
    x = _ecg(100)
    mask = np.ones_like(x)
    mask[:, 200:240] = 0
    return figures.mae_reconstructions([(x, 0.9 * x, mask), (x, 0.5 * x, mask)], 100)


def _hearts() -> dict[str, CineRecord]:
    """A square cavity in a square wall as labels of a mask and of a network, and a box without labels."""
    labels = np.zeros((1, 4, 30, 30), np.uint8)
    labels[..., 8:20, 6:18] = 2
    labels[..., 10:18, 8:16] = 1
    labels[:, 2, 10:12, 8:16] = 2  # the smallest cavity
    drawn = CineRecord(_generator().random((1, 4, 30, 30)), (1.8, 1.8), 10.0, 40.0, labels)
    by_votes = replace(drawn, labels=None, box=(2, 3, 25, 28))
    return {"masks": drawn, "network": replace(drawn, labels=np.roll(labels, 1, axis=3)), "voting": by_votes}


def _slice() -> HeartSlice:
    record = _hearts()["masks"]
    return HeartSlice(_generator().integers(0, 255, (4, 30, 30), np.uint8), record.labels[0], (1.8, 1.8), 40.0)


def _positions(chosen: int, width: float = 6.9) -> Figure:
    values = _generator().standard_normal((N, len(CHAMBER_NAMES)))
    values[:3, 0] = np.nan
    return figures.trait_positions(_traits(), values, values[:chosen], width=width)


def _stages() -> Figure:
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "score": [0.1, 0.2, 0.15]})
    per_task = {task: [history, history] for task in TASK_COLOURS}
    rows = [figures.StageCurves(f"W/O SSL; W/ CL {k}", "training loss", "AUC, mean r", per_task) for k in range(8)]
    return figures.training_stages([rows[:5], rows[5:]])


def _autoencoders() -> Figure:
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "score": [-3.5, -2.5, -2.0]})
    names = ("ECG encoder", "CMAE, ECG alone", "CMAE, CMR alone", "CMAE, both")
    return figures.training_stages([[figures.StageCurves(name, "masked MSE", "", {"": [history]}) for name in names]])


def _attention(rows: int) -> Figure:
    share = _generator().dirichlet(np.ones(rows * 10)).reshape(rows, 10)
    maps = {"class token, last block": share, "attention rollout": share}
    change = _generator().standard_normal((12, 10))
    return figures.attention_maps(_ecg(100), maps, change, 100, output="decrease of the I21 logit")


def _retrieval(n: int = N) -> Figure:
    rows = [(e, rank, 0.5 - 0.1 * rank, rank == 3, "LVM 104 g") for e in range(2) for rank in (3, 1, 2, 3, 4, 5)]
    candidates = pd.DataFrame(rows, columns=["query", "rank", "similarity", "matching", "note"])
    images = {moment: _generator().random((len(candidates), 8, 8)) for moment in ("end diastole", "end systole")}
    candidates.loc[0, "rank"] = n - 1
    return figures.retrieval_examples(np.stack([_ecg(100)] * 2), images, candidates, 100, n=n)


def _differences() -> pd.DataFrame:
    others = ["CMAE", "ResNet50", "ViT", "Triplet", "W/O SSL; W/O CL", "W/ SSL; W/O CL", "W/O SSL; W/ CL", "CMR_Sup"]
    rows = [(task, other) for task in TASK_COLOURS for other in others]
    frame = pd.DataFrame(rows, columns=["task", "other"])
    frame["difference"] = np.linspace(-0.1, 0.1, len(frame))
    frame["low"], frame["high"] = frame["difference"] - 0.05, frame["difference"] + 0.05
    return frame.assign(p_holm=np.where(frame["low"] > 0, 0.0004, 0.5))


def _reliability(n: int = N) -> Figure:
    bins = pd.DataFrame({"predicted": [0.1, 0.3, 0.6], "observed": [0.05, 0.1, 0.3], "n": N // 3})
    bins["low"], bins["high"] = bins["observed"] - 0.05, bins["observed"] + 0.1
    curves = {"before the prior shift": bins, "after the prior shift": bins}
    titles = [f"{task_title(code)}\nBrier score 0.200, after the shift 0.100" for code in DISEASES]
    return figures.reliability_curves(dict.fromkeys(titles, curves), n=n)


def _roc_panels(rows: int = 4) -> Figure:
    curve = (np.arange(N) > 30, np.arange(N), "AUC 1.00 (0.98 to 1.00)")
    curves = {f"W/O SSL; W/O CL {k}": curve for k in range(rows)}
    return figures.roc_panels(dict.fromkeys(DISEASES, curves), banded="W/O SSL; W/O CL 0")


def _all_traits() -> pd.DataFrame:
    r = np.linspace(-0.1, 0.6, len(TRAITS))
    columns = {key: [getattr(trait, key) for trait in TRAITS] for key in ("short_name", "group", "unit")}
    return pd.DataFrame({**columns, "r": r, "low": r - 0.1, "high": r + 0.1})


def _risk() -> Figure:
    scores, labels = _generator().random(N), _generator().random(N) < 0.3
    return figures.risk_panel({"I21": 0.4, "I50": 0.7}, {k: (scores, labels) for k in ("I21", "I50")})


DRAWINGS = {
    "ecg_paper": lambda: figures.ecg_paper(_ecg(), 500, "an ECG", ["lead I flat"]),
    "baseline": lambda: figures.baseline(_ecg() + 0.5, _ecg(), 500),
    "cine_frames": lambda: figures.cine_frames(_generator().random((8, 8, 10)), 5),
    "crop_overlay": lambda: figures.crop_overlay(
        _generator().random((20, 20)), np.pad(np.ones((6, 6), int), 7), (5, 5, 15, 15), np.ones((8, 8))
    ),
    "heart_overlays": lambda: figures.heart_overlays(_hearts()),
    "heart_overlays (box only)": lambda: figures.heart_overlays({"voting": _hearts()["voting"]}),
    "cine_ends": lambda: figures.cine_ends(_slice()),
    "cine_ends (box only)": lambda: figures.cine_ends(replace(_slice(), labels=None, note="no contours")),
    "cine_ends (stored clip)": lambda: figures.cine_ends(HeartSlice(_slice().frames, note="the file is gone")),
    "trait_positions": lambda: _positions(1),
    "trait_positions (group)": lambda: _positions(12),
    "trait_positions (narrow)": lambda: _positions(1, width=5.2),
    "place_in_space": lambda: figures.place_in_space(
        _flat(), _flat(), np.ones((2, 2)), np.arange(N) < 5, "heart failure"
    ),
    "place_in_space (paper, narrow)": lambda: figures.place_in_space(
        _flat(PAPER_N), _flat(PAPER_N), np.ones((2, 2)), np.arange(PAPER_N) < 0, "", width=5.2
    ),
    "augmentation_gallery": lambda: figures.augmentation_gallery(
        {"original": _ecg(100), "reversed in time": -_ecg(100)}, 100, {"original": np.eye(8), "15 degrees": np.eye(8)}
    ),
    "linked_maps (paper)": lambda: figures.linked_maps(
        _flat(2 * PAPER_N),
        _flat(2 * PAPER_N),
        np.where(np.arange(2 * PAPER_N) % 7, 100.0, np.nan),
        "LVM (g)",
        np.arange(2 * PAPER_N) % PAPER_N < 50,
        PAPER_N,
    ),
    "training_curves": _curves,
    "training_stages": _stages,
    "training_stages (autoencoders)": _autoencoders,
    "mae_reconstructions": _mae,
    "attention_maps": lambda: _attention(1),
    "attention_maps (one lead per token)": lambda: _attention(12),
    "retrieval_examples": _retrieval,
    "similarity_matrix": lambda: figures.similarity_matrix({"before": (np.eye(N), np.eye(N))}),
    "fig2a_latent": lambda: figures.fig2a_latent(_flat(), _flat(), _flat(), _flat()),
    "fig2b_patches_and_size": _fig2b,
    "fig2c_traits": lambda: figures.fig2c_traits(
        _traits(), {"LV_trait": (np.arange(N * 1.0), np.arange(N * 1.0))}, n=N
    ),
    "fig2c_traits (bars only)": lambda: figures.fig2c_traits(_traits(), n=N),
    "fig2d_umap": lambda: figures.fig2d_umap(_flat(), _flat(), np.arange(N) < 5, "I42"),
    "umap_diseases": lambda: figures.umap_diseases(
        {code: (_flat(), _flat(), np.arange(N) < 5) for code in DISEASES},
        {
            code: dict.fromkeys(("before", "after"), "5-NN purity 0.51 (0.48 to 0.55); 0.50 is mixed")
            for code in DISEASES
        },
    ),
    "traits_by_chamber": lambda: figures.traits_by_chamber(_all_traits(), n=N),
    "differences_forest": lambda: figures.differences_forest(_differences(), n=N, seeds=5),
    "reliability_curves": _reliability,
    "roc_panels": _roc_panels,
    "roc_panels (nine rows)": lambda: _roc_panels(9),
    "roc_curves": lambda: figures.roc_curves({"ECCL": (np.arange(N) > 30, np.arange(N), "AUC 1.00")}),
    "roc_curves (UK Biobank's number)": lambda: figures.roc_curves(
        {f"ECG, aligned ({k})": (np.arange(8308) < 183, np.arange(8308), "AUC 0.65 (0.62 to 0.68)") for k in "abc"},
        title="myocardial infarction (I21)",
        banded="ECG, aligned (a)",
    ),
    "retrieval_examples (paper)": lambda: _retrieval(PAPER_N),
    "reliability_curves (paper)": lambda: _reliability(PAPER_N),
    "fig2b_patches_and_size (paper)": lambda: _fig2b(PAPER_N),
    "differences_forest (paper)": lambda: figures.differences_forest(_differences(), n=PAPER_N, seeds=5),
    "traits_by_chamber (paper)": lambda: figures.traits_by_chamber(_all_traits(), n=PAPER_N),
    "fig2c_traits (paper)": lambda: figures.fig2c_traits(
        _traits(), {"LV_trait": (np.arange(N * 1.0), np.arange(N * 1.0))}, n=PAPER_N
    ),
    "fig2c_traits (with references)": lambda: figures.fig2c_traits(
        _traits(),
        {"LV_trait": (np.arange(N * 1.0), np.arange(N * 1.0))},
        n=PAPER_N,
        references={"CMR_Sup": _traits()["r"] + 0.3, "noise-free ECG, ridge": _traits()["r"] + 0.1},
    ),
    "similarity_matrix (paper)": lambda: figures.similarity_matrix(
        {when: _generator().standard_normal((2, PAPER_N, 3)) for when in ("before", "after")}
    ),
    "fig2a_latent (paper)": lambda: figures.fig2a_latent(*[_flat(PAPER_N)] * 4),
    "umap_diseases (paper)": lambda: figures.umap_diseases(
        {code: (_flat(PAPER_N), _flat(PAPER_N), np.arange(PAPER_N) < 324) for code in DISEASES}
    ),
    "roc_panels (paper)": lambda: figures.roc_panels(
        {
            code: {"ECCL": (np.arange(PAPER_N) < 33 + k, np.arange(PAPER_N), "AUC 0.81 (0.75 to 0.86)")}
            for k, code in enumerate(DISEASES)
        },
        banded="ECCL",
    ),
    "trait_panel": lambda: figures.trait_panel(
        _traits().assign(name=lambda frame: frame["short_name"], value=1.0),
        _generator().standard_normal((N, len(CHAMBER_NAMES))),
    ),
    "risk_panel": _risk,
    "attribution_maps": lambda: figures.attribution_maps(
        _ecg(100), {name: _generator().standard_normal((12, 50)) for name in ("trained", "random")}, 100, output="logit"
    ),
    "similar_hearts": lambda: figures.similar_hearts(
        _generator().random((3, 8, 8, 10)), ["rank 1", "rank 2", "own heart"], 0.35, N
    ),
    "learning_curves": lambda: _learning_curves(["traits"], 5, 6),
    "learning_curves (two tasks)": lambda: _learning_curves(["traits", "I42"], 4, 4),
    "alignment_gains": lambda: _gains(),
    "probe_curves": lambda: _probe_curves(),
    "probe_curves (one setting)": lambda: _probe_curves(slice(1, None, 4)),
    "option_differences": lambda: _options(),
}


def _learning_curves(tasks: list[str], series: int, pairs: int) -> Figure:
    names = ["W/O SSL; W/O CL", "W/ SSL; W/O CL", "W/O SSL; W/ CL", "ECCL", "W/O SSL; W/O CL, tokens of all leads"][
        :series
    ]
    places = [
        (task, x) for task in tasks for x in ((100, 300, 1000, 2000, 4000) if len(tasks) == 1 else (80, 800, 8000))
    ]
    scores = [(name, x, task, 0.3 + k / 50, 0.25, 0.4) for k, name in enumerate(names) for task, x in places]
    means = pd.DataFrame(scores, columns=["series", "x", "task", "mean", "low", "high"])
    compared = [(one, two) for one in names[::-1] for two in names if one != two][:pairs]
    rows = [(*pair, x, task, 0.01, -0.01, 0.03) for pair in compared for task, x in places]
    columns = ["series", "other", "x", "task", "difference", "low", "high"]
    return figures.learning_curves(means, pd.DataFrame(rows, columns=columns), x="updates", n=PAPER_N, seeds=3)


def _gains() -> Figure:
    places = {
        "updates": ((100, 300, 1000, 2000, 4000), ("traits",)),
        "training participants of the last stage": ((80, 800, 8000), ("traits", "I42")),
        "updates of the CMR encoder": ((100, 500, 2000), ("traits", "I42")),
        "participants in a batch": ((8, 32, 128), ("traits",)),
        "reliability of the training traits, percent": ((20, 50, 100), ("traits",)),
        "leads that the ECG encoder sees": ((1, 2, 12), ("traits",)),
    }
    columns = ["series", "other", "x", "task", "difference", "low", "high"]
    frames = {
        label: pd.DataFrame(
            [("ECCL", "W/ SSL; W/O CL", x, task, 0.01, -0.01, 0.03) for task in tasks for x in xs], columns=columns
        )
        for label, (xs, tasks) in places.items()
    }
    return figures.alignment_gains(frames, one="ECCL", other="W/ SSL; W/O CL", n=PAPER_N, seeds=[3, 3, 1, 2, 1, 1])


def _probe_curves(kept: slice = slice(None)) -> Figure:
    names = ["random", "MAE, real", "MAE, synthetic", "MAE, synthetic then real", "ECCL, synthetic", "measurements"]
    settings = [("fine-tuned", 1.0, 100), ("fine-tuned", 1.0, 300), ("fine-tuned", 1.0, 900)]
    settings += [("fine-tuned", 0.25, 300), ("fine-tuned", 0.05, 300), ("linear probe", 1.0, 0)]
    settings = settings[kept]
    rows = [
        (name, *setting, 0.7 + k / 50, 0.68, 0.85)
        for k, name in enumerate(names)
        for setting in (settings if name != "measurements" else settings[-1:])
    ]
    columns = ["encoder", "evaluation", "share", "updates", "score", "low", "high"]
    return figures.probe_curves(
        pd.DataFrame(rows, columns=columns), outcome="macro AUC", n=1987, patients=1850, folds=10
    )


def _options() -> Figure:
    names = [*OPTIONS][1:]
    rows = [(name, "ECCL", task, 0.01, -0.01, 0.02) for name in names for task in ("traits", "diseases")]
    columns = ["series", "other", "task", "difference", "low", "high"]
    return figures.option_differences(pd.DataFrame(rows, columns=columns), split="validation", n=PAPER_N, seeds=2)


class Drawn(NamedTuple):
    """A figure and all its texts: content, size in points, box in pixels."""

    figure: Figure
    words: list[tuple[str, float, mpl.transforms.Bbox]]


@pytest.fixture(params=DRAWINGS, scope="module")
def drawing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    words, draw = {}, mpl.text.Text.draw  # by artist: a layout pass draws before the last one does

    def record(text: mpl.text.Text, renderer, *args, **kwargs):
        if text.get_visible() and text.get_text().strip():
            words[text] = (text.get_text(), text.get_fontsize(), text.get_window_extent(renderer))
        return draw(text, renderer, *args, **kwargs)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")  # layout warnings come with the drawing
        figure = DRAWINGS[request.param]()
        stamp_synthetic(figure)
        figure.set_dpi(100)
        patch.setattr(mpl.text.Text, "draw", record)
        figure.savefig(tmp_path_factory.mktemp("figures") / "figure.png", dpi=100)
    return Drawn(figure, list(words.values()))


@pytest.fixture(scope="module")
def drawn(drawing: Drawn) -> Figure:
    return drawing.figure


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def test_every_public_figure_is_drawn_here():
    assert {name.partition(" ")[0] for name in DRAWINGS} == {
        name for name in vars(figures) if inspect.isfunction(getattr(figures, name))
    }


def test_the_stamp_is_written_once_and_only_on_request(drawn: Figure):
    stamp_synthetic(drawn)
    assert _texts(drawn).count(STAMP) == 1
    assert STAMP not in _texts(figures.ecg_paper(_ecg(), 500))


def test_figure_states_its_sample_size(drawn: Figure):
    note = drawn.texts[-2].get_text()
    assert any(word in note for word in ("n = ", " of ", "one ", "10 s")), note


def test_no_text_is_cut_off_at_the_edge(drawing: Drawn):
    width, height = drawing.figure.get_size_inches() * 100
    for text, _, box in drawing.words:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text!r} at {box} is outside the figure of {width:.0f} x {height:.0f}"


def test_texts_do_not_overlap(drawing: Drawn):
    for k, (text, _, box) in enumerate(drawing.words):
        for other, _, there in drawing.words[:k]:
            across = min(box.x1, there.x1) - max(box.x0, there.x0)
            down = min(box.y1, there.y1) - max(box.y0, there.y0)
            assert across < 1.5 or down < 1.5, f"{text!r} overlaps {other!r}"


def test_type_is_seven_points_or_more_at_column_width(drawing: Drawn):
    width = drawing.figure.get_figwidth()
    shrunk = min(1.0, (3.5 if width < 5 else 7.0) / width)  # one column or two
    for text, size, _ in drawing.words:
        assert size * shrunk >= 7, text


def _column_label(figure: Figure, ax) -> bool:
    """Whether these axes, or axes in the same column, have an x label."""
    left = ax.get_window_extent().x0
    return any(other.get_xlabel() for other in figure.axes if abs(other.get_window_extent().x0 - left) < 25)


def test_axes_with_numbers_have_labels(drawn: Figure):
    shared = {t.get_text() for t in (drawn._supylabel,) if t}
    for ax in (ax for ax in drawn.axes if ax.axison):
        if len(ax.get_xticks()) and ax.xaxis.get_tick_params().get("labelbottom", True):
            assert _column_label(drawn, ax) or ax.get_ylabel() == "cosine similarity", ax
        if len(ax.get_yticks()):
            named = [label.get_text() for label in ax.get_yticklabels()]
            words = any(text and not text.lstrip("-\N{MINUS SIGN}").replace(".", "").isdigit() for text in named)
            beside = [ax, *(other for other in drawn.axes if ax.get_shared_y_axes().joined(ax, other))]
            assert shared or words or drawn.axes[0] in beside or any(other.get_ylabel() for other in beside)


def test_ecg_paper_draws_one_millivolt_ten_millimetres_high():
    figure = figures.ecg_paper(_ecg(), 500)
    pulse = figure.axes[0].lines[0]
    assert np.ptp(pulse.get_ydata()) == 10
    rhythm = figure.axes[0].lines[-1]  # lead II, 0.2 mV high, 10 s
    assert np.ptp(rhythm.get_ydata()) == pytest.approx(2.0, abs=0.01)
    assert np.ptp(rhythm.get_xdata()) == pytest.approx(250, abs=0.1)


def test_ecg_paper_is_true_to_size_on_paper():
    figure = figures.ecg_paper(_ecg(), 500)
    ax = figure.axes[0]
    millimetres = (ax.transData.transform((100, 0)) - ax.transData.transform((0, 0)))[0] / figure.dpi * 25.4
    assert millimetres == pytest.approx(100, rel=0.001)


def test_ecg_paper_names_an_absent_lead():
    signal = _ecg()
    signal[LEADS.index("V2")] = np.nan
    assert "V2 absent" in _texts(figures.ecg_paper(signal, 500))


def test_drawing_leaves_matplotlib_settings_alone():
    before = dict(mpl.rcParams)
    _curves()
    assert dict(mpl.rcParams) == before


def test_every_chamber_has_its_own_colour():
    assert set(CHAMBER_COLOURS) == set(CHAMBER_NAMES)
    assert len(set(CHAMBER_COLOURS.values())) == len(CHAMBER_COLOURS)


def test_line_colours_are_distinct_in_greyscale():
    grey = [np.dot(mpl.colors.to_rgb(colour), (0.299, 0.587, 0.114)) for colour in CYCLE[:3]]
    assert np.diff(sorted(grey)).min() > 0.04


def test_heart_overlays_show_end_diastole_and_end_systole_with_the_crop_boxes():
    figure = figures.heart_overlays(_hearts())
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles[::3] == ["given mask, frame 0", "frame 2 (smallest cavity)"]
    rectangles = [patch.get_bbox().extents.tolist() for ax in figure.axes[:3] for patch in ax.patches]
    assert rectangles == [[5.5, 7.5, 17.5, 19.5], [6.5, 7.5, 18.5, 19.5], [2.5, 1.5, 27.5, 24.5]]


def test_the_trait_panel_shows_intervals_and_the_measured_value_where_they_are_known():
    traits = pd.DataFrame({"name": ["LVEF", "LVM"], "unit": "%", "group": "LV", "value": [60.0, 80.0]})
    cohort = _generator().normal([60, 80], 10, (N, 2))
    plain = figures.trait_panel(traits, cohort)
    known = traits.assign(low=[40.0, 60.0], high=[80.0, 100.0], measured=[55.0, np.nan])
    full = figures.trait_panel(known, cohort)
    assert len(full.axes[0].collections) == len(plain.axes[0].collections) + 2
    labels = [text.get_text() for text in full.legends[0].get_texts()]
    assert {"95 % prediction interval", "measured in this participant"} <= set(labels)
    unknown = figures.trait_panel(known.assign(measured=np.nan), cohort)
    assert "measured in this participant" not in [text.get_text() for text in unknown.legends[0].get_texts()]


def test_beating_hearts_are_one_frame_a_phase_and_run_for_ever():
    clips = (255 * _generator().random((2, 8, 8, 10))).astype(np.uint8)
    film = Image.open(io.BytesIO(beating_hearts(clips, height=16, gap=4)))
    assert (film.size, film.n_frames, film.info["loop"]) == ((2 * (16 + 4), 16), 10, 0)
    film.seek(3)
    low, high = np.percentile(clips[1], (0.5, 99.5))
    expected = 8 * np.round(31 * np.clip((clips[1, ..., 3] - low) / (high - low), 0, 1))
    shown = np.asarray(film.convert("L"))[::2, 20:36:2]
    assert np.abs(shown - expected).max() <= 1
