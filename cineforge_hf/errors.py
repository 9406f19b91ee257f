"""Every error that a user can meet, in four kinds.

The kind decides what happens next; the message names the file and what to do about it.

- `UsageError`: the command or recipe is wrong; nothing was started (exit code 2).
- `RowError`: one row cannot be used; it is recorded in the row's `errors` and the run goes on (exit code 3).
- `MediaError`: a row error about a media file.
- `SystemicError`: nothing can succeed (disk full, key refused); the run stops and can be resumed (exit code 1).
"""

from __future__ import annotations


class CineforgeError(Exception):
    """Base of all errors that are shown to users as one line, without a traceback."""


class UsageError(CineforgeError):
    """The command, recipe or manifest is wrong. Nothing was started."""


class SystemicError(CineforgeError):
    """No row can succeed until somebody acts. The run stops and resumes where it stood."""


class RowError(CineforgeError):
    """One row cannot be used.

    Args:
        code: short stable identifier in snake_case, e.g. `no_audio_stream`; counted in reports.
        message: one sentence that names the file and the remedy.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[RowError], tuple[str, str]]:
        # The default would rebuild the error from `args` alone, and fail between processes.
        return type(self), (self.code, self.message)


class MediaError(RowError):
    """A media file cannot be opened, decoded or written."""
