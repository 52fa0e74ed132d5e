"""The credentials of a Kaggle account: found where its client finds them, and refused if others can read them."""

import json
import os
import re
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, RefusedError

_MAX_BYTES = 1 << 16
_MIN_LENGTH = 8
_SECRET = re.compile(rf"[!-~]{{{_MIN_LENGTH},}}")
_ADVICE = "make a token on https://www.kaggle.com/settings, and put it into ~/.kaggle/access_token (chmod 600)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who publishes; its representation does not show secrets.

    Attributes:
        found: where they were found, for messages.
        token: an access token; else
        username: the user's name, and
        key: the legacy key.
    """

    found: str
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not all(map(_SECRET.fullmatch, self.secrets)) or not (self.username or "-").isprintable():
            raise ConfigError(
                f"{self.found}: expected a token or a key, of {_MIN_LENGTH} or more letters, digits and signs without "
                f"a space, found something else; {_ADVICE}"
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        return tuple(secret for secret in (self.token, self.key) if secret)


def find_credentials() -> Credentials:
    """Return the credentials that Kaggle's own client would use, in its order.

    Raises:
        ConfigError: there are none.
        RefusedError: others can read them.
    """
    folder = Path.home() / ".kaggle"
    found = _find_token(folder) or _find_key(folder)
    if found is None:
        oauth = folder / "credentials.json"
        unused = f"; {oauth}, which `kaggle auth login` leaves, is not used" if _is_file(oauth) else ""
        raise ConfigError(f"no credentials for Kaggle were found{unused}: {_ADVICE}")
    return found


def _find_token(folder: Path) -> Credentials | None:
    """Return an access token: from the environment, which may also name its file, or from the usual files."""
    paths = [folder / name for name in ("access_token", "access_token.txt")]
    if value := os.environ.get("KAGGLE_API_TOKEN"):
        if not _is_file(Path(value)):
            return Credentials("KAGGLE_API_TOKEN", token=value.strip())
        paths = [Path(value)]
    for path in paths:
        if _is_file(path) and (token := _read_private(path).strip()):
            return Credentials(str(path), token=token)
    return None


def _find_key(folder: Path) -> Credentials | None:
    """Return a user name and a key: from kaggle.json, either of which the environment may replace."""
    if named := os.environ.get("KAGGLE_CONFIG_DIR"):
        folder = Path(named)
    elif not folder.exists():
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    path = folder / "kaggle.json"
    values: dict[str, Any] = {}
    if _is_file(path):
        try:
            values = dict(json.loads(_read_private(path)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"{path}: expected a JSON object with username and key") from error
    username = os.environ.get("KAGGLE_USERNAME") or values.get("username")
    key = os.environ.get("KAGGLE_KEY") or values.get("key")
    has_name, has_key = (isinstance(half, str) and bool(half) for half in (username, key))
    if has_name != has_key:
        there, missing = ("user name", "key") if has_name else ("key", "user name")
        variable = "KAGGLE_KEY" if has_name else "KAGGLE_USERNAME"
        raise ConfigError(
            f"{variable}: expected the {missing} beside the {there} that was found; set it, write it into {path}, or "
            f"{_ADVICE}"
        )
    if not has_name:
        return None
    return Credentials("KAGGLE_KEY" if "KAGGLE_KEY" in os.environ else str(path), username=username, key=key)


def _read_private(path: Path) -> str:
    """Return what is in a file that nobody but its owner may read."""
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise RefusedError(
            f"{path}: other users of this machine can read your Kaggle credentials (mode {mode:o}); "
            f"run chmod 600 {shlex.quote(str(path))}, and make a new token if they may have been read"
        )
    if status.st_size > _MAX_BYTES:
        raise ConfigError(f"{path}: too large to hold credentials")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path}: cannot be read") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a token that is too long for a path
        return False
