"""Seeded random numbers of the distributions that latencies have; see the stub."""

cimport cython
from libc.math cimport M_PI, cos, exp, isfinite, log, sin, sqrt
from libc.stdint cimport uint64_t

from statistics import NormalDist

cdef enum:
    FIXED, UNIFORM, EXPONENTIAL, LOGNORMAL

cdef tuple KINDS = ("fixed", "uniform", "exponential", "lognormal")
cdef double Z99 = NormalDist().inv_cdf(0.99)


@cython.final
cdef class Random:
    def __init__(self, seed):
        self.state = <uint64_t>(int(seed) & 0xFFFF_FFFF_FFFF_FFFF)

    cdef uint64_t bits(self) noexcept:
        cdef uint64_t z
        self.state += <uint64_t>0x9E3779B97F4A7C15
        z = self.state
        z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
        return z ^ (z >> 31)

    cdef double unit(self) noexcept:
        """From 0 to below 1."""
        return (self.bits() >> 11) * (1.0 / 9007199254740992.0)

    cdef double normal(self) noexcept:
        """Box and Muller, 1958: two at a time."""
        cdef double radius, angle
        if self.has_spare:
            self.has_spare = False
            return self.spare
        radius = sqrt(-2.0 * log(1.0 - self.unit()))
        angle = 2.0 * M_PI * self.unit()
        self.spare = radius * sin(angle)
        self.has_spare = True
        return radius * cos(angle)


@cython.final
cdef class Draw:
    def __init__(self, str kind not None, double a, double b=0.0):
        if kind not in KINDS:
            raise ValueError(f"{kind} is no distribution; there are {', '.join(KINDS)}")
        if not isfinite(a) or not isfinite(b) or a < 0:
            raise ValueError(f"{kind}: its numbers must be finite, and not negative")
        if kind == "uniform" and b < a:
            raise ValueError(f"uniform: it ends at {b:g}, before it begins at {a:g}")
        if kind == "lognormal" and not 0 < a <= b:
            raise ValueError("lognormal: the median must be above 0, and the 99th percentile not below it")
        self.kind = kind
        self.code = KINDS.index(kind)
        self.a = a
        self.b = b
        if self.code == LOGNORMAL:
            self.sigma = log(b / a) / Z99

    cdef double next(self, Random random) noexcept:
        if self.code == FIXED:
            return self.a
        if self.code == UNIFORM:
            return self.a + (self.b - self.a) * random.unit()
        if self.code == EXPONENTIAL:
            return -self.a * log(1.0 - random.unit())
        return self.a * exp(self.sigma * random.normal())

    @property
    def mean(self):
        if self.code == UNIFORM:
            return (self.a + self.b) / 2
        if self.code == LOGNORMAL:
            return self.a * exp(self.sigma * self.sigma / 2)
        return self.a

    def sample(self, Random random not None, Py_ssize_t count):
        return [self.next(random) for _ in range(count)]

    def quantile(self, double share):
        if not 0 < share < 1:
            raise ValueError("the share must be above 0 and below 1")
        if self.code == FIXED:
            return self.a
        if self.code == UNIFORM:
            return self.a + (self.b - self.a) * share
        if self.code == EXPONENTIAL:
            return -self.a * log(1.0 - share)
        return self.a * exp(self.sigma * NormalDist().inv_cdf(share))
