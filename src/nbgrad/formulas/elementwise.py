"""THE TABLE: one row an elementwise op.

A row gives the formula, the local derivative where it is not simply derived, how dtypes go
through, and where it may be sampled. Kernels for CPU and CUDA, forward and backward, what is
saved, double backward, in-place twins and tests are read off it. Values at kinks are PyTorch's.
"""

from __future__ import annotations

import math

from nbgrad.formulas.expr import ADD, DIV, MUL, NEG, SUB, eq, ne, select, var, zero
from nbgrad.formulas.row import TABLE, Row, primitive, row

__all__ = ["TABLE", "Row"]

a, b, c, g, p, q, x, y, w = map(var, ("a", "b", "c", "g", "p", "q", "x", "y", "w"))
lo, hi, slope, alpha, beta, scale, value, limit, eps, rtol, atol, nan, inf, ninf, up, down, order = map(
    var, ("lo", "hi", "slope", "alpha", "beta", "scale", "value", "limit", "eps", "rtol", "atol",
          "nan", "inf", "ninf", "up", "down", "order"))
LN2 = math.log(2)

# Arithmetic
add = row("add", ADD(a, b), inputs="a b", d=(1, 1))
add_scaled = row("add_scaled", a + alpha * b, inputs="a b", params="alpha", node="Add")
sub = row("sub", SUB(a, b), inputs="a b", d=(1, -1))
sub_scaled = row("sub_scaled", a - alpha * b, inputs="a b", params="alpha", node="Sub")
rsub = row("rsub", b - a, inputs="a b", d=(-1, 1), node="RsubBackward1")
mul = row("mul", MUL(a, b), inputs="a b", d=(b, a))
div = row("div", DIV(a, b), inputs="a b", d=(1 / b, -(a / b) / b), kind="float",
          domain=((-3, 3), (0.5, 2)))
neg = row("neg", NEG(x), d=-1)
positive = row("positive", x, d=1)
clone = row("clone", x, d=1)
reciprocal = row("reciprocal", 1 / x, d=-(y * y), kind="float", domain=(0.5, 3))
square = row("square", x * x, d=2 * x, node="Pow")
cube = row("cube", x * x * x, d=3 * (x * x), node="Pow")

# Rounding: constant between jumps
floor = primitive("floor", "np.floor({})", d=0, kinks=(-2, -1, 0, 1, 2))
ceil = primitive("ceil", "np.ceil({})", d=0, kinks=(-2, -1, 0, 1, 2))
trunc = primitive("trunc", "np.trunc({})", d=0, kinks=(-2, -1, 0, 1, 2))
round_ = primitive("round", "np.rint({})", d=0, kinks=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5))
round_decimals = row("round_decimals", round_(x * up / down) / up * down, params="up down", d=0,
                     node="Round")
frac = row("frac", x - trunc(x), d=1, kinks=(-2, -1, 0, 1, 2))
sign = row("sign", select(x > 0, 1, select(x < 0, -1, 0)), d=0, kinks=(0,))
abs_ = primitive("abs", "abs({})", d=sign(x), kinks=(0,))
sgn = row("sgn", sign(x), d=0, kinks=(0,))
signbit = primitive("signbit", "np.signbit({})", integer="({} < 0)", kind="bool")
copysign = primitive("copysign", "math.copysign({}, {})", inputs="a b", kind="float",
                     d=None, kinks=(0,))
copysign.derivative(select(eq(a, 0), 0, sign(a) * copysign(1, b)), zero)
heaviside = row("heaviside", select(eq(a, 0), b, select(a > 0, 1, 0)), inputs="a b",
                differentiable=False)
nextafter = primitive("nextafter", "np.nextafter({}, {})", inputs="a b", differentiable=False)
# the steps of `frexp`, no ops
MANTISSA = primitive("mantissa", "math.mantissa({})")
EXPONENT = primitive("exponent", "math.exponent({})")
del TABLE["mantissa"], TABLE["exponent"]
deg2rad = row("deg2rad", x * (math.pi / 180), kind="float")
rad2deg = row("rad2deg", x * (180 / math.pi), kind="float")
angle = row("angle", select(ne(x, x), x, select(x < 0, math.pi, 0)), d=0, kind="float", kinks=(0,))

# Exponentials and powers
exp = primitive("exp", "math.exp({})", d=y, kind="float")
exp2 = primitive("exp2", "math.exp2({})", d=y * LN2, kind="float")
expm1 = primitive("expm1", "math.expm1({})", d=y + 1, kind="float")
log = primitive("log", "math.log({})", d=1 / x, kind="float", domain=(0.2, 3))
log2 = primitive("log2", "math.log2({})", d=1 / (x * LN2), kind="float", domain=(0.2, 3))
log10 = primitive("log10", "math.log10({})", d=1 / (x * math.log(10)), kind="float", domain=(0.2, 3))
log1p = primitive("log1p", "math.log1p({})", d=1 / (x + 1), kind="float", domain=(-0.7, 3))
sqrt = primitive("sqrt", "math.sqrt({})", d=1 / (2 * y), kind="float", domain=(0.2, 3))
rsqrt = row("rsqrt", 1 / sqrt(x), d=-0.5 * (y * y * y), kind="float", domain=(0.2, 3))
# a step of `pow`, not an op
POW = primitive("pow_raw", "math.pow({}, {})", integer="({} ** {})", inputs="a b")
del TABLE["pow_raw"]
pow_ = row("pow", POW(a, b), inputs="a b", node="Pow", domain=((0.3, 2), (-2, 2)),
           d=(select(eq(b, 0), 0, b * POW(a, b - 1)),
              select(eq(a, 0) & (b >= 0), 0, y * log(a))))
POW.derivative(*(pow_.partials or ()))
xlogy = row("xlogy", select(ne(b, b), b, select(eq(a, 0), 0, a * log(b))), inputs="a b", kind="float",
            d=(select(eq(a, 0) & (b <= 0), 0, log(b)), a / b), domain=((-3, 3), (0.2, 3)))
sqrt_pow = row("sqrt_pow", sqrt(x), d=0.5 / sqrt(x), kind="float", node="Pow", domain=(0.2, 3))
hypot = primitive("hypot", "math.hypot({}, {})", inputs="a b", d=(a / y, b / y), kind="float",
                  domain=((0.3, 2), (0.3, 2)))

# Trigonometric and hyperbolic
sin = primitive("sin", "math.sin({})", d=None, kind="float", near=2.0**20)
cos = primitive("cos", "math.cos({})", d=-sin(x), kind="float", near=2.0**20)
sin.derivative(cos(x))
_turn = math.pi * x
sinc = row("sinc", select(eq(x, 0), 1, sin(_turn) / _turn), kind="float",
           d=select(eq(x, 0), 0, (cos(_turn) - sin(_turn) / _turn) / x), domain=(0.4, 0.9))
tan = primitive("tan", "math.tan({})", d=1 + y * y, kind="float", domain=(-1.2, 1.2))
asin = primitive("asin", "math.asin({})", d=rsqrt(1 - x * x), kind="float", domain=(-0.9, 0.9))
acos = primitive("acos", "math.acos({})", d=-rsqrt(1 - x * x), kind="float", domain=(-0.9, 0.9))
atan = primitive("atan", "math.atan({})", d=1 / (x * x + 1), kind="float")
sinh = primitive("sinh", "math.sinh({})", d=None, kind="float")
cosh = primitive("cosh", "math.cosh({})", d=sinh(x), kind="float")
sinh.derivative(cosh(x))
tanh = primitive("tanh", "math.tanh({})", d=1 - y * y, kind="float")
asinh = primitive("asinh", "math.asinh({})", d=rsqrt(x * x + 1), kind="float")
acosh = primitive("acosh", "math.acosh({})", d=rsqrt(x * x - 1), kind="float", domain=(1.2, 4))
atanh = primitive("atanh", "math.atanh({})", d=1 / (1 - x * x), kind="float", domain=(-0.9, 0.9))
_norm2 = a * a + b * b
atan2 = primitive("atan2", "math.atan2({}, {})", inputs="a b", kind="float",
                  d=(select(eq(_norm2, 0), 0, b / _norm2), select(eq(_norm2, 0), 0, -(a / _norm2))),
                  domain=((0.3, 2), (0.3, 2)))

# Error function, sigmoid and their kin
erf = primitive("erf", "math.erf({})", d=(2 / math.sqrt(math.pi)) * exp(-(x * x)), kind="float")
erfc = primitive("erfc", "math.erfc({})", d=(-2 / math.sqrt(math.pi)) * exp(-(x * x)), kind="float")
erfinv = primitive("erfinv", "math.erfinv({})", d=(math.sqrt(math.pi) / 2) * exp(y * y), kind="float",
                   domain=(-0.9, 0.9))
# a step of `gelu`, not an op; the CPU's kernels know it as one function
_normal_cdf = primitive("normal_cdf", "math.normal_cdf({})", kind="float",
                        formula=0.5 * (1 + erf(x * math.sqrt(0.5))),
                        d=(1 / math.sqrt(2 * math.pi)) * exp(-0.5 * (x * x)))
del TABLE["normal_cdf"]
# With e = e^-|x| and w = e / (1 + e): 1 - w, for negative x e - e w, to which w brings little error
_fading = exp(-abs_(x))
_most = select(x < 0, _fading, 1)
sigmoid = primitive("sigmoid", formula=_most - _most * (_fading / (1 + _fading)), d=y * (1 - y),
                    kind="float")
logit = row("logit", log(x / (1 - x)), d=select((x >= 0) & (x <= 1), 1 / (x * (1 - x)), math.nan),
            kind="float", domain=(0.1, 0.9))
_inside = (x >= eps) & (x <= 1 - eps)
_clipped = select(x < eps, eps, select(x > 1 - eps, 1 - eps, x))
logit_eps = row("logit_eps", log(_clipped / (1 - _clipped)), params="eps", kind="float",
                d=select(_inside, 1 / (x * (1 - x)), 0), node="Logit", domain=(0.2, 0.8))
logsigmoid = primitive("logsigmoid", formula=select(x < 0, x, 0) - log1p(exp(-abs_(x))),
                       d=sigmoid(-x), kind="float", node="LogSigmoid")
_gap = exp(-abs_(a - b))
logaddexp = primitive("logaddexp", inputs="a b", kind="float",
                      formula=select(eq(a, b), a + LN2, select(a > b, a, b) + log1p(_gap)),
                      d=(1 / (1 + exp(b - a)), 1 / (1 + exp(a - b))))
_log2_gap = log1p(exp2(-abs_(a - b))) / LN2
logaddexp2 = primitive("logaddexp2", inputs="a b", kind="float",
                       formula=select(eq(a, b), a + 1, select(a > b, a, b) + _log2_gap),
                       d=(1 / (1 + exp2(b - a)), 1 / (1 + exp2(a - b))))

# The gamma function and its kin; polygamma of order n is the n-th derivative of digamma
lgamma = primitive("lgamma", "math.lgamma({})", d=None, kind="float", domain=(0.2, 4))
digamma = primitive("digamma", "math.digamma({})", d=None, kind="float", domain=(0.2, 4))
# a step of `polygamma`, not an op
_POLYGAMMA = primitive("polygamma_raw", "math.polygamma({}, {})", inputs="n x")
del TABLE["polygamma_raw"]
polygamma = row("polygamma", _POLYGAMMA(order, x), params="order", kind="float",
                d=_POLYGAMMA(order + 1, x), domain=(0.5, 4))
_POLYGAMMA.derivative(zero, _POLYGAMMA(var("n") + 1, x))
lgamma.derivative(digamma(x))
digamma.derivative(_POLYGAMMA(1, x))

# Activations
relu = row("relu", select(x < 0, 0, x), d=select(y <= 0, 0, 1), kinks=(0,))
_capped = select(x < lo, lo, select(x > hi, hi, x))
hardtanh = row("hardtanh", _capped, params="lo hi", d=select((x > lo) & (x < hi), 1, 0),
               kinks=(-1, 1))
leaky_relu = row("leaky_relu", select(x > 0, x, slope * x), params="slope", kinks=(0,))
prelu = row("prelu", select(x > 0, x, w * x), inputs="x w", kinks=(0,), node="PreluKernel")
elu = row("elu", select(x > 0, x, alpha * expm1(x)), params="alpha", kind="float", kinks=(0,),
          d=select(x <= 0, alpha * exp(x), 1))
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
selu = row("selu", _SELU_SCALE * select(x > 0, x, _SELU_ALPHA * expm1(x)), kind="float", kinks=(0,),
           d=_SELU_SCALE * select(x <= 0, _SELU_ALPHA * exp(x), 1), node="Elu")
celu = row("celu", select(x > 0, x, alpha * expm1(x / alpha)), params="alpha", kind="float",
           kinks=(0,), d=select(x <= 0, exp(x / alpha), 1), node="Elu")
gelu = row("gelu", x * _normal_cdf(x), kind="float")
gelu_tanh = row("gelu_tanh", kind="float", node="Gelu",
                formula=0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x)))))
silu = row("silu", x * sigmoid(x), kind="float")
softplus = row("softplus", select(x * beta > limit, x, log1p(exp(x * beta)) / beta),
               params="beta limit", kind="float")
_softplus = select(x > 20, x, log1p(exp(x)))
mish = row("mish", x * tanh(_softplus), kind="float")
softsign = row("softsign", x / (1 + abs_(x)), kind="float", node="Div", kinks=(0,))
hardsigmoid = row("hardsigmoid", select(x <= -3, 0, select(x >= 3, 1, x / 6 + 0.5)), kind="float",
                  d=select((x > -3) & (x < 3), 1 / 6, 0), kinks=(-3, 3))
hardswish = row("hardswish", select(x <= -3, 0, select(x >= 3, x, x * (x + 3) / 6)), kind="float",
                d=select(x <= -3, 0, select(x < 3, x / 3 + 0.5, 1)), kinks=(-3, 3))
_shrunk, _outside = (x >= -limit) & (x <= limit), (x < -limit) | (x > limit)
hardshrink = row("hardshrink", select(_shrunk, 0, x), params="limit", kinks=(-0.5, 0.5),
                 d=select(_outside, 1, 0))
softshrink = row("softshrink", select(_shrunk, 0, select(x > 0, x - limit, x + limit)),
                 params="limit", kinks=(-0.5, 0.5), d=select(_outside, 1, 0))
tanhshrink = row("tanhshrink", x - tanh(x), kind="float", node="Sub")
threshold = row("threshold", select(x <= limit, value, x), params="limit value",
                d=select(x <= limit, 0, 1), kinks=(0.5,))

# Bounds and repair
_raised = select(x < lo, lo, x)
clamp = row("clamp", select(hi < _raised, hi, _raised), params="lo hi",
            d=select((x >= lo) & (x <= hi), 1, 0), kinks=(-1, 1))
clamp_min = row("clamp_min", select(x < lo, lo, x), params="lo", d=select(x >= lo, 1, 0),
                kinks=(-1,))
clamp_max = row("clamp_max", select(x > hi, hi, x), params="hi", d=select(x <= hi, 1, 0),
                kinks=(1,))
# bounds given as tensors
clamp_between = row("clamp_between", inputs="x lo hi", node="Clamp",
                    formula=select(ne(lo, lo), lo, select((hi < _raised) | ne(hi, hi), hi, _raised)),
                    d=(select((x >= lo) & (x <= hi), 1, 0),
                       select((lo < hi) & (x < lo), 1, 0), select((x > hi) | (hi < lo), 1, 0)))
clamp_above = row("clamp_above", select((a < b) | ne(b, b), b, a), inputs="a b", node="ClampMin",
                  d=(select(a >= b, 1, 0), select(a < b, 1, 0)))
clamp_below = row("clamp_below", select((a > b) | ne(b, b), b, a), inputs="a b", node="ClampMax",
                  d=(select(a <= b, 1, 0), select(a > b, 1, 0)))
isnan = primitive("isnan", "({0} != {0})", kind="bool")
isinf = primitive("isinf", formula=eq(abs_(x), math.inf), kind="bool")
isfinite = primitive("isfinite", formula=abs_(x) < math.inf, kind="bool")
isposinf = primitive("isposinf", formula=eq(x, math.inf), kind="bool")
isneginf = primitive("isneginf", formula=eq(x, -math.inf), kind="bool")
nan_to_num = row("nan_to_num", params="nan inf ninf", d=select(abs_(x) < math.inf, 1, 0),
                 formula=select(ne(x, x), nan, select(eq(x, math.inf), inf,
                                                      select(eq(x, -math.inf), ninf, x))))
maximum = row("maximum", select((a > b) | ne(a, a), a, b), inputs="a b",
              d=(select(a < b, 0, select(eq(a, b), 0.5, 1)),
                 select(b < a, 0, select(eq(a, b), 0.5, 1))))
minimum = row("minimum", select((a < b) | ne(a, a), a, b), inputs="a b",
              d=(select(a > b, 0, select(eq(a, b), 0.5, 1)),
                 select(b > a, 0, select(eq(a, b), 0.5, 1))))
fmax = row("fmax", select((a >= b) | ne(b, b), a, b), inputs="a b",
           d=(select((a >= b) | ne(b, b), 1, 0), select((a >= b) | ne(b, b), 0, 1)))
fmin = row("fmin", select((a <= b) | ne(b, b), a, b), inputs="a b",
           d=(select((a <= b) | ne(b, b), 1, 0), select((a <= b) | ne(b, b), 0, 1)))

# Division with rounding
floor_divide = primitive("floor_divide", "math.floor_divide({}, {})", integer="({} // {})",
                         inputs="a b", d=(0, 0), node="Div", domain=((0.6, 0.9), (1.1, 1.9)))
# the remainder with the sign of the dividend, from Python's, which has the divisor's
_REST = "({0} % {1} - ({1} if ({0} % {1} != 0) & (({0} < 0) != ({1} < 0)) else 0))"
trunc_divide = primitive("trunc_divide", "np.trunc({} / {})", integer=f"(({{0}} - {_REST}) // {{1}})",
                         inputs="a b", d=(0, 0), node="Div", domain=((0.6, 0.9), (1.1, 1.9)))
remainder = primitive("remainder", "math.remainder({}, {})", integer="({} % {})", inputs="a b",
                      d=(1, -floor_divide(a, b)),
                      domain=((0.6, 0.9), (1.1, 1.9)))
fmod = primitive("fmod", "np.fmod({}, {})", integer=_REST, inputs="a b", d=(1, -trunc(a / b)),
                 domain=((0.6, 0.9), (1.1, 1.9)))

# Three inputs
where = row("where", select(c, p, q), inputs="c p q", kind="where",
            d=(0, select(c, 1, 0), select(c, 0, 1)))
lerp = row("lerp", select(abs_(w) < 0.5, a + w * (b - a), b - (b - a) * (1 - w)), inputs="a b w",
           d=(1 - w, w, b - a), domain=(0.1, 0.9))
addcmul = row("addcmul", x + value * a * b, inputs="x a b", params="value",
              d=(1, value * b, value * a))
addcdiv = row("addcdiv", x + value * (a / b), inputs="x a b", params="value", kind="float",
              d=(1, value / b, -(value * (a / b)) / b), domain=(0.5, 2))

# Comparisons, logic, bits
eq_ = row("eq", eq(a, b), inputs="a b", kind="bool")
ne_ = row("ne", ne(a, b), inputs="a b", kind="bool")
lt = row("lt", a < b, inputs="a b", kind="bool")
le = row("le", a <= b, inputs="a b", kind="bool")
gt = row("gt", a > b, inputs="a b", kind="bool")
ge = row("ge", a >= b, inputs="a b", kind="bool")
isclose = row("isclose", eq(a, b) | ((abs_(a - b) <= atol + abs_(rtol * b)) & (abs_(b) < math.inf)),
              inputs="a b", params="rtol atol", kind="bool")
logical_not = row("logical_not", ~x, kind="logical")
logical_and = row("logical_and", a & b, inputs="a b", kind="logical")
logical_or = row("logical_or", a | b, inputs="a b", kind="logical")
logical_xor = row("logical_xor", ne(a, b), inputs="a b", kind="logical")
bitwise_not = primitive("bitwise_not", "(~{})", kind="bits")
bitwise_and = primitive("bitwise_and", "({} & {})", inputs="a b", kind="bits")
bitwise_or = primitive("bitwise_or", "({} | {})", inputs="a b", kind="bits")
bitwise_xor = primitive("bitwise_xor", "({} ^ {})", inputs="a b", kind="bits")
gcd = primitive("gcd", "np.gcd({}, {})", inputs="a b", kind="bits")
lcm = primitive("lcm", "np.lcm({}, {})", inputs="a b", kind="bits")
# beyond the width of an integer nothing is left but its sign
bitwise_left_shift = primitive("bitwise_left_shift", "({0} << {1} if 0 <= {1} < 64 else 0)",
                               inputs="a b", kind="bits")
bitwise_right_shift = primitive("bitwise_right_shift", "({0} >> ({1} if 0 <= {1} < 64 else 63))",
                                inputs="a b", kind="bits")
