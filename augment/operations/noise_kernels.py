"""The compiled half of noise: Philox4x32-10, and a table of the normal distribution.

Philox is the counter-based generator of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": every
pixel's number is worked out from its place alone, so that no thread or order changes it.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import numpy as np

from augment.compiled import compiled

_GROUPS = 64  # of eight pixels, worked out together
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(0xFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_32, _16 = np.uint64(32), np.uint64(16)


@compiled
def _philox(first, channel, key_0, key_1, words):
    """Write the four words of the counters (first, channel, 0, 0), (first + 1, channel, 0, 0) and so on."""
    for g in range(words.shape[1]):
        a, b, c, d = np.uint64(first + g), np.uint64(channel), np.uint64(0), np.uint64(0)
        k_0, k_1 = np.uint64(key_0), np.uint64(key_1)
        for _ in range(10):
            p_0, p_1 = _M0 * a, _M1 * c
            a, b, c, d = (p_1 >> _32) ^ b ^ k_0, p_1 & _WORD, (p_0 >> _32) ^ d ^ k_1, p_0 & _WORD
            k_0, k_1 = (k_0 + _W0) & _WORD, (k_1 + _W1) & _WORD
        words[0, g], words[1, g], words[2, g], words[3, g] = a, b, c, d


@compiled
def add_noise(plane, scale, channel, key_0, key_1, table, words):
    """Add noise to a plane, eight pixels in the order of reading to a counter: of a word, the lower half comes first.

    Args:
        plane: float32 or float64 (pixels,), which is changed.
        scale: standard deviation of the noise, over what 1 is in the table.
        channel: second word of the counter.
        key_0: first word of the key.
        key_1: second word of the key.
        table: int16 (65536,), what is added for each half word.
        words: uint64 (4, 64), to work in.
    """
    real = plane.dtype.type
    step, n = real(scale), plane.shape[0]
    for first in range(0, (n + 7) // 8, _GROUPS):
        _philox(first, channel, key_0, key_1, words)
        left = 8 * first
        for g in range(min((n - left) // 8, _GROUPS)):
            for w in range(4):
                word = words[w, g]
                plane[left + 8 * g + 2 * w] += real(table[word & _HALF]) * step
                plane[left + 8 * g + 2 * w + 1] += real(table[word >> _16]) * step
        if n - left < 8 * _GROUPS:
            for p in range(n - n % 8, n):
                word = words[(p % 8) // 2, p // 8 - first]
                plane[p] += real(table[(word >> np.uint64(16 * (p % 2))) & _HALF]) * step
