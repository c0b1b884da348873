"""The what-if page without a page: what it answers is what the verbs print, and what it refuses it refuses in words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from archsearch.cli.main import run
from archsearch.errors import ArchSearchError
from archsearch.models.registry.families import load_preset
from archsearch.pipeline.codesign import PipelineConfig
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import resolve_pool
from archsearch.search.explore.enumeration import enumerate_space
from archsearch.search.space.space import load_space
from archsearch.ui.front_place import Fronts, beaten_by, in_space, nearest_space, place_of, sampling_of, spaces_of
from archsearch.ui.knobs import families_with_presets, model_knobs, phases_of, workload_knobs
from archsearch.ui.serve import FIRST_PORT, free_port, is_loopback, names_of, url_of
from archsearch.ui.state import State
from archsearch.ui.what_if import FILE, Answer, Refusal, Selection, what_if


def answered(selection: Selection) -> Answer:
    answer = what_if(selection)
    assert isinstance(answer, Answer), answer
    return answer


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What the command line answers to a command of the page."""
    words = shlex.split(command)
    assert words[0] == "archsearch"
    assert run([*words[1:], "--json"]) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


ASKED = {
    "a preset": Selection(gpu="t4", model="bert-base", workload={"dtype": "fp16", "batch_size": 4}),
    "dimensions changed": Selection(
        gpu="h100-sxm",
        model="llama-3.2-1b",
        changes={"num_layers": 3, "intermediate_size": 4096, "tie_word_embeddings": False},
        workload={"dtype": "fp8", "phase": "decode", "batch_size": 2, "seq_len": 512},
        execution="vllm",
    ),
    "an image": Selection(
        gpu="l4", model="dit-s-2", changes={"num_layers": 2}, workload={"height": 256, "width": 512, "batch_size": 1}
    ),
}


@pytest.mark.parametrize("selection", ASKED.values(), ids=ASKED)
def test_the_command_of_a_page_prints_the_same_figures(
    selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answered(selection)
    monkeypatch.chdir(tmp_path)
    if answer.file is not None:
        Path(FILE).write_text(answer.file)
    told = printed(answer.command, capsys)
    ours = json.loads(json.dumps(answer.result.to_dict()))
    apart = ("model", "schema")  # what the file is called, and what only printed documents state
    assert {n: v for n, v in told.items() if n not in apart} == {n: v for n, v in ours.items() if n not in apart}
    model = FILE if answer.file else selection.model
    quality = printed(f"archsearch quality {model}", capsys)
    assert answer.quality is not None
    assert (answer.quality.value, answer.quality.low) == (
        quality[f"predicted_{answer.quality.metric}"],
        quality["low"],
    )


def test_the_script_is_the_file_and_the_command() -> None:
    selection = ASKED["dimensions changed"]
    script = answered(selection).script.split("\n")
    assert script[0] == f"cat > {FILE} <<'END'"
    assert "num_layers: 3" in script
    call = " ".join(line.removesuffix("\\").strip() for line in script[script.index("END") + 1 :])
    assert call == answered(selection).command
    assert max(map(len, script)) <= 80


def test_unchanged_dimensions_are_the_preset_itself() -> None:
    answer = answered(Selection(gpu="l4", model="bert-base", changes={"num_layers": 12}))
    assert answer.file is None
    assert answer.command == "archsearch estimate bert-base --hardware l4"


REFUSED = {
    "heads that do not divide": (
        Selection(gpu="l4", model="llama-3.2-1b", changes={"hidden_size": 2000, "head_dim": None}),
        "num_attention_heads must divide hidden_size",
    ),
    "a format that the GPU lacks": (
        Selection(gpu="t4", model="bert-base", workload={"dtype": "bf16"}),
        "no native bf16",
    ),
    "no number": (Selection(gpu="l4", model="bert-base", changes={"num_layers": None}), "a whole number, not None"),
    "half a layer": (Selection(gpu="l4", model="bert-base", changes={"num_layers": 1.5}), "a whole number, not 1.5"),
    "too large": (Selection(gpu="l4", model="bert-base", changes={"num_layers": 10**12}), "at most 2147483648"),
    "too long": (Selection(gpu="l4", model="bert-base", workload={"seq_len": 4096}), "512 learned positions"),
    "an empty size": (
        Selection(gpu="l4", model="bert-base", workload={"batch_size": 0}),
        "from 1 to 2147483648, not 0",
    ),
    "no such model": (Selection(gpu="l4", model="<b>bert</b>"), "<b>bert</b>: no such file"),
    "no such GPU": (Selection(gpu="l5", model="bert-base"), "unknown GPU 'l5'"),
    "no such phase": (Selection(gpu="l4", model="bert-base", workload={"phase": "decode"}), "no decode phase"),
}


@pytest.mark.parametrize(("selection", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_possible_is_refused_with_the_reason(selection: Selection, reason: str) -> None:
    answer = what_if(selection)
    assert isinstance(answer, Refusal)
    assert reason in " ".join(answer.reasons)


def test_every_rule_that_a_model_breaks_is_told() -> None:
    selection = Selection(gpu="l4", model="llama-3.2-1b", changes={"num_attention_heads": 7, "num_layers": 0})
    answer = what_if(selection)
    assert isinstance(answer, Refusal)
    assert "num_layers must be at least 1" in answer.reasons
    assert "num_key_value_heads must divide num_attention_heads" in answer.reasons


def test_remedies_are_the_nearest_values_that_make_a_model() -> None:
    """768 / 7 is no head; by hand: 6 and 8 heads divide 768 into even heads, and 7 even heads make a multiple of 14, of
    which 896 is one of the slider's steps of 64."""
    selection = Selection(gpu="l4", model="modernbert-base", changes={"num_attention_heads": 7})
    answer = what_if(selection)
    assert isinstance(answer, Refusal)
    assert dict(answer.remedies) in (
        {"num_attention_heads": 6, "hidden_size": 896},
        {"num_attention_heads": 8, "hidden_size": 896},
    )
    for name, value in answer.remedies:
        changes = {**selection.changes, name: value}
        assert isinstance(what_if(Selection(gpu="l4", model="modernbert-base", changes=changes)), Answer)


def test_every_preset_can_be_turned_within_its_sliders() -> None:
    """Each number starts on its slider, on one of its steps, and words are offered that the family knows."""
    for names in families_with_presets().values():
        config = load_preset(names[0])
        for knob in (*model_knobs(config), *workload_knobs(config)):
            if knob.value is not None:
                assert knob.low <= knob.value <= knob.high, (names[0], knob)
                assert (knob.value - knob.low) % knob.step == 0, (names[0], knob)
        assert phases_of(config)
        assert workload_knobs(config)[0].name == "batch_size"


def test_a_slider_moves_the_latency() -> None:
    """Twice the layers, back to back, take twice the time of the layers alone: the embedding aside it is linear."""
    times = []
    for layers in (4, 8, 12):
        changes = {"num_layers": layers}
        answer = answered(Selection(gpu="l4", model="bert-base", changes=changes, execution="kernels"))
        times.append(answer.result.latency_s)
    assert times[2] - times[1] == pytest.approx(times[1] - times[0], rel=1e-9)
    assert times[1] > times[0]


def test_a_front_and_what_beats_a_model_on_it() -> None:
    space, gpu = "gpt2-shape", "h100-sxm"
    fronts = Fronts()
    front = fronts.front(space, gpu)
    table = enumerate_space(space, gpu)
    speed = f"throughput:{gpu}"
    assert front.columns == ("quality", speed)
    assert front.points.tolist() == table[["quality", speed]].to_numpy().tolist()
    assert fronts.known(space, gpu) is front
    place = place_of(load_preset("gpt2"), front)
    quality, throughput = place.point
    better = table[(table["quality"] <= quality) & (table[speed] >= throughput)]
    assert place.beaten_by == len(better) > 0
    assert f"{len(better)} architecture" in place.verdict
    assert f"{better[speed].max():,.0f} instead of {throughput:,.0f}" in place.verdict
    own = (float(front.points[0, 0]), float(front.points[0, 1]))
    assert not beaten_by(own, front).any()
    worse = (own[0] * 1.1, own[1] / 2)
    assert np.flatnonzero(beaten_by(worse, front)).size >= 1


def test_the_space_of_a_size() -> None:
    assert nearest_space("encoder", 1.5e8) == "modernbert-base-budget"
    assert nearest_space("decoder", 1.2e8) == "gpt2-shape"
    assert nearest_space("decoder", 7e9) == "llama-7b-shape"
    assert nearest_space("autoencoder-kl", 1e8) is None
    assert nearest_space("wan", 1.3e9) == "wan-class-video"
    assert spaces_of("dit") == ("dit-xl-2-shape", "dit-xl-budget")


def test_a_transformer_stands_in_a_pipelines_space_as_its_baseline_is_sampled() -> None:
    space = load_space("wan-class-video")
    evaluator = Evaluator(space, resolve_pool("h100-sxm"))
    baseline = evaluator.baseline_config()
    assert isinstance(baseline, PipelineConfig)
    assert sampling_of(space) == {"num_inference_steps": 50, "guidance_passes": 2, "distilled": 0}
    whole = in_space(baseline.transformer(), space)
    assert whole.to_dict() == baseline.to_dict()
    dit = load_preset("dit-xl-2")
    assert in_space(dit, load_space("dit-xl-2-shape")) is dit


def test_an_address_says_what_a_page_starts_with_and_leads_back() -> None:
    asked = {"gpu": "L4", "model": "bert-base", "num_layers": "8", "batch_size": "3", "dtype": "fp16"}
    state = State.started(asked=asked)
    assert (state.gpu, state.changes, state.sizes) == ("l4", {"num_layers": 8}, {"batch_size": 3})
    assert state.selection().workload["dtype"] == "fp16"
    again = State.started(asked=dict(pair.split("=") for pair in state.address().split("&")))
    assert again.selection() == state.selection()


@pytest.mark.parametrize("name", ["model", "execution"])
def test_an_address_opens_no_files(name: str, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("family: encoder\nnum_layers: 2\n")
    asked = {name: str(own)}
    if name == "model":
        with pytest.raises(ArchSearchError, match="unknown model"):
            State.started(asked=asked)
    else:
        assert State.started(asked=asked).selection().execution is None


def test_a_users_own_model_is_the_servers_to_name(tmp_path: Path) -> None:
    values = {"family": "encoder", **load_preset("bert-base").to_dict()}
    own = tmp_path / "<img src=x>.yaml"
    own.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    state = State.started(model=str(own), gpu="l4")
    assert (state.own, state.model) == (str(own), str(own))
    assert shlex.split(answered(state.selection()).command)[2] == str(own)


def test_a_family_keeps_the_batch_and_forgets_the_rest() -> None:
    state = State.started(asked={"model": "bert-base", "batch_size": "3", "seq_len": "100", "num_layers": "2"})
    state.phase = "train"
    state.start_from("wan-vae")
    assert state.selection().changes == {}
    assert state.selection().workload == {
        "dtype": "bf16", "phase": "train", "batch_size": 3, "height": 480, "width": 832, "frames": 81,
    }  # fmt: skip


def test_ports_and_addresses() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ArchSearchError, match=f"port {port} on host 127.0.0.1: Address already in use"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", port) == port
    assert free_port("127.0.0.1", None) >= FIRST_PORT
    with pytest.raises(ArchSearchError, match="port 99999999"):
        free_port("127.0.0.1", 99_999_999)
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert "example.org" not in names_of("127.0.0.1")
    assert names_of("0.0.0.0") == ("*",)
    assert url_of("0.0.0.0", 80) == "http://127.0.0.1:80/"
    assert url_of("::1", 80) == "http://[::1]:80/"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("ui --model brt-base --no-browser", "unknown model 'brt-base'"),
        ("ui --hardware h10 --no-browser", "unknown GPU 'h10'"),
        ("ui --host 203.0.113.1 --port 1 --no-browser", "--port 1 on --host 203.0.113.1"),
    ],
)
def test_what_no_page_can_start_from_is_refused_before_it_serves(
    call: str, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archsearch.ui.serve.find_spec", lambda name: object())
    assert run(call.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err


def test_without_its_library_the_page_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archsearch.ui.serve.find_spec", lambda name: None)
    assert run(["ui", "--no-browser"]) == 2
    assert capsys.readouterr().err == ("archsearch: the what-if page needs NiceGUI: pip install 'archsearch[ui]'\n")
