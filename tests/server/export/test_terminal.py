"""An interruption is reported as one, wherever it comes."""

from __future__ import annotations

import contextlib
import signal

import pytest

from server.errors import SourceUnreadableError
from server.export.terminal import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_a_library_takes_for_a_bad_file(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened() -> None:
        with contextlib.suppress(KeyboardInterrupt):  # as GDAL's callbacks do
            signal.raise_signal(number)
        raise SourceUnreadableError("'cloudy.tif' cannot be read")

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, interruptible("out.tif.partial"):
        opened()
    assert ended.value.code == 130
    assert capsys.readouterr().err.count("out.tif.partial") == 1
    assert signal.getsignal(number) is before


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(SourceUnreadableError), interruptible("out.tif.partial"):
        raise SourceUnreadableError("'cloudy.tif' cannot be read")
