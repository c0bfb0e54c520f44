"""How many patches a memory bank remembers."""

import pytest

from stream.training.learned_bank import coreset_size


@pytest.mark.parametrize(
    ("patches", "share", "size"),
    [
        (300 * 784, 0.01, 2352),  # many pictures: the share
        (300 * 784, 0.05, 11760),
        (100 * 784, 0.01, 1500),  # fewer: no less than a usual bank
        (25 * 784, 0.01, 1500),
        (10 * 784, 0.01, 784),  # very few: no more than a tenth
        (10 * 784, 0.5, 3920),
        (10 * 784, 1.0, 7840),
        (4, 0.01, 1),
    ],
)
def test_a_bank_of_few_pictures_remembers_more_than_the_share_asked_for(patches: int, share: float, size: int):
    assert coreset_size(patches, share) == size
