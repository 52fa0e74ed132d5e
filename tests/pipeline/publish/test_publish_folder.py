"""A mirror in a folder: whole at every moment, and never in the place of what is not its own."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kaggle_loopback import Loopback
from publish_worlds import COVER, SENT, SMALL_GAP, TO_KAGGLE, one_line, to_folder, write_report
from small_worlds import SHARDS, build_small, digests, flip_bit, names

from pipeline.errors import StorageError
from pipeline.publish.folder_remote import FolderRemote

pytestmark = pytest.mark.usefixtures("home", "clock", "quick_preview")

Run = Callable[..., Any]


def test_another_licence_is_in_the_mirror(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror, report = tmp_path / "cells", write_report(dataset)
    for licence in ("CC-BY-4.0", "CC0-1.0"):
        asked = ("--to", "folder", mirror, "--license", licence, *SMALL_GAP, "--audit", report)
        assert augpipe("publish", dataset, *asked).code == 0
        assert json.loads((mirror / "dataset-metadata.json").read_bytes())["licenses"] == [{"name": licence}]


def test_the_same_dataset_is_mirrored_in_a_folder(
    augpipe: Run, server: Loopback, dataset: Path, tmp_path: Path
) -> None:
    mirror, report = tmp_path / "share" / "cells", write_report(dataset)
    mirror.parent.mkdir()
    asked = ("publish", dataset, *to_folder(mirror), "--audit", report)
    code, out, _ = augpipe(*asked)
    assert code == 0
    assert set(names(mirror)) == SENT | {"dataset-metadata.json", COVER}
    assert digests(dataset).items() <= digests(mirror).items()
    assert augpipe("verify", mirror).code == 0
    assert names(mirror.parent) == ["cells", *[f"cells/{name}" for name in names(mirror)]]
    code, out, _ = augpipe(*asked)
    assert code == 0
    assert "already there" in out
    assert "sent           0.0 of" in out
    assert server.requests == []


def test_a_folder_needs_no_client_of_kaggle(
    augpipe: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, none of these can be imported; what is for Kaggle says what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"kaggle", "kagglesdk", "requests"}]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("kaggle", "kagglesdk", "requests"):
        monkeypatch.setitem(sys.modules, name, None)
    report = ("--audit", write_report(dataset))
    assert augpipe("publish", dataset, *to_folder(tmp_path / "cells"), *report).code == 0
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE, *report)
    assert code == 3
    assert "pip install '.[kaggle]'" in one_line(err)


def test_a_mirror_is_whole_at_every_moment(
    augpipe: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that fails leaves what was there; the next one copies what is missing, and replaces it in one go."""
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit")
    augpipe(*asked, write_report(dataset))
    before = digests(mirror)
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    send, copied = FolderRemote.send, []

    def fail_late(self: FolderRemote, item: Any) -> int:
        if len(copied) == 4:
            raise StorageError("the disk is full")
        copied.append(item.name)
        return send(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(FolderRemote, "send", fail_late)
        assert augpipe(*asked, write_report(dataset)).code == 3
    assert digests(mirror) == before
    code, out, _ = augpipe(*asked, write_report(dataset))
    assert code == 0
    assert digests(dataset).items() <= digests(mirror).items()
    missing = sum((mirror / name).stat().st_size for name in names(mirror) if name not in copied)
    assert f"sent       {missing / 1e6:.1f} of" in out


def test_a_folder_with_other_things_is_not_touched(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mine"
    mirror.mkdir()
    (mirror / "thesis.txt").write_text("years of work")
    asked = ("--license", "other", *SMALL_GAP, "--audit", write_report(dataset))
    assert augpipe("publish", dataset, "--to", "folder", mirror, *asked).code == 2
    assert augpipe("publish", dataset, "--to", "folder", dataset / "mirror", *asked).code == 2
    assert augpipe("publish", dataset, "--to", "folder", *asked).code == 2
    assert names(mirror) == ["thesis.txt"]


def test_a_mirror_that_was_killed_between_two_names_is_found_again(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit", write_report(dataset))
    augpipe(*asked)
    mirror.rename(tmp_path / ".cells.replaced")
    assert "already there" in augpipe(*asked).out
    assert augpipe("verify", mirror).code == 0


def test_a_mirror_is_repaired_by_none_but_its_publisher(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    """What looks like a kill between two names may be another publisher, who is about to give the second."""
    mirror, replaced = tmp_path / "cells", tmp_path / ".cells.replaced"
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    asked = ("publish", dataset, *to_folder(mirror), "--audit", write_report(dataset))
    augpipe(*asked)
    with FolderRemote(mirror, other).hold():
        mirror.rename(replaced)
        assert augpipe(*asked).code == 3
        assert (mirror.exists(), replaced.exists()) == (False, True)
    assert augpipe(*asked).code == 0
    assert augpipe("verify", mirror).code == 0


def test_what_was_being_removed_does_not_come_back(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    """A mirror that was replaced, and killed half-removed; and one that was to be replaced by what is there."""
    mirror, replaced = tmp_path / "cells", tmp_path / ".cells.replaced"
    asked = ("publish", dataset, *to_folder(mirror), "--audit", write_report(dataset))
    augpipe(*asked)
    shutil.copytree(mirror, replaced)
    assert "already there" in augpipe(*asked).out
    assert not replaced.exists()
    mirror.rename(replaced)
    (replaced / SHARDS[0]).unlink()
    assert augpipe(*asked).code == 0
    assert not replaced.exists()
    assert augpipe("verify", mirror).code == 0


def test_a_mirror_has_one_publisher_at_a_time(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    mirror = tmp_path / "cells"
    asked = (*to_folder(mirror), "--audit", write_report(dataset))
    with FolderRemote(mirror, other).hold():
        code, _, err = augpipe("publish", dataset, *asked)
    assert code == 3
    assert "another augpipe is publishing there" in one_line(err)
    assert augpipe("publish", dataset, *asked).code == 0
    assert names(tmp_path / "cells") == sorted(SENT | {"dataset-metadata.json", COVER})


@pytest.mark.parametrize("options", [("--private",), ("--notes", "another seed")])
def test_what_only_kaggle_has_is_wrong_use_for_a_folder(
    augpipe: Run, dataset: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    code, _, err = augpipe("publish", dataset, *to_folder(tmp_path / "cells"), *options)
    assert code == 2
    assert "are for Kaggle" in one_line(err)


def test_the_root_of_the_disk_is_no_mirror(augpipe: Run, dataset: Path) -> None:
    code, _, err = augpipe("publish", dataset, *to_folder(Path("/")))
    assert code == 2
    assert "name another" in one_line(err)


def test_files_of_others_in_a_mirror_are_not_lost(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit")
    augpipe(*asked, write_report(dataset))
    (mirror / "thesis.txt").write_text("years of work")
    before = digests(mirror)
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    code, _, err = augpipe(*asked, write_report(dataset))
    assert code == 2
    assert "thesis.txt" in one_line(err)
    assert digests(mirror) == before


@pytest.mark.parametrize(
    "harm",
    [lambda mirror: (mirror / "README.md").unlink(), lambda mirror: flip_bit(mirror / SHARDS[1], 5000)],
    ids=["without its card", "damaged"],
)
def test_a_mirror_that_is_not_whole_is_made_whole(
    augpipe: Run, dataset: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit", write_report(dataset))
    augpipe(*asked)
    before = digests(mirror)
    harm(mirror)
    assert "published" in augpipe(*asked).out
    assert digests(mirror) == before
