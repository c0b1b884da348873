"""Writing what a calibration found: one YAML file per GPU, architecture and default, and the learned corrections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from archsearch.cost.calibration import CORRECTIONS, CalibrationFile, read_calibration
from archsearch.cost.correction import Correction
from archsearch.files import write_text


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What ``calibrate`` found: the calibration files, and the learned corrections by GPU and kernel family."""

    files: list[CalibrationFile]
    corrections: dict[str, dict[str, Correction]]


def write_calibration(calibrated: Calibrated, directory: Path, *, only: str = "") -> list[Path]:
    """Write one YAML file per GPU, architecture and default, and one JSON file of corrections per GPU.

    With ``only``, the files keep what they hold of kernel families whose names do not start with it.
    """
    (directory / CORRECTIONS).mkdir(parents=True, exist_ok=True)
    files = {_file_name(file): file for file in calibrated.files}
    kept = {path.stem: read_calibration(path) for path in sorted(directory.glob("*.yaml"))} if only else {}
    paths = []
    for name in dict.fromkeys((*files, *kept)):
        file = files.get(name, kept.get(name))
        assert file is not None
        old = {k: fit for k, fit in (kept[name].kernels if name in kept else {}).items() if not k.startswith(only)}
        kernels = old | (files[name].kernels if name in files else {})
        paths.append(directory / f"{name}.yaml")
        write_text(paths[-1], _yaml(file.model_copy(update={"kernels": dict(sorted(kernels.items()))})))
    origin = {
        f.serves[0]: {"source": f.source, "date": f.date, "code_version": f.code_version} for f in calibrated.files
    }
    for gpu, corrections in calibrated.corrections.items():
        path = directory / CORRECTIONS / f"{gpu}.json"
        old_networks = json.loads(path.read_text())["kernels"] if only and path.is_file() else {}
        networks = {kernel: correction.to_json() for kernel, correction in sorted(corrections.items())}
        networks = {k: network for k, network in old_networks.items() if not k.startswith(only)} | networks
        write_text(path, json.dumps({"gpu": gpu, **origin[gpu], "kernels": networks}) + "\n")
        paths.append(path)
    return paths


def _file_name(file: CalibrationFile) -> str:
    return {"gpu": "{}", "architecture": "architecture-{}", "default": "default"}[file.level].format(file.serves[0])


def _yaml(file: CalibrationFile) -> str:
    import yaml

    text: str = yaml.safe_dump(file.model_dump(mode="json"), sort_keys=False, width=120)
    return text
