"""The notebooks in a browser: Run All finishes, the views react, and both themes are legible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from eccl_lib.notebooks.clean import WIDGET
from tests.browser.conftest import HANG, Opened, run_all, start_lab
from tests.browser.contrast import LEAST, contrast

VIEWS = ("00_explore", "00_augmentations", "00_one_heart")
IMAGES = "img.widget-image"
MENUS = ".widget-dropdown select"
FACTS = ".widget-html-content >> nth=1"  # sex, age and diagnoses; the first is the number of participants
ECG, TRAITS, PLACE, GALLERY, HEART_ECG = range(5)  # order of the images in the page


def _errors(executed: nbformat.NotebookNode) -> list[str]:
    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    return [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]


def _finished(executed: nbformat.NotebookNode) -> bool:
    return all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["04_align", "07_latent_space"])
def test_run_all_finishes_without_an_error(chromium: Any, tmp_path, name: str):
    lab, process = start_lab(tmp_path, "light")
    try:
        opened = run_all(chromium, lab, name)
        assert not _errors(opened.executed)
        assert _finished(opened.executed)
        if name == "07_latent_space":
            _check_linked_maps(opened.page)
        opened.page.close()
    finally:
        process.terminate()
        process.wait(HANG)


def _check_linked_maps(page: Any) -> None:
    """The point under the mouse changes the ECG below, another colour both maps, and a lasso the group."""
    maps = page.locator(".jp-OutputArea-output canvas").filter(visible=True)
    maps.first.scroll_into_view_if_needed()
    ecg = page.locator(IMAGES).first
    box, before = maps.first.bounding_box(), ecg.get_attribute("src")
    for step in range(40):  # until the mouse meets a point
        page.mouse.move(box["x"] + box["width"] * (0.3 + step / 100), box["y"] + box["height"] * (0.35 + step / 130))
        page.wait_for_timeout(150)
        if ecg.get_attribute("src") != before:
            break
    assert ecg.get_attribute("src") != before
    old = maps.nth(1).screenshot()
    page.locator(MENUS).first.select_option(label="LV ejection fraction (%)")
    _until(page, lambda: maps.nth(1).screenshot() != old)
    group = page.get_by_text("lassoed group:").last
    first = group.text_content()
    corners = ((0.2, 0.1), (0.8, 0.1), (0.8, 0.9), (0.2, 0.9), (0.2, 0.12))
    page.mouse.move(box["x"] + box["width"] * corners[0][0], box["y"] + box["height"] * corners[0][1])
    page.mouse.down()
    for across, down in corners[1:]:
        page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down, steps=8)
        page.wait_for_timeout(100)
    page.mouse.up()
    _until(page, lambda: group.text_content() != first)


def _until(page: Any, condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    pytest.fail("nothing changed in the page")


def _change(page: Any, image: int, act: Callable[[], None]) -> None:
    """Act, and wait until the picture has changed."""
    picture = page.locator(IMAGES).nth(image)
    before = picture.get_attribute("src")
    act()
    _until(page, lambda: picture.get_attribute("src") != before)


def test_explore_runs_without_an_error_and_stores_a_picture_of_each_view(explored: Opened):
    assert not _errors(explored.executed)
    assert _finished(explored.executed)
    outputs = [output for cell in explored.executed.cells if cell.cell_type == "code" for output in cell.outputs]
    bundles = [output.data for output in outputs if WIDGET in output.get("data", {})]
    assert len(bundles) == len(VIEWS)
    assert all("image/png" in data for data in bundles)
    assert "widgets" not in explored.executed.metadata  # no state of widgets is stored


def test_the_next_participant_changes_every_panel(explored: Opened):
    page = explored.page
    before = [page.locator(IMAGES).nth(k).get_attribute("src") for k in (TRAITS, PLACE)]
    _change(page, ECG, page.locator("button:has(i.fa-arrow-right)").first.click)
    for k, old in zip((TRAITS, PLACE), before, strict=True):
        _until(page, lambda k=k, old=old: page.locator(IMAGES).nth(k).get_attribute("src") != old)


def test_a_filter_and_the_recorded_ecg_change_the_picture(explored: Opened):
    page = explored.page
    _change(page, ECG, lambda: page.locator(MENUS).nth(0).select_option(label="heart failure (I50)"))
    _change(page, ECG, page.get_by_role("button", name="as recorded").click)


def test_a_filter_that_nobody_passes_says_so(explored: Opened):
    page = explored.page
    quality = page.locator(MENUS).nth(2)
    quality.select_option(label="with warnings")
    page.get_by_text("no participant passes these filters").wait_for()
    quality.select_option(label="all")
    page.get_by_text("no participant passes these filters").wait_for(state="detached")


def test_the_cine_plays_and_stops(explored: Opened):
    canvas, button = (explored.page.locator(f".eccl-player {name}").first for name in ("canvas", "button"))
    canvas.scroll_into_view_if_needed()
    one = canvas.screenshot()
    _until(explored.page, lambda: canvas.screenshot() != one)
    button.click()
    assert button.text_content() == "play"
    still = canvas.screenshot()
    explored.page.wait_for_timeout(500)
    assert canvas.screenshot() == still
    explored.page.locator(".eccl-player input").first.click()  # without contours
    assert canvas.screenshot() != still
    button.click()


def test_a_slider_changes_both_modalities_of_one_heart(explored: Opened):
    page, canvas = explored.page, explored.page.locator(".eccl-player canvas").nth(2)
    canvas.scroll_into_view_if_needed()
    page.locator(".eccl-player button").nth(2).click()  # a still frame
    before = canvas.screenshot()
    readout = page.locator(".widget-slider", has_text="wall thickness").locator(".widget-readout")

    def thicken() -> None:
        readout.click()
        page.keyboard.press("Control+a")
        page.keyboard.type("13")
        page.keyboard.press("Enter")

    _change(page, HEART_ECG, thicken)
    _until(page, lambda: canvas.screenshot() != before)


@pytest.mark.parametrize(
    "element",
    [
        ".widget-label >> nth=0",
        FACTS,
        f"{MENUS} >> nth=0",
        "button.jupyter-button >> text=as recorded",
        "button.jupyter-button >> text=another random draw",
        ".eccl-player button >> nth=0",
        ".eccl-player span >> nth=0",
        f"{IMAGES} >> nth={ECG}",
        f"{IMAGES} >> nth={TRAITS}",
    ],
)
def test_text_is_legible_in_both_themes(explored: Opened, element: str):
    shown = explored.page.locator(element)
    shown.scroll_into_view_if_needed()
    assert contrast(shown.screenshot()) >= LEAST


def test_the_contrast_check_sees_illegible_text(explored: Opened):
    shown = explored.page.locator(FACTS)
    shown.scroll_into_view_if_needed()
    fade = "(element, opacity) => { element.style.opacity = opacity; }"
    shown.evaluate(fade, "0.15")
    assert contrast(shown.screenshot()) < LEAST
    shown.evaluate(fade, "1")
    assert contrast(shown.screenshot()) >= LEAST
