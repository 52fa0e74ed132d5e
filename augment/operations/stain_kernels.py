"""The compiled half of stain jitter: gray levels to optical densities, mixed there, and back.

The optical density is a logarithm, and those of the C library differ from one CPU and version to the next in their last
digit. So logarithm and power are worked out here, with + - * / alone, to 1e-10 (on float32 reals, to their own
rounding): the exponent of a number is read from its bits, and the rest is a short power series.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

from augment.compiled import compiled

_LN_2 = 0.6931471805599453
_ROOT_2 = 1.4142135623730951


@compiled
def _split(words, fractions, exponents, bits, bias):
    """Write the exponents of positive reals, and the reals with exponent 0; all are given by their bits."""
    real, word = exponents.dtype.type, words.dtype.type
    places, offset = word(bits), word(bias)
    fraction, zero = word((word(1) << places) - word(1)), word(offset << places)
    for c in range(words.shape[0]):
        exponents[c] = real((words[c] >> places) - offset)
        fractions[c] = (words[c] & fraction) | zero


@compiled
def _take_logarithms(fractions, exponents, logarithms):
    """Write the logarithms to base 2 of reals 2^n m, of which m and n are given.

    With m between the roots of 1/2 and of 2, log m = 2 (z + z^3 / 3 + z^5 / 5 + ...), where z = (m - 1) / (m + 1).
    """
    real = fractions.dtype.type
    one, half, root = real(1), real(0.5), real(_ROOT_2)
    c_1, c_3, c_5 = real(2 / _LN_2), real(2 / 3 / _LN_2), real(2 / 5 / _LN_2)
    c_7, c_9, c_11 = real(2 / 7 / _LN_2), real(2 / 9 / _LN_2), real(2 / 11 / _LN_2)
    for c in range(fractions.shape[0]):
        m = fractions[c]
        n = exponents[c] + one if m > root else exponents[c]
        m = m * half if m > root else m
        z = (m - one) / (m + one)
        z2 = z * z
        logarithms[c] = n + z * (c_1 + z2 * (c_3 + z2 * (c_5 + z2 * (c_7 + z2 * (c_9 + z2 * c_11)))))


@compiled
def _take_powers(values, powers, words, bits, bias):
    """Write 2 to the power of reals; `words` is the memory of `powers` as whole numbers.

    2^x = 2^n e^(f ln 2), with the whole number n that is nearest to x, and f between -1/2 and 1/2.
    """
    real, word = values.dtype.type, words.dtype.type
    half, lowest, highest = real(0.5), real(1 - bias), real(bias)
    places, offset = word(bits), word(bias)
    for c in range(values.shape[0]):
        x = min(max(values[c], lowest), highest)
        n = word(x + highest + half) - offset  # truncated, where it is positive: rounded
        values[c] = (x - real(n)) * real(_LN_2)
        words[c] = (n + offset) << places
    one, c_2, c_3, c_4, c_5 = real(1), real(1 / 2), real(1 / 3), real(1 / 4), real(1 / 5)
    c_6, c_7, c_8, c_9, c_10 = real(1 / 6), real(1 / 7), real(1 / 8), real(1 / 9), real(1 / 10)
    for c in range(values.shape[0]):
        f = values[c]
        total = one + f * c_8 * (one + f * c_9 * (one + f * c_10))
        total = one + f * c_5 * (one + f * c_6 * (one + f * c_7 * total))
        powers[c] *= one + f * (one + f * c_2 * (one + f * c_3 * (one + f * c_4 * total)))


@compiled
def mix_densities(planes, mixing, offset, white, bits, bias, values, words):
    """Change three planes by what is linear in their optical densities.

    The density of a gray level g is -log2 ((g + 1) / (white + 1)). Levels are clipped to 0 ... white before.

    Args:
        planes: float32 or float64 (3, pixels), which are changed.
        mixing: float64 (3, 3): row c has the shares of the three old densities in new density c.
        offset: float64 (3,), added to the new densities.
        white: the gray level whose density is 0.
        bits: places of a real's fraction: 23 or 52.
        bias: what is added to a real's exponent: 127 or 1023.
        values: (6, B) of the planes' dtype, to work in.
        words: the same memory as int32 or int64.
    """
    real = planes.dtype.type
    zero, one, most = real(0), real(1), real(white)
    scale, unit = real(1 / (white + 1)), real(white + 1)
    n_pixels, size = planes.shape[1], values.shape[1]
    for left in range(0, n_pixels, size):
        n = min(size, n_pixels - left)
        for k in range(3):
            line, shares = planes[k, left : left + n], values[3, :n]
            for c in range(n):
                shares[c] = (min(max(line[c], zero), most) + one) * scale
            _split(words[3, :n], words[4, :n], values[5, :n], bits, bias)
            _take_logarithms(values[4, :n], values[5, :n], values[k, :n])
        for k in range(3):
            line, powers = planes[k, left : left + n], values[3, :n]
            m_0, m_1, m_2, term = real(mixing[k, 0]), real(mixing[k, 1]), real(mixing[k, 2]), real(offset[k])
            for c in range(n):
                line[c] = values[0, c] * m_0 + values[1, c] * m_1 + values[2, c] * m_2 - term
            _take_powers(line, powers, words[3, :n], bits, bias)
            for c in range(n):
                line[c] = powers[c] * unit - one
