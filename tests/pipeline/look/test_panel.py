"""What a preview draws is where it says: outlines on boundaries, windows where the renderer looks."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from augment.coordinates import displacement, fold
from augment.draw import rotation_matrix
from augment.recipe import Grid, Recipe
from augment.renderer import render
from pipeline.look.display import Display, display_of
from pipeline.look.lattice import N_LINES, control_points, lattice_border, lattice_lines, on_slice, window_lattice
from pipeline.look.panels import (
    OUTLINE_COLOURS,
    SIDE_PX,
    fitted_size,
    grid_panel,
    image_panel,
    label_outline,
    label_panel,
    slice_panel,
)

NOTHING: Grid = ((0.0, 0.0, 0.0),) * 3
WAVES: Grid = ((4.0, -6.0, 2.5), (0.0, 8.0, -3.0), (-5.0, 1.5, 7.0))
BLUE = "#1f6fd1"


def recipe(
    window: tuple[int, int] = (97, 97),
    *,
    grid: Grid = NOTHING,
    angle_deg: float = 0.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    extent_px: tuple[int, int] | None = None,
) -> Recipe:
    matrix = rotation_matrix(angle_deg)
    return Recipe(window, (grid, grid[::-1]), extent_px or window, matrix, shift_px, angle_deg)


def colours(panel: Image.Image) -> np.ndarray:
    return np.array(panel.convert("RGB"))


def is_colour(panel: Image.Image, colour: str) -> np.ndarray:
    return (colours(panel) == ImageColor.getrgb(colour)).all(axis=2)


LABEL = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 0],
        [0, 1, 1, 1, 2, 0],
        [0, 1, 1, 1, 2, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)
OUTLINE = LABEL * np.array([[1], [1], [1], [1], [1], [1]], np.uint8)
OUTLINE[2, 2] = 0  # the one pixel with nothing but its own object around it


def test_outline_is_the_outermost_pixels_of_each_object() -> None:
    assert label_outline(LABEL, (6, 6)).tolist() == OUTLINE.tolist()


def test_outline_of_a_larger_picture_is_as_thin_as_before() -> None:
    shown = label_outline(LABEL, (18, 18))
    inner = LABEL.repeat(3, 0).repeat(3, 1)
    assert (shown == inner)[shown > 0].all()
    assert shown[3:12, 3:12].tolist()[4] == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert shown[3].tolist() == [0] * 3 + [1] * 9 + [2] * 3 + [0] * 3


def test_outline_grows_inwards() -> None:
    label = np.zeros((9, 9), np.uint8)
    label[1:8, 1:8] = 1
    thick = label.copy()
    thick[3:6, 3:6] = 0
    assert label_outline(label, (9, 9), 2).tolist() == thick.tolist()


@pytest.mark.parametrize("size_yx", [(40, 40), (33, 57), (100, 100)])
def test_outline_of_a_smaller_picture_lies_on_boundaries_and_misses_none(size_yx: tuple[int, int]) -> None:
    label = (np.random.default_rng(0).random((100, 100)) < 0.01).astype(np.uint8)
    label[30:60, 20:80] = 1
    shown = label_outline(label, size_yx)
    padded = np.pad(label, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    boundary = (label == 1) & np.any([n != label for n in neighbours], axis=0)
    expected = np.zeros(size_yx, bool)
    edges = [np.arange(side + 1) * 100 // side for side in size_yx]
    for y in range(size_yx[0]):
        for x in range(size_yx[1]):
            expected[y, x] = boundary[edges[0][y] : edges[0][y + 1], edges[1][x] : edges[1][x + 1]].any()
    assert ((shown > 0) == expected).all()
    assert 0 < expected.mean() < 0.5


def test_labels_are_outlined_in_the_colour_of_their_class_or_object() -> None:
    ids = LABEL.astype(np.uint16)
    ids[ids == 2] = 2 + 8 * 100  # object ids may be any number; colours come round again
    image = np.full((6, 6), 100, np.uint8)
    for label in (LABEL, ids):
        panel = label_panel(image, label, Display(((0.0, 255.0),)))
        factor = panel.width // 6
        outline = label_outline(LABEL, (6 * factor, 6 * factor), 2)
        assert (is_colour(panel, OUTLINE_COLOURS[0]) == (outline == 1)).all()
        assert (is_colour(panel, OUTLINE_COLOURS[1]) == (outline == 2)).all()
        assert (colours(panel)[outline == 0] == 100).all()


def test_eight_bit_levels_are_shown_as_they_are_and_others_by_percentiles() -> None:
    assert display_of(np.full((4, 4), 7, np.uint8)).limits == ((0.0, 255.0),)
    pixels = np.arange(10_000, dtype=np.float32).reshape(100, 100) - 5000
    pixels[0, 0] = -1e9  # a dead pixel must not make everything else white
    ((low, high),) = display_of(pixels).limits
    assert -5000 < low < -4900
    assert 4900 < high < 5000


def test_channels_are_shown_as_the_colours_that_they_are_called() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert (display_of(pixels).as8(pixels) == pixels).all()
    assert (display_of(pixels, ("red", "green", "blue")).as8(pixels) == pixels).all()
    assert (display_of(pixels[..., :2], ("blue", "red")).as8(pixels[..., :2])[..., [2, 0]] == pixels[..., :2]).all()
    full = np.full((2, 2, 2), 255, np.uint8)
    assert (display_of(full, ("dapi", "gfp")).as8(full) == 255).all(), "the first two together become white"
    dim = np.stack([np.linspace(0, 9, 10_000), np.linspace(0, 60_000, 10_000)], -1).reshape(100, 100, 2)
    shown = display_of(dim.astype(np.float32)).as8(dim.astype(np.float32))
    assert shown.shape == (100, 100, 3)
    assert (shown[-1, -1] == 255).all(), "each channel is spread for itself"


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_limits_become_black_and_white(dtype: type) -> None:
    pixels = np.array([[100, 200], [300, 400]], dtype)
    shown = np.array(image_panel(pixels, Display(((200.0, 300.0),))))
    corners = shown[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
    assert corners == [0, 0, 255, 255]
    assert np.array(image_panel(pixels, Display(((200.0, 200.0),)))).max() == 0  # a constant image has no range


def test_large_images_are_averaged() -> None:
    checkers = np.indices((4 * SIDE_PX, 4 * SIDE_PX)).sum(axis=0) % 2 * 200
    shown = np.array(image_panel(checkers.astype(np.uint8), Display(((0.0, 255.0),))))
    assert shown.shape == (SIDE_PX, SIDE_PX)
    assert (shown == 100).all()


def test_shapes_are_kept() -> None:
    assert fitted_size((2 * SIDE_PX, SIDE_PX)) == (SIDE_PX, SIDE_PX // 2)
    assert fitted_size((100, 1000)) == (round(SIDE_PX / 10), SIDE_PX)
    assert fitted_size((40, 36)) == (240, 216), "small windows are enlarged by a whole factor"
    assert fitted_size((1, 100_000)) == (1, SIDE_PX)


def test_lattice_of_no_displacement_is_straight_and_even() -> None:
    points, pushed = window_lattice(recipe((60, 31)))
    assert (points == pushed).all()
    lines = lattice_lines(pushed)
    assert len(lines) == 2 * N_LINES
    for axis, of_axis, side in ((0, lines[:N_LINES], 60), (1, lines[N_LINES:], 31)):
        assert all(np.ptp(line[axis]) == 0 for line in of_axis)
        assert np.allclose([line[axis, 0] for line in of_axis], np.linspace(0, side - 1, N_LINES))


def test_lattice_is_pushed_as_the_renderer_pushes() -> None:
    deformed = recipe(grid=WAVES)
    points, pushed = window_lattice(deformed)
    assert points.shape[1:] == deformed.window, "of 97 pixels, the lattice's points are all of them"
    assert np.allclose(pushed - points, displacement(deformed))
    assert np.abs(pushed - points).max() > 7


def test_control_points_lie_where_the_deformation_is_theirs() -> None:
    deformed = recipe(grid=WAVES)
    controls, moved = control_points(deformed)
    at = controls.astype(int)
    assert np.allclose(moved - controls, displacement(deformed)[:, at[0], at[1]])
    wider, _ = control_points(recipe((11, 11), extent_px=(31, 21)))
    assert wider[0, :, 0].tolist() == [-10, 5, 20]
    assert wider[1, 0, :].tolist() == [-5, 5, 15]


def test_border_runs_once_around() -> None:
    points = np.stack(np.meshgrid(range(3), range(3), indexing="ij")).astype(float)
    around = [[0, 0], [0, 1], [0, 2], [1, 2], [2, 2], [2, 1], [2, 0], [1, 0], [0, 0]]
    assert lattice_border(points).T.tolist() == around


@pytest.mark.parametrize(("window", "size"), [((97, 97), (80, 120)), ((40, 60), (200, 150))])
def test_window_is_drawn_where_the_renderer_looks(window: tuple[int, int], size: tuple[int, int]) -> None:
    """On a slice whose gray levels are its own coordinates, the rendered corners say where they were found."""
    sent = recipe(window, grid=WAVES, angle_deg=33.0, shift_px=(7.0, -4.0))
    _, pushed = window_lattice(sent)
    seen = on_slice(pushed, sent, size)
    for axis, ramp in enumerate(np.indices(size).astype(np.float32)):
        image, _ = render(ramp, np.zeros(size, np.uint8), sent)
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        expected = fold(seen[axis][[0, 0, -1, -1], [0, -1, 0, -1]], size[axis])
        assert corners == pytest.approx(np.clip(expected, 0, size[axis] - 1), abs=0.3)


def test_window_inside_the_slice_is_outlined_there() -> None:
    panel = slice_panel(
        np.full((100, 100), 90, np.uint8), Display(((0.0, 255.0),)), recipe((50, 50), shift_px=(10.0, 0.0)), BLUE
    )
    assert panel.size == (200, 200)
    drawn = np.argwhere(is_colour(panel, BLUE))
    # Rows 35 to 84 and columns 25 to 74, twice as large; a line and the corner's dot reach a little beyond.
    assert drawn.min(axis=0) == pytest.approx((70, 50), abs=6)
    assert drawn.max(axis=0) == pytest.approx((170, 150), abs=3)
    assert not is_colour(panel, BLUE)[80:160, 60:140].any()
    assert (colours(panel)[0] == 90).all(), "nothing lies beyond the slice, so nothing is pale"


def test_margin_that_a_window_shows_is_mirrored_and_paler() -> None:
    pixels = np.full((100, 100), 60, np.uint8)
    pixels[:, :20] = 120
    panel = slice_panel(pixels, Display(((0.0, 255.0),)), recipe((200, 200)), BLUE)
    middle = colours(panel)[panel.height // 2, :, 0].tolist()
    left = panel.width // 2 - 50  # where the slice begins, which is shown in its own size
    assert [middle[left + x] for x in (0, 19, 20, 99)] == [120, 120, 60, 60]
    pale_120, pale_60 = 198, 173
    assert [middle[left - 1 - x] for x in (0, 19, 20, 40)] == [pale_120, pale_120, pale_60, pale_60]


def test_dot_marks_the_corner_that_becomes_the_top_left() -> None:
    for angle_deg, corner in ((0.0, (0, 0)), (90.0, (0, 1)), (180.0, (1, 1)), (270.0, (1, 0))):
        turned = recipe((100, 100), angle_deg=angle_deg)
        panel = slice_panel(np.zeros((100, 100), np.uint8), Display(((0.0, 255.0),)), turned, BLUE)
        blue = is_colour(panel, BLUE)
        half = panel.width // 2
        inked = {(y, x): blue[y * half :, x * half :][:half, :half].sum() for y in (0, 1) for x in (0, 1)}
        assert max(inked, key=lambda quarter: inked[quarter]) == corner, angle_deg


def test_grid_panel_of_no_displacement_is_a_straight_lattice() -> None:
    for grid, is_straight in ((NOTHING, True), (WAVES, False)):
        shown = colours(grid_panel(recipe(grid=grid), BLUE)).astype(int)
        between = round(shown.shape[0] * (0.5 - 1.5 / N_LINES))  # two lines, and away from control points
        strip = np.s_[between - 3 : between + 4]
        changes = np.ptp(shown[strip], axis=0).max(), np.ptp(shown[:, strip], axis=1).max()
        assert [change == 0 for change in changes] == [is_straight, is_straight]


def test_grid_panel_shows_control_points_that_are_in_sight() -> None:
    """A padded grid spans far more than the window: its outer points are left out rather than drawn at the edge."""
    near = grid_panel(recipe(grid=NOTHING), BLUE)
    far = grid_panel(recipe((97, 97), grid=NOTHING, extent_px=(697, 697)), BLUE)
    dots = [is_colour(panel, "#24292f").sum() for panel in (near, far)]
    assert dots[0] == pytest.approx(9 * dots[1], rel=0.1)
    assert is_colour(far, "#24292f")[far.height // 2, far.width // 2]
    gone = grid_panel(recipe(grid=((-200.0,) * 3,) * 3), BLUE)
    assert not is_colour(gone, "#24292f").any(), "nor is a line drawn to a point that is out of sight"


def test_what_no_picture_could_show_is_drawn_nevertheless() -> None:
    """Recipes of others may hold any numbers: a panel stays as large as a panel."""
    wild = recipe((97, 97), grid=((2.0**100,) * 3,) * 3, shift_px=(-(2.0**100), 2.0**100))
    for panel in (
        slice_panel(np.zeros((64, 64), np.uint8), Display(((0.0, 255.0),)), wild, BLUE),
        grid_panel(wild, BLUE),
    ):
        assert max(panel.size) <= SIDE_PX + 2
