"""What a sample costs, stage by stage, in one thread: render, digest, deflate, manifest line, encode, write.

python tests/benchmarks/bench_stages.py
"""

import queue
import tempfile
from pathlib import Path

import numpy as np
from timing import median_ms, print_table

from augment import Sample, prepare_slice, render_prepared
from pipeline import BuildConfig, make_source
from pipeline.files import write_atomically
from pipeline.plan.plan import make_plan
from pipeline.render.encoding import ShardMemory, deflate_array, encode_shard
from pipeline.render.rendering import ShardRenderer, weigh_label
from pipeline.shards.digest import array_digest, bytes_digest
from pipeline.source.phantom import make_phantom


class Serial:
    """Runs joblib's tasks here and now."""

    def __call__(self, tasks):
        return (function(*arguments, **keywords) for function, arguments, keywords in tasks)


def main() -> None:
    source = make_source(*make_phantom(), name="phantom")
    plan = make_plan(source, BuildConfig(n=80))
    shard = next(plan.shards())
    renderer = ShardRenderer(plan, source, Serial(), 1, lambda: None)
    rendering = renderer.render([shard])
    rendered = next(rendering)  # its images stay as they are while the generator lives
    sample, row = plan.samples(shard)[0], rendered.rows[0]
    stack = source.stacks[0]
    prepared = prepare_slice(stack.images[0], stack.labels[0])
    out = Sample(np.empty((700, 700), np.uint8), np.empty((700, 700), np.uint8))
    render_prepared(prepared, row.recipe, out)
    memory = ShardMemory()
    free = queue.SimpleQueue()
    free.put(np.empty((700, 700), np.uint8))

    def encode():
        return encode_shard(memory, rendered.images, rendered.deflated, [r.id for r in rendered.rows], {})

    def render_sample():
        image, _, _ = renderer._render_sample(shard.split, sample, free)
        free.put(image)

    data = bytes(encode())
    sample_ms = median_ms(
        {
            "whole sample, as the build does it": render_sample,
            "draw the recipe": lambda: plan.recipe(sample),
            "render (the kernel)": lambda: render_prepared(prepared, row.recipe, out),
            "digests of image and label": lambda: (array_digest(out.image), array_digest(out.label)),
            "weigh the label (with --weights)": lambda: weigh_label(out.label, "binary"),
            "deflate the label": lambda: deflate_array(out.label),
            "manifest line": row.to_line,
        }
    )
    print_table("one sample of 700 x 700", sample_ms, yardstick="whole sample, as the build does it")
    with tempfile.TemporaryDirectory() as folder:
        shard_ms = median_ms(
            {
                "render its samples, one thread": lambda: next(renderer.render([shard])),
                "encode (HDF5, in memory)": encode,
                "digest of the file": lambda: bytes_digest(data),
                "write, flush, rename": lambda: write_atomically(Path(folder) / "shard.h5", [data]),
                "prepare one slice": lambda: prepare_slice(stack.images[0], stack.labels[0]),
            },
            rounds=5,
        )
    print_table("one shard of 64 samples", shard_ms, yardstick="render its samples, one thread")


if __name__ == "__main__":
    main()
