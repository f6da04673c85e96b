"""Build step of the wheel: it carries the notebooks and the published table, for ``eccl demo`` without a checkout."""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
TARGET = Path("eccl_lib") / "shipped"  # see eccl_lib/io/paths.py


class BuildWithNotebooks(build_py):
    """Copies the notebooks without outputs, and the published table, beside the package's modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the package then finds them in the checkout
            return
        target = Path(self.build_lib) / TARGET
        (target / "notebooks").mkdir(parents=True, exist_ok=True)
        for path in sorted((HERE / "notebooks").glob("*.ipynb")):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    cell |= {"outputs": [], "execution_count": None}
            text = json.dumps(notebook, indent=1, ensure_ascii=False)
            (target / "notebooks" / path.name).write_text(text + "\n", encoding="utf-8")
        (target / "figures" / "paper").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / "figures" / "paper" / "table1.csv", target / "figures" / "paper" / "table1.csv")


setup(cmdclass={"build_py": BuildWithNotebooks})
