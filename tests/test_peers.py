"""benchmarks.peers in small: what agrees is timed, what is wrong is reported, and sums are right."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import nbgrad
from nbgrad import models, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peers import __main__ as peers
from benchmarks.peers.agreement import difference, sample
from benchmarks.peers.results import Row, summarise
from benchmarks.peers.workload import Group, Input, Workload, select
from benchmarks.peers.workloads import conv, optimizers, workloads

CASES = '''
import os
from benchmarks.peers.workload import Group, Input, Workload

GROUP = Group("cases", "what can happen", 1e-9)

def by_library(ours, theirs):
    return lambda torch, x: (ours if torch.__name__ == "nbgrad" else theirs)(torch, x)

def square(torch, x):
    return x * x

def workloads(small):
    def case(name, ours, theirs=square, **options):
        return Workload(GROUP, name, by_library(ours, theirs), (Input((30,)),), **options)

    return [
        case("right", square, flops=30),
        case("gradient", square, mode="both"),
        case("backward", square, mode="backward"),
        case("program", lambda torch, x: lambda: x * x, lambda torch, x: lambda: x * x,
             mode="program"),
        case("wrong", lambda torch, x: x * x + 1),
        case("wrong gradient", lambda torch, x: x * x.detach(), mode="both"),
        case("missing", lambda torch, x: torch.no_such_op(x)),
        case("failing", lambda torch, x: x.reshape(7)),
        case("dying", lambda torch, x: os._exit(3)),
        case("right again", square),
    ]
'''


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The table and the document of a comparison of all that can happen."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("peers")
    (folder / "peer_cases.py").write_text(CASES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        printed = []
        patch.setattr(peers, "say", printed.append)
        status = peers.main(["--workloads", "peer_cases", "--peer", "torch", "--rounds", "2",
                             "--out", str(folder / "found.json")])
    document = json.loads((folder / "found.json").read_text())
    assert (folder / "found.png").stat().st_size > 1000
    return status, "\n".join(printed), {row["name"]: row for row in document["rows"]}, document


@pytest.mark.parametrize("name", ["right", "gradient", "backward", "program", "right again"])
def test_what_agrees_is_timed(compared, name):
    row = compared[2][name]
    assert row["notes"] == {}
    assert {library: len(times) for library, times in row["measured"].items()} == {
        "nbgrad": 2, "torch": 2}
    assert row["ratios"]["torch"]["least"] <= row["ratios"]["torch"]["most"]


@pytest.mark.parametrize(("name", "library", "note"), [
    ("wrong", "torch", "wrong: the result has "),
    ("wrong gradient", "torch", "wrong: result 1 has "),
    ("missing", "nbgrad", "missing: AttributeError"),
    ("failing", "nbgrad", "error: RuntimeError"),
    ("dying", "nbgrad", "error: the process of nbgrad ended with 3"),
])
def test_what_does_not_agree_is_reported_and_never_timed(compared, name, library, note):
    _, table, rows, _ = compared
    assert rows[name]["notes"][library].startswith(note)
    assert rows[name]["measured"] == {} == rows[name]["ratios"]
    assert f"  {name} " in table
    assert note in table


def test_document(compared):
    status, table, _, document = compared
    assert status == 1
    assert set(document["versions"]) == {"nbgrad", "torch"}
    assert document["limits"]["1"]["flops"] > 1e8
    assert document["limits"]["1"]["bandwidth"] > 1e8
    (group,) = document["groups"]
    assert (group["count"], group["unmeasured"]) == (5, 5)
    assert group["met"] is False
    assert "5 not measured" in table


def test_quick(tmp_path, capsys):
    pytest.importorskip("torch")
    found = tmp_path / "found.json"
    assert peers.main(["--quick", "--only", "dispatch,optimizers/AdamW,", "--peer", "torch",
                       "--out", str(found)]) == 0
    assert "5 of 5 workloads run and agree" in capsys.readouterr().out
    assert {row["group"] for row in json.loads(found.read_text())["rows"]} == {
        "dispatch-forward", "dispatch-backward", "dispatch-both", "optimizers"}


def test_a_selection_of_nothing_says_what_there_is(capsys):
    assert peers.main(["--only", "convolution"]) == 2
    assert "no workload is called convolution; groups are dispatch-forward, " in capsys.readouterr().out


def test_a_peer_that_is_not_installed_is_skipped(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda name: False)
    found = tmp_path / "found.json"
    assert peers.main(["--quick", "--only", "dispatch-both", "--peer", "jax", "--out",
                       str(found)]) == 0
    assert "jax: not installed, skipped\n" in capsys.readouterr().out


GROUP = Group("group", "a group", 1.0, 0.8)


def row(name, ours, theirs, **notes):
    return Row(GROUP, name, 1, flops=2e9, measured={"nbgrad": ours, "torch": theirs} if ours else {},
               notes=notes)


def test_ratios_are_taken_round_by_round():
    ratio = row("a", [1.0, 2.0, 4.0], [3.0, 2.0, 8.0]).ratio("torch")
    assert ratio == (2.0, 1.0, 3.0)
    assert row("a", [1.0], [2.0]).ratio("jax") is None


def test_summary():
    rows = [row("a", [1.0], [4.0]), row("b", [2.0], [2.0])]
    found = summarise(rows, "torch")
    assert (found.mean, found.least, found.worst, found.count) == (pytest.approx(2.0), 1.0, "b", 2)
    assert found.met is True
    assert summarise([*rows, row("c", [10.0], [7.0])], "torch").met is False, "below the floor"
    with_missing = summarise([*rows, row("d", [], [], nbgrad="missing: it")], "torch")
    assert (with_missing.met, with_missing.unmeasured) == (False, 1)
    assert summarise(rows, "jax") is None


def test_a_goal_is_meant_for_torch():
    rows = [Row(GROUP, "a", 1, measured={"nbgrad": [1.0], "jax": [0.5]})]
    assert summarise(rows, "jax").met is None


def test_share_of_the_limit():
    limits = {"flops": 4e9, "bandwidth": 1e9}
    assert row("a", [1.0], [1.0]).share("nbgrad", limits) == (0.5, "fma")
    streaming = Row(GROUP, "b", 1, bytes=4e9, measured={"nbgrad": [8.0]})
    assert streaming.share("nbgrad", limits) == (0.5, "mem")
    assert Row(GROUP, "c", 1, bytes=100, measured={"nbgrad": [8.0]}).share("nbgrad", limits) is None


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


A = np.linspace(-1, 1, 300_000, dtype=np.float32)


@pytest.mark.parametrize(("ours", "theirs", "found"), [
    (A, A, None),
    (A * (1 + 1e-6), A, None),
    (A[:0], A[:0], None),
    (changed(A, 8, np.nan), changed(A, 8, np.nan), None),
    (A, A[1:], "the result has shape (300000,), not (299999,)"),
    (A * 1.01, A, "of it differs"),
    (changed(A, -1, 1.1), A, "the result has 1.1 where 1 is expected"),
    (changed(A, 8, np.nan), A, "has nan where"),
    (changed(A, slice(1, 4), 900.0), A, "is expected"),
])
def test_agreement(ours, theirs, found):
    text = difference([sample(ours)], [sample(theirs)], 1e-4)
    assert text is None if found is None else found in text


@pytest.mark.parametrize(("ours", "theirs", "found"), [
    (A[::-1], A, None),
    (A[::-1] + 0.02, A, "is expected"),
    (A * 1.05, A, "is expected"),
    (A[1:], A, "shape"),
])
def test_agreement_of_drawn_numbers(ours, theirs, found):
    text = difference([sample(ours)], [sample(theirs)], 0.02, drawn=True)
    assert text is None if found is None else found in text


def test_selection():
    everything = workloads()
    assert select(everything, []) == everything
    assert {w.group.name for w in select(everything, ["dispatch"])} == {
        "dispatch-forward", "dispatch-backward", "dispatch-both"}
    assert all(w.group.name == "conv" and "7x7" in w.name for w in select(everything, ["conv/7x7"]))
    assert len(select(everything, ["conv/7x7"])) == 2
    assert select(everything, ["no"]) == []


@pytest.mark.parametrize("small", [False, True])
def test_keys_are_unique_and_inputs_reproducible(small):
    listed = workloads(small)
    assert len({w.key for w in listed}) == len(listed)
    for w in listed[:1] if not small else listed:
        for a, b, made in zip(w.arrays(), w.arrays(), w.inputs):
            np.testing.assert_array_equal(a, b)
            assert a.shape == made.shape


def test_a_backward_pass_goes_to_floats():
    inputs = Input((2,), "index", 3), Input((2,))
    assert Workload(GROUP, "a", None, inputs).gradients == (1,)
    assert Workload(GROUP, "a", None, inputs, wrt=()).gradients == ()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_layers_are_those_of_the_models(name, monkeypatch):
    met = []

    def record(self, x):
        outputs, _, size, _ = self.weight.shape
        layer = conv.Layer(x.shape[1], outputs, size, self.stride[0], x.shape[2], self.groups)
        met.append(layer)
        assert self.padding == (size // 2, size // 2)
        return nbgrad.zeros(1, outputs, layer.result_side, layer.result_side)

    monkeypatch.setattr(nn.Conv2d, "forward", record)
    with nbgrad.no_grad():
        getattr(models, name)().eval()(nbgrad.zeros(1, 3, 224, 224))
    assert set(met) <= set(conv.LAYERS)
    own = getattr(conv, name.replace("resnet", "RESNET").replace("mobilenet_v2", "MOBILENET_V2"))
    assert set(own) <= set(met)


def test_optimizer_shapes_are_those_of_resnet18():
    shapes = [tuple(p.shape) for p in models.resnet18().parameters()]
    assert sorted(shapes) == sorted(optimizers.resnet18_shapes())


@pytest.mark.skipif(nbgrad.cuda.is_available(), reason="a device is there")
def test_without_a_cuda_device_nothing_is_timed(capsys):
    with pytest.raises(SystemExit):
        peers.main(["--device", "cuda", "--quick"])
    assert "nbgrad finds no CUDA device here: python -m nbgrad doctor" in capsys.readouterr().err
