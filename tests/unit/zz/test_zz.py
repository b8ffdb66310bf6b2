import pytest


@pytest.mark.parametrize("i", range(4000))
def test_a(i):
    pass
