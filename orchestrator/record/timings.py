"""Measured seconds that plans are made of, kept in the user's cache folder: found from any folder, for this hardware.

Every sweep leaves its own there when it ends, and ``procon plan --profile`` what it measures. Sweeps of versions that
left none are found in ``runs``.
"""

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import OutputError
from orchestrator.record.folder import JOURNAL, SPEC, write_json
from orchestrator.record.journal import read_state
from orchestrator.record.manifest import hardware
from orchestrator.record.measured import measured_figures, measured_frame
from orchestrator.record.sweep_state import SweepState
from sweeps.cost.cost import Figures, Frame
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig
from training.organism.cache import cache_root

FILE = "figures.json"
KEPT = 200
"""Figures that the file keeps, the newest."""
SWEEPS = 20
"""Earlier sweeps that are looked into, the newest."""
LARGEST_JOURNAL = 32 * 2**20
"""Bytes of a journal that is still read for its figures."""
USUAL = Frame(seconds_start=30.0, seconds_end=5.0)
"""Start and end of a sweep on a machine where none has run yet."""

Key = dict[str, Any]
Source = Literal["sweep", "profile"]


@dataclass(frozen=True)
class Stored:
    """Figures and where they are from."""

    figures: Figures
    source: str


def figure_key(spec: SweepSpec, model: ModelConfig, machine: dict[str, Any]) -> Key:
    """What must be the same for measured seconds to hold: all that decides the work of a step and of a measurement.

    Args:
        spec: searched fields count by their fixed value.
        model: one of its models.
        machine: :func:`orchestrator.record.manifest.hardware` of where it was measured.
    """
    trial, resources = spec.trial, spec.resources
    elsewhere = {
        "scales",
        *(() if spec.evaluation.metrics else ("metrics",)),
    }  # scaled models are counted by themselves
    return {
        "model": model.path,
        "tuning": trial.tuning.model_dump(mode="json"),
        "batch_size": trial.batch_size,
        "micro_batch_size": trial.micro_batch_size,
        "max_length": trial.max_length,
        "precision": trial.precision,
        "gradient_checkpointing": trial.gradient_checkpointing,
        "packing": trial.packing,
        "constraint": trial.constraint.type,
        "zero_stage": trial.deepspeed.zero_stage,
        "evaluation": spec.evaluation.model_dump(mode="json", exclude=elsewhere),
        "direction": spec.direction.model_dump(mode="json"),
        "task": spec.data.task.model_dump(mode="json"),
        "workers": resources.workers,
        "gpus_per_worker": resources.gpus_per_worker,
        "hardware": machine,
    }


def stored_figures(spec: SweepSpec, model: ModelConfig, runs: Path = Path("runs")) -> Stored | None:
    """The latest figures for ``model`` as ``spec`` trains and measures it on this hardware; None where there are none.

    Those of a real sweep come before a short measurement: it knows how trials slow each other down.
    """
    key = figure_key(spec, model, hardware())
    entries = [entry for entry in _entries("models") if entry["key"] == key]
    for entry in entries:
        if entry["source"] == "sweep":
            return Stored(_figures_of(entry), f"the sweep in {entry['directory']}")
    for directory in _sweeps(runs):
        found = _of_sweep(directory, key)
        if found is not None:
            return Stored(found, f"the sweep in {directory}")
    for entry in entries:
        day = time.strftime("%Y-%m-%d", time.gmtime(entry["time"]))
        return Stored(_figures_of(entry), f"procon plan --profile of {day}")
    return None


def stored_frame(slots: int) -> tuple[Frame, bool]:
    """What start and end of sweeps take on this hardware, as the last one with ``slots`` slots did, else the last one.

    Returns:
        (the frame, whether it was measured).
    """
    machine = hardware()
    here = [entry for entry in _entries("frames") if entry["hardware"] == machine]
    alike = [entry for entry in here if entry["slots"] == slots] or here
    if not alike:
        return USUAL, False
    return Frame(alike[0]["seconds_start"], alike[0]["seconds_end"]), True


def store_figures(
    spec: SweepSpec, model: ModelConfig, figures: Figures, source: Source = "profile", directory: Path | None = None
) -> None:
    """Keep ``figures`` in the cache folder for later plans.

    Args:
        spec: how the model was trained and measured.
        model: one of its models.
        figures: what was measured.
        source: by what.
        directory: of the sweep, where it was one.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    key = figure_key(spec, model, hardware())
    others = [entry for entry in _entries("models") if (entry["key"], entry["source"]) != (key, source)]
    new = {"key": key, "time": time.time(), "source": source, "directory": str(directory or ""), **vars(figures)}
    _write([new, *others], _entries("frames"))


def store_sweep(spec: SweepSpec, directory: Path, state: SweepState, seconds_end: float) -> None:
    """Keep what the sweep in ``directory`` measured; a cache folder that cannot be written is passed over.

    Args:
        spec: the sweep's.
        directory: its output folder.
        state: what its journal tells.
        seconds_end: what its report took.
    """
    with contextlib.suppress(OutputError):
        for model in spec.models:
            figures = measured_figures(state, model.name)
            if figures is not None:
                store_figures(spec, model, figures, "sweep", directory)
        frame = measured_frame(state)
        if frame is not None:
            machine, slots = hardware(), state.slots
            others = [e for e in _entries("frames") if (e["hardware"], e["slots"]) != (machine, slots)]
            frames = {"hardware": machine, "slots": slots, **vars(frame), "seconds_end": seconds_end}
            _write(_entries("models"), [frames, *others])


def _figures_of(entry: dict[str, Any]) -> Figures:
    return Figures(**{name: entry[name] for name in Figures.__dataclass_fields__})


def _write(models: list[dict[str, Any]], frames: list[dict[str, Any]]) -> None:
    path = cache_root() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"models": models[:KEPT], "frames": frames[:KEPT]})
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; choose another folder by PROCON_CACHE"
        ) from error


_FIELDS = {
    "models": {"key", "time", "source", "directory", *Figures.__dataclass_fields__},
    "frames": {"hardware", "slots", *Frame.__dataclass_fields__},
}


def _entries(kind: Literal["models", "frames"]) -> list[dict[str, Any]]:
    """What the file holds, the newest first; a file of another version holds nothing."""
    try:
        entries = json.loads((cache_root() / FILE).read_text(encoding="utf-8"))[kind]
        return [entry for entry in entries if _FIELDS[kind] <= entry.keys()]
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return []


def _sweeps(runs: Path) -> list[Path]:
    """Folders of the newest sweeps."""
    if not runs.is_dir():
        return []
    dated = []
    for folder in runs.iterdir():
        with contextlib.suppress(OSError):
            dated.append(((folder / JOURNAL).stat().st_mtime, folder))
    return [folder for _, folder in sorted(dated, reverse=True)[:SWEEPS]]


def _of_sweep(directory: Path, key: Key) -> Figures | None:
    """The figures of the sweep in ``directory`` where it is of the kind that ``key`` describes."""
    try:
        content = json.loads((directory / SPEC).read_text(encoding="utf-8"))
        spec = SweepSpec.model_validate(content["spec"])
        machine = content["manifest"]["hardware"]
        models = [model.name for model in spec.models if figure_key(spec, model, machine) == key]
        if not models or (directory / JOURNAL).stat().st_size > LARGEST_JOURNAL:
            return None
        return measured_figures(read_state(directory / JOURNAL), models[0])
    except (OSError, ValueError, KeyError, TypeError, OutputError):
        return None  # another version's sweep, or a damaged one: no reason not to plan
