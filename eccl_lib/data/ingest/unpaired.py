"""A store of ECGs, or of labelled cines, of another source: ``eccl ingest ecg``, ``eccl ingest cmr``."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import FileListing
from eccl_lib.data.ingest import cine_folders, ecg_folders, participants_table
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store import plan
from eccl_lib.data.store.plan import SOURCE, Inventory
from eccl_lib.io.files import read_json, write_json

KINDS = {"ecg": ecg_folders.find, "cmr": cine_folders.find}
GIVE_LABELS = "Give --labels FILE.csv; only ACDC and M&Ms include labels in their own files (docs/formats.md)."


@dataclass(frozen=True)
class Source:
    """The inputs of the build command; paths are absolute. cohort: ``ecg-NAME`` or ``cmr-NAME``."""

    cohort: str
    folders: tuple[str, ...]
    labels: str | None = None
    segmenter: Segmenter = AUTO

    @classmethod
    def read(cls, folder: Path) -> Source | None:
        """The last command's source of a store, None where there was none."""
        if not (folder / SOURCE).is_file():
            return None
        content = read_json(folder / SOURCE)
        segmenter = Segmenter(**content.get("segmenter", {}))
        return cls(content["cohort"], tuple(content["folders"]), content["labels"], segmenter)

    def write(self, folder: Path) -> None:
        """Keep it beside the store."""
        write_json(folder / SOURCE, asdict(self) | {"command": self.command()})

    def command(self) -> str:
        """The shell command that goes on from here."""
        kind, _, name = self.cohort.partition("-")
        words = [kind, *self.folders, "--name", name, *(["--labels", self.labels] if self.labels else [])]
        words += plan.words_of(self.segmenter)
        return shlex.join(["eccl", "ingest", *words])

    def make_inventory(self, folder: Path) -> Inventory:
        """List the files, assign a permanent slot to each recording, and join the table of labels.

        Raises UnreadableError if cines have no labels, if no recording can be used, or if the table cannot be used.
        """
        kind = self.cohort.partition("-")[0]
        listing = KINDS[kind]([Path(f) for f in self.folders])
        excluded = [asdict(rejected) for rejected in listing.rejected]
        table = participants_table.read(Path(self.labels), listing.participants) if self.labels else None
        if self.labels is None and kind == "cmr" and listing.participants:
            if not listing.facts:
                raise UnreadableError("the cines have no labels", GIVE_LABELS)
            table = participants_table.of_layout(listing.facts)
        names = [name for name in listing.participants if table is None or name in table.index]
        missing = [name for name in listing.participants if table is not None and name not in table.index]
        excluded += [{"eid": eid_of(name), **_no_row(name)} for name in missing]
        if not names:
            raise UnreadableError(*_no_recordings(kind, listing, excluded))
        return self._plan(folder, sorted(names, key=eid_of), listing, table, excluded)

    def _segmenter(self, kinds: Mapping[str, Sequence[Path]]) -> Segmenter:
        """The segmenter with the masks' label order that the dataset's layout defines, if it defines one."""
        return replace(self.segmenter, mask_labels=cine_folders.mask_labels_of(kinds) or self.segmenter.mask_labels)

    def _plan(
        self,
        folder: Path,
        names: Sequence[str],
        listing: FileListing,
        table: pd.DataFrame | None,
        excluded: list[dict[str, str]],
    ) -> Inventory:
        listed = listing.participants
        eids = [eid_of(name) for name in names]
        slots = plan.assign_slots(folder, eids)
        participants = {
            slots[eid]: plan.listed_participant(eid, listed[name], self._segmenter(listed[name]))
            for eid, name in zip(eids, names, strict=True)
        }
        plan.write_slots(folder, slots, participants)
        rows = participants_table.rows(table, names)
        patients = zip(rows.frame["patient"], names, strict=True)
        rows.frame["patient"] = [eid_of(_patient(patient, name, listing)) for patient, name in patients]
        frame = rows.frame.assign(name=names).set_index(pd.Index(eids, name="eid"))
        counts = {"recordings found": len(names) + len(excluded), "with all that is needed": len(names)}
        return Inventory(
            participants, frame, rows.traits, rows.labels, excluded, counts, dict(listing.skipped), rows.notes, []
        )


def eid_of(name: str) -> str:
    """Eid of a recording or patient: a number computed by hash from its name. The split depends on it."""
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16))


def _patient(patient: str, name: str, listing: FileListing) -> str:
    """Patient of a recording: from the table, else from the dataset's layout, else the recording's own name."""
    return patient if patient != name else listing.facts.get(name, {}).get("patient", name)


def _no_row(name: str) -> dict[str, str]:
    return {
        "file": name,
        "reason": "the table of labels has no row for this recording",
        "cure": "Add a row with this id, or remove the file.",
    }


def _no_recordings(kind: str, listing: FileListing, excluded: Sequence[dict[str, str]]) -> tuple[str, str]:
    """Reason and cure of an empty store."""
    if excluded:
        first = excluded[0]
        return f"no recording can be used; the first of {len(excluded)} excluded: {first['reason']}", first["cure"]
    skipped = ", ".join(f"{n} {reason}" for reason, n in listing.skipped.most_common(5)) or "no files"
    reason = f"the folders contain no {'ECG' if kind == 'ecg' else 'cine'} ({skipped})"
    return reason, "docs/formats.md lists the formats that are read."
