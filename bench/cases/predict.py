"""``eccl predict`` for a folder of WFDB records: five models of the demo's size; reference: one record at a time.

The models are those of the row without pre-training and alignment, trained for one epoch: speed does not depend on
the weights. Calibration needs the cohort and is made once per run, so it is left out of both.
"""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least, at_most

RECORDS = 64
FEW = {"synthetic.participants": 60, "synthetic.file_participants": 1, "align.epochs": 1}


def prepare(folder: Path) -> Pair:
    """Both return the outputs of each task, (RECORDS, outputs), equal to 1e-4 of their spread."""
    from dataclasses import replace

    import numpy as np
    import wfdb

    from eccl_lib.config.load import load
    from eccl_lib.config.schema import LEADS, TASKS
    from eccl_lib.data import ecg, open_cohort
    from eccl_lib.data.records import EcgRecord
    from eccl_lib.evaluation import ecg_files, predictor
    from eccl_lib.evaluation.predict import predict_all
    from eccl_lib.io.progress import silent
    from eccl_lib.pipeline import stages

    config = load("demo", overrides=FEW | {"runtime.build_missing": True})
    data = open_cohort.load(config, silent)
    runs = [stages.train(replace(config, disease=task), "scratch", silent).folder for task in TASKS]
    models = replace(predictor.of_folders(runs), cohort=None)
    loaded = [ensemble[0] for ensemble in models.models.values()]
    ecgs = folder / "ecgs"
    ecgs.mkdir()
    for k in range(RECORDS):
        signal = data.ecg[k % len(data)].T / 1000.0  # (5000, 12) mV
        wfdb.wrsamp(f"r{k:03}", 500, ["mV"] * 12, list(LEADS), signal, fmt=["16"] * 12, write_dir=str(ecgs))

    def ours():
        entries = list(predict_all(ecg_files.read_all(ecg_files.find([ecgs])), lambda: models))
        return [
            np.array([[scored.diseases[task][0]] for _, scored in entries])
            if models.tasks[task].is_disease
            else np.array([scored.traits[:, 0] for _, scored in entries])
            for task in models.tasks
        ]

    def reference():
        found = [[] for _ in loaded]
        for path in sorted(ecgs.glob("*.hea")):
            record = wfdb.rdrecord(str(path.with_suffix("")))
            stored = ecg.preprocess(EcgRecord(record.p_signal.T, record.fs))[0]
            for outputs, model in zip(found, loaded, strict=True):
                outputs.append(model.outputs(model.scale(stored[None])).double().numpy()[0])
        return [np.array(outputs) for outputs in found]

    def same(one, other):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4 * max(float(np.std(b)), 1e-3))

    return Pair(ours, reference, same, RECORDS)


CASE = Case(
    "prediction from one WFDB record: five models, demo size",
    "wfdb's reader, the same preprocessing, each record alone through each model",
    prepare,
    (at_least("ratio", 1), at_most("seconds", 60e-3)),
    place=13,
)
