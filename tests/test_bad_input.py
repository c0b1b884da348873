"""What readers refuse, one small case of each kind: what, where, what to do, and never more than a line of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from archsearch import enumerate_space, estimate
from archsearch.bench.measurements import read_measurements
from archsearch.bench.validate import predicted_table
from archsearch.cli.main import run
from archsearch.errors import LONGEST_ECHO, ArchSearchError, InvalidInputError, UnsupportedError, printable
from archsearch.files import read_json
from archsearch.models.huggingface import from_hf_dict
from archsearch.quality.table import predict_table
from archsearch.search.explore import enumeration
from archsearch.search.space.expressions import Expression
from archsearch.search.space.space import load_space
from archsearch.tables import read_table
from archsearch.yaml_records import read_mapping

SANA = {
    "_class_name": "SanaTransformer2DModel",
    "num_layers": 2,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "num_cross_attention_heads": 4,
    "cross_attention_head_dim": 32,
    "cross_attention_dim": 128,
}
QWEN = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "vocab_size": 512,
    "max_position_embeddings": 128,
}
SPACE: dict[str, Any] = {
    "name": "tiny",
    "description": "Small decoders.",
    "family": "decoder",
    "fixed": {"vocab_size": 1024, "num_layers": 2, "intermediate_size": 512},
    "dimensions": {"hidden_size": {"choices": [128, 256]}},
    "derived": {"num_attention_heads": "hidden_size // 64"},
    "workload": {"seq_len": 64},
    "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    "hardware": ["l4"],
}


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def refused(call: Any, *arguments: object, **more: object) -> str:
    with pytest.raises(ArchSearchError) as told:
        call(*arguments, **more)
    return str(told.value)


# ---------------------------------------------------------------- config.json


@pytest.mark.parametrize(
    ("base", "change", "says"),
    [
        (SANA, {"mlp_ratio": "2.5"}, 'mlp_ratio must be a number to 2147483648, not "2.5"'),
        (SANA, {"mlp_ratio": float("nan")}, "mlp_ratio must be a number"),
        (SANA, {"mlp_ratio": 1e30}, "mlp_ratio must be a number to 2147483648, not 1e+30"),
        (SANA, {"num_attention_heads": [4]}, "num_attention_heads must be a whole number, not [4]"),
        (SANA, {"cross_attention_head_dim": {}}, "cross_attention_head_dim must be a whole number"),
        (QWEN, {"num_hidden_layers": 2**63}, "num_hidden_layers must be at most 2147483648 in size"),
        (QWEN, {"num_hidden_layers": 2**31}, "num_hidden_layers must be at most 100,000"),
        (QWEN, {"layer_types": [["full_attention"]]}, "layer_types must be a list of texts"),
        (QWEN, {"use_sliding_window": "yes"}, 'use_sliding_window must be true or false, not "yes"'),
        (QWEN, {"architectures": {"a": 1}}, "architectures="),
        (QWEN, {"hidden_act": ["silu"]}, "activation ['silu'] is not supported"),
        (QWEN, {"vocab_size": True}, "vocab_size must be a whole number, not true"),
    ],
)  # fmt: skip
def test_kinds_of_a_config_are_checked_before_arithmetic(base: Any, change: Any, says: str) -> None:
    assert from_hf_dict(base).parameters() > 0
    text = refused(from_hf_dict, {**base, **change}, "case.json")
    assert says in text
    assert text.startswith("case.json: ")


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [*a]", "an alias inside of what it stands for"),
        ("a: " + "[" * 70 + "]" * 70, "nested deeper than 64"),
        ("a: 1\na: 2", "a: given twice"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_what_no_yaml_file_is(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(read_mapping, written(tmp_path, "a.yaml", text))


def test_aliases_that_expand_beyond_all_bounds(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "over 200,000 values" in refused(read_mapping, written(tmp_path, "a.yaml", "\n".join(lines)))


@pytest.mark.parametrize("depth", [70, 20_000])
def test_json_nested_too_deep(tmp_path: Path, depth: int) -> None:
    assert "nested deeper than 64" in refused(read_json, written(tmp_path, "a.json", "[" * depth + "]" * depth))


def test_json_of_real_depth_is_read(tmp_path: Path) -> None:
    assert read_json(written(tmp_path, "a.json", "[" * 60 + "1" + "]" * 60))


ENCODED = {"utf-8-sig": "utf-8-sig", "utf-16": "utf-16", "utf-8": "utf-8"}


@pytest.mark.parametrize("encoding", sorted(ENCODED))
def test_a_text_is_the_same_in_every_reader_whatever_its_mark_and_line_ends(tmp_path: Path, encoding: str) -> None:
    def put(name: str, text: str) -> Path:
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
        return tmp_path / name

    assert read_mapping(put("a.yaml", "a: 1\nb: x\n")) == {"a": 1, "b": "x"}
    assert read_json(put("a.json", '{"a": 1,\n "b": "x"}')) == {"a": 1, "b": "x"}
    assert read_table(put("a.csv", "a, b\n1, x\n")).to_dict("records") == [{"a": 1, "b": "x"}]


def test_messages_are_short_and_no_terminal_obeys_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("y" * 5000, "y y" * 2000, "\x1b]0;owned\x07\x1b[31m", "\u202ereversed"):
        path = written(tmp_path, "a.yaml", {**SPACE, "name": value})
        assert run(["enumerate", str(path)]) == 2
        told = capsys.readouterr().err
        assert told == printable(told)
        assert value[: LONGEST_ECHO + 1] not in told
        assert "a.yaml:" in told
        assert "name: " in told


# ---------------------------------------------------------------- tables

SHAPES = "num_layers,hidden_size,num_attention_heads,intermediate_size,vocab_size\n2,128,2,512,512\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SHAPES + "4,wide,2,512,512\n", "row 3: hidden_size must be a number, not 'wide'"),
        (SHAPES + f"4,{10**30},2,512,512\n", "row 3: hidden_size must be a number at most"),
        (SHAPES + f"4,{10**400},2,512,512\n", "row 3: hidden_size must be a number, not '1000"),
        (SHAPES + "4,True,2,512,512\n", "row 3: hidden_size must be a number, not 'True'"),
        (SHAPES + "4,inf,2,512,512\n", "row 3: hidden_size must be a number, not"),
        (SHAPES.replace("\n", ",tokens\n", 1).replace("512\n", "512,-5\n"), "row 2: tokens must be a number above 0"),
        (SHAPES.replace("512\n", "512,7\n"), "more cells than the first line names columns"),
        (SHAPES + "4,128,2,512,512,7\n", "Expected 5 fields in line 3, saw 6"),
    ],
)  # fmt: skip
def test_cells_of_a_quality_table(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, "a.csv", text)
    assert says in refused(lambda: predict_table(read_table(path), family="decoder"))


def test_columns_that_an_answer_has_already_are_answered_anew(tmp_path: Path) -> None:
    told = SHAPES.replace("\n", ",low,proxy\n", 1).replace("512\n", "512,7,mine\n")
    again, plain = (
        predict_table(read_table(written(tmp_path, "a.csv", text)), family="decoder").frame for text in (told, SHAPES)
    )
    assert again[sorted(plain)].to_dict("records") == plain[sorted(plain)].to_dict("records")


LINEAR = "gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,512,512,512,9\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINEAR.replace(",9\n", ",0x10\n"), "row 2: latency_us must be a number, not '0x10'"),
        (LINEAR.replace(",512,512,512,", ",512,,512,"), "n must be a whole number from 1"),
        (
            "gpu,op,dtype,heads_q,heads_kv,seq_q,seq_kv,head_dim,causal,latency_us\nh100-sxm,attention,bf16,4,4,8,8,64,true,9\n",
            "'batch' is missing",
        ),
        (
            "gpu,model,batch,seq,dtype,latency_ms\nt4,bert-base,2,128,fp16,<b>\n",
            "latency_ms must be a number, not '<b>'",
        ),
    ],
)
def test_cells_of_measurements(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, "a.csv", text)
    assert says in refused(predicted_table, path)


def test_measurements_without_a_fault_are_read(tmp_path: Path) -> None:
    assert read_measurements(written(tmp_path, "a.csv", LINEAR))["latency_us"].tolist() == [9]


# ---------------------------------------------------------------- sizes without bounds


def test_a_number_that_no_expression_may_name() -> None:
    assert "a number over 9007199254740992" in refused(Expression.parse, "99999999999999999999*hidden_size")
    assert "Pow is not allowed" in refused(Expression.parse, "2**2**99")


def test_expressions_do_not_wrap_around() -> None:
    product = Expression.parse("a * a * a * 9007199254740992").evaluate({"a": 2**21})
    assert float(product) == 2.0 ** (63 + 53)
    assert int(Expression.parse("a * 3 + 1").evaluate({"a": 5})) == 16


def test_derived_sizes_beyond_all_bounds_are_no_architectures(tmp_path: Path) -> None:
    record = {**SPACE, "derived": {**SPACE["derived"], "intermediate_size": "hidden_size * 4503599627370496"}}
    record["fixed"] = {"vocab_size": 1024, "num_layers": 2}
    front = enumerate_space(written(tmp_path, "a.yaml", record))
    assert front.empty
    assert front.attrs["rejected"]["intermediate_size must be below 2147483648"] == 2


def test_more_combinations_than_can_be_numbered(tmp_path: Path) -> None:
    wide = {name: {"range": [64, 640000], "step": 64} for name in ("hidden_size", "intermediate_size", "vocab_size")}
    more = {name: {"range": [1, 9999]} for name in ("num_layers", "num_attention_heads")}
    record = {**SPACE, "fixed": {}, "derived": {}, "dimensions": {**wide, **more}}
    text = refused(load_space, written(tmp_path, "a.yaml", record))
    assert "over 4.6e+18 combinations of values; use fewer dimensions, or larger steps" in text


def test_hours_of_work_are_said_before_they_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(enumeration, "JUDGED_S", 0.0)
    monkeypatch.setattr(enumeration, "LONGEST_S", 1e-9)
    dimensions = {"hidden_size": {"range": [64, 64000], "step": 64}, "num_layers": {"range": [1, 1000]}}
    record = {**SPACE, "dimensions": dimensions, "fixed": {"vocab_size": 1024, "intermediate_size": 512}}
    path = written(tmp_path, "a.yaml", {**record, "budget": {"parameters": [1, 2]}})
    with pytest.raises(UnsupportedError) as told:
        enumerate_space(path)
    assert told.value.field == "long"
    assert "has 1,000,000 combinations: 0.0 hours at" in str(told.value)
    assert run(["enumerate", str(path), "--json"]) == 2
    assert "give --long to enumerate it all the same" in capsys.readouterr().err
    assert enumerate_space(path, long=True).empty


def test_steps_beyond_all_bounds(capsys: Any) -> None:
    assert run(["pipeline", "estimate", "dit-xl-2", "-g", "l4", "--steps", str(2**62), "--json"]) == 2
    assert "--steps" in capsys.readouterr().err


def test_an_option_too_large_for_a_double_is_refused(capsys: Any) -> None:
    assert run(["estimate", "bert-base", "-g", "l4", "--pipeline-parallel", "1" + "0" * 400]) == 2
    assert "--pipeline-parallel must be a whole number" in capsys.readouterr().err


def test_a_size_beyond_all_bounds_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError) as told:
        estimate("bert-base", "l4", seq_len=2**62)
    assert told.value.field == "seq_len"


def test_settings_of_sampling_are_no_features_of_a_law(tmp_path: Path) -> None:
    record = {
        **{"name": "images", "description": "Small ones.", "family": "dit", "hardware": ["l4"]},
        "fixed": {"patch_size": 2, "in_channels": 4, "num_layers": 2, "intermediate_size": 1024},
        "dimensions": {"hidden_size": {"choices": [256, 384]}},
        "derived": {"num_attention_heads": "hidden_size // 64"},
        "workload": {"height": 256, "width": 256},
        "quality": {"guidance": "cfg", "num_inference_steps": 20},
        "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    }
    assert len(enumerate_space(written(tmp_path, "a.yaml", record))) <= 2


def test_a_correction_is_named_and_no_path(tmp_path: Path) -> None:
    from archsearch.cost.calibration import read_calibration
    from archsearch.data import data_path

    text = (data_path("hardware_profiles") / "calibration" / "l40s.yaml").read_text()
    values = yaml.safe_load(text)
    kernel = next(iter(values["kernels"]))
    values["kernels"][kernel]["correction"] = "../../../etc/passwd"
    assert f"kernels.{kernel}.correction" in refused(read_calibration, written(tmp_path, "a.yaml", json.dumps(values)))
