"""The networks are the published ones, sizes add up, and the run that exploded no longer does."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_datasets import phantom_stack
from torch import Tensor, nn

from pipeline.errors import ConfigError
from training.config import PRESETS, UNetConfig
from training.unet import UNet, count_parameters, weighted_cross_entropy

META = torch.device("meta")  # shapes without numbers: networks of any size cost nothing

NETWORKS = st.builds(
    UNetConfig,
    width=st.just(1),
    depth=st.integers(1, 6),
    up=st.sampled_from(["transpose", "upsample"]),
    padding=st.sampled_from(["valid", "same"]),
)
SHAPES = list(itertools.product(["transpose", "upsample"], ["valid", "same"], [1, 2, 3]))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The sums of a network are the same bits wherever a test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def unet_on(device: torch.device, config: UNetConfig) -> UNet:
    with device:
        return UNet(config)


def seeded(config: UNetConfig, seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    return UNet(config)


def passes(config: UNetConfig, side: int) -> bool:
    try:
        return config.output_side(side) >= 1
    except ConfigError:
        return False


# Sizes: of networks, and of images


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper", 31_030_658),  # the number that Ronneberger's network is known by, with 2 classes
        ("release", 31_100_354),  # counted from the Caffe release: a last up-convolution of 128 channels
        # Repeated pixels and a 2x2 convolution have the weights of a transposed convolution.
        ("report-pytorch", 31_030_658),
        ("report-keras", 31_030_658 - 65),  # one output: 64 weights and a bias fewer
    ],
)
def test_presets_have_the_published_number_of_parameters(name: str, expected: int) -> None:
    assert count_parameters(unet_on(META, PRESETS[name].network)) == expected


def test_the_small_preset_is_small() -> None:
    n_parameters = count_parameters(unet_on(META, PRESETS["small"].network))
    assert n_parameters == 1_942_289
    assert n_parameters <= 2_000_000


def test_parameters_of_a_network_counted_by_hand() -> None:
    """One channel on top and two below: a 3x3 convolution from i to o has 9 i o weights and o biases."""
    down, up, merge, head = (10 + 10) + (20 + 38), 8 + 1, 19 + 10, 2 + 2
    assert count_parameters(UNet(UNetConfig(width=1, depth=1))) == down + up + merge + head


def test_frozen_parameters_are_not_counted() -> None:
    network = UNet(UNetConfig(width=1, depth=1))
    network.head.requires_grad_(requires_grad=False)
    assert count_parameters(network) == 116


def test_the_report_s_sizes() -> None:
    """The report says 514 for an input of 700 px; valid convolutions give 516."""
    valid = PRESETS["paper"].network
    assert valid.output_side(700) == 516
    assert valid.output_side(572) == 388  # figure 1 of the paper
    assert valid.largest_input(700) == 700
    assert valid.reach == 92
    assert unet_on(META, valid)(torch.empty(1, 1, 572, 572, device=META)).shape == (1, 2, 388, 388)


@pytest.mark.parametrize("k", [8, 20, 40])
def test_valid_convolutions_map_16k_and_60_to_16k_less_124(k: int) -> None:
    assert UNetConfig().output_side(16 * k + 60) == 16 * k - 124


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_samples_of_700_px(name: str) -> None:
    config = PRESETS[name]
    side = config.crop or config.network.largest_input(700)
    image = torch.empty(1, 1, side, side, device=META)
    shape = unet_on(META, config.network)(image).shape
    assert shape == (1, config.network.outputs, *2 * [config.network.output_side(side)])
    assert shape[-1] >= config.target


@given(config=NETWORKS, wanted=st.integers(1, 2000))
def test_input_side_is_the_smallest_that_gives_enough(config: UNetConfig, wanted: int) -> None:
    side = config.input_side(wanted)
    assert config.output_side(side) >= wanted
    if passes(config, side - config.step):
        assert config.output_side(side - config.step) < wanted


@given(config=NETWORKS, side=st.integers(1, 900))
def test_largest_input_is_the_largest_that_passes(config: UNetConfig, side: int) -> None:
    sides = [n for n in range(side - config.step + 1, side + 1) if passes(config, n)]
    if sides:
        assert config.largest_input(side) == sides[-1]
    else:
        with pytest.raises(ConfigError, match=rf"{side} px are too small; it needs {config.input_side(1)} px"):
            config.largest_input(side)


@pytest.mark.parametrize(
    ("side", "padding", "near"),
    [
        (701, "valid", (700, 716)),
        (188 - 16, "valid", (188,)),
        (40, "same", (32, 48)),
        (250, "same", (240, 256)),
        (0, "same", (16,)),
    ],
)
def test_a_side_that_does_not_pass_is_refused_with_the_nearest_that_do(
    side: int, padding: Any, near: tuple[int, ...]
) -> None:
    config, text = UNetConfig(padding=padding), " px do, and ".join(map(str, near))
    with pytest.raises(ConfigError, match=rf"{side} px do not pass through 4 poolings; {text} px( do)? \(--set crop=N"):
        config.output_side(side)
    assert all(config.output_side(each) >= 1 for each in near)


@given(config=NETWORKS, excess=st.integers(0, 5), outputs=st.sampled_from([1, 2]), last_up=st.sampled_from([0, 3]))
@settings(max_examples=30)
def test_the_forward_pass_has_the_side_that_the_config_says(
    config: UNetConfig, excess: int, outputs: int, last_up: int
) -> None:
    config = replace(config, outputs=outputs, last_up=last_up)
    side = config.input_side(1) + excess * config.step
    assume(side >= 2)
    scores = unet_on(META, config)(torch.empty(2, 1, side, side, device=META))
    assert scores.shape == (2, outputs, config.output_side(side), config.output_side(side))


def test_the_smallest_inputs() -> None:
    """Worked out by hand: 18 -> 14, pooled 7 -> 3, doubled 6 -> 2; and a pixel in the coarsest level, where padded."""
    assert UNetConfig(depth=1).input_side(1) == UNetConfig(depth=1).largest_input(19) == 18
    assert UNetConfig(depth=4).input_side(1) == UNetConfig(depth=4).largest_input(203) == 188
    assert UNetConfig(depth=4, padding="same").input_side(0) == 16
    for config in (UNetConfig(width=1, depth=1), UNetConfig(width=1), UNetConfig(width=1, padding="same")):
        side = config.input_side(1)
        assert UNet(config)(torch.zeros(1, 1, side, side)).shape[-1] == config.output_side(side)


def test_sides_of_an_image_may_differ() -> None:
    scores = unet_on(META, UNetConfig(width=1))(torch.empty(1, 1, 188, 220, device=META))
    assert scores.shape == (1, 2, 4, 36)


# What an output pixel depends on


@pytest.mark.parametrize(("up", "padding", "depth"), SHAPES)
def test_one_pixel_is_felt_no_further_than_the_reach_and_a_step(up: str, padding: str, depth: int) -> None:
    config = UNetConfig(width=1, depth=depth, up=up, padding=padding)
    network = positive(config)
    side = config.input_side(4 * config.halo)
    lost = (side - config.output_side(side)) // 2
    before, furthest = network(torch.zeros(1, 1, side, side, dtype=torch.float64)), 0
    for place in range(side // 2, side // 2 + config.step):  # every place that it can have in the coarsest pooling
        image = torch.zeros(1, 1, side, side, dtype=torch.float64)
        image[0, 0, place, place] = 1
        changed = (network(image) != before).nonzero()[:, -2:] + lost
        furthest = max(furthest, int((changed - place).abs().max()))
    doubled = 2 if up == "upsample" else 1  # its 2x2 convolution looks one coarse pixel further
    assert furthest == config.reach + doubled * (config.step - 1)


@pytest.mark.parametrize(("up", "padding", "depth"), SHAPES)
def test_a_crop_gives_the_scores_of_the_whole_image_but_for_the_halo(up: str, padding: str, depth: int) -> None:
    """So that tiles that begin at multiples of the step can be put together."""
    config = UNetConfig(width=2, depth=depth, up=up, padding=padding, norm="batch")
    network, step = positive(config), config.step
    side = config.largest_input(2 * config.halo + 3 * step)
    image = torch.rand(1, 1, side + 5 * step, side + 5 * step, dtype=torch.float64)
    scores, spoilt = at_home(network(image), image.shape[-1]), []
    for offset in (2 * step, 3 * step):
        there = slice(offset, offset + side)
        crop, cut = at_home(network(image[..., there, there]), side)[0, 0], scores[0, 0, there, there]
        same = torch.isclose(crop, cut, rtol=1e-12, atol=0)
        middle = same[side // 2].nonzero()
        spoilt += [int(middle.min()), side - 1 - int(middle.max())]
        inner = slice(config.halo, side - config.halo)
        assert same[inner, inner].all()
    # None of the halo is wasted, but for two pixels where a padded network has but one pooling.
    assert max(spoilt) == config.halo - (2 if (depth, padding) == (1, "same") else 0)


def test_a_crop_that_begins_between_steps_gives_other_scores() -> None:
    """Why tiles begin at multiples of the step: poolings fall on other pixels."""
    config = UNetConfig(width=1, depth=1)
    network, image = positive(config), torch.rand(1, 1, 40, 40, dtype=torch.float64)
    shifted = network(image[..., 1:39, 1:39])
    assert not torch.allclose(shifted, network(image)[..., 1:-1, 1:-1], rtol=1e-6, atol=0)


def positive(config: UNetConfig) -> UNet:
    """Return a network ready to predict, of positive weights: nothing that is put in cancels out or dies in a ReLU."""
    torch.manual_seed(3)
    network = UNet(config).double().eval()
    with torch.no_grad():
        for values in (*network.parameters(), *network.buffers()):
            if values.is_floating_point():
                values.uniform_(0.5, 1.5)
    return network


def at_home(scores: Tensor, side: int) -> Tensor:
    """Return scores (B, C, side, side) where the input was, NaN where none came out."""
    margin = (side - scores.shape[-1]) // 2
    return nn.functional.pad(scores, (margin,) * 4, value=math.nan)


# Parts


def test_dropout_acts_after_the_last_two_contracting_blocks_and_in_training_alone() -> None:
    config = UNetConfig(width=2, depth=2, dropout=0.5)
    network, image = seeded(config), torch.rand(1, 1, 44, 44)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))
    seen = []
    network.train()
    for block in network.down:
        block.register_forward_pre_hook(lambda _block, given: seen.append((given[0] == 0).float().mean().item()))
    merged = []
    for block in network.merge:
        block.register_forward_pre_hook(lambda _block, given: merged.append(given[0]))
    with torch.no_grad():
        for block in network.down:
            block[2].bias.fill_(9.0)  # no zero but those of dropout
        network(image)
    assert seen[0] == seen[1] == 0  # the image, and the first block's output
    assert seen[2] > 0  # the second block's, pooled
    skip_of_second, skip_of_first = merged[0][:, :4], merged[1][:, :2]
    assert 0.3 < (skip_of_second == 0).float().mean() < 0.7
    assert not (skip_of_first == 0).any()


def test_up_convolutions_have_a_relu_where_it_is_asked_for() -> None:
    for up in ("transpose", "upsample"):
        for up_relu in (False, True):
            network = seeded(UNetConfig(width=2, depth=1, up=up, up_relu=up_relu))
            assert bool((network.up[0](torch.randn(1, 4, 8, 8)) < 0).any()) is not up_relu


def test_repeated_pixels_and_a_2x2_convolution_keep_the_size() -> None:
    up = seeded(UNetConfig(width=1, depth=1, up="upsample")).up[0]
    with torch.no_grad():
        up[2].weight.copy_(torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]], [[0.0, 0.0], [0.0, 0.0]]]]))
    image = torch.zeros(1, 2, 2, 2)
    image[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    expected = [[1111, 2121, 2222, 202], [3311, 4321, 4422, 402], [3333, 4343, 4444, 404], [33, 43, 44, 4]]
    assert up(image)[0, 0].tolist() == expected  # zeros below and to the right


def test_skips_are_cut_in_the_middle_and_come_first() -> None:
    network = seeded(UNetConfig(width=1, depth=1))
    given = []
    network.merge[0].register_forward_pre_hook(lambda _block, args: given.append(args[0]))
    image = torch.rand(1, 1, 28, 28)
    network(image)
    skip = network.down[0](image)
    assert torch.equal(given[0][:, :1], skip[..., 4:-4, 4:-4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width of 1 to 1024"),
        ({"depth": 7}, "depth of 1 to 6"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
        ({"last_up": -1}, "last_up of 0 or more"),
        ({"up": "bilinear"}, "up: expected one of transpose, upsample, got 'bilinear'"),
        ({"outputs": 0}, "expected 1 to 256 outputs, got 0"),
        ({"outputs": True}, "outputs: expected a value like 2, got True"),
        ({"width": 2.5}, "width: expected a value like 64, got 2.5"),
        ({"depth": True}, "depth: expected a value like 4, got True"),
        ({"up_relu": 1}, "up_relu: expected a value like False, got 1"),
    ],
)
def test_a_network_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UNetConfig(**changes)


# Kaiming and upsampling
#
# The report's run exploded. Measured on networks of depth 4 with the report's SGD (momentum 0.99 at 0.01), 64 px:
# - A plain loop of kaiming_normal_ doubles the second moment at each 2x2 convolution after repeated pixels, and lets
#   the squared norm of the gradient grow by 3.3 to 5.3 on the way back through it (ours: 1.0, and 1.5 to 2.5;
#   transposed convolutions, either way: 1.0 and 1.0). What it adds to the activations does not pile up from level to
#   level, since half of what a level merges is a skip; what it adds to the gradients does.
# - Width 16: 3 of 5 such runs became NaN within 14 steps. Width 64: 2 of 3, within 6; the third rose to four times its
#   loss. With the norm of the gradient clipped at 1 none did, nor did ours, clipped or not, or xavier's.
# - Where the network starts, the curvature of the loss tells them apart at width 16 (567 to 4140, ours 95 to 392; this
#   SGD stands 398), but not at width 64 (243 to 1363, ours 1043 to 1487).


def naive(config: UNetConfig, seed: int) -> UNet:
    """Return a network as the report's code began it: He's variance in every layer, whatever follows it."""
    network = seeded(config, seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def phantom_batches() -> tuple[Tensor, Tensor]:
    """Return two batches of two normalised images (2, 2, 1, 32, 32), and their labels (2, 2, 32, 32)."""
    images, labels = (np.stack([stack[z, :32, :32] for z in range(4)]) for stack in phantom_stack())
    gray = torch.from_numpy(images).float()
    cells = torch.from_numpy(labels > 0).float()
    return ((gray - gray.mean()) / gray.std()).view(2, 2, 1, 32, 32), cells.view(2, 2, 32, 32)


def growth(network: UNet) -> tuple[list[float], list[float]]:
    """Return by how much each way up multiplies the second moment, and the gradient's squared norm on its way back."""
    seen: list[tuple[Tensor, Tensor]] = []
    for up in network.up:
        up.register_forward_hook(lambda _up, given, result: seen.append((given[0], result)))
    images, labels = phantom_batches()
    loss = weighted_cross_entropy(network(images[0]), labels[0])
    forward = [(result.square().mean() / given.square().mean()).item() for given, result in seen]
    pairs = [torch.autograd.grad(loss, pair, retain_graph=True) for pair in seen]
    backward = [(given.square().sum() / result.square().sum()).item() for given, result in pairs]
    return forward, backward


def mean_growth(start: Callable[[UNetConfig, int], UNet], up: str) -> tuple[float, float]:
    config = UNetConfig(width=8, depth=3, padding="same", up=up)
    found = np.array([growth(start(config, seed)) for seed in range(8)])  # (seed, way, level)
    forward, backward = np.exp(np.log(found).mean(axis=(0, 2)))
    return float(forward), float(backward)


def test_a_plain_loop_of_kaiming_doubles_what_comes_out_of_upsampling() -> None:
    """Its variance expects a ReLU, which none of these layers has behind it."""
    forward, backward = mean_growth(naive, "upsample")
    ours_forward, ours_backward = mean_growth(seeded, "upsample")
    assert 1.6 < forward < 2.5
    assert 0.8 < ours_forward < 1.25
    assert 1.5 < backward / ours_backward < 2.6
    assert ours_backward < 2.6


def test_a_transposed_convolution_escapes() -> None:
    """Torch takes four times its outputs for its inputs: twice too many, which is just the ReLU that is not there."""
    for start in (naive, seeded):
        forward, backward = mean_growth(start, "transpose")
        assert 0.8 < forward < 1.25
        assert 0.8 < backward < 1.25


def losses(network: UNet, clip_norm: float) -> list[float]:
    """Return the losses of 15 steps of the report's SGD, at a rate that suits a network this small."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.99)
    images, labels = phantom_batches()
    seen = []
    for step in range(15):
        loss = weighted_cross_entropy(network(images[step % 2]), labels[step % 2])
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip_norm or math.inf)
        optimizer.step()
    return seen


def test_kaiming_and_upsampling_explode_no_more() -> None:
    """The report's start explodes; ours, clipped as the presets do, learns; clipping alone holds the report's too."""
    config = UNetConfig(width=8, depth=3, padding="same", up="upsample")
    exploded = losses(naive(config, 3), 0)
    assert not max(exploded) < 100 * exploded[0] or not math.isfinite(exploded[-1])
    for network in (seeded(config, 3), naive(config, 3)):
        held = losses(network, PRESETS["report-pytorch"].clip_norm)
        assert all(loss < 10 for loss in held)
        assert np.mean(held[-3:]) < 0.8 * held[0]


@pytest.mark.parametrize("init", ["kaiming", "xavier"])
@pytest.mark.parametrize("up_relu", [False, True])
@pytest.mark.parametrize("up", ["transpose", "upsample"])
def test_every_layer_has_the_variance_of_its_kind(up: str, up_relu: bool, init: str) -> None:
    network = seeded(UNetConfig(width=16, depth=1, up=up, up_relu=up_relu, init=init))
    # Inputs and outputs that meet in one pixel: a 3x3 or 2x2 convolution has all taps, a transposed one has one.
    taps = 4 if up == "upsample" else 1
    layers = {
        "down.1.2": (32 * 9, 32 * 9, 2),
        "merge.0.0": (32 * 9, 16 * 9, 2),
        "up.0.0" if up == "transpose" else "up.0.2": (32 * taps, 16 * taps, 2 if up_relu else 1),
    }
    for name, (inputs, outputs, doubled) in layers.items():
        layer = network.get_submodule(name)
        variance = doubled / inputs if init == "kaiming" else 2 / (inputs + outputs)
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.15)
        assert not layer.bias.any()
