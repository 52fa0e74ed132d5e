"""One or two of every operation on gray levels, for the tests of what all operations have in common."""

from collections.abc import Mapping
from typing import Any

from augment.operations import Blur, Color, Contrast, Defects, Gamma, LowResolution, Noise, Operation, Shading, Stain

FIELDS = (
    ((0.25, -0.5, 0.0), (0.125, 0.25, -0.125), (0.5, 0.5, -0.5)),
    ((0.0, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.0)),
    ((1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, 1.0)),  # somewhere below 0
)
# Of each, a range that may be asked for, and samples of it: for all channels, and for each of three.
EXAMPLES: Mapping[str, tuple[tuple[float, float], tuple[Operation, ...]]] = {
    "defects": (
        (4.0, 9.0),
        (
            Defects("spot", (0.6000000238418579, -0.800000011920929), (3.0, -5.0), 6.0, darkness=0.75),
            Defects("fold", (0.0, 1.0), (0.0, 4.5), 4.0, (0.0, 8.0), 0.75),
            Defects("jump", (-1.0, 0.0), (-3.0, 0.0), 5.0, (-3.0, 4.0)),
            Defects("missing", (0.0, -1.0), (0.0, -6.25), 5.0, darkness=1.0),
        ),
    ),
    "color": ((0.1, 0.3), (Color(1.25, 30.0, (1.0825318098068237, 0.625)),)),
    "stain": ((0.1, 0.2), (Stain((1.125, 0.75, 1.0), (-0.0625, 0.125, 0.25)),)),
    "shading": ((0.1, 0.5), (Shading((0.5,), FIELDS[:1]), Shading((0.5, 0.5, 1.0), FIELDS))),
    "blur": (
        (0.5, 2.5),
        (Blur((0.5,), ((0.125, 0.0078125),)), Blur((0.0, 1.0, 9.0), ((), (0.25, 0.0625), (0.015625,) * 30))),
    ),
    "noise": ((2.0, 9.0), (Noise((4.5,), (1, 2**32 - 1)), Noise((0.5, 0.0, 30.0), (7, 0)))),
    "low_resolution": ((0.5, 0.9), (LowResolution((0.625,)), LowResolution((1.0, 0.5, 0.0625)))),
    "contrast": ((0.75, 1.25), (Contrast((1.5,)), Contrast((0.0, 1.0, 0.5)))),
    "gamma": ((0.7, 1.5), (Gamma((45,), inverted=False), Gamma((64, 128, 500), inverted=True))),
}
# What none of them may say: changes of the JSON of its first example.
REFUSED: Mapping[str, tuple[dict[str, Any], ...]] = {
    "defects": (
        {"kind": "hole"},
        {"normal": [0.0]},
        {"normal": [0.0, 2.0]},
        {"at": [1.0, 1e9]},
        {"shift_px": 3.0},
        {"size_px": -1.0},
        {"size_px": 0.1},
        {"darkness": 1.5},
    ),
    "color": ({"saturation": 2.5}, {"hue_deg": 200.0}, {"turn": [1.0]}, {"turn": [0.1, 0.0]}),
    "stain": ({"factor": [1.0]}, {"factor": [1.0, 1.0, -1.0]}, {"more": [0.0, 0.0, 2.0]}),
    "shading": ({"strength": [1.5]}, {"field": []}, {"field": [[[0.0] * 3] * 2]}, {"field": [[[2.0] * 3] * 3]}),
    "blur": ({"sigma_px": [-1.0]}, {"weights": []}, {"weights": [0.25]}, {"weights": [[0.75]]}, {"weights": [[0.1]]}),
    "noise": ({"sigma": [-1.0]}, {"sigma": []}, {"sigma": 4.0}, {"sigma": [0.1]}, {"key": [1, 2**32]}, {"key": [1]}),
    "low_resolution": ({"zoom": [1.5]}, {"zoom": [-0.5]}, {"zoom": []}, {"zoom": ["1"]}),
    "contrast": ({"factor": [-1.0]}, {"factor": []}, {"factor": [0.7]}, {"factor": [True]}),
    "gamma": ({"steps": [0]}, {"steps": [513]}, {"steps": [64.0]}, {"steps": []}, {"inverted": 1}),
}
