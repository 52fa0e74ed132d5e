"""The samples of one small build, as digests: what a seed yields must not change unnoticed.

`python tests/golden.py` rewrites manifests/phantom-small.json. Do so only together with a higher RENDERER_VERSION and
a line in CHANGELOG.md.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline.build.builder import build_dataset
from pipeline.shards.config import RENDERER_VERSION, BuildConfig
from pipeline.shards.manifest import read_manifest
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom

GOLDEN_FILE = Path(__file__).parents[1] / "manifests" / "phantom-small.json"

SHAPE_ZYX, PHANTOM_SEED = (8, 96, 96), 0
CONFIG = BuildConfig(n=12, seed=0, size=(64, 80), test=0.25, val=0.0, gap=1)


def make_golden() -> dict[str, Any]:
    """Return the digests of the build, and all that it takes to make them again."""
    images, labels = make_phantom(SHAPE_ZYX, seed=PHANTOM_SEED)
    source = make_source(images, labels, name="phantom-small")
    with tempfile.TemporaryDirectory() as folder:
        out = build_dataset(source, CONFIG, out=Path(folder) / "phantom-small").out
        rows = list(read_manifest(out / "manifest.jsonl"))
    golden = {
        "schema": "augpipe/golden/1",
        "renderer": RENDERER_VERSION,
        "phantom": {"seed": PHANTOM_SEED, "shape_zyx": SHAPE_ZYX},
        "config": CONFIG.to_json(),
        "inputs": [stack.to_json() for stack in source.inputs],
        "samples": [{"id": row.id, "image_sha256": row.image_sha256, "label_sha256": row.label_sha256} for row in rows],
    }
    plain: dict[str, Any] = json.loads(json.dumps(golden))
    return plain


def main() -> None:
    """Write what the build yields now over what it is expected to yield."""
    GOLDEN_FILE.write_text(json.dumps(make_golden(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(GOLDEN_FILE)


if __name__ == "__main__":
    main()
