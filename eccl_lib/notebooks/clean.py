"""Normalise an executed notebook for committing: keep outputs, remove times, machine paths and papermill data."""

import re
from pathlib import Path
from typing import Any

from eccl_lib.io import paths

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
ADDED_BY_PAPERMILL = {"injected-parameters", "papermill-error-cell-tag"}
PROGRESS = "progress"  # tag of cells that print progress lines
WIDGET = "application/vnd.jupyter.widget-view+json"
MEMORY_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def normalise(notebook: Any) -> Any:
    """A copy of the notebook without content that changes from run to run; idempotent.

    Numbers, figures and cell ids are kept, standard error is dropped. Raises ValueError if a cell ended in an error.
    """
    import nbformat

    clean = nbformat.from_dict(notebook)
    # Keep the kernel's version: JupyterLab would otherwise add it and mark the notebook as changed.
    version = notebook["metadata"].get("language_info", {}).get("version")
    language = LANGUAGE | ({"version": version} if version else {})
    clean.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": language})
    clean.cells = [cell for cell in clean.cells if not ADDED_BY_PAPERMILL & set(cell.metadata.get("tags", []))]
    count = 0
    for cell in clean.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        outputs = _outputs(cell, count)
        # Progress lines differ between new and reused runs, so they are removed.
        cell.outputs = [] if PROGRESS in cell.metadata.get("tags", []) else [nbformat.from_dict(o) for o in outputs]
    return clean


def without_paths(notebook: Any) -> Any:
    """A copy of an executed notebook without absolute paths of this machine: outputs, tracebacks, parameters, metadata.

    Images are kept as they are; papermill's paths of the notebook become its file name.
    """
    import nbformat

    clean = nbformat.from_dict(_portable_texts(notebook))
    papermill = clean.metadata.get("papermill", {})
    for name in ("input_path", "output_path"):
        if papermill.get(name):
            papermill[name] = Path(papermill[name]).name
    return clean


def _portable_texts(value: Any, kind: str = "") -> Any:
    """All texts in a JSON value made portable. kind: the key of the value; images are no texts."""
    if isinstance(value, str):
        return value if kind.startswith("image/") and kind != "image/svg+xml" else _portable(value)
    if isinstance(value, dict):
        return {key: _portable_texts(inner, key) for key, inner in value.items()}
    return [_portable_texts(inner, kind) for inner in value] if isinstance(value, list) else value


def _outputs(cell: Any, count: int) -> list[dict[str, Any]]:
    """Outputs of a code cell: streams joined, no standard error, relative paths."""
    kept: list[dict[str, Any]] = []
    for output in cell.outputs:
        if output["output_type"] == "error":
            raise ValueError(f"cell [{count}] ended in {output['ename']}: {output['evalue']}; run it again first")
        if output["output_type"] == "stream":
            if output["name"] == "stderr":
                continue
            text = _portable(output["text"])
            if kept and kept[-1]["output_type"] == "stream":
                kept[-1]["text"] += text
            else:
                kept.append({"output_type": "stream", "name": "stdout", "text": text})
            continue
        # Without its kernel a widget is an error message; the picture beside it stays.
        shown = {kind: value for kind, value in output["data"].items() if kind != WIDGET}
        data = {kind: _portable(value) if kind.startswith("text/") else value for kind, value in shown.items()}
        entry = {"output_type": output["output_type"], "data": data, "metadata": {}}
        if output["output_type"] == "execute_result":
            entry["execution_count"] = count
        kept.append(entry)
    return kept


def _portable(text: str) -> str:
    """Replace absolute paths of this machine by relative ones and remove memory addresses."""
    for folder, name in ((paths.runs_root(), "runs"), (paths.ROOT, "."), (Path.home(), "~")):
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}/", f"{name}/" if name != "." else "").replace(str(folder), name)
    return MEMORY_ADDRESS.sub("", text)
