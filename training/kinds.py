"""Configs whose values are what their annotations say."""

from typing import Any, get_args, get_type_hints

from pipeline.errors import ConfigError


def require_types(config: Any) -> None:
    """Refuse values that are not of the annotated type: a config may come from a file or a command line.

    Raises:
        ConfigError: naming the field, what is expected, and what came.
    """
    for name, hint in get_type_hints(type(config)).items():
        value, choices = getattr(config, name), get_args(hint)
        kinds = (int, float) if hint is float else (hint,)
        if choices and (value not in choices or type(value) is not type(choices[0])):
            raise ConfigError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")
        if not choices and (not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool)):
            raise ConfigError(
                f"{name}: expected a value like {config.__dataclass_fields__[name].default!r}, got {value!r}"
            )
