"""The credentials of a Kaggle account: found where its client finds them, and refused if others can read them."""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, RefusedError

_LARGEST_BYTES = 1 << 16
_SHORTEST = 8
_SECRET = re.compile(rf"[!-~]{{{_SHORTEST},}}")
_ADVICE = "make a token on https://www.kaggle.com/settings, and put it into ~/.kaggle/access_token (chmod 600)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who publishes; secrets are not in its text.

    Attributes:
        found: where they were found, to be told.
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
                f"{self.found}: expected a token or a key, of {_SHORTEST} or more letters, digits and signs without a "
                f"space, found something else; {_ADVICE}"
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be told."""
        return tuple(secret for secret in (self.token, self.key) if secret)


def find_credentials(environment: Mapping[str, str] | None = None, home: Path | None = None) -> Credentials:
    """Return the credentials that Kaggle's own client would use, in its order.

    Args:
        environment: variables; those of the process unless given.
        home: the user's own folder.

    Raises:
        ConfigError: there are none.
        RefusedError: others can read them.
    """
    environment = os.environ if environment is None else environment
    home = home or Path.home()
    return _token(environment, home) or _legacy_key(environment, home) or _none(home / ".kaggle" / "credentials.json")


def _token(environment: Mapping[str, str], home: Path) -> Credentials | None:
    given = environment.get("KAGGLE_API_TOKEN", "")
    paths = [home / ".kaggle" / name for name in ("access_token", "access_token.txt")]
    if given and _is_file(Path(given)):
        paths = [Path(given)]
    elif given:
        return Credentials("KAGGLE_API_TOKEN", token=given.strip())
    for path in paths:
        if _is_file(path) and (token := _read_private(path).strip()):
            return Credentials(str(path), token=token)
    return None


def _legacy_key(environment: Mapping[str, str], home: Path) -> Credentials | None:
    """Return a user name and a key: from kaggle.json, of which the environment may replace either."""
    path = _config_folder(environment, home) / "kaggle.json"
    values: dict[str, Any] = {}
    if _is_file(path):
        try:
            values = dict(json.loads(_read_private(path)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"{path}: expected a JSON object with username and key") from error
    username = environment.get("KAGGLE_USERNAME") or values.get("username")
    key = environment.get("KAGGLE_KEY") or values.get("key")
    if not (isinstance(username, str) and isinstance(key, str) and username and key):
        return None
    return Credentials("KAGGLE_KEY" if "KAGGLE_KEY" in environment else str(path), username=username, key=key)


def _none(oauth: Path) -> Credentials:
    also = f"; {oauth}, which `kaggle auth login` leaves, is not used" if _is_file(oauth) else ""
    raise ConfigError(f"no credentials for Kaggle were found{also}: {_ADVICE}")


def _config_folder(environment: Mapping[str, str], home: Path) -> Path:
    """Return the folder of kaggle.json, as the client chooses it."""
    if named := environment.get("KAGGLE_CONFIG_DIR"):
        return Path(named)
    usual = home / ".kaggle"
    return usual if usual.exists() else Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"


def _read_private(path: Path) -> str:
    """Return what is in a file that nobody but its owner may read."""
    mode = path.stat().st_mode
    if stat.S_IMODE(mode) & 0o077:
        raise RefusedError(
            f"{path}: other users of this machine can read your Kaggle credentials (mode {stat.S_IMODE(mode):o}); "
            f"run chmod 600 {path}, and make a new token if they may have been read"
        )
    if path.stat().st_size > _LARGEST_BYTES:
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
