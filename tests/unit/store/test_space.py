"""What of a file system is left free."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shared.store.space import Space, space_of

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "total", "short"),
    [
        (4, 100, True),
        (5, 100, False),
        (GIB - 1, 100 * GIB, True),
        (GIB, 100 * GIB, False),
        (0, GIB, True),
        (0, 0, False),  # file systems that count nothing have no bound of ours
    ],
)
def test_a_twentieth_and_at_most_a_gibibyte_is_left_free(free: int, total: int, short: bool):
    assert Space(free_bytes=free, total_bytes=total).is_short == short


def test_space_is_that_of_the_file_system_of_a_folder(tmp_path: Path):
    space, usage = space_of(tmp_path), shutil.disk_usage(tmp_path)
    assert space.total_bytes == usage.total
    assert 0 <= space.free_bytes <= space.total_bytes
    assert abs(space.free_bytes - usage.free) < GIB  # others write meanwhile


def test_what_is_not_there_has_no_space(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        space_of(tmp_path / "nowhere")
