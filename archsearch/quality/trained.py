"""A short real training run of scaled-down candidates, with successive halving: re-ranks what a law put on the front.

Every candidate is scaled to about the same number of layer weights as it has of the largest one's, times
``parameters``: relative sizes stay. All train on the same bytes in the same order. At each rung the worse part is
dropped (Jamieson and Talwalkar 2016, arXiv 1502.07943, section 3) and the others train on. Needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    from archsearch.models.base import ModelConfig
    from archsearch.quality.tiny_decoders import Corpus, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """``parameters`` is what the largest candidate is scaled to; ``steps`` what a survivor sees in all.

    Of every ``keep`` candidates one goes on at each of the ``rungs`` (the last rung is the end). ``data`` is a text
    file or a directory of texts instead of the built-in corpus.
    """

    parameters: float = 4e5
    steps: int = 900
    rungs: int = 3
    keep: int = 2
    batch_size: int = 8
    seq_len: int = 128
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"
    data: Path | None = None

    def __post_init__(self) -> None:
        for name in ("parameters", "steps", "rungs", "batch_size", "seq_len"):
            if not getattr(self, name) >= 1:
                raise InvalidInputError(f"training setting {name} must be at least 1, not {getattr(self, name)}")
        if self.keep < 2:
            raise InvalidInputError(f"training setting keep must be at least 2, not {self.keep}")
        if self.steps < 10 * self.rungs:
            raise InvalidInputError(
                f"{self.steps} steps are too few for {self.rungs} rungs: at least {10 * self.rungs}"
            )

    def rung_steps(self) -> list[int]:
        """Steps seen at the end of each rung: ``keep`` times as many at each, ``steps`` at the last."""
        return [max(self.steps // self.keep ** (self.rungs - 1 - rung), 5) for rung in range(self.rungs)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One candidate's result: held-out loss after ``steps``, its rank (1 the best), and what was trained."""

    index: int
    shape: Shape
    steps: int
    loss: float
    rank: int


def successive_halving(
    shapes: Sequence[Shape], settings: TrainSettings | None = None, *, tell: Callable[[str], None] | None = None
) -> list[Outcome]:
    """Train candidates, dropping the worse part at each rung; results in the order of ``shapes``.

    Candidates that got further rank before those that were dropped earlier; within a rung the loss decides.

    Raises:
        InvalidInputError: no candidate, or a corpus that is missing or too small.
    """
    from archsearch.quality.tiny_decoders import Recipe, Trainer

    settings = settings or TrainSettings()
    if not shapes:
        raise InvalidInputError("training needs at least one candidate")
    corpus = load_corpus(settings)
    recipe = Recipe(
        steps=settings.steps,
        batch_size=settings.batch_size,
        seq_len=settings.seq_len,
        seeds=settings.seeds,
        evaluation_windows=128,
    )
    small = scale_together(shapes, settings.parameters)
    trainers = {i: Trainer(shape, recipe, corpus, settings.device) for i, shape in enumerate(small)}
    reached: dict[int, tuple[int, float]] = {}
    seen = 0
    for rung, steps in enumerate(settings.rung_steps()):
        for i, trainer in trainers.items():
            trainer.run(steps - seen)
            reached[i] = (steps, float(trainer.evaluate().mean()))
        seen = steps
        order = sorted(trainers, key=lambda i: reached[i][1])
        if tell is not None:
            best = reached[order[0]][1]
            tell(f"rung {rung + 1} of {settings.rungs}: {len(order)} candidates at {steps} steps, best {best:.4f}")
        survivors = order[: -(-len(order) // settings.keep)]
        if rung + 1 < settings.rungs:
            trainers = {i: trainers[i] for i in survivors}
    ranked = sorted(reached, key=lambda i: (-reached[i][0], reached[i][1]))
    places = {i: place for place, i in enumerate(ranked, start=1)}
    return [Outcome(i, small[i], *reached[i], places[i]) for i in range(len(shapes))]


def scale_together(shapes: Sequence[Shape], parameters: float) -> list[Shape]:
    """Shapes scaled by one factor, so that the largest has about so many layer weights."""
    from archsearch.quality.modules import scaled_down

    largest = max(shape.non_embedding_parameters for shape in shapes)
    share = min(parameters / largest, 1.0)
    return [scaled_down(shape, shape.non_embedding_parameters * share) for shape in shapes]


def load_corpus(settings: TrainSettings) -> Corpus:
    """The built-in corpus, or the user's text.

    Raises:
        InvalidInputError: no such path, or too little text.
    """
    from archsearch.quality.tiny_decoders import python_corpus

    if settings.data is not None and not settings.data.exists():
        raise InvalidInputError(f"{settings.data}: no such file or directory of text")
    try:
        return python_corpus(settings.data)
    except (FileNotFoundError, OSError) as error:
        raise InvalidInputError(str(error)) from None


def train_table(
    configs: Sequence[ModelConfig], settings: TrainSettings, tell: Callable[[str], None] | None
) -> dict[str, list[float]]:
    """Columns ``trained_loss`` (nats per byte), ``trained_steps`` and ``trained_rank`` for scalar configs.

    Raises:
        InvalidInputError: configs that cannot be built (see ``shape_of``).
    """
    from archsearch.quality.modules import shape_of

    outcomes = successive_halving([shape_of(config) for config in configs], settings, tell=tell)
    return {
        "trained_loss": [o.loss for o in outcomes],
        "trained_steps": [o.steps for o in outcomes],
        "trained_rank": [o.rank for o in outcomes],
    }
