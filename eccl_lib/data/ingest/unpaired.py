"""A store of ECGs, or of labelled cines, from another source: ``eccl ingest ecg``, ``eccl ingest cmr``."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import own_labels
from eccl_lib.data.ingest import cine_folders, ecg_folders, participants_table, ptbxl
from eccl_lib.data.listing import FileListing
from eccl_lib.data.own_labels import OwnLabels
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store import plan
from eccl_lib.data.store.plan import Inventory

KINDS = {"ecg": ecg_folders.find, "cmr": cine_folders.find}
GIVE_LABELS = "Give --labels FILE.csv; only ACDC and M&Ms include labels in their own files (docs/formats.md)."
GIVE_PATIENTS = {
    kind: f"If a person has several recordings, they may be in train and test: give {way} (docs/formats.md)."
    for kind, way in {
        "ecg": "--patient-folder LEVEL, or the column patient in --labels",
        "cmr": "the column patient in --labels",
    }.items()
}
NO_ROW = {
    "reason": "the table of labels has no row for this recording",
    "cure": "Add a row with this id, or remove the file.",
}


@dataclass(frozen=True)
class Source(plan.Inputs):
    """The inputs of the build command; paths are absolute. cohort: ``ecg-NAME`` or ``cmr-NAME``.

    patient_folder: level of the folder below FOLDER that is one patient's; 0 if none is given. tasks: own tasks in the
    columns of ``labels``, as in ``own_labels.parse``.
    """

    cohort: str
    folders: tuple[str, ...]
    labels: str | None = None
    segmenter: Segmenter = AUTO
    patient_folder: int = 0
    tasks: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The command's words without the options of the segmenter."""
        kind, _, name = self.cohort.partition("-")
        level = ["--patient-folder", str(self.patient_folder)] if self.patient_folder else []
        labels = ["--labels", self.labels] if self.labels else []
        return [kind, *self.folders, "--name", name, *labels, *level, *(["--tasks", *self.tasks] if self.tasks else [])]

    def make_inventory(self, folder: Path) -> Inventory:
        """List the files, assign a permanent slot to each recording, and join the table of labels.

        Raises UnreadableError if cines have no labels, if no recording can be used, or if the table cannot be used.
        """
        kind = self.cohort.partition("-")[0]
        options = {"patient_folder": self.patient_folder} if self.patient_folder else {}
        listing = KINDS[kind]([Path(f) for f in self.folders], **options)
        unused: list[str] = []
        listed, table = listing.participants, self._table(kind, listing, unused)
        excluded = [asdict(rejected) for rejected in listing.rejected]
        known = listed if table is None else table.index
        names = sorted((name for name in listed if name in known), key=eid_of)
        excluded += [{"eid": eid_of(name), "file": name, **NO_ROW} for name in listed if name not in known]
        if not names:
            raise UnreadableError(*_no_recordings(kind, listing, excluded))
        eids = [eid_of(name) for name in names]
        slots = plan.assign_slots(folder, eids)
        participants = {
            slots[eid]: plan.listed_participant(eid, listed[name], self._segmenter(listed[name]))
            for eid, name in zip(eids, names, strict=True)
        }
        plan.write_slots(folder, slots, participants)
        rows = participants_table.rows(table, names)
        own, published = self._own_labels(table, names, listing)
        people = _patients_known(kind, rows.frame["patient"], names, listing)
        notes = [*rows.notes, *unused, *([people] if people else [])]
        patients = zip(rows.frame["patient"], names, strict=True)
        # The patient is from the table, else from the dataset's layout, else the recording's own name.
        of_layout = {name: _patient_of_layout(kind, name, listing) or name for name in names}
        rows.frame["patient"] = [eid_of(of_layout[name] if patient == name else patient) for patient, name in patients]
        frame = rows.frame.assign(name=names)
        if published is not None:  # sex, age and fold of the dataset's own table
            frame = frame.assign(**{column: published[column].to_numpy() for column in ("sex", "age", "fold")})
        frame = frame.set_index(pd.Index(eids, name="eid"))
        counts = {"recordings found": len(names) + len(excluded), "with all that is needed": len(names)}
        skipped = dict(listing.skipped)
        stated = Inventory(participants, frame, rows.traits, rows.labels, excluded, counts, skipped, notes)
        return replace(stated, patients=people, own=own, to_log=(*rows.notes, *unused))

    def _own_labels(
        self, table: pd.DataFrame | None, names: Sequence[str], listing: FileListing
    ) -> tuple[OwnLabels | None, pd.DataFrame | None]:
        """Own labels of the recordings, from the user's table, else from PTB-XL's; with PTB-XL's facts."""
        if self.tasks:
            tasks = own_labels.parse(self.tasks)
            return own_labels.from_table(table.loc[names].reset_index(drop=True), tasks, Path(self.labels).name), None
        if table is not None or "ecg" not in next(iter(listing.participants.values())):
            return None, None
        return ptbxl.labels_of([listing.participants[name]["ecg"][0] for name in names])

    def _table(self, kind: str, listing: FileListing, notes: list[str]) -> pd.DataFrame | None:
        """The table of labels: the user's, else the dataset's own; None for ECGs without a table.

        notes: receives the names of columns that are not used.
        """
        if self.labels:
            columns = {column for task in own_labels.parse(self.tasks).values() for column in task.columns}
            return participants_table.read(Path(self.labels), listing.participants, columns, notes)
        if kind == "ecg" or not listing.participants:
            return None
        if not listing.facts:
            raise UnreadableError("the cines have no labels", GIVE_LABELS)
        return participants_table.of_layout(listing.facts)

    def _segmenter(self, kinds: Mapping[str, Sequence[Path]]) -> Segmenter:
        """The segmenter with the masks' label order that the dataset's layout defines, if it defines one."""
        return replace(self.segmenter, mask_labels=cine_folders.mask_labels_of(kinds) or self.segmenter.mask_labels)


def eid_of(name: str) -> str:
    """Eid of a recording or patient: a number computed by hash from its name. The split depends on it."""
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16))


def _patients_known(kind: str, patients: Iterable[str], names: Sequence[str], listing: FileListing) -> str:
    """A sentence about recordings whose patient is unknown; empty if all patients are known."""
    pairs = zip(patients, names, strict=True)
    unknown = sum(patient == name and not _patient_of_layout(kind, name, listing) for patient, name in pairs)
    if not unknown:
        return ""
    which = "each recording is" if unknown == len(names) else "recordings without a known patient are"
    return f"patients: {which} treated as one person. {GIVE_PATIENTS[kind]}"


def _patient_of_layout(kind: str, name: str, listing: FileListing) -> str:
    """The patient of a recording by the dataset's files or folders; "" if they do not say."""
    if kind == "ecg":
        return listing.facts.get(name, {}).get("patient", "")
    return ecg_folders.patient_of(name)


def _no_recordings(kind: str, listing: FileListing, excluded: Sequence[dict[str, str]]) -> tuple[str, str]:
    """Reason and cure of an empty store."""
    if excluded:
        first = excluded[0]
        return f"no recording can be used; the first of {len(excluded)} excluded: {first['reason']}", first["cure"]
    skipped = ", ".join(f"{n} {reason}" for reason, n in listing.skipped.most_common(5)) or "no files"
    reason = f"the folders contain no {'ECG' if kind == 'ecg' else 'cine'} ({skipped})"
    return reason, "docs/formats.md lists the formats that are read."
