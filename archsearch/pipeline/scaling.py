"""Inference-time scaling: the best of N samples by a verifier, and where a small model with search meets a large one.

The verifier scores every sample and the best-scored is kept. With samples of one prompt spread normally about the
model's mean score s with standard deviation σ, and the verifier's score correlated with the benchmark's by ρ, the kept
sample's expected score is

    s(N) = s + ρ · σ · m(N),    m(N) = E[max of N standard normals],

since of two jointly normal variables the one regresses on the other by ρ (best-of-N selection; noise search of
arXiv 2501.09732, scaling of SANA-1.5, arXiv 2501.18427). Cost is N generations and, for N > 1, N verifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, PositiveInt

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.spec import GpuSpec
from archsearch.models.registry.load import load_model
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import estimate_pipeline
from archsearch.pipeline.plan import Plan
from archsearch.ranges import require_range
from archsearch.workload import Phase, Workload
from archsearch.yaml_records import Record, parse_record

SCALING_FILE = Path(__file__).with_name("scaling.yaml")
MAX_SAMPLES = 4096
_POINTS = 200_000


class ScoreRecord(Record):
    """A pipeline's published score of single samples; ``assumed`` marks one that was not read again."""

    score: float = Field(ge=0.0, le=1.0)
    assumed: bool = False
    source: str


class VerifierRecord(Record):
    """A model that scores a sample in one pass over ``seq_len`` tokens."""

    model: str
    seq_len: PositiveInt


class ScalingRecord(Record):
    """``scaling.yaml``: spread and fidelity that are assumed, scores by pipeline, verifiers by name."""

    spread: float = Field(ge=0.0, le=1.0)
    fidelity: float = Field(ge=0.0, le=1.0)
    scores: dict[str, ScoreRecord]
    verifiers: dict[str, VerifierRecord]


@lru_cache(maxsize=1)
def figures() -> ScalingRecord:
    """``scaling.yaml``."""
    return parse_record(ScalingRecord, SCALING_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One model under best-of-N: seconds of a sample and of its verification, score of a single sample."""

    name: str
    generate_s: float
    verify_s: float
    score: float
    spread: float
    fidelity: float
    score_assumed: bool = False

    def seconds(self, samples: int) -> float:
        """GPU-seconds of one output chosen from so many samples."""
        return samples * self.generate_s + (samples * self.verify_s if samples > 1 else 0.0)

    def expected(self, samples: int) -> float:
        """Expected score of the chosen sample; a share of prompts is at most 1."""
        return min(1.0, self.score + self.fidelity * self.spread * expected_maximum(samples))

    def samples_within(self, seconds: float) -> int:
        """Most samples that fit a budget of GPU-seconds; 0 where a single one does not."""
        if seconds < self.generate_s:
            return 0
        return max(1, min(MAX_SAMPLES, int(seconds / (self.generate_s + self.verify_s))))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A small model with search against a large one without.

    ``equal_cost_samples`` is what the small one gets for the price of one large sample; ``crossover_samples`` the least
    number with which it scores as much (None: never, within ``MAX_SAMPLES``).
    """

    small: Search
    large: Search
    equal_cost_samples: int
    crossover_samples: int | None

    @property
    def small_wins(self) -> bool:
        """Whether search on the small model is the better use of the large one's time."""
        return self.equal_cost_samples > 0 and self.small.expected(self.equal_cost_samples) >= self.large.score


@lru_cache(maxsize=256)
def expected_maximum(samples: int) -> float:
    """E[max of N standard normals]: the mean of Φ⁻¹(u^(1/N)) over u uniform on (0, 1)."""
    from scipy.special import ndtri

    require_range("samples", samples, 1, whole=True)
    uniform = (np.arange(_POINTS) + 0.5) / _POINTS
    return float(ndtri(uniform ** (1.0 / samples)).mean()) if samples > 1 else 0.0


def search_of(
    plan: Plan,
    gpu: GpuSpec,
    *,
    verifier: str,
    score: float | None = None,
    spread: float | None = None,
    fidelity: float | None = None,
) -> Search:
    """A plan under best-of-N with a verifier.

    Raises:
        UnknownNameError: no such verifier.
        InvalidInputError: no score is known for the pipeline, or one that is no share.
    """
    shipped = figures()
    name, assumed = plan.pipeline.name, False
    if score is None:
        published = shipped.scores.get(name)
        if published is None:
            raise InvalidInputError(
                f"no published score of {name} is known (of {', '.join(shipped.scores)}); give {{score}} {name}=SHARE",
                field="score",
            )
        score, assumed = published.score, published.assumed
    spread = shipped.spread if spread is None else spread
    fidelity = shipped.fidelity if fidelity is None else fidelity
    for field, value in (("score", score), ("spread", spread), ("fidelity", fidelity)):
        require_range(field, value, 0, 1)
    pricer = Pricer(gpu)
    answer = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment, pricer=pricer)
    return Search(
        name=name,
        generate_s=float(answer.gpu_seconds_per_output),
        verify_s=verifier_s(verifier, plan, pricer),
        score=score,
        spread=spread,
        fidelity=fidelity,
        score_assumed=assumed,
    )


def verifier_s(name: str, plan: Plan, pricer: Pricer) -> float:
    """Seconds of one verification: one pass over the image's tokens and the question."""
    verifiers = figures().verifiers
    if name not in verifiers:
        raise UnknownNameError("verifier", name, verifiers)
    config = load_model(verifiers[name].model)
    phase = Phase.PREFILL if Phase.PREFILL in getattr(config, "phases", ()) else Phase.FORWARD
    w = Workload(phase=phase, seq_len=verifiers[name].seq_len, dtype=plan.deployment.base_dtype)
    return float(pricer.call(config, w, plan.deployment.execution.beside()).latency_s)


def compare(small: Search, large: Search) -> Comparison:
    """Equal cost and crossover of a small model with search against a large one's single sample."""
    equal = small.samples_within(large.seconds(1))
    crossover = None
    if small.expected(MAX_SAMPLES) >= large.score:
        low, high = 0, MAX_SAMPLES
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if small.expected(middle) >= large.score else (middle, high)
        crossover = high
    return Comparison(small, large, equal, crossover)


def scaling_document(found: Comparison, samples: int | None) -> dict[str, Any]:
    """The comparison as plain values; ``samples`` adds one row of the small model."""
    small, large = found.small, found.large
    wanted = sorted({1, 2, 4, 8, 16, 32, found.equal_cost_samples, samples or 1, found.crossover_samples or 1} - {0})
    rows = [{"samples": n, "gpu_seconds": small.seconds(n), "score": small.expected(n)} for n in wanted]
    crossover = found.crossover_samples
    return {
        "small": {"pipeline": small.name, "generate_s": small.generate_s, "verify_s": small.verify_s},
        "large": {"pipeline": large.name, "gpu_seconds": large.seconds(1), "score": large.score},
        "spread": small.spread,
        "fidelity": small.fidelity,
        "rows": rows,
        "equal_cost_samples": found.equal_cost_samples,
        "equal_cost_score": small.expected(found.equal_cost_samples) if found.equal_cost_samples else None,
        "crossover_samples": crossover,
        "crossover_gpu_seconds": None if crossover is None else small.seconds(crossover),
        "small_wins_at_equal_cost": found.small_wins,
        "assumed": ["spread", "fidelity", *(f"score of {s.name}" for s in (small, large) if s.score_assumed)],
    }
