"""One 700 x 700 image and label, one thread: the kernel against cv2.remap, scipy and elasticdeform.

    python tests/benchmarks/bench_kernel.py        (needs the extra `bench`)

cv2.remap gets ready-made float maps, so it is spared the coordinates; it interpolates with a 4 x 4 cubic kernel of
fixed coefficients in fixed point, the kernel here with an exact cubic B-spline in float32.

What limits the kernel: a pixel needs four row loads of four coefficients and four broadcast weights, eight loads;
at two loads a cycle that is 490,000 x 4 cycles, 0.65 ms at 3 GHz, which is what `_blend` takes alone with everything
in the first-level cache. Coordinates take 1.1 ms and weights, gray levels and labels 0.6 ms more, measured alone.
The whole took 3.3 to 3.7 ms where cv2 took 8.0 ms (AMD EPYC, Zen 4), five times the limit of `_blend`. Of that,
0.3 ms are cache misses on the slice (magnified 40 times, so that it stays in the first-level cache, the same window
takes 3.0 ms); the rest is buffers that spill into the second-level cache, and writing image and label. Square tiles
instead of strips, and strips padded to whole vectors, were no faster; strips of 192 to 704 pixels differ by 7%.
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
