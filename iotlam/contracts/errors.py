"""Errors a user can act on: what was expected, what came, how to fix it."""

from __future__ import annotations

from typing import Any

MOST_CHARACTERS = 500


class IotlamError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits 2."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross processes; the constructors' keywords do not.
        return _restore, (type(self), str(self), self.__dict__)


def _restore(kind: type[IotlamError], message: str, state: dict[str, Any]) -> IotlamError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class Terminated(BaseException):
    """SIGTERM: unwinds, so that nothing is left behind; nobody may keep it, not even who runs foreign code."""


class BadInput(IotlamError):
    """An input that cannot be used, said in one sentence.

    Args:
        subject: what is wrong, e.g. a file name, an option or a plugin.
        expected: what would have been accepted.
        got: what came instead.
        fix: what the user can do about it.
    """

    def __init__(self, subject: str, *, expected: str, got: str, fix: str) -> None:
        self.subject, self.expected, self.got, self.fix = subject, expected, got, fix
        super().__init__(f"{subject}: expected {expected}, got {got}; {fix}.")


class PluginError(IotlamError):
    """A modality plugin that failed; names the plugin, the step and its reason."""

    def __init__(self, plugin: str, step: str, reason: object) -> None:
        self.plugin, self.step = plugin, step
        self.reason = one_line(reason)
        super().__init__(
            f"Modality plugin '{plugin}': expected '{step}' to succeed, got {self.reason}; "
            f"mend or uninstall the plugin, or leave the modality out."
        )


def one_line(reason: object) -> str:
    """What foreign code says, as part of a sentence: one printable line, not too long."""
    try:
        text = str(reason)
    except Exception:  # its own __str__ may be broken
        text = ""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:MOST_CHARACTERS]).split())
    return f"{type(reason).__name__}: {text}" if isinstance(reason, BaseException) else text


def as_said(error: Exception) -> str:
    """An error in one line: ours by its sentence, another's with its type."""
    return one_line(str(error) if isinstance(error, IotlamError) else repr(error))


class MissingExtra(IotlamError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"Package '{package}': expected to be installed for this command, got no such package; "
            f"run: pip install 'iotlam[{extra}]'."
        )
