"""Rules for names, loading without leftovers, and the files of released checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robovlms.errors import CheckpointError
from robovlms.model.backbone.key_map import apply_rules, drop, load_exactly, rename, reshape, split, thirds_of_each_head
from robovlms.model.backbone.released import has_weights, locate, read_config, read_weights

RULES = [
    rename(r"old\.(\d)\.(weight|bias)", r"new.\1.\2"),
    split(r"qkv", ["q", "k", "v"]),
    reshape(r"flat", "square", lambda tensor: tensor.view(2, 2)),
    drop(r"table", "computed"),
]


def test_rules_rename_split_reshape_and_drop() -> None:
    state = {
        "old.3.weight": torch.tensor([1.0]),
        "qkv": torch.arange(6.0),
        "flat": torch.arange(4.0),
        "table": torch.zeros(9),
    }
    result = apply_rules(state, RULES, "here")
    assert {name: tensor.tolist() for name, tensor in result.items()} == {
        "new.3.weight": [1], "q": [0, 1], "k": [2, 3], "v": [4, 5], "square": [[0, 1], [2, 3]],
    }  # fmt: skip


def test_rules_work_on_meta_tensors() -> None:
    result = apply_rules({"qkv": torch.empty(6, 2, device="meta")}, RULES, "here")
    assert [(tensor.shape, tensor.is_meta) for tensor in result.values()] == [((2, 2), True)] * 3


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(CheckpointError, match="here: nothing is known of the tensor 'old.x.weight'"):
        apply_rules({"old.x.weight": torch.zeros(1)}, RULES, "here")


def test_a_rule_must_match_the_whole_key() -> None:
    with pytest.raises(CheckpointError, match="qkv_more"):
        apply_rules({"qkv_more": torch.zeros(3)}, RULES, "here")


def test_two_keys_for_one_parameter_are_named() -> None:
    rules = [rename("[ab]", "c")]
    with pytest.raises(CheckpointError, match="both 'a' and 'b' are 'c'"):
        apply_rules({"a": torch.zeros(1), "b": torch.zeros(1)}, rules, "here")


def test_heads_are_taken_apart() -> None:
    # rows: head 0 has queries 0 1, keys 2 3, values 4 5; head 1 has 6 7, 8 9, 10 11
    query, key, value = thirds_of_each_head(2)(torch.arange(12))
    assert (query.tolist(), key.tolist(), value.tolist()) == ([0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11])


def test_loading_takes_every_tensor_and_casts_it() -> None:
    layer = nn.Linear(2, 3).to(torch.bfloat16)
    load_exactly(layer, {"weight": torch.full((3, 2), 0.5), "bias": torch.ones(3)}, "here")
    assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.unique().tolist() == [0.5]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.zeros(3, 2)}, r"no tensor for 'bias' \[3\]"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "'more' is not a parameter"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"'weight' is \[2, 3\], expected \[3, 2\]"),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_loading_names_what_does_not_fit(state: dict[str, torch.Tensor], message: str) -> None:
    layer = nn.Linear(2, 3)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match=f"here does not fit Linear: .*{message}"):
        load_exactly(layer, state, "here")
    assert torch.equal(layer.weight, before)


# ---------------------------------------------------------------------------------------------------------------- files


def test_weights_come_from_all_shards_of_the_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "1.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "2.safetensors")
    save_file({"c": torch.ones(3)}, tmp_path / "not-listed.safetensors")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(read_weights(tmp_path)) == {"a", "b"}
    (tmp_path / "2.safetensors").unlink()
    with pytest.raises(CheckpointError, match="lists '2.safetensors', which is not there"):
        read_weights(tmp_path)


@pytest.mark.parametrize("container", ["", "model_state_dict", "state_dict"])
def test_pickles_are_read_as_data(container: str, tmp_path: Path) -> None:
    state = {"module.a": torch.ones(2), "b": torch.ones(1)}
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "checkpoint.pt")
    assert {name: tensor.shape for name, tensor in read_weights(tmp_path).items()} == {"a": (2,), "b": (1,)}


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="cannot read the weights .*model.bin"):
        read_weights(tmp_path)


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.bin")
    assert has_weights(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert read_weights(tmp_path)["a"].item() == 1


def test_a_name_in_two_files_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "1.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "2.safetensors")
    with pytest.raises(CheckpointError, match="2.safetensors holds 'a'"):
        read_weights(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no config.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="expected an object, got list"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json is no JSON"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match="has no weights"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="cannot read the weights .*model.safetensors"):
        read_weights(tmp_path)


def test_a_folder_is_taken_as_it_is_and_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(CheckpointError, match="is no folder, and not found on the hub"):
        locate(str(tmp_path / "absent"))
    with pytest.raises(CheckpointError, match="'owner/not-there' is no folder"):
        locate("owner/not-there")
