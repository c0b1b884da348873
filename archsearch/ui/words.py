"""Figures of an answer as people read them."""

from __future__ import annotations

from archsearch.ui.what_if import Answer, Expected


def seconds(value: float) -> str:
    """A time with its unit."""
    if value >= 100:
        return f"{value:,.0f} s"
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def gib(count: float) -> str:
    """Bytes as GiB, in fewer digits the more there are."""
    amount = count / 2**30
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def counted(value: float) -> str:
    """A count with its prefix: 1.24 B."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def flops(value: float) -> str:
    """Floating-point operations with their prefix."""
    for size, unit in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e6:.3g} MFLOP"


def rate(value: float) -> str:
    """A number per second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def latency_notes(answer: Answer) -> list[str]:
    """Band, provenance, and what the host adds."""
    r = answer.result
    notes = [f"80 % band {seconds(r.latency_low_s)} to {seconds(r.latency_high_s)}", r.provenance]
    if r.host_s > r.gpu_s:
        notes.append(f"the host binds: {seconds(r.host_s)} of launches, {seconds(r.gpu_s)} of kernels")
    elif r.waits_s > 0.005 * r.latency_s:
        notes.append(f"{seconds(r.waits_s)} of it waiting for launches")
    if r.roofline:
        notes.append(r.roofline)
    return notes


def memory_notes(answer: Answer) -> list[str]:
    """The parts of memory, largest first, and whether it fits."""
    r = answer.result
    parts = sorted(((v, k) for k, v in r.memory_bytes.items() if v and k != "total"), reverse=True)
    told = ", ".join(f"{name.replace('_', ' ')} {gib(value)}" for value, name in parts)
    short = r.memory_bytes["total"] - r.available_memory_bytes
    verdict = f"does not fit: {gib(short)} GiB short" if short > 0 else f"fits, {gib(-short)} GiB free"
    return [f"of {gib(r.available_memory_bytes)} GiB usable", verdict, told]


def quality_value(quality: Expected | None) -> str:
    """The quality expected, or that none is known."""
    if quality is None:
        return "no law"
    return "unknown" if quality.value is None else f"{quality.value:.4g}"


def quality_notes(quality: Expected | None) -> list[str]:
    """The metric, its band, and whose word it is."""
    if quality is None:
        return ["no law of quality speaks for this family"]
    notes = [f"{quality.metric} in {quality.unit}" if quality.unit else quality.metric]
    if quality.low is not None and quality.high is not None:
        notes.append(f"80 % band {quality.low:.4g} to {quality.high:.4g}")
    if not quality.in_range:
        notes.append("outside the law's range")
    if quality.assumed:
        notes.append("ranks rather than predicts")
    return [*notes, quality.proxy]
