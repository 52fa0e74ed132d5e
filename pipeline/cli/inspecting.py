"""`augpipe show`, `preview` and `verify`: what is in a dataset, what it looks like, and whether it is what it says."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, REMEMBERED, Command, SliceNumber, jobs_option, option
from pipeline.cli.output import Output
from pipeline.errors import ConfigError


@click.command("show", cls=Command)
@click.argument("dataset", type=PATH)
@click.argument("sample", metavar="[ID]", required=False)
def show(dataset: Path, sample: str | None, output: Output) -> None:
    """Say what is in DATASET, or how its sample ID was made."""
    from pipeline.look.fact_sheet import show_dataset, show_sample

    sheet = show_dataset(dataset) if sample is None else show_sample(dataset, sample)
    output.lines(sheet.lines())
    output.report(sheet.to_json())


@click.command("preview", cls=Command)
@click.argument("dataset", type=PATH)
@option("Picture", "--out", type=PATH, help="PNG file to make.  [default: DATASET-preview.png, or -strengths.png]")
@option("Picture", "--samples", type=int, help="How many samples of each split to draw.  [default: 3]")
@option(
    "Picture",
    "--slice",
    "slice_",
    type=SliceNumber(),
    metavar="[STACK:]Z",
    help="Draw this slice instead, as each augmentation changes it from its lowest to its highest strength.",
)
@option("Picture", "--source", type=PATH, help=REMEMBERED)
def preview(
    dataset: Path,
    out: Path | None,
    samples: int | None,
    slice_: tuple[int, int] | None,
    source: Path | None,
    output: Output,
) -> None:
    """Draw some samples of DATASET beside the slices that they were made from, or what augmentations do to a slice."""
    from pipeline.look.preview import preview_dataset, preview_strengths

    if slice_ is not None:
        if samples is not None:
            raise ConfigError("preview: --samples and --slice draw different pictures; give one of them")
        path = preview_strengths(dataset, slice_, out, source_folder=source)
        output.line(str(path))
        output.report({"schema": "augpipe/preview-report/1", "file": str(path), "slice": list(slice_)})
        return
    samples = 3 if samples is None else samples
    drawn = preview_dataset(dataset, out, source_folder=source, per_split=samples)
    if drawn.source_missing:
        output.line(f"source: not at hand, so its slices are not drawn ({drawn.source_missing})")
    output.line(str(drawn.path))
    output.report({"schema": "augpipe/preview-report/1", "file": str(drawn.path), "samples": list(drawn.samples)})


@click.command("verify", cls=Command)
@click.argument("dataset", type=PATH)
@option("Replay", "--replay", is_flag=True, help="Render the samples again and compare every pixel.")
@option("Replay", "--sample", metavar="ID", help="With --replay: this sample alone.")
@option("Replay", "--source", type=PATH, help=REMEMBERED)
@jobs_option
def verify(dataset: Path, replay: bool, sample: str | None, source: Path | None, jobs: int, output: Output) -> int:
    """Check every byte and every digest of DATASET.

    Exit status: 0 all is well, 1 something is not as recorded, 3 it could not be checked.
    """
    from pipeline.verify.verification import verify_dataset

    if (sample or source) and not replay:
        raise ConfigError("verify: --sample and --source go with --replay")
    verification = verify_dataset(dataset, replay=replay, source_folder=source, sample_id=sample, jobs=jobs)
    opened, findings = verification.dataset, verification.findings
    for finding in findings:
        output.verdict(finding)
    replayed = f", {verification.n_replayed} rendered again" if verification.n_replayed else ""
    verdict = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}" if findings else "every digest holds"
    checked = f"{verification.n_checked} samples in {len(opened.record.shards)} shards{replayed}"
    output.lines([f"{opened.folder}: {checked}: {verdict}", f"digest {opened.digest}"])
    if links := opened.linked_files:
        output.line(f"links  {len(links)} of its files are symbolic links; what they lead to was read")
    output.report(
        {
            "schema": "augpipe/verify-report/1",
            "dataset": str(opened.folder),
            "dataset_sha256": opened.digest,
            "checked": verification.n_checked,
            "replayed": verification.n_replayed,
            "findings": list(findings),
            **({"symbolic_links": list(links)} if links else {}),
        }
    )
    return 1 if findings else 0
