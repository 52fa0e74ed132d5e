"""Operations on the gray levels of a sample: what may be drawn for each, and what a recipe then says.

A further operation takes:

1. a module here with a subclass of `Operation`: the numbers of one sample as fields, the key of its stream, the limits
   of its range, and `draw`. It must not load numpy, which the help of a command does without;
2. its place in OPERATIONS below, and fields of its name, None where it is off, in `augment.ranges.AugmentRanges`
   (the range) and in `augment.recipe.Recipe` (what was drawn);
3. its pixels: a function in `augment.operations.rendering` and its place in the order there; loops in a `*_kernels`
   module of their own, which pyproject.toml names twice;
4. the option in `pipeline.cli.build_options`;
5. its keys in `manifests/dataset.schema.json` (config.ranges, and false in dataset/1), `manifests/manifest.schema.json`
   (recipe) and `manifests/README.md`;
6. entries in `tests/augment/operations/operation_examples.py`, in GOLDEN of `test_operations.py` beside it, in
   `tests/pipeline/test_gray_operations.py` and `tests/pipeline/cli/test_config_file.py`; and a test that holds its
   pixels against an independent formula.
"""

from collections.abc import Mapping

from augment.operations.blur import Blur as Blur
from augment.operations.color import Color as Color
from augment.operations.contrast import Contrast as Contrast
from augment.operations.defects import Defects as Defects
from augment.operations.gamma import Gamma as Gamma
from augment.operations.low_resolution import LowResolution as LowResolution
from augment.operations.noise import Noise as Noise
from augment.operations.operation import Operation as Operation
from augment.operations.shading import Shading as Shading
from augment.operations.stain import Stain as Stain

OPERATIONS: Mapping[str, type[Operation]] = {  # in the order in which they are done
    "defects": Defects,
    "shading": Shading,
    "stain": Stain,
    "color": Color,
    "blur": Blur,
    "noise": Noise,
    "low_resolution": LowResolution,
    "contrast": Contrast,
    "gamma": Gamma,
}
AFTER_LEVELS = ("contrast", "gamma")  # of these, those that come after gain and bias
