"""One device's own calibration: found where the law is known, refused where the table cannot be trusted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import archsearch
from archsearch.bench.device_profile import profile_of
from archsearch.bench.measurements import route_rows
from archsearch.bench.personal import calibrate_file
from archsearch.cost.model import CostModel
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.folders import user_profiles

BANDWIDTH = 1.1e12
"""Bytes per second of the made-up device; the A100's own calibration says 1.3e12 and more."""


def table(**changes) -> pd.DataFrame:
    """Copies as `bench run` would write them, at a fixed bandwidth and launch time, with 2 % of noise."""
    rng = np.random.default_rng(0)
    rows = []
    for cols in (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192):
        for count in (4096, 16384, 65536):
            time = (3e-6 + 2 * 2 * count * cols / BANDWIDTH) * np.exp(0.02 * rng.normal())
            split = "test" if cols in (768, 3072, 6144) else "fit"
            rows.append({"op": "copy", "dtype": "bf16", "rows": count, "cols": cols, "split": split, "time": time})
    frame = pd.DataFrame(rows)
    micros = frame.pop("time") * 1e6
    frame = frame.assign(gpu="a100-sxm-80gb", latency_us=micros, warm_us=micros, buffers=64, purpose="memory")
    return frame.assign(key=[str(i) for i in range(len(frame))], device="made up", torch="0", **changes)


def calibrate(tmp_path, frame, **options):
    frame.to_csv(tmp_path / "r.csv", index=False)
    return calibrate_file(tmp_path / "r.csv", tmp_path / "own", date="2026-01-01", code_version="0", **options)


def test_the_law_is_found_and_the_error_shown_before_and_after(tmp_path):
    found = calibrate(tmp_path, table())
    (family,) = found.families
    assert family.kernel == "memory/pointwise"
    assert (family.rows, family.held_back) == (2 * 21, 2 * 9)  # rotated and warm
    assert family.mape_before > 10
    assert family.mape_after < 3


def test_a_node_of_ones_own_is_calibrated_on_its_collectives(tmp_path):
    """A made-up node of half the links, its times by hand: the law is a ring's, and the shipped fit is far off."""
    rows = []
    for op, rounds in (("all_gather", 1), ("all_reduce", 2)):
        for gpus in (2, 4, 8):
            for log_size in range(20, 30):
                message = 2.0**log_size
                steps = rounds * (gpus - 1)
                time = 40e-6 + steps * 2e-6 + steps / gpus * message / 110e9
                split = "test" if log_size % 3 == 0 else "fit"
                rows.append((op, gpus, int(message), time * 1e6, split))
    frame = pd.DataFrame(rows, columns=["op", "gpus", "message_bytes", "latency_us", "split"])
    found = calibrate(tmp_path, frame.assign(gpu="a100-sxm-80gb", dtype="bf16"))
    (family,) = found.families
    assert family.kernel == "collective/ring"
    assert family.mape_before > 20
    assert family.mape_after < 6


def test_rows_marked_test_change_no_coefficient(tmp_path):
    first = calibrate(tmp_path, table()).calibration.read_text()
    moved = table()
    moved.loc[moved["split"] == "test", ["latency_us", "warm_us"]] *= 3
    assert calibrate(tmp_path, moved).calibration.read_text() == first


def test_a_users_calibration_is_used_before_the_shipped_one(tmp_path):
    frame = table()
    folder = user_profiles()
    folder.mkdir(parents=True)
    frame.to_csv(tmp_path / "r.csv", index=False)
    shipped = predictions(frame)
    calibrate_file(tmp_path / "r.csv", folder, date="2026-01-01", code_version="0")
    own = predictions(frame)
    measured = frame["latency_us"].to_numpy()
    assert np.abs(own / measured - 1).mean() < 0.04 < np.abs(shipped / measured - 1).mean()
    assert archsearch.estimate("bert-base", "a100-sxm-80gb").latency_s > 0  # kernels without an own fit keep theirs


def test_another_devices_rows_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="timed on a100-sxm-80gb, which is not h100-sxm"):
        calibrate(tmp_path, table(), gpu="h100-sxm")


def test_a_fit_that_would_be_worse_is_left_out(tmp_path):
    shipped = predictions(table())
    frame = table()
    factor = np.where(frame["split"] == "test", 1.0, 20.0)  # rows to fit that say nothing of those held back
    frame = frame.assign(latency_us=shipped * factor, warm_us=shipped * factor, buffers=1)
    with pytest.raises(InvalidInputError, match="a fit would be worse on the rows held back"):
        calibrate(tmp_path, frame)


def test_a_second_fit_is_the_same_as_the_first(tmp_path):
    folder = user_profiles()
    folder.mkdir(parents=True)
    table().to_csv(tmp_path / "r.csv", index=False)
    first, second = (
        calibrate_file(tmp_path / "r.csv", folder, date="2026-01-01", code_version="0").families for _ in range(2)
    )
    assert first == second


def predictions(frame: pd.DataFrame) -> np.ndarray:
    out = np.empty(len(frame))
    for routed in route_rows(frame):
        out[routed.index] = CostModel(routed.route.gpu).route_cost(routed.route).latency_s * 1e6
    return out


def twice_apart() -> pd.DataFrame:
    frame = table()
    return pd.concat([frame, frame.iloc[:1].assign(latency_us=frame["latency_us"].iloc[0] * 2)], ignore_index=True)


def too_fast() -> pd.DataFrame:
    shapes = [(m, n) for m in (1024, 4096) for n in (1024, 2048, 4096, 8192)]
    rows = [{"op": "linear", "dtype": "bf16", "m": m, "n": n, "k": 4096} for m, n in shapes]
    frame = pd.DataFrame(rows)
    flops = 2 * frame["m"] * frame["n"] * frame["k"]
    return frame.assign(gpu="t4", dtype="fp16", latency_us=flops / 300e12 * 1e6)  # a T4 reaches 65 TFLOP/s


def slow() -> pd.DataFrame:
    return too_fast().assign(latency_us=1e6, split="fit")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda: slow().drop(columns="split"), "lacks the column split"),
        (lambda: table().iloc[:8], "too few rows to fit anything: memory/pointwise"),
        (twice_apart, "times that contradict each other, first op=copy"),
        (too_fast, "8 of 8 rows are faster than t4 can compute"),
        (lambda: pd.concat([table(), table(gpu="h100-sxm")]), "several GPUs"),
        (lambda: table().drop(columns=["latency_us"]), "lacks the column latency_us"),
        (lambda: table().assign(latency_us="abc"), "row 2: latency_us must be a number, not 'abc'"),
        (lambda: table().assign(warm_us=-1.0), "row 2: warm_us must be a positive number"),
        (lambda: table().assign(split="banana"), "row 2: split must be fit or test, not 'banana'"),
        (lambda: table().assign(cols=1.5), "cols must be a whole number"),
        (lambda: table(method="wall"), "timed by a processor's wall clock, not on a100-sxm-80gb"),
    ],
)
def test_tables_that_cannot_be_trusted_are_refused(tmp_path, frame, message):
    with pytest.raises(InvalidInputError, match=message):
        calibrate(tmp_path, frame())


def test_a_device_without_a_profile_is_told(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown GPU 'NVIDIA H900'"):
        calibrate(tmp_path, table(gpu="NVIDIA H900"))
    with pytest.raises(UnsupportedError, match="read off the device"):
        profile_of("h900", "cpu", tmp_path)
