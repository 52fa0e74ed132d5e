"""Rendering shards: their samples in parallel, in threads, because the kernels release the interpreter's lock.

In one thread, and in this order: render image and label, find the mask, weigh the label, digest all arrays, deflate all
but the image.
"""

import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import joblib
import numpy as np
from numpy.typing import NDArray

from augment.mirror_tiles import find_mask, ignore_value
from augment.plain import copy_tile
from augment.recipe import Recipe
from augment.renderer import Sample, render_prepared
from pipeline.errors import ConfigError
from pipeline.plan.plan import Plan, PlannedSample, PlannedShard, stored_labels
from pipeline.plan.requirements import way_out
from pipeline.render.clipping import ClippingCount
from pipeline.render.encoding import DeflatedArrays, deflate_array
from pipeline.render.slice_cache import SliceCache
from pipeline.shards.config import BuildConfig, LabelKind
from pipeline.shards.context import neighbours, offsets, slice_channels
from pipeline.shards.digest import array_digest
from pipeline.shards.manifest import ContextSlice, ManifestRow
from pipeline.shards.record import STORED_NAMES
from pipeline.source.stacks import Source, Stack

SampleRenderer: TypeAlias = Callable[[int, int, Recipe, Sample], None]
_Arrays: TypeAlias = "queue.SimpleQueue[NDArray[Any] | None]"

_PLAIN_SLICES = 2  # tiles come slice by slice, and threads may be at the last of one and the first of the next
_AHEAD = 4  # samples a thread may be ahead of the shard that is gathered
_scratch = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class RenderedShard:
    """A shard's samples: images (h, w) or (h, w, C), the other arrays by their names in the shard, manifest rows."""

    images: list[NDArray[Any]]
    deflated: dict[str, DeflatedArrays]
    rows: list[ManifestRow]


def manifest_row(
    sample: PlannedSample,
    recipe: Recipe,
    context: tuple[ContextSlice, ...],
    source_sha256: str,
    digests: Mapping[str, str],
) -> ManifestRow:
    """Return the manifest's row of a sample whose arrays have these digests, by name: `image`, `label`, ..."""
    named: dict[str, Any] = {f"{name}_sha256": digest for name, digest in digests.items()}
    return ManifestRow(
        id=sample.id, **asdict(sample), source_sha256=source_sha256, recipe=recipe, context=context, **named
    )


def context_slices(plan: Plan, source: Source, sample: PlannedSample) -> tuple[ContextSlice, ...]:
    """Return what the manifest says of the slices that a sample shows beside its own."""
    digests = source.stacks[sample.stack].slice_sha256
    return tuple(ContextSlice(z, digests[z]) for z in plan.context(sample))


def further_arrays(
    label: NDArray[Any], recipe: Recipe, stack: Stack, config: BuildConfig, *, split: str, ignore: int | None
) -> dict[str, NDArray[Any]]:
    """Return what a build stores of a sample beside its image and its label: `weights` and `mask`, (h, w) each.

    Args:
        label: of the sample, as it is stored.
        recipe: of the sample.
        stack: the one of its slice.
        config: of the build.
        split: the one that it is in.
        ignore: the value of label pixels that mean nothing, if there is one.
    """
    mask = find_mask(recipe, stack.slice_size) if config.has_masks(split) else None
    weights = {"weights": weigh_label(label, stack.coding.kind, ignore, mask)} if config.weighted else {}
    return {**weights, **({} if mask is None else {"mask": mask})}


def weigh_label(
    label: NDArray[Any], kind: LabelKind, ignore: int | None = None, mask: NDArray[Any] | None = None
) -> NDArray[np.float16]:
    """Return the weight (h, w) of every pixel of a label (h, w): `unet_weight_map` with the paper's constants.

    Pixels of the value `ignore`, and those where the mask is 0, get 0. A class of so few pixels that float16 cannot
    hold its weight gets the largest that it can, 65504.
    """
    from augment.weight_map import round_weights, unet_weight_map

    return round_weights(unet_weight_map(label, instances=kind == "instances", ignore=ignore, mask=mask))


def sample_renderer(source: Source, config: BuildConfig, folder: Path | None = None) -> SampleRenderer:
    """Return what renders one sample of `source` into given arrays, by the engine and with the margin of a build.

    Plain samples are copied, whatever the engine is.

    Args:
        source: the slices.
        config: of the build.
        folder: for prepared slices that have no room in memory; the system's own for temporary files unless named.

    Raises:
        MissingDependencyError: the engine needs a library that is missing or broken.
    """
    cache = SliceCache(source, folder)
    render_own = _slice_renderer(source, config, cache)
    if not config.context:
        return render_own
    render_beside = _slice_renderer(source, replace(config, margin="shared"), cache)  # its label is not looked at
    inputs, places = source.inputs, [offset for offset in offsets(config.context) if offset]

    def render_slices(stack: int, z: int, recipe: Recipe, out: Sample) -> None:
        # One slice after the other, into a plane of its own: the channels of an image are not apart in memory.
        own = slice_channels(out.image, config.context)
        plane = _thread_array("plane", own.shape, own.dtype)
        label = _thread_array("label beside", out.label.shape, out.label.dtype)
        render_own(stack, z, recipe, Sample(plane, out.label))
        _copy(plane, own)
        rendered = {z: own}
        for offset, beside in zip(places, neighbours(inputs[stack], z, config.context), strict=True):
            room = slice_channels(out.image, config.context, offset)
            if beside not in rendered:
                render_beside(stack, beside, recipe.beside(beside - z), Sample(plane, label))
            _copy(rendered.get(beside, plane), room)
            rendered.setdefault(beside, room)

    return render_slices


def _copy(pixels: NDArray[Any], room: NDArray[Any]) -> None:
    """Copy (h, w) or (h, w, C) channel by channel: all at once, NumPy goes from pixel to pixel, six times as long."""
    for channel in range(room[0, 0].size):
        np.atleast_3d(room)[..., channel] = np.atleast_3d(pixels)[..., channel]


def _slice_renderer(source: Source, config: BuildConfig, cache: SliceCache) -> SampleRenderer:
    """Return what renders one slice into given arrays, or copies a tile of it."""
    render_drawn = _staged_renderer(source) if config.engine == "staged" else _fused_renderer(source, config, cache)

    @lru_cache(maxsize=_PLAIN_SLICES * (1 + 2 * config.context))
    def read_slice(stack: int, z: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return source.stacks[stack].images[z], source.stacks[stack].labels[z]

    def render(stack: int, z: int, recipe: Recipe, out: Sample) -> None:
        if recipe.scored is None:
            render_drawn(stack, z, recipe, out)
        else:
            copy_tile(*read_slice(stack, z), recipe, out, margin=config.margin)

    return render


def _staged_renderer(source: Source) -> SampleRenderer:
    from augment.staged import render_staged, require_elasticdeform

    require_elasticdeform()

    def render_by_stages(stack: int, z: int, recipe: Recipe, out: Sample) -> None:
        pixels = source.stacks[stack]
        sample = render_staged(pixels.images[z], pixels.labels[z], recipe)
        out.image[...], out.label[...] = sample

    return render_by_stages


def _fused_renderer(source: Source, config: BuildConfig, cache: SliceCache) -> SampleRenderer:
    takes_highest = bool(config.takes_highest) and source.coding.ignore is None

    def render_fused(stack: int, z: int, recipe: Recipe, out: Sample) -> None:
        with cache.lend(stack, z) as prepared:
            if takes_highest and prepared.has_highest:
                highest = ignore_value(prepared.label.dtype)
                raise ConfigError(
                    f"{config.takes_highest}: slice {z} of stack {stack} has the id {highest}, which stands for what "
                    f"is ignored; {way_out(config)}, or give that object another id"
                )
            render_prepared(prepared, recipe, out, margin=config.margin)

    return render_fused


def render_planned(
    plan: Plan, sample: PlannedSample, renderer: SampleRenderer, out: Sample, ignore: int | None
) -> Recipe:
    """Render a sample by the first of its recipes that shows enough foreground, and return that.

    Args:
        plan: which has the places of the source.
        sample: of the plan.
        renderer: of its source.
        out: what to render into.
        ignore: the value of label pixels that mean nothing, if there is one.

    Raises:
        ConfigError: none of them does.
    """
    n_attempts = plan.n_attempts(sample)
    for attempt in range(n_attempts):
        recipe = plan.recipe(sample, attempt)
        renderer(sample.stack, sample.z, recipe, out)
        if n_attempts == 1 or foreground_share(out.label, ignore) >= plan.config.min_foreground:
            return recipe
    raise ConfigError(
        f"min-foreground {plan.config.min_foreground:g}: none of {n_attempts} windows of slice {sample.z} of stack "
        f"{sample.stack} shows so much foreground; ask for less, or use --focus foreground"
    )


def foreground_share(label: NDArray[Any], ignore: int | None) -> float:
    """Return the share of a label's pixels, of any shape, that are neither background nor ignored."""
    n_ignored = 0 if ignore is None else np.count_nonzero(label == ignore)
    return float(np.count_nonzero(label) - n_ignored) / label.size


class ShardRenderer:
    """Renders shards one after the other, in `jobs` threads, always into the same memory.

    The threads do not wait where one shard ends: while it is encoded, they are at the next.

    Args:
        plan: what to render.
        source: the slices.
        parallel: where the threads come from: joblib, threading backend, return_as="generator".
        jobs: how many threads that is; -1 for one a core.
        on_sample: called after every sample.
        folder: for prepared slices that have no room in memory.

    Attributes:
        clipping: counts the samples that are black or white where their slices are not.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        parallel: joblib.Parallel,
        jobs: int,
        on_sample: Callable[[], None],
        folder: Path | None = None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._parallel = parallel
        self._jobs = jobs if jobs > 0 else os.cpu_count() or 1
        self._on_sample = on_sample
        self._folder = folder
        self.clipping = ClippingCount(plan.config.ranges, lambda stack, z: source.stacks[stack].images[z])
        _, self._ignore = stored_labels(plan.config, source.inputs)
        self._renderers: dict[str, SampleRenderer] = {}
        self._guard = threading.Lock()

    def render(self, shards: Sequence[PlannedShard]) -> Iterator[RenderedShard]:
        """Yield every shard; its images are valid until the next is asked for."""
        # A sample that is begun needs memory for its image, and a shard's images are given back together. No thread
        # waits for ever: all of a shard's samples can have theirs, and every other thread one that comes later.
        n_arrays = min(max(shard.n for shard in shards) + _AHEAD * self._jobs, sum(shard.n for shard in shards))
        free: _Arrays = queue.SimpleQueue()
        for _ in range(n_arrays):
            free.put(np.empty(self._plan.image_shape, self._source.image_dtype))
        samples = (
            joblib.delayed(self._render_sample)(shard.split, sample, free)
            for shard in shards
            for sample in self._plan.samples(shard)
        )
        rendered = self._parallel(samples)
        try:
            for shard in shards:
                self._drop_other_renderers(shard.split)
                images, rows = [], []
                deflated: dict[str, DeflatedArrays] = {}
                for image, arrays, row in islice(rendered, shard.n):
                    images.append(image)
                    for name, (dtype, data) in arrays.items():
                        deflated.setdefault(name, DeflatedArrays(dtype, [])).rows.append(data)
                    rows.append(row)
                    self._on_sample()
                yield RenderedShard(images, deflated, rows)
                for image in images:
                    free.put(image)
        finally:
            for _ in range(self._jobs):  # who still waits for memory waits no more
                free.put(None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of samples that nobody will take
                rendered.close()

    def _render_sample(
        self, split: str, sample: PlannedSample, free: _Arrays
    ) -> tuple[NDArray[Any], dict[str, tuple[np.dtype[Any], bytes]], ManifestRow]:
        """Return the image, the other arrays by their names in the shard, deflated, and the manifest's row."""
        image = free.get()
        if image is None:
            raise InterruptedError("rendering was stopped")
        stack = self._source.stacks[sample.stack]
        label = _thread_array("label", self._plan.config.size, stack.labels.dtype)
        recipe = render_planned(self._plan, sample, self._renderer(split), Sample(image, label), self._ignore)
        if recipe.defects is None and recipe.scored is None:  # what is missing is black, however bright the rest is
            self.clipping.look(sample.stack, sample.z, slice_channels(image, self._plan.config.context))
        further = further_arrays(label, recipe, stack, self._plan.config, split=split, ignore=self._ignore)
        others = {"label": label, **further}
        digests = {name: array_digest(array) for name, array in {"image": image, **others}.items()}
        context = context_slices(self._plan, self._source, sample)
        row = manifest_row(sample, recipe, context, stack.slice_sha256[sample.z], digests)
        deflated = {STORED_NAMES[name]: (array.dtype, deflate_array(array)) for name, array in others.items()}
        return image, deflated, row

    def _renderer(self, split: str) -> SampleRenderer:
        """Return what renders a split's samples: no two splits share a slice, so neither need they share a cache."""
        with self._guard:
            if split not in self._renderers:
                self._renderers[split] = sample_renderer(self._source, self._plan.config, self._folder)
            return self._renderers[split]

    def _drop_other_renderers(self, split: str) -> None:
        """Free the slices of the splits that are done."""
        with self._guard:
            while self._renderers and split in self._renderers and next(iter(self._renderers)) != split:
                del self._renderers[next(iter(self._renderers))]


def _thread_array(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the array of a name that belongs to this thread and is used again for its next sample."""
    array: NDArray[Any] | None = getattr(_scratch, name, None)
    if array is None or array.shape != shape or array.dtype != dtype:
        array = np.empty(shape, dtype)
        setattr(_scratch, name, array)
    return array
