"""One 700 x 700 image and label, one thread: the kernel against cv2.remap, scipy and elasticdeform.

    python tests/benchmarks/bench_kernel.py        (needs the extra `bench`)

cv2.remap gets ready-made float maps, so it is spared the coordinates; it interpolates with a 4 x 4 cubic kernel of
fixed coefficients in fixed point, the kernel here with an exact cubic B-spline in float32.

What limits the kernel is how many instructions it takes. On x86-64 with AVX2, a pixel whose block may be folded takes
49, another one 43: 19 or 13 for its coordinates, 17 for the blend, 7 for the weights, 3 for the label, 3 for all else.
That is 21 to 24 million a sample; a core of the machine measured (AMD EPYC, Zen 3) retires six a cycle at most, so 8
cycles a pixel are the limit. The best of 300 took 4.3 ms while a core ran 1.6 to 2.0 G cycles a second: 14 to 17 cycles
a pixel, twice the limit; medians, of 4.8 to 6.0 ms, were 0.36 to 0.40 of cv2's on that shared machine.
The blend alone is bound by its loads: 4 x 4 coefficients and 16 weights a group of four, at two loads a cycle.

What was tried and was no faster: blocks of 64, 128 and 352 pixels (176 is the default window in four), floor instead of
conversions, weights of both axes in one loop, reading the slice ahead.
"""

import cv2
import numpy as np
import scipy.ndimage
from timing import median_ms, print_table

from augment import AugmentRanges, Sample, Stream, draw_recipe, prepare_slice, render_prepared
from augment.coordinates import displacement, slice_coordinates, window_offsets
from augment.staged import render_staged
from pipeline.source.phantom import make_phantom

WINDOW = (700, 700)


def main() -> None:
    images, labels = make_phantom((1, 512, 512))
    image, label = images[0], labels[0]
    prepared = prepare_slice(image, label)
    recipe = draw_recipe(AugmentRanges(), Stream(0, (0, 0, 0, 0)), window=WINDOW, slice_size=image.shape)
    out = Sample(np.empty(WINDOW, np.uint8), np.empty(WINDOW, np.uint8))
    coordinates = slice_coordinates(window_offsets(WINDOW) + displacement(recipe), recipe, image.shape)
    map_y, map_x = coordinates.astype(np.float32)
    cv2.setNumThreads(1)

    def remap() -> None:
        cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        cv2.remap(label, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)

    def by_scipy() -> None:
        scipy.ndimage.map_coordinates(image, coordinates, order=3, mode="reflect")
        scipy.ndimage.map_coordinates(label, coordinates, order=0, mode="reflect")

    fast = median_ms({"cv2.remap on ready-made maps": remap, "kernel": lambda: render_prepared(prepared, recipe, out)})
    print_table("kernel, 700 x 700 image and label, one thread", fast, yardstick="cv2.remap on ready-made maps")
    slow = median_ms(
        {
            "kernel": lambda: render_prepared(prepared, recipe, out),
            "kernel with its slice's coefficients": lambda: render_prepared(prepare_slice(image, label), recipe, out),
            "scipy on ready-made coordinates": by_scipy,
            "staged: scipy and elasticdeform": lambda: render_staged(image, label, recipe),
        },
        rounds=5,
    )
    print_table("references, the same sample", slow, yardstick="kernel")


if __name__ == "__main__":
    main()
