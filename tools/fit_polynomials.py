"""Fit the polynomials of the elementary functions in src/nbgrad/kernels/ and print their errors.

Each is the Chebyshev interpolant of a smooth function in 60 digits, which lies within a small
factor of the best polynomial of its degree. Run it, and paste what it prints; a table that the
sources do not hold in these digits is marked as new.

    python tools/fit_polynomials.py
"""

from pathlib import Path

import mpmath as mp

KERNELS = Path(__file__).parents[1] / "src/nbgrad/kernels"
FILES = [*KERNELS.glob("cpu/elementary/*.py"), KERNELS / "cuda/single.py"]
SOURCES = " ".join(" ".join(path.read_text() for path in FILES).split())

mp.mp.dps = 60


def quotient(f, numerator_terms, power):
    """(f(x) - its first Taylor terms) / x**power, by the series near zero."""
    def g(x):
        if abs(x) > mp.mpf(10) ** -8:
            return (f(x) - sum(c * x**k for k, c in numerator_terms)) / x**power
        return mp.taylor(f, 0, power)[power] + x * mp.taylor(f, 0, power + 1)[power + 1]
    return g


def in_square(f, numerator_terms, power):
    """The same as a function of u = x * x, for odd and even f."""
    g = quotient(f, numerator_terms, power)
    return lambda u: g(mp.sqrt(u) if u > 0 else mp.mpf(10) ** -10)


LN2 = mp.log(2)
half = LN2 / 2 * mp.mpf("1.0001")
root = mp.sqrt(2) * mp.mpf("1.0001")
quarter = (mp.pi / 4 * mp.mpf("1.0001")) ** 2
slope = 2 / mp.sqrt(mp.pi)


def atanh_tail(u):
    """(log((1 + s) / (1 - s)) - 2 s) / s**3, u = s * s."""
    return mp.nsum(lambda k: 2 * u**k / (2 * k + 3), [0, mp.inf]) if u else mp.mpf(2) / 3


def log2_tail(u):
    """(3 / 2 log((1 + s) / (1 - s)) / s - 3 - s**2) / s**4, u = s * s."""
    return mp.nsum(lambda k: 3 * u**k / (2 * k + 5), [0, mp.inf]) if u else mp.mpf(3) / 5


def scaled_erfc(t):
    """exp(a * a) * erfc(a), t = (a - 2.5) / (a + 2.5)."""
    a = mp.mpf("2.5") * (1 + t) / (1 - t)
    return mp.exp(a * a) * mp.erfc(a)


def fading(t):
    """2 a exp(a * a) erfc(a) - 1, t = (a - 1.5) / (a + 1.5)."""
    a = mp.mpf("1.5") * (1 + t) / (1 - t)
    return 2 * a * mp.exp(a * a) * mp.erfc(a) - 1


def log_gamma(x):
    return mp.log(abs(mp.gamma(x)))


def zero(n, side):
    """Of log |Gamma|, on the right or on the left of -n."""
    return mp.findroot(log_gamma, -n + side / mp.factorial(n), solver="newton", df=mp.digamma)


DIP = zero(2, -1), zero(3, 1)


def gamma(y):
    """(1 / Gamma(x) - 1) / ((x - 1) (x - 2)) + 3 / 8, x = y + 9 / 4."""
    x = y + mp.mpf("2.25")
    return (mp.rgamma(x) - 1) / ((x - 1) * (x - 2)) + mp.mpf("0.375")


def gamma_dip(y):
    """(-1 / Gamma(x) - 1) / ((x - z) (x - z')) + 9 / 2, x = y - 37 / 16."""
    x = y - mp.mpf("2.3125")
    return (-mp.rgamma(x) - 1) / ((x - DIP[0]) * (x - DIP[1])) + mp.mpf("4.5")


def below(a):
    """log2(2 Q(a)) / a, Q the normal distribution above a."""
    return mp.log(mp.erfc(a / mp.sqrt(2)), 2) / a if a else -mp.sqrt(2 / mp.pi) / LN2


FITS = {
    "EXP_32": (quotient(mp.exp, [(0, 1), (1, 1)], 2), (-half, half), 4),
    "EXP_64": (quotient(mp.exp, [(0, 1), (1, 1)], 2), (-half, half), 10),
    "EXP2_32": (quotient(lambda x: 2**x, [(0, 1)], 1), (-mp.mpf("0.5001"), mp.mpf("0.5001")), 5),
    "EXP2_64": (quotient(lambda x: 2**x, [(0, 1)], 1), (-mp.mpf("0.5001"), mp.mpf("0.5001")), 11),
    "TANH_32": (in_square(mp.tanh, [(1, 1)], 3), (0, mp.mpf("0.56") ** 2), 5),
    "TANH_64": (in_square(mp.tanh, [(1, 1)], 3), (0, mp.mpf("0.56") ** 2), 12),
    "LOG_32": (quotient(mp.log1p, [(1, 1), (2, -mp.mpf(1) / 2)], 3), (1 / root - 1, root - 1), 8),
    "LOG_64": (atanh_tail, (0, ((root - 1) / (root + 1)) ** 2), 6),
    "LOG2_SUM_64": (log2_tail, (0, ((root - 1) / (root + 1)) ** 2), 7),
    "POW_EXP": (quotient(mp.exp, [(0, 1), (1, 1)], 2), (-half, half), 4),
    "SIN_32": (in_square(mp.sin, [(1, 1)], 3), (0, quarter), 3),
    "COS_32": (in_square(mp.cos, [(0, 1), (2, -mp.mpf(1) / 2)], 4), (0, quarter), 3),
    "TAN_32": (in_square(mp.tan, [(1, 1)], 3), (0, quarter), 6),
    "SIN_64": (in_square(mp.sin, [(1, 1)], 3), (0, quarter), 6),
    "COS_64": (in_square(mp.cos, [(0, 1), (2, -mp.mpf(1) / 2)], 4), (0, quarter), 6),
    "ERF_32": (in_square(lambda x: mp.erf(x) - x, [], 1), (0, mp.mpf("0.76") ** 2), 5),
    "ERF_64": (in_square(lambda x: mp.erf(x) - x, [], 1), (0, mp.mpf("1.01")), 12),
    "ERF_EXP2": (quotient(lambda x: 2**x, [(0, 1)], 1), (-mp.mpf("0.5001"), mp.mpf("0.5001")), 4),
    "ERFC_32": (lambda a: mp.log(mp.erfc(a), 2), (mp.mpf("0.74"), mp.mpf("4.01")), 8),
    "NORMAL_32": (below, (0, 5), 9),
    "ERFC_64": (scaled_erfc, (mp.mpf("-1.51") / mp.mpf("3.49"), mp.mpf("3.6") / mp.mpf("8.6")), 17),
    "ERFC_FAR_64": (fading, (mp.mpf("-0.76") / mp.mpf("2.24"), mp.mpf("26.5") / mp.mpf("29.5")), 23),
    "GAMMA_64": (gamma, (mp.mpf("-1.76"), mp.mpf("0.26")), 18),
    "GAMMA_DIP_64": (gamma_dip, (mp.mpf("-0.5775"), mp.mpf("0.0425")), 14),
}

for name, (f, interval, degree) in FITS.items():
    coefficients, error = mp.chebyfit(f, [mp.mpf(end) for end in interval], degree + 1, error=True)
    digits = 17 if name.endswith("64") else 10
    numbers = ", ".join(mp.nstr(c, digits) for c in reversed(coefficients))
    new = "" if f"{numbers})" in SOURCES else ", new"
    print(f"# {name}: largest error {mp.nstr(error, 3)}{new}\n_{name} = ({numbers})")

zeros = [zero(3, -1), *(zero(n, side) for n in range(4, 18) for side in (1, -1))]
for z in (*DIP, *zeros):
    parts = f"{float(z)!r}, {float(z - mp.mpf(float(z)))!r}"
    print(f"# zero of log |Gamma|{'' if parts in SOURCES else ', new'}\n({parts})")
