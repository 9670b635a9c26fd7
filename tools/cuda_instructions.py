"""NVIDIA's instructions in LLVM's language for the host: what cuda_on_host links with a kernel.

Approximate ones give the nearest float, moved by a share of the error that the manual of PTX allows.
"""

from __future__ import annotations

import ctypes
import re

import numpy as np

#: The share of that error, from -1 to 1; 2 draws it by the bits of the argument.
SHARE = ctypes.c_double(0.0)
#: Why a thread does not go on: it is at its end, or waits for its block or for its warp.
ENDED, BLOCK, WARP = 0, 1, 2
MOST = 1024  # threads of a block
FLOAT, WIDTH = {"f": "float", "d": "double"}, {"f": "f32", "d": "f64"}
#: Largest errors of approximate instructions as NVIDIA's manual of PTX gives them, relative to the
#: result; of `rcp` and `div` one and two units in the last place.
_ERROR = {"ex2": 2**-22.5, "lg2": 2**-22.6, "rsqrt": 2**-22.9, "sqrt": 2**-23, "gross": 2**-20}
_ROUND = {"rn": "roundeven", "rz": "trunc", "rm": "floor", "rp": "ceil"}


def instruction(name: str) -> str | None:
    """The definition of an instruction of the device by ones of the host."""
    if not name.startswith("nvvm."):
        return _SUPPORT.get(name)
    for pattern, define in _INSTRUCTIONS:
        found = re.fullmatch(pattern, name.removeprefix("nvvm."))
        if found:
            return define(name, **found.groupdict())
    return None


def _defined(name: str, result: str, args: list[str], *lines: str) -> str:
    given = ", ".join(f"{t} %{n}" for t, n in zip(args, "abcde"))
    body = "\n".join(f"  {line}" for line in lines)
    return f"define internal {result} @{name}({given}) alwaysinline {{\n{body}\n}}"


def _arithmetic(name, op, t):
    f, n = FLOAT[t], {"fma": 3}.get(op, 2)
    width = WIDTH[t]
    value = f"f{op} {f} %a, %b"
    if op == "fma":
        value = f"call {f} @llvm.fma.{width}({f} %a, {f} %b, {f} %c)"
    return _defined(name, f, [f] * n, f"%y = {value}", f"ret {f} %y")


def _directed(name, op, way):
    """Rounded toward zero or down: the sum in double precision, and a step back if it is passed."""
    wide = ["%x = fpext float %a to double", "%y = fpext float %b to double"]
    if op == "fma":
        wide += ["%z = fpext float %c to double", "%p = fmul double %x, %y", "%s = fadd double %p, %z"]
    else:
        wide += [f"%s = {'fadd' if op == 'add' else 'fmul'} double %x, %y"]
    passed = {"rz": ["%m = call double @llvm.fabs.f64(double %s)",
                     "%n = call double @llvm.fabs.f64(double %w)", "%back = fcmp ogt double %n, %m"],
              "rm": ["%back = fcmp ogt double %w, %s"]}[way]
    return _defined(name, "float", ["float"] * (3 if op == "fma" else 2), *wide,
                    "%r = fptrunc double %s to float", "%w = fpext float %r to double", *passed,
                    "%i = bitcast float %r to i32", "%neg = icmp slt i32 %i, 0",
                    f"%step = select i1 %neg, i32 {1 if way == 'rm' else -1}, i32 -1",
                    "%j = add i32 %i, %step", "%k = select i1 %back, i32 %j, i32 %i",
                    "%o = bitcast i32 %k to float", "ret float %o")


def _unary(name, op, t):
    f = FLOAT[t]
    inner = {"trunc": "trunc", "floor": "floor", "ceil": "ceil", "round": "roundeven", "fabs": "fabs",
             "sqrt": "sqrt"}[op]
    width = WIDTH[t]
    return _defined(name, f, [f], f"%y = call {f} @llvm.{inner}.{width}({f} %a)", f"ret {f} %y")


def _extreme(name, op, t):
    f, width = FLOAT[t], WIDTH[t]
    return _defined(name, f, [f, f], f"%y = call {f} @llvm.{op}num.{width}({f} %a, {f} %b)",
                    f"ret {f} %y")


def _reciprocal(name, t):
    f = FLOAT[t]
    return _defined(name, f, [f], f"%y = fdiv {f} 1.0, %a", f"ret {f} %y")


def _saturate(name):
    return _defined(name, "float", ["float"], "%x = call float @llvm.maxnum.f32(float %a, float 0.0)",
                    "%y = call float @llvm.minnum.f32(float %x, float 1.0)", "ret float %y")


def _to_integer(name, t, to, way):
    f, width = FLOAT[t], WIDTH[t]
    i = "i64" if to.endswith("ll") else "i32"
    convert = "fptoui" if to.startswith("u") else "fptosi"
    return _defined(name, i, [f], f"%x = call {f} @llvm.{_ROUND[way]}.{width}({f} %a)",
                    f"%y = call {i} @llvm.{convert}.sat.{i}.{width}({f} %x)", f"ret {i} %y")


def _to_float(name, source, t):
    f, i = FLOAT[t], "i64" if source.endswith("ll") else "i32"
    return _defined(name, f, [i], f"%y = {'ui' if source.startswith('u') else 'si'}tofp {i} %a to {f}",
                    f"ret {f} %y")


def _narrow(name):
    return _defined(name, "float", ["double"], "%y = fptrunc double %a to float", "ret float %y")


def _word(name, which):
    return _defined(name, "i32", ["double"], "%x = bitcast double %a to i64",
                    f"%s = lshr i64 %x, {32 if which == 'hi' else 0}", "%y = trunc i64 %s to i32",
                    "ret i32 %y")


def _words(name):
    return _defined(name, "double", ["i32", "i32"], "%l = zext i32 %a to i64",
                    "%h = zext i32 %b to i64", "%s = shl i64 %h, 32", "%x = or i64 %l, %s",
                    "%y = bitcast i64 %x to double",
                    "ret double %y")


def _high_product(name, kind):
    own, wide = ("i64", "i128") if "ll" in kind else ("i32", "i64")
    how = "zext" if kind.startswith("u") else "sext"
    return _defined(name, own, [own, own], f"%x = {how} {own} %a to {wide}",
                    f"%y = {how} {own} %b to {wide}", f"%p = mul {wide} %x, %y",
                    f"%s = lshr {wide} %p, {own[1:]}", f"%h = trunc {wide} %s to {own}",
                    f"ret {own} %h")


def _half(name):
    return _defined(name, "i16", ["float"], "%h = fptrunc float %a to half",
                    "%y = bitcast half %h to i16", "ret i16 %y")


def _approximate(name, op, flush=""):
    """The nearest float of a function in double precision, moved by its error; subnormals are zero."""
    exact = {"ex2": "call double @llvm.exp2.f64(double %x)", "rcp": "fdiv double 1.0, %x",
             "lg2": "call double @llvm.log2.f64(double %x)", "rsqrt": "fdiv double 1.0, %root",
             "sqrt": "fadd double %root, 0.0"}[op]
    lines = ["%f = call float @flushed(float %a)" if flush else "%f = fadd float %a, 0.0",
             "%x = fpext float %f to double", "%root = call double @llvm.sqrt.f64(double %x)",
             f"%e = {exact}", "%m = call double @llvm.fabs.f64(double %e)"]
    if op == "rcp":
        lines += _units(1)
    elif op == "lg2":  # near 1 the error is absolute
        lines += ["%near = fcmp olt double %m, 1.0", "%scale = select i1 %near, double 1.0, double %m",
                  f"%size = fmul double %scale, {_number(_ERROR[op])}"]
    else:
        lines += [f"%size = fmul double %m, {_number(_ERROR[op])}"]
    return _defined(name, "float", ["float"], *lines,
                    "%s = call double @skewed(double %e, double %size, double %x)",
                    "%y = fptrunc double %s to float",
                    *(["%o = call float @flushed(float %y)", "ret float %o"] if flush else
                      ["ret float %y"]))


def _units(count: int) -> list[str]:
    """Lines for %size: what takes %m so many units in the last place, rounding included."""
    return ["%bits = bitcast double %m to i64", "%top = and i64 %bits, 9218868437227405312",
            "%power = bitcast i64 %top to double",
            f"%size = fmul double %power, {_number((count - 0.5) * 2**-23)}"]


def _quotient(name, flush=""):
    """a / b; zero where b is so large that its reciprocal is subnormal."""
    return _defined(name, "float", ["float", "float"], "%x = fpext float %a to double",
                    "%y = fpext float %b to double", "%e = fdiv double %x, %y",
                    "%m = call double @llvm.fabs.f64(double %e)", *_units(2),
                    "%s = call double @skewed(double %e, double %size, double %y)",
                    "%q = fptrunc double %s to float", "%n = call float @llvm.fabs.f32(float %b)",
                    f"%large = fcmp ogt float %n, {_number(2.0**126)}",
                    "%z = fmul float %a, 0.0", "%o = select i1 %large, float %z, float %q",
                    "ret float %o")


def _gross(name, op):
    """Of the upper half of a double, as the upper half of a double."""
    root = "call double @llvm.sqrt.f64(double %x)" if op == "rsqrt" else "fadd double %x, 0.0"
    return _defined(name, "double", ["double"], "%i = bitcast double %a to i64",
                    "%h = and i64 %i, -4294967296", "%x = bitcast i64 %h to double",
                    f"%d = {root}", "%e = fdiv double 1.0, %d",
                    f"%size = fmul double %e, {_number(_ERROR['gross'])}",
                    "%s = call double @skewed(double %e, double %size, double %a)",
                    "%j = bitcast double %s to i64", "%k = and i64 %j, -4294967296",
                    "%y = bitcast i64 %k to double", "ret double %y")


def _carried(name):
    """a * b + c of words, as two words."""
    return _defined(name, "{ i32, i32 }", ["i32"] * 3, "%x = zext i32 %a to i64",
                    "%y = zext i32 %b to i64", "%z = zext i32 %c to i64", "%p = mul i64 %x, %y",
                    "%s = add i64 %p, %z", *_halves("i32", "i64"))


def _halves(half: str, whole: str) -> list[str]:
    """Lines that return the halves of %s."""
    return [f"%l = trunc {whole} %s to {half}", f"%t = lshr {whole} %s, {half[1:]}",
            f"%h = trunc {whole} %t to {half}",
            f"%r = insertvalue {{ {half}, {half} }} undef, {half} %l, 0",
            f"%o = insertvalue {{ {half}, {half} }} %r, {half} %h, 1", f"ret {{ {half}, {half} }} %o"]


def _wide(name, op):
    """128 bits of products and sums of 64."""
    if op in ("mul", "fma"):
        lines = [f"%{v} = zext i64 %{n} to i128" for v, n in zip("xyz", "ab" if op == "mul" else "abc")]
        lines += ["%p = mul i128 %x, %y", f"%s = add i128 %p, {'%z' if op == 'fma' else 0}"]
        return _defined(name, "{ i64, i64 }", ["i64"] * (3 if op == "fma" else 2), *lines,
                        *_halves("i64", "i128"))
    lines = [f"%w{n} = zext i64 %{n} to i128" for n in "abcd"]
    lines += ["%ha = shl i128 %wb, 64", "%x = or i128 %wa, %ha", "%hb = shl i128 %wd, 64",
              "%y = or i128 %wc, %hb", f"%s = {op} i128 %x, %y"]
    return _defined(name, "{ i64, i64 }", ["i64"] * 4, *lines, *_halves("i64", "i128"))


def _select_unless_unequal(name):
    return _defined(name, "double", ["double"] * 4, "%e = fcmp ueq double %a, %b",
                    "%y = select i1 %e, double %c, double %d", "ret double %y")


def _leading_zeros(name):
    return _defined(name, "i32", ["i32"], "%n = call i32 @llvm.ctlz.i32(i32 %a, i1 false)",
                    "%z = icmp eq i32 %a, 0", "%y = select i1 %z, i32 -1, i32 %n", "ret i32 %y")


def _register(name, which):
    constant = {"warpsize": "32"}.get(which)
    if constant:
        return _defined(name, "i32", [], f"ret i32 {constant}")
    if which == "laneid":
        return _defined(name, "i32", [], "%t = load i32, ptr @tid.x", "%y = and i32 %t, 31",
                        "ret i32 %y")
    return _defined(name, "i32", [], f"%y = load i32, ptr @{which}", "ret i32 %y")


def _number(x: float) -> str:
    return f"0x{np.float64(x).view(np.uint64):016X}"


def _place() -> list[str]:
    """Lines for %me, the number of the thread in its block."""
    return [*(f"%t{axis} = load i32, ptr @tid.{axis}" for axis in "xyz"), "%nx = load i32, ptr @ntid.x",
            "%ny = load i32, ptr @ntid.y", "%zy = mul i32 %tz, %ny", "%yy = add i32 %ty, %zy",
            "%yx = mul i32 %yy, %nx", "%me = add i32 %tx, %yx"]


def _barrier(name, which):
    return _defined(name, "void", [] if which == "barrier0" else ["i32"],
                    f"call void @wait(i32 {BLOCK if which == 'barrier0' else WARP})",
                    "ret void")


def _fence(name):
    return _defined(name, "void", [], "ret void")


def _exchange(name):
    """The value of the thread whose number differs by the bits %d, which is all that kernels use."""
    return _defined(name, "{ i32, i1 }", ["i32", "i32", "i32", "i32", "i32"], *_place(),
                    "%own = getelementptr i32, ptr @slots, i32 %me", "store i32 %c, ptr %own",
                    f"call void @wait(i32 {WARP})", "%src = xor i32 %me, %d",
                    "%theirs = getelementptr i32, ptr @slots, i32 %src", "%v = load i32, ptr %theirs",
                    f"call void @wait(i32 {WARP})", "%r = insertvalue { i32, i1 } undef, i32 %v, 0",
                    "%o = insertvalue { i32, i1 } %r, i1 true, 1", "ret { i32, i1 } %o")


def _ballot(name):
    """The threads of the warp for which %c is true, as bits."""
    lines = [*_place(), "%own = getelementptr i32, ptr @slots, i32 %me", "%bit = zext i1 %c to i32",
             "store i32 %bit, ptr %own", f"call void @wait(i32 {WARP})", "%first = and i32 %me, -32"]
    total = "0"
    for k in range(32):
        lines += [f"%n{k} = or i32 %first, {k}", f"%p{k} = getelementptr i32, ptr @slots, i32 %n{k}",
                  f"%v{k} = load i32, ptr %p{k}", f"%s{k} = shl i32 %v{k}, {k}",
                  f"%o{k} = or i32 {total}, %s{k}"]
        total = f"%o{k}"
    return _defined(name, "{ i32, i1 }", ["i32", "i32", "i1"], *lines,
                    f"call void @wait(i32 {WARP})", f"%any = icmp ne i32 {total}, 0",
                    f"%r = insertvalue {{ i32, i1 }} undef, i32 {total}, 0",
                    "%o = insertvalue { i32, i1 } %r, i1 %any, 1", "ret { i32, i1 } %o")


def _atomic_add(name, width):
    f = {"32": "float", "64": "double"}[width]
    return _defined(name, f, ["ptr", f], f"%y = atomicrmw fadd ptr %a, {f} %b seq_cst", f"ret {f} %y")


_INSTRUCTIONS = [
    (r"(?P<op>fma|mul|add|sub|div)\.rn(\.ftz)?\.(?P<t>[fd])", _arithmetic),
    (r"(?P<op>fma|mul|add)\.(?P<way>rz|rm)(\.ftz)?\.f", _directed),
    (r"(?P<op>trunc|floor|ceil|round)(\.ftz)?\.(?P<t>[fd])", _unary),
    (r"(?P<op>sqrt)\.rn(\.ftz)?\.(?P<t>[fd])", _unary),
    (r"(?P<op>fabs)(\.ftz)?\.(?P<t>f)32", _unary),
    (r"(?P<op>fabs)\.f64", lambda name, op: _unary(name, op, "d")),
    (r"f(?P<op>min|max)(\.ftz)?\.(?P<t>[fd])", _extreme),
    (r"rcp\.rn(\.ftz)?\.(?P<t>[fd])", _reciprocal),
    (r"saturate(\.ftz)?\.f", _saturate),
    (r"(?P<t>[fd])2(?P<to>u?i|u?ll)\.(?P<way>r[nzmp])(\.ftz)?", _to_integer),
    (r"(?P<source>u?i|u?ll)2(?P<t>[fd])\.rn", _to_float),
    (r"d2f\.rn(\.ftz)?", _narrow),
    (r"d2i\.(?P<which>lo|hi)", _word),
    (r"lohi\.i2d", _words),
    (r"mulhi\.(?P<kind>u?i|u?ll)", _high_product),
    (r"f2h\.rn(\.ftz)?", _half),
    (r"(?P<op>ex2|lg2|rsqrt|rcp|sqrt)\.approx(?P<flush>\.ftz)?\.f(32)?", _approximate),
    (r"div\.approx(?P<flush>\.ftz)?\.f", _quotient),
    (r"(?P<op>rcp|rsqrt)\.approx\.ftz\.d", _gross),
    (r"mad\.cc", _carried),
    (r"wide\.(?P<op>\w+)", _wide),
    (r"equ\.select", _select_unless_unequal),
    (r"bfind\.shiftamt\.u32", _leading_zeros),
    (r"(?P<which>barrier0|bar\.warp\.sync)", _barrier),
    (r"membar\.\w+", _fence),
    (r"shfl\.sync\.i32", _exchange),
    (r"vote\.sync", _ballot),
    (r"atomic\.load\.add\.f(?P<width>32|64)\.\w+", _atomic_add),
    (r"read\.ptx\.sreg\.(?P<which>[\w.]+)", _register),
]
_SUPPORT = {f"{r}.{axis}": f"@{r}.{axis} = internal global i32 0"
            for r in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"}
_SUPPORT |= {"slots": f"@slots = internal global [{MOST} x i32] zeroinitializer",
             "own": "@own = global ptr null", "main": "@main = global ptr null",
             "why": "@why = global i32 0", "swapcontext": "declare i32 @swapcontext(ptr, ptr)",
             "wait": "define void @wait(i32 %why) noinline {\n  store i32 %why, ptr @why\n"
                     "  %own = load ptr, ptr @own\n  %main = load ptr, ptr @main\n"
                     "  %done = call i32 @swapcontext(ptr %own, ptr %main)\n  ret void\n}"}
_SUPPORT["flushed"] = _defined(
    "flushed", "float", ["float"], "%m = call float @llvm.fabs.f32(float %a)",
    f"%small = fcmp olt float %m, {_number(2.0**-126)}", "%z = fmul float %a, 0.0",
    "%y = select i1 %small, float %z, float %a", "ret float %y")
# a, moved by the wanted share of b unless it is a float: powers of two come out whole
_SUPPORT["skewed"] = _defined(
    "skewed", "double", ["double", "double", "double"],
    f"%k = load double, ptr inttoptr (i64 {ctypes.addressof(SHARE)} to ptr)",
    "%i = bitcast double %c to i64", "%h = mul i64 %i, -7046029254386353131", "%j = lshr i64 %h, 32",
    "%l = xor i64 %h, %j", "%o = mul i64 %l, -7046029254386353131", "%f = sitofp i64 %o to double",
    f"%drawn = fmul double %f, {_number(2.0**-63)}", "%two = fcmp oeq double %k, 2.0",
    "%share = select i1 %two, double %drawn, double %k", "%r = fmul double %share, %b",
    "%y = fadd double %a, %r", "%near = fptrunc double %a to float", "%w = fpext float %near to double",
    "%whole = fcmp ueq double %a, %w", "%q = select i1 %whole, double %a, double %y", "ret double %q")
