"""Loading states: what is copied, what is refused, and PyTorch's older states."""

import pytest


def test_versions_travel_with_the_state(library, nn):
    state = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()).state_dict()
    assert state._metadata == {"": {"version": 1}, "0": {"version": 2}, "1": {"version": 1}}


def test_batches_are_not_counted_in_old_states(library, nn):
    norm = nn.BatchNorm2d(2)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"num_batches_tracked"'):
        norm.load_state_dict(state)
    assert str(norm.load_state_dict(dict(state))) == "<All keys matched successfully>"


def test_unexpected_names_of_modules_without_state(library, nn):
    model = nn.Sequential(nn.ReLU(), nn.Linear(1, 1))
    state = dict(model.state_dict())
    state |= {"0.weight": library.ones(1), "2.bias": library.ones(1), "x": library.ones(1)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == [] and sorted(unexpected) == ["0.weight", "2.bias", "x"]
    report = model.load_state_dict({}, strict=False)
    assert str(report) == ("_IncompatibleKeys(missing_keys=['1.weight', '1.bias'], "
                           "unexpected_keys=[])")


def test_several_errors_are_told_at_once(library, nn):
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict({"0.weight": library.ones(3), "0.bias": library.ones(2),
                               "1.weight": [1], "y": library.ones(1)})
    lines = str(caught.value).replace("nbgrad", "torch").split("\n")
    assert lines[0] == "Error(s) in loading state_dict for Sequential:"
    assert lines[1] == '\tMissing key(s) in state_dict: "1.bias". '
    assert lines[2] == '\tUnexpected key(s) in state_dict: "y". '
    assert lines[3].startswith("\tsize mismatch for 0.weight: copying a param with shape "
                               "torch.Size([3]) from checkpoint, the shape in current model is ")
    assert lines[4].startswith('\tWhile copying the parameter named "1.weight", expected ')


def test_values_are_cast_and_writes_counted(library, nn):
    layer = nn.Linear(2, 2)
    version = layer.weight._version
    layer.load_state_dict({"weight": library.ones(2, 2, dtype=library.float64),
                           "bias": library.tensor([1, 2])})
    assert layer.weight.dtype is library.float32 and layer.bias.tolist() == [1, 2]
    assert layer.weight._version == version + 1


def test_assign_takes_the_tensors(library, nn):
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad = False
    weight = library.ones(2, 2, dtype=library.float64)
    layer.load_state_dict({"weight": weight, "bias": library.ones(2)}, assign=True)
    assert layer.weight.data_ptr() == weight.data_ptr() and layer.weight.dtype is library.float64
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def test_a_state_shares_memory_and_can_keep_the_parameters(library, nn):
    layer = nn.Linear(2, 2)
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight
    found = {}
    assert layer.state_dict(destination=found, prefix="a.") is found
    assert list(found) == ["a.weight", "a.bias"]
    assert found["a.weight"].data_ptr() == layer.weight.data_ptr()
