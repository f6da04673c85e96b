"""The lines, bars, images and labels of each figure show exactly the given numbers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from eccl_lib import figures
from eccl_lib.config.schema import DISEASES, LEADS
from eccl_lib.data.traits import TRAITS
from eccl_lib.figures.colours import BLUE, CHAMBER_NAMES, TASK_COLOURS

N = 40


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def offsets(ax, label: str) -> np.ndarray:
    """Points of the scatter plot with this label."""
    return np.asarray(next(c for c in ax.collections if c.get_label() == label).get_offsets())


def note(figure: Figure) -> str:
    return figure.texts[-1].get_text()


def numbered(figure: Figure) -> list:
    """Axes that show data."""
    return [ax for ax in figure.axes if ax.axison]


# The shared space.


def test_fig2a_connects_the_ecg_and_cmr_of_each_participant(generator):
    before_ecg, before_cmr, after_ecg, after_cmr = generator.standard_normal((4, N, 2))
    figure = figures.fig2a_latent(before_ecg, before_cmr, after_ecg, after_cmr, {"after": "silhouette 0.1"})
    for ax, ecg, cmr in zip(figure.axes, (before_ecg, after_ecg), (before_cmr, after_cmr), strict=True):
        np.testing.assert_array_equal(offsets(ax, "ECG"), ecg)
        np.testing.assert_array_equal(offsets(ax, "CMR"), cmr)
        assert [line.get_xydata().tolist() for line in ax.lines] == np.stack([ecg, cmr], axis=1).tolist()
    assert figure.axes[1].get_title(loc="left") == "after alignment\nsilhouette 0.1"
    assert f"n = {N} " in note(figure)


@pytest.mark.parametrize("n", [N, 3_000])
def test_many_points_are_one_image_in_an_svg(generator, n):
    figure = figures.fig2a_latent(*generator.standard_normal((4, n, 2)))
    assert {points.get_rasterized() for points in figure.axes[0].collections} == {n > 2_500}


def test_umaps_of_all_diseases_have_one_row_each_with_their_scores(generator):
    points = {code: generator.standard_normal((2, N, 2)) for code in DISEASES}
    cases = {code: np.arange(N) < 4 + k for k, code in enumerate(DISEASES)}
    scores = {code: {"before": f"purity {code} b", "after": f"purity {code} a"} for code in DISEASES}
    figure = figures.umap_diseases({code: (*points[code], cases[code]) for code in DISEASES}, scores)
    for k, code in enumerate(DISEASES):
        for side, ax in enumerate(figure.axes[2 * k : 2 * k + 2]):
            np.testing.assert_array_equal(offsets(ax, "with the diagnosis"), points[code][side][cases[code]])
            np.testing.assert_array_equal(offsets(ax, "without the diagnosis"), points[code][side][~cases[code]])
            assert ax.get_title(loc="left").splitlines()[-1] == scores[code][("before", "after")[side]]
    titles = [page.get_suptitle() for page in figure.subfigs]
    assert [f"({code}), {4 + k} cases" in title for k, (code, title) in enumerate(zip(DISEASES, titles, strict=True))]


def test_similarity_is_that_of_groups_without_the_means_of_row_and_column(generator):
    z = generator.standard_normal((N, 5))
    cells = figures.similarity_matrix({"after": (z, 3 * z)}).axes[0].images[0].get_array()
    np.testing.assert_allclose(cells.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(cells.mean(axis=1), 0, atol=1e-6)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    means = (unit @ unit.T).mean(axis=1)
    np.testing.assert_allclose(np.sort(np.diag(cells)), np.sort(1 - 2 * means + means.mean()), rtol=1e-5)


def test_similarity_is_ordered_along_the_main_direction_of_the_cmr_embeddings(generator):
    angle = generator.permutation(np.linspace(0.0, 3.0, 10 * N))
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # similar where the angles are
    z_ecg = generator.permutation(z)  # of other participants
    other, own = (
        axes.images[0].get_array() for axes in figures.similarity_matrix({"b": (z_ecg, z), "a": (z, z)}).axes[:2]
    )
    assert own.shape == (40, 40)
    assert min(own[0, 0], own[-1, -1]) > 0.5 and max(own[0, -1], own[-1, 0]) < -0.5
    assert np.abs(other).max() < own[0, 0]


# Scores.


def test_roc_curve_moves_once_where_scores_are_equal():
    labels = np.array([True, False, True, False])
    figure = figures.roc_curves({"constant": (labels, np.zeros(4), "AUC 0.50")})
    line = figure.axes[0].lines[1]
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0], [1, 1]])


def test_roc_panels_draw_scikit_learns_curve_of_each_row(generator):
    labels = generator.random(N) < 0.4
    scores = {name: labels + generator.standard_normal(N) for name in ("ECCL", "CMAE")}
    three = DISEASES[:3]
    panels = {code: {name: (labels, s, f"AUC of {name}") for name, s in scores.items()} for code in three}
    figure = figures.roc_panels(panels, banded="ECCL")
    panes = numbered(figure)
    assert len(panes) == len(three)
    for ax in panes:
        for line, (name, score) in zip(ax.lines[1:], scores.items(), strict=True):  # the first line is chance
            np.testing.assert_allclose(
                line.get_xydata(), np.transpose(roc_curve(labels, score, drop_intermediate=False)[:2])
            )
            assert line.get_label() == f"{name}: AUC of {name}"
        assert len(ax.collections) == 1  # one band, for the requested row
        np.testing.assert_allclose(ax.collections[0].get_facecolor()[0][:3], mpl.colors.to_rgb(ax.lines[1].get_color()))
    assert f"n = {N} test participants, {labels.sum()} cases" in note(figure)


def test_reliability_draws_each_bin_with_its_interval():
    bins = pd.DataFrame({"predicted": [0.5, 0.1], "observed": [0.3, 0.05], "low": [0.2, 0.0], "high": [0.45, 0.2]})
    figure = figures.reliability_curves({"I21": {"raw": bins}}, n=N)
    ax = figure.axes[0]
    curve, _, (bars,) = ax.containers[0]
    np.testing.assert_array_equal(curve.get_xydata(), [[0.1, 0.05], [0.5, 0.3]])
    np.testing.assert_allclose(bars.get_segments(), [[[0.1, 0.0], [0.1, 0.2]], [[0.5, 0.2], [0.5, 0.45]]])
    assert ax.get_xlim()[1] > 0.5
    assert ax.get_ylim()[1] > 0.45


def test_reliability_without_a_shown_bin_says_so():
    figure = figures.reliability_curves({}, n=N)
    assert [text.get_text() for text in figure.texts] == ["all bins are withheld: they have few cases or controls"]


def test_reliability_has_one_scale_in_all_panels():
    bins = pd.DataFrame({"predicted": [0.1], "observed": [0.05], "low": [0.0], "high": [0.2]})
    figure = figures.reliability_curves({"I21": {"raw": bins}, "I42": {"raw": bins * 3}}, n=N)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[1] > 0.6


def test_forest_fills_what_stands_after_holm_and_nothing_else():
    rows = [("I21", "CMAE", 0.05, 0.01, 0.09, 0.0002), ("I21", "ViT", 0.03, -0.02, 0.08, 0.31)]
    rows += [("traits", "CMAE", -0.01, -0.03, 0.01, 0.05), ("traits", "ViT", 0.02, 0.01, 0.03, 0.049)]
    frame = pd.DataFrame(rows, columns=["task", "other", "difference", "low", "high", "p_holm"])
    figure = figures.differences_forest(frame, n=N, seeds=5)
    drawn = []
    for ax, task in zip(figure.axes, ("I21", "traits"), strict=True):
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        lines = ax.lines[1:]  # the first is zero
        for interval, mark, text in zip(lines[::2], lines[1::2], ax.texts, strict=True):
            assert mark.get_ydata()[0] == interval.get_ydata()[0]
            low, high = interval.get_xdata()
            filled = mark.get_markerfacecolor() == BLUE
            drawn.append((task, names[mark.get_ydata()[0]], mark.get_xdata()[0], low, high, filled, text.get_text()))
    stands = [row[5] < 0.05 for row in rows]
    texts = ["<0.001", "0.31", "0.050", "0.049"]
    assert drawn == [(*row[:5], stand, text) for row, stand, text in zip(rows, stands, texts, strict=True)]
    assert note(figure) == f"n = {N} test participants, 5 seeds; 95 % intervals; numbers: p, Holm-corrected for 4 tests"


# Traits.


def trait_frame(generator) -> pd.DataFrame:
    columns = {key: [getattr(trait, key) for trait in TRAITS] for key in ("short_name", "group", "unit")}
    r = generator.uniform(-0.1, 0.6, len(TRAITS))
    return pd.DataFrame({**columns, "r": r, "low": r - 0.1, "high": r + 0.15})


def test_every_trait_is_drawn_once_with_its_interval_under_its_chamber(generator):
    frame = trait_frame(generator)
    figure = figures.traits_by_chamber(frame, n=N)
    drawn, chamber = {}, None
    for ax in figure.axes:
        points = [c for c in ax.collections if isinstance(c, mpl.collections.PathCollection)]
        dots = {y: x for c in points for x, y in c.get_offsets().tolist()}
        segments = [s for c in ax.collections if c not in points for s in c.get_segments()]
        lines = {s[0, 1]: tuple(s[:, 0]) for s in segments}
        for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True):
            if label.get_text() in CHAMBER_NAMES.values():
                chamber = label.get_text()
            else:
                drawn[label.get_text()] = (chamber, dots[y], *lines[y])
    wanted = {
        row.short_name.replace("_", " "): (CHAMBER_NAMES[row.group], row.r, row.low, row.high)
        for row in frame.itertuples()
    }
    assert drawn == wanted
    assert f"mean r over 82 traits: {frame['r'].mean():.3f}" in note(figure)


def test_bars_of_fig2c_are_the_traits_r(generator):
    frame = trait_frame(generator).head(24)
    measured = generator.standard_normal((2, N))
    measured[0, :3] = np.nan
    figure = figures.fig2c_traits(frame, {"LVM": (measured[0], measured[1])}, n=N)
    bars, agreement = figure.axes
    names = [label.get_text().replace(" ", "_") for label in bars.get_yticklabels()]
    widths = dict(zip(names, (patch.get_width() for patch in bars.patches), strict=True))
    assert widths == dict(zip(frame["short_name"], frame["r"], strict=True))
    np.testing.assert_array_equal(agreement.collections[0].get_offsets(), measured[:, 3:].T)
    assert agreement.get_title(loc="left").endswith(f"n = {N - 3}")


def fig2b_points():
    columns = ["panel", "tokens", "parameters", "width", "depth", "seconds", "seed", "r", "mean", "low", "high"]
    rows = [("patches", 600, 85.1e6, 768, 12, 26_000, seed, 0.4 + seed / 100, 0.41, 0.3, 0.5) for seed in (0, 1, 2)]
    rows += [("patches", 120, 85.3e6, 768, 12, 900, seed, 0.3, 0.3, 0.2, 0.4) for seed in (0, 1, 2)]
    rows += [("width", 600, 0.115e6, 32, 12, 7000, 0, 0.38, 0.38, 0.3, 0.5)]
    rows += [("width", 600, 0.45e6, 64, 12, 7000, 0, 0.38, 0.38, 0.3, 0.5)]
    rows += [("depth", 600, 5.4e6, 768, 6, 42.4, 0, 0.35, 0.35, 0.3, 0.4)]
    return pd.DataFrame(rows, columns=columns)


def test_fig2b_labels_each_point_and_joins_no_points():
    figure = figures.fig2b_patches_and_size(fig2b_points(), n=N)
    labels = [[label.get_text().split("\n") for label in ax.get_xticklabels()] for ax in figure.axes]
    assert labels[0] == [["120", "85 M", "15.0 min"], ["600", "85 M", "7.2 h"]]
    assert labels[1:] == [[["32", "0.12 M", "1.9 h"], ["64", "0.45 M", "1.9 h"]]]  # one depth: no panel
    patches = figure.axes[0]
    assert [bar.lines[0].get_ydata().tolist() for bar in patches.containers] == [[0.3], [0.41]]
    assert patches.collections[0].get_offsets()[:, 1].tolist() == [0.3, 0.3, 0.3]
    single = [dots.get_offsets()[:, 1].tolist() for dots in patches.collections if len(dots.get_offsets()) == 3]
    assert any(np.allclose(sorted(dots), [0.4, 0.41, 0.42]) for dots in single)


# Trainings.


def test_every_stage_shows_its_runs_and_marks_the_best_epoch():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "score": [0.1, 0.3, 0.2]})
    unscored = history.assign(score=np.nan)
    stage = figures.StageCurves("ECCL", "loss", "AUC", {"I48": [history, history + 1], "I50": [unscored]})
    figure = figures.training_stages([[stage]])
    loss, score = figure.axes
    assert loss.get_title(loc="left") == "ECCL"
    curves = [line for line in score.lines if len(line.get_xdata()) == 3]
    np.testing.assert_array_equal([line.get_ydata() for line in curves[:2]], [[0.1, 0.3, 0.2], [1.1, 1.3, 1.2]])
    assert [line.get_color() for line in curves] == [TASK_COLOURS[task] for task in ("I48", "I48", "I50")]
    kept = [tuple(line.get_xydata()[0]) for line in loss.lines if len(line.get_xdata()) == 1]
    assert kept == [(2, 2.0), (3, 3.0), (3, 1.0)]  # the best score; without any, the last epoch
    assert note(figure).startswith("n = 3 trainings")


def test_stages_side_by_side_share_one_scale():
    low = pd.DataFrame({"epoch": [1, 2], "loss": [3.0, 2.0], "score": [0.1, 0.2]})
    stages = [figures.StageCurves(name, "loss", "AUC", {"I48": [h]}) for name, h in (("a", low), ("b", low + 5))]
    losses, scores = np.reshape(figures.training_stages([stages]).axes, (2, 2))
    assert losses[0].get_ylim() == losses[1].get_ylim()
    assert scores[0].get_ylim() == scores[1].get_ylim()


def test_an_autoencoder_shows_both_errors_in_one_panel():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "score": [-4.0, -2.0, -3.0]})
    figure = figures.training_stages([[figures.StageCurves("CMAE", "error", "", {"": [history]})]])
    (panel,) = figure.axes
    drawn = {line.get_linestyle(): line.get_ydata().tolist() for line in panel.lines if len(line.get_xdata()) == 3}
    assert drawn == {"-": [3.0, 2.0, 1.0], "--": [4.0, 2.0, 3.0]}
    assert [line.get_xydata().tolist() for line in panel.lines if len(line.get_xdata()) == 1] == [[[2.0, 2.0]]]


# Single ECGs.


def test_reconstruction_is_drawn_on_masked_samples_and_visible_samples_are_grey(generator):
    x, guess = generator.uniform(-1, 1, (2, 12, 400))
    mask = np.ones((12, 400))
    mask[:, 100:150] = mask[:, 300:400] = 0
    figure = figures.mae_reconstructions([(x, guess, mask)], 100, leads=("II", "V5"))
    for ax, lead in zip(figure.axes, ("II", "V5"), strict=True):
        row = LEADS.index(lead)
        recorded, drawn = (line.get_ydata() for line in ax.lines)
        np.testing.assert_array_equal(recorded, x[row])
        np.testing.assert_array_equal(drawn, np.where(mask[row] > 0, guess[row], np.nan))
        assert [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches] == [(1.0, 1.5), (3.0, 4.0)]
    hidden = mask > 0
    flat = (x.mean(axis=1, keepdims=True) - x)[hidden]
    wanted = f"masked MSE {np.mean((guess - x)[hidden] ** 2):.3f}\n(lead's mean: {np.mean(flat**2):.3f})"
    assert figure.axes[0].get_title(loc="left") == wanted
    assert "62% of the patches masked" in note(figure)


@pytest.mark.parametrize("rows", [1, 12])
def test_attention_is_coloured_over_the_time_and_leads_of_its_tokens(generator, rows):
    ecg, share = generator.uniform(-1, 1, (12, 200)), generator.dirichlet(np.ones(rows * 4)).reshape(rows, 4)
    fallen = generator.standard_normal((12, 4))
    figure = figures.attention_maps(ecg, {"last": share, "rollout": share}, fallen, 100, output="decrease of a logit")
    for ax, values in zip(figure.axes, (share, share, fallen), strict=False):
        mesh = ax.collections[0]
        np.testing.assert_array_equal(mesh.get_array(), values)
        corners = mesh.get_coordinates()  # (rows + 1, columns + 1, 2)
        np.testing.assert_allclose(corners[0, :, 0], [0, 0.5, 1.0, 1.5, 2.0])
        traces = 12 if len(values) == 12 else 3
        assert len(ax.lines) == len(ax.get_yticks()) == traces
        assert corners[-1, 0, 1] == traces
    assert f"maximum {share.max():.2g}, uniform {1 / share.size:.2g}" in figure.axes[0].get_title(loc="left")
    assert figure.axes[2].get_title(loc="left").startswith("occlusion: effect of")
    names = [ax.get_ylabel() for ax in figure.axes[3:]]
    assert names == ["attention", "attention", "decrease of a logit"]


def test_upward_deflections_of_an_ecg_are_drawn_upward(generator):
    ecg = np.zeros((12, 100))
    ecg[:, 50] = 1
    figure = figures.attention_maps(ecg, {"last": np.full((1, 4), 0.25)}, np.zeros((12, 4)), 100)
    ax = figure.axes[0]
    top = [ax.transData.transform(line.get_xydata())[:, 1].argmax() for line in ax.lines]
    assert set(top) == {50}


def test_colours_of_occlusion_are_symmetric_about_zero():
    fallen = np.zeros((12, 4))
    fallen[0, 0], fallen[5, 2] = -0.2, 1.0
    figure = figures.attention_maps(np.zeros((12, 100)), {"last": np.full((1, 4), 0.25)}, fallen, 100)
    norm = figure.axes[1].collections[0].norm
    assert (norm.vmin, norm.vmax) == (-1, 1)
    assert [float(norm(v)) for v in (-1, 0, 0.25)] == pytest.approx([0, 0.5, 0.75])  # the root of a quarter is a half


def test_retrieval_frames_the_matching_cmr_at_every_position(generator):
    rows = [
        (0, 2, 0.3, True),
        (0, 1, 0.4, False),
        (0, 2, 0.3, True),
        (1, 9, -0.1, True),
        (1, 1, 0.2, False),
        (1, 2, 0.1, False),
    ]
    candidates = pd.DataFrame(rows, columns=["query", "rank", "similarity", "matching"])
    images = {"end diastole": generator.random((6, 5, 5)), "end systole": generator.random((6, 5, 5))}
    figure = figures.retrieval_examples(generator.random((2, 12, 300)), images, candidates, 100, n=N)
    panes = [ax for ax in figure.axes if ax.images]
    drawn = [(moment, k) for query in ((0, 1, 2), (3, 4, 5)) for moment in images for k in query]
    for ax, (moment, k) in zip(panes, drawn, strict=True):
        row = rows[k]
        np.testing.assert_array_equal(ax.images[0].get_array(), images[moment][k])
        thick = {spine.get_linewidth() > 1 for spine in ax.spines.values()}
        blue = {mpl.colors.to_hex(spine.get_edgecolor()).upper() == BLUE for spine in ax.spines.values()}
        assert thick == blue == {row[3]}
    titles = [ax.get_title(loc="left") for ax in panes]
    assert titles[:4] == ["rank 2\ncosine +0.30", "rank 1\ncosine +0.40", "rank 2\ncosine +0.30", ""]
    assert titles[6] == "rank 9\ncosine \N{MINUS SIGN}0.10"
    assert [ax.get_ylabel() for ax in panes if ax.get_ylabel()] == 2 * list(images)
    assert f"n = {N} CMRs searched" in note(figure)
