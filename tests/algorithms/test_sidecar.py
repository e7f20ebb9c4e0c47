"""Results in the data type of the raster."""

from typing import Any

import numpy as np
import pytest

from algorithms.sidecar import to_dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_results_are_rounded_and_clipped_never_wrapped_and_never_nodata(dtype: Any) -> None:
    kind: Any = np.dtype(dtype)
    values = np.array([[-1e9, -40000.6, -1.2, -0.4, 0.4, 0.6, 1.5, 2.5, 254.7, 255.4, 300.0, 32767.6, 65535.6, 1e9]])
    values = values.astype(np.float32)
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    for nodata in (None, 0, 255, *(() if limits is None else (limits.min, limits.max))):
        found = to_dtype(values, kind, nodata)
        assert found.dtype == kind
        if limits is None:
            np.testing.assert_array_equal(found, values)
            continue
        expected = [min(max(round(float(v)), limits.min), limits.max) for v in values[0]]  # exact, of any size
        kept = np.array([v != nodata for v in expected])
        np.testing.assert_array_equal(found[0][kept], np.array(expected)[kept])
        if nodata is not None:
            assert (found != nodata).all()
            np.testing.assert_array_equal(np.abs(found[0][~kept].astype(int) - nodata), 1)
