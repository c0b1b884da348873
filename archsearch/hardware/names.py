"""Which GPU a written name means. No file is read here: ``Known`` says what is known of a GPU's names.

A name is read as tokens, so that case, order, separators, brand words and words glued together (``RTX4090``,
``h100_80gb_hbm3``, ``NVIDIA® GeForce RTX™ 4090``) do not matter, and digits are never changed. It means a GPU if it has
all tokens of one of the GPU's declared names, and each further token is true of the GPU: its memory size, form factor,
kind of memory, architecture, or a word of another of its names. So nothing is swallowed: ``4090 D``, ``3080 Ti``,
``V100S`` and ``H20`` are not the GPUs whose names are shorter, and ``A100 PCIe`` is refused, because two boards fit.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from archsearch.errors import AmbiguousNameError, UnknownNameError

_BRANDS = {
    "nvidia": "nvidia",
    "tesla": "nvidia",
    "geforce": "nvidia",
    "amd": "amd",
    "instinct": "amd",
    "radeon": "amd",
    "intel": "intel",
    "arc": "intel",
}
"""Brand words and the vendor whose they are."""
_NOISE = frozenset(("gpu", "gpus", "graphics", "card", "accelerator", "edition", "generation", "datacenter"))
"""Words that tell no GPU from another."""
_SAME = {
    "mobile": ("laptop",),
    "notebook": ("laptop",),
    "pci": ("pcie",),
    "tis": ("ti", "super"),
}
"""Words for which the names have another."""
_LINES = frozenset(("rtx", "gtx", "rx"))
"""Product lines, which people leave out (``4090``, ``6000 Ada``); one that is written has to be right."""
_WORDS = (
    *_BRANDS, *_NOISE, *_SAME, *_LINES, "pro", "quadro", "titan", "max", "maxq", "ti", "super", "laptop", "server",
    "workstation", "pcie", "sxm", "oam", "nvlink", "nvl", "hbm", "gddr", "xtx", "xt", "gre", "tpu", "hgx", "superchip",
)  # fmt: skip
"""Words that are told apart where they are glued to a number or to each other."""
_W = "|".join(sorted(_WORDS, key=len, reverse=True))
_TOKEN = re.compile(
    rf"""
      \d+(?:gib|gb|g)(?=$|{_W})                                   # a memory size
    | sxm[2-6](?=$|\D|\d{{2,3}}g) | nvl\d+(?=$|{_W}) | hbm[1-4][ex]? | gddr[5-7]x?
    | (?:{_W})(?=$|\d|[a-z]{{1,3}}\d|{_W})
    | [a-z]{{4,}}(?=\d)                                           # gaudi3
    # a model (h100, 4090, mi300x, l40s), to its end or before a word
    | [a-z]{{0,3}}\d+[a-z]*?(?=$|\d|{_W}|(?![a-z](?:{_W})+$)[a-z]{{3,}}$)
    | .+""",
    re.VERBOSE,
)
_CHUNK = re.compile(r"(?:[^\s\-_/\\,()\[\]{}:;.'\"|]|(?<![\w)])\.)+")  # a path's dots are no separator
_MARKS = re.compile(r"[®™©℠]|\((?:r|tm|c)\)", re.IGNORECASE)
_PHRASES = (
    (
        re.compile(r"^.*\bcorporation\b.*\[(.+)\].*$"),
        r"\1",
    ),  # lspci: NVIDIA Corporation GH100 [H100 SXM5 80GB] (rev a1)
    (re.compile(r"\bpci[\s_-]*e(?:xpress)?\b"), " pcie "),
    (re.compile(r"\bmax[\s_-]*q\b"), " maxq "),
    (re.compile(r"\btensor[\s_-]*core\b|\bdata[\s_-]cent(?:er|re)\b"), " "),
)
_SIZE = re.compile(r"(\d+)(?:gib|gb|g)")
_FACT = re.compile(r"\d+gb|sxm\d?|pcie|oam|nvlink|(?:hbm|gddr|lpddr)\w*")
_LETTERS = frozenset(("a", "b", "h", "k", "l", "m", "p", "t", "v", "w", "gb", "gh", "mi"))
"""What precedes the number in a model's name, and may stand apart from it (``H 100``)."""
_SUPER = re.compile(r"([1-5]0[5-9]0)s")
_COUNTED = (
    re.compile(r"(?P<count>\d+)\s*[x*]\s*(?P<name>\S.*)"),
    re.compile(r"(?P<name>.*\S)[\s\-_]*[x*]\s*(?P<count>\d+)"),
    re.compile(r"(?P<name>.*\S)\s*:\s*(?P<count>\d+)"),
)
_MIG = re.compile(r"\bmig\b|\b\d+g\.\d+gb\b")
_VGPU = re.compile(r"[\s\-_]\d+[qcab]$")
_MOST_CHOICES, _MOST_NEAR = 8, 4
_LIKE = 0.5
"""Share of letters that a suggestion has in common with the name (``difflib``'s ratio, and its usual cut-off)."""
_HINT = "(`archsearch hardware list` shows all; {profiles} DIR adds your own, docs/hardware.md says how)"
_ABOUT = ("hardware", "profiles")


@dataclass(frozen=True, slots=True)
class Written:
    """A name as it is compared: its tokens, sorted, and the vendors whose brand words it had.

    ``needed`` are the tokens that another spelling of the name must have: a product line before a number may be left
    out, but for Quadro and TITAN, where it tells boards apart.
    """

    tokens: tuple[str, ...]
    vendors: frozenset[str]
    needed: frozenset[str]

    @classmethod
    def of(cls, tokens: Iterable[str], vendors: frozenset[str]) -> Written:
        """A name by its tokens, in any order."""
        ordered = tuple(sorted(tokens))
        numbered = any(_has_digit(token) and not _is_fact(token) for token in ordered)
        lines = _LINES if numbered and not {"quadro", "titan"} & set(ordered) else frozenset()
        return cls(ordered, vendors, frozenset(ordered) - lines)

    def __str__(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one GPU: its names (the id among them), and the words that are true of it beside them."""

    id: str
    vendor: str
    texts: tuple[str, ...]
    names: tuple[Written, ...]
    true: frozenset[str]

    @classmethod
    def of(cls, gpu_id: str, vendor: str, names: Iterable[str], facts: Iterable[str]) -> Known:
        """A GPU by its names and facts as they are written (``SXM5``, ``80GB``, ``HBM3``, ``hopper``)."""
        texts = tuple(dict.fromkeys((gpu_id, *names)))
        read = tuple(dict.fromkeys(written(text) for text in texts))
        true = {token for name in read for token in name.tokens}
        for fact in facts:
            true.update(written(fact).tokens)
        if any(token.startswith("sxm") for token in true):
            true |= {"sxm", "hgx"}
        return cls(gpu_id, vendor, texts, read, frozenset(true))

    def fits(self, name: Written) -> bool:
        """Whether the name says enough, and nothing that is not true of this GPU."""
        return self._of_this_vendor(name) and any(rest <= self._beside() for rest in self._rests(name))

    def lacks(self, name: Written) -> frozenset[str] | None:
        """The words of a name, otherwise this GPU's, that are not true of it; None if it is another's name."""
        rests = [rest - self._beside() for rest in self._rests(name)] if self._of_this_vendor(name) else []
        return min(rests, key=len) if rests else None

    def may_be(self, name: Written) -> bool:
        """Whether the name says nothing that is wrong of this GPU, but perhaps too little (``A100``, ``MI300``)."""
        models = {token for own in self.names for token in own.tokens if token not in _WORDS and not _is_fact(token)}
        named = [token for token in name.tokens if any(_short_for(token, model) for model in models)]
        return bool(named) and self._of_this_vendor(name) and not set(name.tokens) - self.true - set(named)

    def _beside(self) -> frozenset[str]:
        """What may stand beside one of its names: a bare number is a count of GPUs, never true of one."""
        return frozenset(token for token in self.true if not token.isdigit())

    def _of_this_vendor(self, name: Written) -> bool:
        return name.vendors <= {self.vendor}

    def _rests(self, name: Written) -> list[frozenset[str]]:
        """What the name has beside each declared name whose tokens it has."""
        have = frozenset(name.tokens)
        near = [own for own in self.names if own.needed and own.needed <= have]
        return [frozenset(Counter(name.tokens) - Counter(own.tokens)) for own in near]


def written(text: str) -> Written:
    """The tokens of a name and the vendors of its brand words."""
    text = unicodedata.normalize("NFKC", _MARKS.sub(" ", text))
    text = "".join(c for c in text if unicodedata.category(c) != "Cf").lower().replace("×", "x")
    for phrase, instead in _PHRASES:
        text = phrase.sub(instead, text)
    tokens = _joined([token for chunk in _CHUNK.findall(text) for token in _TOKEN.findall(chunk)])
    vendors = frozenset(_BRANDS[token] for token in tokens if token in _BRANDS)
    return Written.of((token for token in tokens if token not in _BRANDS and token not in _NOISE), vendors)


def plain(text: str) -> str:
    """A name as ids are written: lower case, hyphens for spaces, underscores and slashes."""
    return re.sub(r"[\s_/]+", "-", text.strip().lower())


def bare(text: str) -> str:
    """``plain`` without leading brand words."""
    words = plain(text).split("-")
    while len(words) > 1 and words[0] in _BRANDS:
        del words[0]
    return "-".join(words)


def meant(text: str, known: Sequence[Known]) -> str | None:
    """The id of the GPU that a name means; None if it means none, or may be several."""
    name = written(text)
    if not name.tokens:
        return None
    fitting = [gpu for gpu in known if gpu.fits(name)]
    exact = [gpu for gpu in fitting if any(own.tokens == name.tokens for own in gpu.names)]
    best = exact or fitting
    return best[0].id if len(best) == 1 else None


def refusal(text: str, known: Sequence[Known]) -> UnknownNameError:
    """Why a name means no GPU: it may be several, it counts GPUs, it is a part of one, or none has that name.

    Suggestions keep the digits: ``H20`` is never answered with H200.
    """
    name = written(text)
    if counted := _counted(text, known):
        return counted
    if (part := _part(text)) is not None:
        return UnknownNameError("GPU", text, (), field="hardware", near=(), reason=part)
    choices = [gpu.id for gpu in known if gpu.fits(name)] or [gpu.id for gpu in known if gpu.may_be(name)]
    if choices:
        hint = _HINT if len(choices) == 1 else ""
        return AmbiguousNameError("GPU", text, sorted(choices)[:_MOST_CHOICES], hint, field=_ABOUT)
    near, reason = _sized(name, known) or _but_for(name, known)
    if not near and name.tokens:
        near = _near(text, name, known)
        reason = f"did you mean {', '.join(near)}?" if near else "no GPU has a name like it with the same digits"
    elif not name.tokens:
        reason = "it has no word that tells GPUs apart"
    return UnknownNameError("GPU", text, (), _HINT, field=_ABOUT, near=near, reason=reason)


def _sized(name: Written, known: Sequence[Known]) -> tuple[list[str], str] | None:
    """GPUs that are meant if a bare number is a memory size (``A100-40``), which it might not be."""
    sized = Written.of((f"{token}gb" if token.isdigit() else token for token in name.tokens), name.vendors)
    near = sorted(gpu.id for gpu in known if sized != name and gpu.fits(sized))[:_MOST_NEAR]
    return (near, f"did you mean {', '.join(near)}? (a memory size has its unit, 80GB)") if near else None


def _but_for(name: Written, known: Sequence[Known]) -> tuple[list[str], str]:
    """GPUs whose name this is but for words that are not true of them (``4090 Laptop``, ``L40S 96GB``)."""
    lacking = {gpu.id: lacks for gpu in known if (lacks := gpu.lacks(name))}
    fewest = min(map(len, lacking.values()), default=0)
    near = sorted(gpu_id for gpu_id, lacks in lacking.items() if len(lacks) == fewest)[:_MOST_NEAR]
    words = ", ".join(sorted({repr(word) for gpu_id in near for word in lacking[gpu_id]}))
    return near, f"{', '.join(near)} {'is' if len(near) == 1 else 'are'} known, but not with {words}"


def _joined(tokens: Sequence[str]) -> list[str]:
    """Tokens with what belongs together as one (``80 GB``, ``H 100``, ``L40 S``, ``SXM 5``), in one spelling."""
    done: list[str] = []
    for token in tokens:
        last = done[-1] if done else ""
        if last.isdigit() and token in ("g", "gb", "gib"):
            done[-1] = f"{last}gb"
        elif (
            (last in _LETTERS and re.fullmatch(r"\d+[a-z]?", token) and not _SIZE.fullmatch(token))
            or (re.fullmatch(r"[a-z]{0,3}\d+", last) and re.fullmatch(r"[a-z]", token))
            or (last == "sxm" and re.fullmatch(r"[2-6]", token))
            or (last == "hbm" and re.fullmatch(r"[1-4]e?", token))
        ):
            done[-1] = last + token
        elif last == "ti" and token == "s":
            done.append("super")
        else:
            done.append(token)
    return [word for token in done for word in _spelled(token)]


def _spelled(token: str) -> tuple[str, ...]:
    if size := _SIZE.fullmatch(token):
        return (f"{int(size[1])}gb",)
    if short := _SUPER.fullmatch(token):  # RTX 4070S
        return (short[1], "super")
    return _SAME.get(token, (token,))


def _counted(text: str, known: Sequence[Known]) -> UnknownNameError | None:
    """The answer to ``8xH100``: counts are written otherwise."""
    for form in _COUNTED:
        match = form.fullmatch(unicodedata.normalize("NFKC", text.strip()).lower().replace("×", "x"))
        gpu_id = meant(match["name"], known) if match else None
        if match and gpu_id:
            how = f"several GPUs are written {gpu_id}={int(match['count'])}, where a command takes more than one"
            return UnknownNameError("GPU", text, (), field="hardware", near=(gpu_id,), reason=how)
    return None


def _part(text: str) -> str | None:
    lowered = text.strip().lower()
    if _MIG.search(lowered):
        return "an instance of a divided GPU (MIG) has no figures here; name the GPU"
    return "a share of a GPU (vGPU) has no figures here; name the GPU" if _VGPU.search(lowered) else None


def _near(text: str, name: Written, known: Sequence[Known]) -> list[str]:
    """Up to four ids of GPUs one of whose names is spelled like it, with the same numbers: a model's may differ in
    letters at its end alone (``A10M``: a10, a10g)."""
    numbers = {_numbered(token) for token in name.tokens if _has_digit(token) and not _is_fact(token)}
    likeness: dict[str, float] = {}
    for gpu in known:
        texts = gpu.texts if numbers else [other for other in gpu.texts if not _has_digit(other)]
        if numbers <= {_numbered(token) for token in gpu.true if _has_digit(token)}:
            alike = (difflib.SequenceMatcher(None, plain(text), plain(other)).ratio() for other in texts)
            likeness[gpu.id] = max(alike, default=0.0)
    best = sorted(likeness, key=lambda gpu_id: (-likeness[gpu_id], gpu_id))
    return [gpu_id for gpu_id in best if likeness[gpu_id] >= _LIKE][:_MOST_NEAR]


def _numbered(token: str) -> str:
    return token.rstrip("abcdefghijklmnopqrstuvwxyz")


def _is_fact(token: str) -> bool:
    return _FACT.fullmatch(token) is not None


def _has_digit(token: str) -> bool:
    return any(c.isdigit() for c in token)


def _short_for(token: str, model: str) -> bool:
    """Whether a word is this one of a model, or has a number and the model's more letters (``mi300`` of ``mi300x``)."""
    return token == model or (_has_digit(token) and model.startswith(token) and not _has_digit(model[len(token) :]))
