"""A store of other people's ECGs, or of their labelled cines: ``eccl ingest ecg``, ``eccl ingest cmr``."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import Found
from eccl_lib.data.ingest import cine_folders, ecg_folders, participants_table
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store import plan
from eccl_lib.data.store.plan import SOURCE, Inventory
from eccl_lib.io.files import read_json, write_json

KINDS = {"ecg": ecg_folders.find, "cmr": cine_folders.find}
GIVE_LABELS = "Give --labels FILE.csv; only ACDC's and M&Ms's own files say it themselves (docs/formats.md)."


@dataclass(frozen=True)
class Source:
    """What the command was pointed to; paths are absolute. cohort: ``ecg-NAME`` or ``cmr-NAME``."""

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

    def take(self, folder: Path) -> Inventory:
        """List the files, give each recording a slot for ever, and join the table. Raises UnreadableError."""
        kind = self.cohort.partition("-")[0]
        found = KINDS[kind]([Path(f) for f in self.folders])
        left_out = [asdict(refused) for refused in found.refused]
        people = participants_table.read(Path(self.labels), found.participants) if self.labels else None
        if self.labels is None and kind == "cmr" and found.participants:
            if not found.facts:
                raise UnreadableError("nothing says what can be learned from the cines", GIVE_LABELS)
            people = participants_table.of_layout(found.facts)
        known = {name: kinds for name, kinds in found.participants.items() if people is None or name in people.index}
        left_out += [{"eid": eid_of(name), **_no_row(name)} for name in found.participants if name not in known]
        if not known:
            raise UnreadableError(*_nothing(kind, found, left_out))
        names = sorted(known, key=lambda name: eid_of(name))
        return self._plan(folder, names, found, people, left_out)

    def _segmenter(self, kinds: Mapping[str, Sequence[Path]]) -> Segmenter:
        """A layout that fixes what its masks' labels mean is believed."""
        return replace(self.segmenter, mask_labels=cine_folders.mask_labels_of(kinds) or self.segmenter.mask_labels)

    def _plan(
        self,
        folder: Path,
        names: Sequence[str],
        found: Found,
        people: pd.DataFrame | None,
        left_out: list[dict[str, str]],
    ) -> Inventory:
        known = found.participants
        eids = [eid_of(name) for name in names]
        slots = plan.assign_slots(folder, eids)
        participants = {
            slots[eid]: plan.participant_of(eid, known[name], self._segmenter(known[name]))
            for eid, name in zip(eids, names, strict=True)
        }
        plan.write_slots(folder, slots, participants)
        rows = participants_table.rows(people, names)
        whose = zip(rows.frame["patient"], names, strict=True)
        rows.frame["patient"] = [eid_of(_patient(who, name, found)) for who, name in whose]
        frame = rows.frame.assign(name=names).set_index(pd.Index(eids, name="eid"))
        counts = {"recordings found": len(names) + len(left_out), "with all that is needed": len(names)}
        return Inventory(
            participants, frame, rows.traits, rows.labels, left_out, counts, dict(found.passed_over), rows.notes, []
        )


def eid_of(name: str) -> str:
    """A number for a name: the same wherever and whenever, and on which the split hangs."""
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16))


def _patient(who: str, name: str, found: Found) -> str:
    """Whose a recording is: as the table says, else as its layout says, else nobody else's."""
    return who if who != name else found.facts.get(name, {}).get("patient", name)


def _no_row(name: str) -> dict[str, str]:
    return {
        "file": name,
        "reason": "the table of labels has no row for it",
        "cure": "Add a row with this id, or leave it out.",
    }


def _nothing(kind: str, found: Found, left_out: Sequence[dict[str, str]]) -> tuple[str, str]:
    if left_out:
        first = left_out[0]
        return f"no recording can be used; the first of {len(left_out)} left out: {first['reason']}", first["cure"]
    seen = ", ".join(f"{n} {what}" for what, n in found.passed_over.most_common(5)) or "no file at all"
    return f"no {'ECG' if kind == 'ecg' else 'cine'} is in the folders ({seen})", "docs/formats.md has what is read."
