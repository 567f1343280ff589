"""Progress of a long command: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

SECONDS = 10.0
"""How often a log gets a line."""

_BAR = "{desc}: {n_fmt}/{total_fmt} |{bar}| {rate_fmt}, {remaining} left"


class ProgressBar:
    """Shows progress on standard error; a `build.job.ProgressCallback`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Choose between bar and lines.

        Args:
            stream: where to; standard error by default.
        """
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._stage = ""
        self._bar: tqdm[None] | None = None
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        """Return the bar itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last bar as it stands."""
        self._close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` have passed this stage."""
        if stage != self._stage:
            self._close()
            self._stage, self._start = stage, time.monotonic()
            self._last = self._start
            if total == 1:
                print(stage, file=self._stream, flush=True)
        if total == 1:
            return  # A step, not a count.
        if self._terminal:
            self._draw(done, total)
        elif time.monotonic() - self._last >= SECONDS or done == total:
            self._write(done, total)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(total=total, desc=self._stage, file=self._stream, unit="photo", bar_format=_BAR)
        self._bar.update(done - self._bar.n)

    def _write(self, done: int, total: int) -> None:
        self._last = time.monotonic()
        elapsed = self._last - self._start
        rate = done / elapsed if elapsed else 0.0
        left = f", {tqdm.format_interval((total - done) / rate)} left" if rate and done < total else ""
        print(f"{self._stage}: {done}/{total}, {rate:.1f}/s{left}", file=self._stream, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
