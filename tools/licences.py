"""List the licence of each installed package: ``make licences``.

The package's own metadata is read: the licence expression (PEP 639), else the classifiers, else the field License.
"""

from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

UNKNOWN = "not stated"
PREFIX = "License :: OSI Approved :: "
LONGEST = 60  # characters of a field License; some packages put the whole text there


def licence_of(package: Distribution) -> str:
    """The licence that a package states, in one line."""
    facts = package.metadata
    if expression := facts.get("License-Expression"):
        return expression
    classifiers = [c for c in facts.get_all("Classifier") or () if c.startswith("License ::")]
    if named := [c.removeprefix(PREFIX) for c in classifiers if c != PREFIX.rstrip(": ")]:
        return "; ".join(sorted(named))
    lines = [line.strip() for line in (facts.get("License") or "").splitlines() if line.strip()]
    return lines[0][:LONGEST] if lines else UNKNOWN


def table(packages: Iterable[Distribution]) -> list[tuple[str, str, str]]:
    """Name, version and licence of each package, by name."""
    rows = {(package.metadata["Name"], package.version, licence_of(package)) for package in packages}
    return sorted(rows, key=lambda row: row[0].lower())


def main() -> None:
    """Print the table, then how many packages state no licence."""
    rows = table(distributions())
    widths = [max(len(row[k]) for row in rows) for k in (0, 1)]
    for name, version, licence in rows:
        print(f"{name:{widths[0]}}  {version:{widths[1]}}  {licence}")
    silent = [name for name, _, licence in rows if licence == UNKNOWN]
    print(f"{len(rows)} packages; no licence stated: {', '.join(silent) or 'none'}")


if __name__ == "__main__":
    main()
