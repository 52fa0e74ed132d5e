"""The failures that rendering expects, and the base of all that augpipe expects."""


class AugpipeError(Exception):
    """Base of every expected failure; its text is one line: where, what was expected, what was found, what to do."""


class ConfigError(AugpipeError):
    """An option, or a combination of options and data, that cannot work as asked."""


class RecipeError(ConfigError):
    """A recipe whose numbers are missing, of the wrong shape, or out of range."""


class MissingDependencyError(AugpipeError):
    """An optional library is needed for what was asked, and is missing or broken."""
