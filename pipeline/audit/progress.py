"""Telling how far an audit is; who wants to know makes a subclass."""


class AuditProgress:
    """What an audit tells while it runs; this one keeps it to itself."""

    def start(self, what: str, n: int) -> None:
        """Begin a stage of n steps."""

    def step(self) -> None:
        """One more step was done."""

    def stop(self) -> None:
        """End, whether well or not."""
