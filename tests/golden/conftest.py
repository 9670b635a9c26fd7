"""Every golden test runs against nbgrad, and against PyTorch, which proves the test itself."""

from contextlib import contextmanager

import numpy as np
import pytest


@pytest.fixture(params=["nbgrad", "torch"])
def torch(request):
    return pytest.importorskip(request.param)


def in_torchs_words(text: object) -> str:
    """Names as PyTorch writes them; its versions differ in how messages call a node."""
    text = str(text).replace("nbgrad.", "torch.").replace(", check_nan=False)", ")")
    return text.replace("[torch.cuda.", "[torch.")  # where these tests run on a device


@pytest.fixture
def words():
    """The text of an object with `torch.` for the name of the library."""
    return in_torchs_words


@pytest.fixture
def raises():
    """`with raises(kind, text):` an error whose message starts with PyTorch's text."""

    @contextmanager
    def check(kind, text):
        with pytest.raises(kind) as caught:
            yield caught
        message = in_torchs_words(caught.value).replace("Backward0", "")
        assert message.startswith(text.replace("Backward0", "")), message

    return check


@pytest.fixture
def same():
    """Compare tensors, or tuples of tensors and None, with plain numbers: shape and values."""

    def check(actual, expected, tolerance=1e-5):
        if isinstance(actual, tuple | list):
            assert len(actual) == len(expected)
            for one, other in zip(actual, expected):
                check(one, other, tolerance)
        elif expected is None:
            assert actual is None
        else:
            found = np.array(actual.tolist() if hasattr(actual, "tolist") else actual)
            assert found.shape == np.shape(expected)
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)

    return check
