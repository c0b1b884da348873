"""Names of GPUs: what people write resolves by tokens with exact digits, or is refused with the choices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpu_spellings import AMBIGUOUS, MEANT, REFUSED
from hypothesis import assume, given
from hypothesis import strategies as st

from archsearch.cli.main import run
from archsearch.data import data_path
from archsearch.errors import AmbiguousNameError, ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import GpuPool, database, gpu_ids, list_gpus, load_gpu, parse_prices, profile
from archsearch.hardware.clouds import Offer, all_offers, find_offer
from archsearch.hardware.names import Known, meant, refusal

SHIPPED = data_path("hardware_profiles")
SPELLINGS = [(name, gpu_id) for gpu_id, names in MEANT.items() for name in names]
KNOWN_SPELLINGS = [(name, gpu_id) for name, gpu_id in SPELLINGS if (SHIPPED / f"{gpu_id}.yaml").is_file()]


@pytest.fixture(autouse=True)
def _no_user_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCHSEARCH_PROFILES", raising=False)


def found(name: str) -> str | None:
    """The id that a name resolves to, or None."""
    try:
        return load_gpu(name).id
    except UnknownNameError:
        return None


# ---------------------------------------------------------------- what resolves, and what does not


@pytest.mark.parametrize(("name", "gpu_id"), SPELLINGS)
def test_a_spelling_means_its_gpu_or_none(name: str, gpu_id: str) -> None:
    assert found(name) == (gpu_id if gpu_id in gpu_ids() else None)


def test_most_spellings_are_of_gpus_that_exist() -> None:
    assert len(KNOWN_SPELLINGS) > 350


@pytest.mark.parametrize("name", REFUSED)
def test_no_other_gpu_stands_in(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_gpu(name)
    assert (repr(name) if len(name) <= 200 else name[:60]) in str(caught.value)


@pytest.mark.parametrize("gpu_id", gpu_ids())
def test_every_declared_name_resolves_in_any_case(gpu_id: str) -> None:
    gpu = load_gpu(gpu_id)
    for name in (gpu.name, *gpu.aliases):
        assert load_gpu(name).id == gpu_id
        assert load_gpu(name.upper()).id == gpu_id


def test_no_name_means_two_gpus() -> None:
    owner: dict[tuple[str, ...], str] = {}
    for gpu in list_gpus():
        for name in database.names_of(gpu).names:
            assert owner.setdefault(name.tokens, gpu.id) == gpu.id, name


# ---------------------------------------------------------------- what does not matter, and what does


BRANDS = {
    "nvidia": ["", "NVIDIA ", "Tesla ", "GeForce "],
    "amd": ["", "AMD ", "Instinct ", "Radeon "],
    "intel": ["", "Intel ", "Intel Arc "],
}
NUMBERED = [(name, of) for name, of in KNOWN_SPELLINGS if re.search(r"\d", name) and "Corporation" not in name]
"""Spellings that have a number, and not the chip's, which says nothing that another word does not."""


@given(st.sampled_from(KNOWN_SPELLINGS), st.data())
def test_case_separators_and_brands_do_not_matter(spelling: tuple[str, str], data: st.DataObject) -> None:
    name, gpu_id = spelling
    words = re.split(r"[\s_-]+", name.strip())
    separator = st.sampled_from([" ", "-", "_", "  ", ", "])
    between = data.draw(st.lists(separator, min_size=len(words) - 1, max_size=len(words) - 1))
    changed = data.draw(st.sampled_from(BRANDS.get(load_gpu(gpu_id).vendor, [""]))) + words[0]
    for between_two, word in zip(between, words[1:], strict=True):
        changed += between_two + word
    changed = data.draw(st.sampled_from([str.upper, str.lower, str.title, str]))(changed)
    assume(find_offer(changed, [SHIPPED]) is None)  # a cloud's label is a name of its own
    assert found(changed) == gpu_id


@given(st.sampled_from(NUMBERED), st.data())
def test_another_digit_or_one_more_is_another_gpu(spelling: tuple[str, str], data: st.DataObject) -> None:
    name, gpu_id = spelling
    place = data.draw(st.sampled_from([match.start() for match in re.finditer(r"\d", name)]))
    others = [digit for digit in "0123456789" if digit != name[place]]
    assert found(name[:place] + data.draw(st.sampled_from(others)) + name[place + 1 :]) != gpu_id
    assert found(name[:place] + data.draw(st.sampled_from("123456789")) + name[place:]) != gpu_id


VARIANTS = ["Ti", "SUPER", "D", "Laptop", "Max-Q", "NVL", "Server", "Workstation", "X", "xyz"]


@given(st.sampled_from(KNOWN_SPELLINGS), st.sampled_from(VARIANTS))
def test_a_variant_is_never_swallowed(spelling: tuple[str, str], variant: str) -> None:
    name, gpu_id = spelling
    gpu = load_gpu(gpu_id)
    assume(not re.search(rf"\b{variant}\b", " ".join((gpu.name, *gpu.aliases)), re.IGNORECASE))
    assert found(f"{name} {variant}") != gpu_id


@given(st.text(max_size=30))
def test_any_text_is_a_gpu_or_refused(name: str) -> None:
    assert found(name) in {None, *gpu_ids()}


# ---------------------------------------------------------------- what a refusal says


@pytest.mark.parametrize(("name", "choices"), AMBIGUOUS.items())
def test_an_ambiguous_name_is_answered_with_the_choices(name: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousNameError) as caught:
        load_gpu(name)
    assert set(choices) <= set(caught.value.near)
    for gpu_id in caught.value.near:
        assert gpu_id in str(caught.value)
        assert load_gpu(gpu_id).id == gpu_id


def test_the_choices_are_asked_for() -> None:
    with pytest.raises(AmbiguousNameError) as caught:
        load_gpu("A100 PCIe")
    assert str(caught.value) == "'A100 PCIe' may be a100-pcie-40gb or a100-pcie-80gb: say which"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("h100-smx", "h100-sxm"),
        ("a100-sxm-80", "a100-sxm-80gb"),
        ("A100-40", "a100-sxm-40gb"),
        ("NVIDIA H100 80GB HBM4", "h100-sxm"),
        ("RTX4090-48GB", "rtx-4090"),
        ("NVIDIA A10M", "a10"),
        ("L40S Laptop", "l40s"),
        ("H100x8", "h100-sxm"),
    ],
)
def test_an_unknown_gpu_is_refused_with_near_names(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_gpu(name)
    assert near in caught.value.near
    assert repr(name) in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize("name", ["rtx-4900", "H1000", "NVIDIA B100", "banana", "H2", "L400"])
def test_where_nothing_is_near_the_way_to_list_and_add_is_told(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_gpu(name)
    assert caught.value.near == ()
    assert "archsearch hardware list" in str(caught.value)
    assert "docs/hardware.md" in str(caught.value)


@given(st.sampled_from(REFUSED), st.data())
def test_suggestions_keep_the_digits(name: str, data: st.DataObject) -> None:
    digits = re.findall(r"\d+", name)
    with pytest.raises(UnknownNameError) as caught:
        load_gpu(name)
    for gpu_id in caught.value.near:
        model = re.sub(r"-\d+gb$", "", gpu_id)
        assert set(re.findall(r"\d+", model)) <= set(digits), gpu_id


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("8xH100", "h100-sxm=8"),
        ("H100:8", "h100-sxm=8"),
        ("2×A100-80GB", "a100-sxm-80gb=2"),
        ("RTX 4090 x 4", "rtx-4090=4"),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "MIG"),
        ("NVIDIA L40S-48Q", "vGPU"),
        ("NVIDIA", "no word that tells GPUs apart"),
        ("RTX4090-48GB", "rtx-4090 is known, but not with '48gb'"),
        ("NVIDIA GeForce RTX 4080 Foo", "rtx-4080 is known, but not with 'foo'"),
        ("V100 SXM4 32GB", "v100-sxm-32gb is known, but not with 'sxm4'"),
    ],
)
def test_a_refusal_gives_the_reason(name: str, says: str) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(says)):
        load_gpu(name)


# ---------------------------------------------------------------- the rules alone

CARDS = [
    Known.of("foo-10", "nvidia", ["Foo 10", "NVIDIA Foo 10 8GB"], ["PCIe", "8GB", "GDDR6", "ada"]),
    Known.of("foo-10-16gb", "nvidia", ["Foo 10 16GB"], ["PCIe", "16GB", "GDDR6", "ada"]),
    Known.of("bar-5-sxm", "amd", ["Bar 5 SXM4"], ["SXM4", "32GB", "HBM3", "cdna3"]),
    Known.of("bar-5-pcie", "amd", ["Bar 5 PCIe"], ["PCIe", "32GB", "HBM2e", "cdna3"]),
]


@pytest.mark.parametrize(
    ("name", "gpu_id"),
    [
        ("foo 10", "foo-10"),
        ("Foo 10 8 GB GDDR6 PCIe Ada", "foo-10"),
        ("16GB Foo 10", "foo-10-16gb"),
        ("foo 10 24GB", None),
        ("foo 10 GDDR6X", None),
        ("foo 10 turing", None),
        ("AMD foo 10", None),
        ("foo 1 0", None),
        ("bar 5", None),
        ("bar 5 SXM", "bar-5-sxm"),
        ("bar 5 SXM5", None),
        ("bar 5 HBM3", None),
        ("Radeon bar_5-pcie 32G", "bar-5-pcie"),
    ],
)
def test_a_name_needs_a_declared_one_and_no_word_that_is_not_true(name: str, gpu_id: str | None) -> None:
    assert meant(name, CARDS) == gpu_id


def test_a_short_name_lists_what_it_may_be() -> None:
    assert refusal("Bar 5", CARDS).near == ("bar-5-pcie", "bar-5-sxm")
    assert refusal("Bar 6", CARDS).near == ()


def test_two_profiles_may_not_claim_one_name(tmp_path: Path) -> None:
    for stem in ("one", "two"):
        content = yaml.safe_load((SHIPPED / "l40s.yaml").read_text())
        content |= {"id": stem, "name": f"Card {stem}", "aliases": ["My_Card 7", "card my 7"][stem == "two" :][:1]}
        (tmp_path / f"{stem}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InvalidInputError, match=r"two\.yaml: the name .* is taken by .*one\.yaml"):
        list_gpus(tmp_path)


def test_an_id_is_found_without_reading_the_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    mapping = profile.parsed_mapping

    def counting(path: Path) -> dict[str, Any]:
        read.append(path)
        return mapping(path)

    database._complete.cache_clear()
    monkeypatch.setattr(profile, "parsed_mapping", counting)
    load_gpu("l40s")
    load_gpu("NVIDIA L40S")
    assert read == [SHIPPED / "l40s.yaml"]


# ---------------------------------------------------------------- clouds

MACHINES = {
    "p3.2xlarge": ("v100-sxm-16gb", 1), "p3dn.24xlarge": ("v100-sxm-32gb", 8), "p4d.24xlarge": ("a100-sxm-40gb", 8),
    "p4de.24xlarge": ("a100-sxm-80gb", 8), "p5.48xlarge": ("h100-sxm", 8), "p5.4xlarge": ("h100-sxm", 1),
    "p5e.48xlarge": ("h200-sxm", 8), "p5en.48xlarge": ("h200-sxm", 8), "p6-b200.48xlarge": ("b200-sxm", 8),
    "p6-b300.48xlarge": ("b300-sxm", 8), "p6e-gb200.36xlarge": ("gb200", 4), "g4dn.xlarge": ("t4", 1),
    "g4dn.12xlarge": ("t4", 4), "g5.xlarge": ("a10g", 1), "g5.24xlarge": ("a10g", 4), "g5.48xlarge": ("a10g", 8),
    "g6.xlarge": ("l4", 1), "g6.12xlarge": ("l4", 4), "gr6.4xlarge": ("l4", 1), "g6e.xlarge": ("l40s", 1),
    "g6e.48xlarge": ("l40s", 8), "g7e.12xlarge": ("rtx-pro-6000-server", 2), "ml.p4d.24xlarge": ("a100-sxm-40gb", 8),
    "a2-highgpu-1g": ("a100-sxm-40gb", 1), "a2-megagpu-16g": ("a100-sxm-40gb", 16),
    "a2-ultragpu-4g": ("a100-sxm-80gb", 4), "a3-highgpu-8g": ("h100-sxm", 8), "a3-megagpu-8g": ("h100-sxm", 8),
    "a3-ultragpu-8g": ("h200-sxm", 8), "a4-highgpu-8g": ("b200-sxm", 8), "a4x-highgpu-4g": ("gb200", 4),
    "g2-standard-4": ("l4", 1), "g2-standard-96": ("l4", 8), "g4-standard-96": ("rtx-pro-6000-server", 2),
    "Standard_NC4as_T4_v3": ("t4", 1), "Standard_NC24ads_A100_v4": ("a100-pcie-80gb", 1),
    "Standard_NC40ads_H100_v5": ("h100-nvl", 1), "Standard_ND96asr_v4": ("a100-sxm-40gb", 8),
    "Standard_ND96amsr_A100_v4": ("a100-sxm-80gb", 8), "Standard_ND96isr_H100_v5": ("h100-sxm", 8),
    "Standard_ND96isr_H200_v5": ("h200-sxm", 8), "Standard_ND128isr_NDR_GB200_v6": ("gb200", 4),
    "Standard_ND96isr_MI300X_v5": ("mi300x", 8), "Standard_NC6s_v3": ("v100-pcie-16gb", 1),
    "Standard_ND40rs_v2": ("v100-sxm-32gb", 8), "NC24ads A100 v4": ("a100-pcie-80gb", 1),
    "nd96isr_h100_v5": ("h100-sxm", 8), "Standard_NV36ads_A10_v5": ("a10", 1), "BM.GPU.H100.8": ("h100-sxm", 8),
    "BM.GPU4.8": ("a100-sxm-40gb", 8), "BM.GPU.A10.4": ("a10", 4), "VM.GPU.A10.1": ("a10", 1),
    "BM.GPU.L40S.4": ("l40s", 4), "BM.GPU.MI300X.8": ("mi300x", 8), "bm.gpu.b200.8": ("b200-sxm", 8),
    "gpu_1x_a100_sxm4": ("a100-sxm-40gb", 1), "gpu_8x_h100_sxm5": ("h100-sxm", 8), "gpu_1x_gh200": ("gh200", 1),
    "gpu_1x_a10": ("a10", 1), "gpu_8x_a100_80gb_sxm4": ("a100-sxm-80gb", 8),
}  # fmt: skip
LABELS = {
    "nvidia-tesla-a100": "a100-sxm-40gb",
    "NVIDIA_TESLA_A100": "a100-sxm-40gb",
    "nvidia-a100-80gb": "a100-sxm-80gb",
    "nvidia-h100-80gb": "h100-sxm",
    "nvidia-h100-mega-80gb": "h100-sxm",
    "nvidia-h200-141gb": "h200-sxm",
    "nvidia-b200": "b200-sxm",
    "nvidia-gb200": "gb200",
    "nvidia-l4": "l4",
    "nvidia-tesla-t4": "t4",
    "nvidia-tesla-v100": "v100-sxm-16gb",
    "nvidia-tesla-p100": "p100-pcie-16gb",
    "nvidia-tesla-p4": "p4",
    "nvidia-rtx-pro-6000": "rtx-pro-6000-server",
}
WITHOUT_PROFILE = {"t4g"}
"""GPUs that clouds have and that have no profile."""


def offers() -> list[Offer]:
    return all_offers([SHIPPED])


@pytest.mark.parametrize(("name", "gpu_id", "count"), [(name, *of) for name, of in MACHINES.items()])
def test_a_machine_is_its_gpus(name: str, gpu_id: str, count: int) -> None:
    assert load_gpu(name).id == gpu_id
    pool = GpuPool.parse(name)
    assert (pool.ids, pool.counts) == ((gpu_id,), (count,))
    assert GpuPool.parse(f"{name.upper()}=2").counts == (2 * count,)


@pytest.mark.parametrize(("label", "gpu_id"), LABELS.items())
def test_a_label_is_a_gpu(label: str, gpu_id: str) -> None:
    assert load_gpu(label).id == gpu_id
    assert GpuPool.parse(label).counts == (None,)


def test_a_price_is_of_one_gpu() -> None:
    assert parse_prices(["g5.xlarge=1.5"], ["a10g"]) == {"a10g": 1.5}
    with pytest.raises(InvalidInputError, match=r"p5\.48xlarge has 8 GPUs; give the price of one, under h100-sxm"):
        parse_prices(["p5.48xlarge=55"], ["h100-sxm"])


def test_words_apart_are_no_label() -> None:
    assert load_gpu("NVIDIA Tesla A100").id == load_gpu("A100").id != load_gpu("nvidia-tesla-a100").id


def test_machines_and_gpus_mix_in_a_pool() -> None:
    pool = GpuPool.parse("g6.12xlarge,p5.48xlarge,t4")
    assert dict(zip(pool.ids, pool.counts, strict=True)) == {"l4": 4, "h100-sxm": 8, "t4": None}
    assert pool.weights == pytest.approx((4 / 13, 8 / 13, 1 / 13))
    with pytest.raises(InvalidInputError, match="h100-sxm is in the pool twice"):
        GpuPool.parse("p5.48xlarge,h100-sxm")


@pytest.mark.parametrize("name", ["Standard_NV6ads_A10_v5", "g4-standard-12", "g6f.xlarge"])
def test_a_share_of_a_gpu_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"1/\d of a GPU .*whole GPUs"):
        load_gpu(name)


def test_a_machine_whose_gpu_has_no_profile_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match=r"t4g at AWS \(https://aws.amazon.com/.*no profile"):
        load_gpu("g5g.xlarge")


def test_a_machine_that_does_not_exist_is_answered_with_its_family() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_gpu("p5.24xlarge")
    assert set(caught.value.near) == {"p5.4xlarge", "p5.48xlarge"}


def test_every_offer_is_of_a_profile_or_known_to_have_none() -> None:
    ids = set(gpu_ids())
    assert {offer.gpu for offer in offers()} - ids == WITHOUT_PROFILE
    for offer in offers():
        if offer.gpu in ids and offer.share is None:
            assert load_gpu(offer.name).id == offer.gpu, offer


def test_what_a_machines_name_says_agrees() -> None:
    """A machine's name often has its GPU and their number: a second reading of the table."""
    for offer in offers():
        if match := re.fullmatch(r"a\d\w?-\w+gpu-(\d+)g|[BV]M\.GPU.*\.(\d+)|gpu_(\d+)x_\w+", offer.name):
            assert offer.count == int(next(number for number in match.groups() if number)), offer
        if match := re.search(r"(?:_|\.|^)(A10|A100|T4|L40S|H[12]00|GB[23]00|B[23]00|MI\d+X)(?:[_.-]|$)", offer.name):
            assert match[1].lower() in offer.gpu.split("-"), offer


def test_no_machine_hides_a_gpus_name() -> None:
    keys = {offer.name.lower() for offer in offers() if offer.count}
    for gpu in list_gpus():
        assert not keys & {gpu.id, gpu.name.lower(), *(alias.lower() for alias in gpu.aliases)}


def test_a_folder_of_ones_own_may_name_machines(tmp_path: Path) -> None:
    (tmp_path / "clouds").mkdir()
    path = tmp_path / "clouds" / "lab.yaml"
    start = "provider: Lab\nfamilies:\n  - {gpu: l40s, url: 'https://example.org', instances: "
    path.write_text(start + "{rack-1: 6, p5.48xlarge: 3}}\n")
    assert GpuPool.parse("rack_1", profiles=tmp_path).counts == (6,)
    assert GpuPool.parse("p5.48xlarge", profiles=tmp_path).ids == ("l40s",)
    assert load_gpu("p5.48xlarge").id == "h100-sxm"
    path.write_text(start + "{rack-1: 0}}\n")
    with pytest.raises(InvalidInputError, match=r"lab.yaml:3: families.0.instances.rack-1"):
        load_gpu("rack-1", profiles=tmp_path)


def test_a_verb_of_one_gpu_takes_one_of_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", "gpt2", "-g", "p5.48xlarge", "--json"]) == 0
    of_machine = capsys.readouterr().out
    assert run(["estimate", "gpt2", "-g", "h100-sxm", "--json"]) == 0
    assert of_machine == capsys.readouterr().out
    assert run(["estimate", "gpt2", "-g", "A100 PCIe"]) == 2
    assert "may be a100-pcie-40gb or a100-pcie-80gb: say which" in capsys.readouterr().err


def test_every_refusal_is_archsearchs_own() -> None:
    for name in (*REFUSED, *AMBIGUOUS):
        with pytest.raises(ArchSearchError):
            load_gpu(name)


@pytest.mark.parametrize(
    "name", ["2 mi250", "4 mi355x", "MI300X-3", "2 Gaudi 2", "4 rx 9070", "trainium2 2", "mi250x2"]
)
def test_a_bare_number_is_no_word_of_a_gpu(name: str) -> None:
    with pytest.raises(UnknownNameError):
        load_gpu(name)


@pytest.mark.parametrize("name", ["9" * 5000 + "xh100", "corporation [" * 700, "h100 " + "9" * 5000 + "gb"])
def test_a_name_without_end_is_refused_at_once(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_gpu(name)
    assert len(str(caught.value)) < 300
