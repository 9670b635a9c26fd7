"""How the compile gate reads assembler reports and machine code, and what the roofline makes of it."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


machine_code = _module(ROOT / "tools" / "machine_code.py")
gate = _module(ROOT / "tools" / "compile_cuda.py")
roofline = _module(ROOT / "benchmarks" / "cuda_roofline.py")

REPORT = """
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Function properties for a_helper
ptxas         .     16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Function properties for second
ptxas         .     8 bytes stack frame, 12 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 4096 bytes smem
"""


def test_figures():
    assert gate.figures(REPORT) == {
        "first": {"registers": 24, "shared": 0, "stack": 0, "spilled": 0},
        "second": {"registers": 128, "shared": 4096, "stack": 16, "spilled": 12}}


def written(*lines):
    """Lines as nvdisasm writes them: instructions get addresses."""
    return "\n".join(line if line.startswith(".L") else f"        /*{16 * k:04x}*/   {line} ;"
                     for k, line in enumerate(lines))


@pytest.mark.parametrize(("line", "done"), [
    ("LDG.E R1, desc[UR4][R2.64]", {"loaded": 4}),
    ("LDG.E.128 R4, desc[UR4][R2.64+0x10]", {"loaded": 16}),
    ("@!P0 LDG.E.U8.CONSTANT R1, desc[UR4][R2.64]", {"loaded": 1}),
    ("STG.E.U16 desc[UR4][R2.64], R5", {"stored": 2}),
    ("STG.E.64 desc[UR4][R2.64], R6", {"stored": 8}),
    ("LDS.128 R4, [R9+0x40]", {"in_shared": 16}),
    ("STS [R9], R1", {"in_shared": 4}),
    ("FFMA R1, R2, R3, R1", {"flops": 2, "float": 1}),
    ("FADD R1, R2, -R3", {"flops": 1, "float": 1}),
    ("HFMA2 R1, R2, R3, R1", {"flops": 4, "float": 1}),
    ("DFMA R4, R6, R8, R4", {"flops": 2, "double": 1}),
    ("MUFU.EX2 R1, R2", {"flops": 1, "special": 1}),
    ("F2F.F64.F32 R4, R1", {"special": 1}),
    ("FSETP.GT.AND P0, PT, R1, R2, PT", {"integer": 1}),
    ("IMAD.WIDE R4, R1, 0x4, R2", {"multiply": 1}),
    ("IADD3 R1, P0, R2, R3, RZ", {"integer": 1}),
    ("SHFL.BFLY PT, R4, R5, 0x10, 0x1f", {"exchange": 1}),
    ("NOP", {"issued": 0}),
])
def test_work(line, done):
    code, _ = machine_code.parsed(written(line))
    found = {name: n for name, n in machine_code.work(code).items() if n}
    assert found == {name: n for name, n in ({"issued": 1} | done).items() if n}


def test_loads_from_one_place_count_once():
    again, moved = "LDG.E R4, desc[UR4][R2.64]", "IADD3 R2, R2, 0x4, RZ"
    code, _ = machine_code.parsed(written("LDG.E R1, desc[UR4][R2.64]", again, moved, again))
    assert machine_code.work(code)["loaded"] == 8


LOAD, USE, STORE = "LDG.E R1, desc[UR4][R2.64]", "FADD R9, R1, R1", "STG.E desc[UR4][R2.64], R9"
AWAY = "@P0 BRA `(.L_x_1)"


@pytest.mark.parametrize(("lines", "names"), [
    # no loop: all of it
    ([LOAD, USE, STORE, "EXIT"], "LDG FADD STG EXIT"),
    # a loop, and one without an end behind the kernel
    (["S2R R0, SR_TID.X", ".L_x_0:", LOAD, STORE, "@P0 BRA `(.L_x_0)", "EXIT",
      ".L_x_1:", "BRA `(.L_x_1)"], "LDG STG BRA"),
    # the loop with more bytes, of two
    ([".L_x_0:", LOAD, "@P0 BRA `(.L_x_0)", ".L_x_1:", LOAD, STORE, AWAY, "EXIT"], "LDG STG BRA"),
    # the longer of two ways
    ([".L_x_0:", AWAY, LOAD, USE, "BRA `(.L_x_2)", ".L_x_1:", LOAD, ".L_x_2:", STORE,
      "@P1 BRA `(.L_x_0)", "EXIT"], "BRA LDG FADD BRA STG BRA"),
    # a way out of line that comes back is no loop
    ([".L_x_0:", "BRA.U UP0, `(.L_x_2)", ".L_x_1:", LOAD, STORE, "@P0 BRA `(.L_x_0)", "EXIT",
      ".L_x_2:", USE, "BRA `(.L_x_1)"], "BRA FADD BRA LDG STG BRA"),
    # an inner loop without bytes goes round eight times
    ([".L_x_0:", LOAD, ".L_x_1:", "MOV R5, R6", AWAY, STORE, "@P1 BRA `(.L_x_0)", "EXIT"],
     "LDG" + " MOV BRA" * 8 + " STG BRA"),
    # an inner loop with some is the hottest
    ([".L_x_0:", LOAD, ".L_x_1:", LOAD, AWAY, STORE, "@P1 BRA `(.L_x_0)", "EXIT"], "LDG BRA"),
])
def test_hottest(lines, names):
    found = machine_code.hottest(*machine_code.parsed(written(*lines)))
    assert " ".join(one.name.split(".")[0] for one in found) == names


@pytest.mark.parametrize(("lines", "clocks"), [
    (["FADD R1, R2, R3", "FADD R4, R2, R3"], 2),  # an instruction a clock
    (["FADD R1, R1, R3"], 4),  # each needs what the one before it found
    ([LOAD, USE], 480),  # waits for memory
    ([LOAD, "LDG.E R5, desc[UR4][R2.64+0x400]", USE, "FADD R6, R5, R5"], 481),  # for both at once
    ([LOAD, USE, "LDG.E R5, desc[UR4][R2.64+0x400]", "FADD R6, R5, R5"], 960),  # one after the other
    ([USE, LOAD], 480),  # asked for a turn before it is needed
    (["DADD R4, R6, R8", "DADD R10, R4, R8"], 9),
])
def test_alone(lines, clocks):
    code, _ = machine_code.parsed(written(*lines))
    assert machine_code.alone(code) == clocks


def row(**known):
    nothing = dict.fromkeys(("loaded", "stored", "in_shared", "flops", "issued", *roofline.UNITS), 0)
    return nothing | {"threads": 256, "registers": 32, "shared": 0, "alone": 1} | known


@pytest.mark.parametrize(("known", "warps"), [
    ({}, 64), ({"registers": 33}, 48), ({"registers": 128}, 16), ({"shared": 48 << 10}, 32),
    ({"threads": 32}, 32)])
def test_warps_held(known, warps):
    assert roofline.warps_held(row(**known), roofline.H100) == warps


@pytest.mark.parametrize(("known", "bound", "share"), [
    ({"loaded": 32, "stored": 16, "issued": 32, "alone": 508}, "memory", 0.92),
    ({"loaded": 4, "issued": 4, "alone": 4000}, "waiting", 0.16),
    ({"flops": 1024, "float": 512, "issued": 512, "alone": 600}, "issue", 0.985),
    ({"flops": 512, "float": 512, "issued": 1024, "alone": 1100}, "issue", 0.25),
])
def test_expected(known, bound, share):
    found = roofline.expected(row(**known))
    assert (found.bound, found.share) == (bound, pytest.approx(share, abs=0.015))
